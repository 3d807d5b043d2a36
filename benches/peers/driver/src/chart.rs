//! The chart of the README, as hand-written SVG.
//!
//! There is a panel for each workload and a bar for each contender, all on one logarithmic axis:
//! the speed as a multiple of the bare executor's. Names and figures stand beside the bars, so
//! that no information is in color alone. The card has its own background, light or dark as the
//! reader prefers.

use std::fmt::Write;

use crate::number_format::short;
use crate::machine::Machine;
use crate::measure::Row;
use crate::plan::{BARE, NAMES, OURS, WORKLOADS};

const WIDTH: f64 = 880.0;
const MARGIN: f64 = 24.0;
/// Above the panels, and below them.
const HEAD: f64 = 92.0;
const FOOT: f64 = 62.0;
/// Of a panel: its place for names, its bars' longest, its place for figures.
const NAME: f64 = 66.0;
const PLOT: f64 = 282.0;
const FIGURE: f64 = 52.0;
const COLUMNS: usize = 2;
const BAR: f64 = 9.0;
const PITCH: f64 = 13.0;
const TITLE: f64 = 20.0;
const GAP: f64 = 14.0;
/// The decades at the ends of the axis, and those that have a line.
const LEAST: f64 = -5.5;
const MOST: f64 = 0.5;
const LINES: &[(i32, &str)] =
    &[(-5, "10⁻⁵"), (-4, "10⁻⁴"), (-3, "0.001"), (-2, "0.01"), (-1, "0.1"), (0, "1")];

const STYLE: &str = "
  .ground { fill: #ffffff; stroke: #d0d7de; }
  text { font: 11px system-ui, -apple-system, 'Segoe UI', sans-serif; fill: #57606a; }
  .strong { fill: #1f2328; font-weight: 600; }
  .head { font-size: 16px; }
  .small { font-size: 10px; }
  .line { stroke: #d8dee4; }
  .bare { stroke: #1f2328; stroke-dasharray: 3 3; }
  .ours { fill: #0072b2; }
  .peer { fill: #6e7781; }
  .set-up { fill: #b6bec7; }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117; stroke: #30363d; }
    text { fill: #9da7b1; }
    .strong { fill: #f0f6fc; }
    .line { stroke: #262c34; }
    .bare { stroke: #f0f6fc; }
    .ours { fill: #56b4e9; }
    .peer { fill: #8b949e; }
    .set-up { fill: #4a525c; }
  }
";

/// Who has a bar: all but the bare executor, which is the line.
fn bars() -> impl Iterator<Item = &'static str> {
    NAMES.iter().copied().filter(|name| *name != BARE)
}

fn panel_height() -> f64 {
    TITLE + bars().count() as f64 * PITCH + GAP
}

/// How far from the left of the plot a multiple is.
fn place(ratio: f64) -> f64 {
    let decades = ratio.max(f64::MIN_POSITIVE).log10().clamp(LEAST, MOST);
    PLOT * (decades - LEAST) / (MOST - LEAST)
}

/// Draws all that was measured.
pub(crate) fn draw(machine: &Machine, rows: &[Row]) -> String {
    let deep = rows.len().div_ceil(COLUMNS) as f64;
    let height = HEAD + deep * panel_height() + FOOT;
    let mut svg = String::new();
    let (w, h) = (WIDTH - 1.0, height - 1.0);
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-labelledby=\"title about\">\n<title id=\"title\">The speed of virtnet and its \
         peers</title>\n<desc id=\"about\">{}</desc>\n<style>{STYLE}</style>\n<rect \
         class=\"ground\" x=\"0.5\" y=\"0.5\" width=\"{w}\" height=\"{h}\" rx=\"8\"/>\n",
        escape(&about(rows)),
    );
    head(&mut svg);
    for (n, row) in rows.iter().enumerate() {
        let column = (n % COLUMNS) as f64;
        let x = MARGIN + column * (WIDTH - MARGIN) / COLUMNS as f64;
        let y = HEAD + (n / COLUMNS) as f64 * panel_height();
        panel(&mut svg, row, x, y);
    }
    foot(&mut svg, machine, HEAD + deep * panel_height());
    svg.push_str("</svg>\n");
    svg
}

fn text(svg: &mut String, class: &str, x: f64, y: f64, anchor: &str, text: &str) {
    let text = escape(text);
    let _ = writeln!(
        svg,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
    );
}

fn rect(svg: &mut String, class: &str, x: f64, y: f64, width: f64) {
    let _ = writeln!(
        svg,
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\"/>",
        width.max(1.0)
    );
}

fn line(svg: &mut String, class: &str, x: f64, top: f64, bottom: f64) {
    let _ = writeln!(
        svg,
        "<line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top:.1}\" y2=\"{bottom:.1}\"/>"
    );
}

fn head(svg: &mut String) {
    let title = "How fast a simulation runs";
    text(svg, "strong head", MARGIN, 32.0, "start", title);
    let about = "Operations a second, as a multiple of a bare executor without a simulator; each \
                 line is ten times the one before it. Longer is better.";
    text(svg, "", MARGIN, 51.0, "start", about);
    let mut x = MARGIN;
    for (class, what) in
        [("ours", OURS), ("peer", "a peer, as it comes"), ("set-up", "the same, set up for speed")]
    {
        rect(svg, class, x, 64.0, 18.0);
        text(svg, "", x + 24.0, 72.5, "start", what);
        x += 48.0 + 5.8 * what.len() as f64;
    }
    line(svg, "bare", x + 9.0, 62.0, 75.0);
    text(svg, "", x + 18.0, 72.5, "start", "the bare executor, limit-futures");
}

fn panel(svg: &mut String, row: &Row, x: f64, y: f64) {
    let workload = WORKLOADS.iter().find(|workload| workload.name == row.workload);
    let Some(workload) = workload else { return };
    let bare = row.best(BARE).and_then(|cell| cell.rate);
    text(svg, "strong", x, y + 10.0, "start", workload.title);
    let per = bare.map_or(String::new(), |rate| format!("; the line is {}", short(rate)));
    let unit = format!("{} a second{per}", row.unit);
    text(svg, "small", x + NAME + PLOT + FIGURE, y + 10.0, "end", &unit);
    let (left, top) = (x + NAME, y + TITLE);
    let bottom = top + bars().count() as f64 * PITCH;
    for (decade, _) in LINES {
        let at = left + place(10f64.powi(*decade));
        line(svg, if *decade == 0 { "bare" } else { "line" }, at, top - 2.0, bottom);
    }
    for (n, name) in bars().enumerate() {
        bar(svg, row, name, bare, left, top + n as f64 * PITCH);
    }
}

fn bar(svg: &mut String, row: &Row, name: &str, bare: Option<f64>, left: f64, y: f64) {
    let ours = name == OURS;
    text(svg, if ours { "strong" } else { "" }, left - 6.0, y + 8.5, "end", name);
    let best = row.best(name).and_then(|cell| cell.rate);
    let (Some(best), Some(bare)) = (best, bare) else {
        let why = row.of(name).last().and_then(|cell| cell.absent.as_deref());
        let why = why.filter(|why| why.len() < 40).unwrap_or("failed");
        text(svg, "small", left + 4.0, y + 8.5, "start", why);
        return;
    };
    rect(svg, if ours { "ours" } else { "set-up" }, left, y, place(best / bare));
    let plain = row.of(name).find(|cell| cell.variant == "default").and_then(|cell| cell.rate);
    if let Some(plain) = plain.filter(|_| !ours) {
        rect(svg, "peer", left, y, place(plain / bare));
    }
    let class = if ours { "strong" } else { "" };
    text(svg, class, left + PLOT + FIGURE, y + 8.5, "end", &short(best));
}

fn foot(svg: &mut String, machine: &Machine, y: f64) {
    for column in 0..COLUMNS {
        let left = MARGIN + column as f64 * (WIDTH - MARGIN) / COLUMNS as f64 + NAME;
        for (decade, label) in LINES {
            text(svg, "small", left + place(10f64.powi(*decade)), y, "middle", label);
        }
    }
    let of = |name: &str| machine.version(name).unwrap_or("?").to_string();
    let peers = bars().filter(|name| *name != OURS).map(|name| format!("{name} {}", of(name)));
    let peers: Vec<String> = peers.collect();
    let Machine { date, cpu, cores, commit, .. } = machine;
    let where_and_when = format!("{date}, {cores} cores, {cpu}; virtnet {commit}");
    text(svg, "small", MARGIN, y + 24.0, "start", &where_and_when);
    let what = format!(
        "{}. Medians of CPU time; what is not like for like stands below.",
        peers.join(", ")
    );
    text(svg, "small", MARGIN, y + 38.0, "start", &what);
}

/// The chart in words, for whoever cannot see it.
fn about(rows: &[Row]) -> String {
    let mut about = String::from("Operations a second. ");
    for row in rows {
        let rate = |name: &str| {
            let rate = row.best(name).and_then(|cell| cell.rate);
            format!("{name} {}", rate.map_or("not measured".into(), short))
        };
        let rates: Vec<String> = NAMES.iter().map(|name| rate(name)).collect();
        let _ = write!(about, "{}: {}. ", row.workload, rates.join(", "));
    }
    about.trim_end().to_string()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::tests::{cell, row};

    #[test]
    fn a_decade_is_as_wide_everywhere() {
        let decade = PLOT / (MOST - LEAST);
        assert!((place(1.0) - place(0.1) - decade).abs() < 1e-9);
        assert!((place(0.001) - place(0.0001) - decade).abs() < 1e-9);
        assert_eq!((place(0.0), place(1e9)), (0.0, PLOT));
    }

    #[test]
    fn each_contender_has_a_bar_or_the_reason_why_not() {
        let mut lost = cell("turmoil", "tuned", &[]);
        lost.absent = Some("33 GB of <links>".into());
        let cells = vec![
            cell(OURS, "default", &[900_000]),
            cell(BARE, "default", &[1_000_000]),
            cell("madsim", "default", &[20_000]),
            cell("moonpool", "same", &[30_000]),
            cell("bach", "default", &[4_000]),
            cell("bach", "tuned", &[5_000]),
            lost,
        ];
        let svg = draw(&Machine::look(), &[row("pingpong", cells)]);
        for text in [">900 k<", ">20.0 k<", ">30.0 k<", ">5.00 k<", "33 GB of &lt;links&gt;"] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
        assert!(svg.contains("the line is 1.00 M"));
        let bars = |class: &str| svg.matches(&format!("<rect class=\"{class}\"")).count();
        // One of each class is the legend's.
        assert_eq!((bars("ours"), bars("peer"), bars("set-up")), (2, 3, 4));
    }
}
