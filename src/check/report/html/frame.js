// Draws what stands around the lanes: names, choices, the axis, the overview.

function paintLabels(pane) {
  const { run, strip, lanes, row, bottom } = pane;
  pen.save();
  pen.beginPath();
  pen.rect(0, strip, LEFT, bottom - strip);
  pen.clip();
  pen.fillStyle = colours.paper;
  pen.globalAlpha = 0.9;
  pen.fillRect(0, strip, LEFT - 1, bottom - strip);
  pen.globalAlpha = 1;
  pen.fillStyle = colours.line;
  pen.fillRect(LEFT - 1, strip, 1, bottom - strip);
  lanes.forEach((lane, place) => {
    if (!lane.isShown) return;
    const count = run.tasks[place].size;
    const font = `600 12.5px ${colours.mono}`;
    const name = fit(data.lanes[place], LEFT - 24, font);
    const step = row / (lane.tracks + 1);
    // The names of its tracks, if there is room for all.
    const isNamed = lane.tracks > 1 && lane.tracks === tracks[place].size && step > 17;
    const two = row >= 34 && count > 0;
    const y = isNamed ? lane.y + 12 : lane.middle - (two ? 7 : 0);
    label(name, 12, y, 1e9, place ? colours.ink : colours.soft, font);
    if (two) label(many(count, "task"), 12, y + 15, 1e9, colours.faint);
    if (!isNamed) return;
    for (const [track, n] of tracks[place]) {
      const small = `11px ${colours.sans}`;
      const text = fit(track.slice(track.lastIndexOf("/") + 1), 66, small);
      pen.font = small;
      label(
        text,
        LEFT - 8 - pen.measureText(text).width,
        lane.y + step * (n + 1),
        1e9,
        colours.soft,
        small,
      );
    }
  });
  pen.restore();
  if (run.spans.length || Object.keys(run.hosts).length) {
    pen.fillStyle = colours.paper;
    pen.fillRect(0, strip, LEFT - 1, STRIP);
    label("faults", 12, strip + STRIP / 2, 1e9, colours.fault);
  }
}

/** As much of a text as there is room for. */
function fit(text, width, font) {
  pen.font = font;
  if (pen.measureText(text).width <= width) return text;
  while (text.length > 1 && pen.measureText(text + "…").width > width) text = text.slice(0, -1);
  return text + "…";
}

function choiceSpot(pane, choice) {
  const lane = pane.lanes[choice.lane];
  return [xOf(uOf(choice.at)), lane?.isShown ? lane.y + 8 : pane.strip + STRIP / 2];
}

function paintChoiceLines(pane) {
  pen.strokeStyle = colours.choice;
  pen.lineWidth = 1;
  for (const choice of pane.run.choices) {
    const [x] = choiceSpot(pane, choice);
    pen.globalAlpha = choice.key === state.chosen ? 0.9 : 0.28;
    pen.beginPath();
    pen.moveTo(x, pane.body);
    pen.lineTo(x, pane.bottom);
    pen.stroke();
  }
  pen.globalAlpha = 1;
}

/** The choices that matter, by their numbers. */
function paintChoices(pane) {
  pen.save();
  pen.beginPath();
  pen.rect(LEFT, pane.strip, size.width, pane.bottom - pane.strip);
  pen.clip();
  let before = [-99, -99];
  for (const choice of pane.run.choices) {
    let [x, y] = choiceSpot(pane, choice);
    // Side by side where they would hide each other.
    if (Math.abs(x - before[0]) < 16 && y === before[1]) x = before[0] + 16;
    before = [x, y];
    choice.spot = [x, y];
    const number = numberOf(choice);
    pen.fillStyle = colours.choice;
    pen.beginPath();
    pen.arc(x, y, 7.5, 0, 7);
    pen.fill();
    if (choice.key === state.chosen) {
      pen.strokeStyle = colours.ink;
      pen.lineWidth = 2;
      pen.stroke();
    }
    pen.fillStyle = colours.paper;
    pen.font = `700 ${number > 9 ? 8.5 : 10}px ${colours.sans}`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.fillText(number, x, y + 0.5);
  }
  pen.restore();
}

/** Choices have the numbers under which the last run has them. */
const numbers = new Map(
  data.runs[data.runs.length - 1].choices.map((choice, n) => [choice.key, n + 1]),
);
const numberOf = (choice) => numbers.get(choice.key) ?? "·";

function paintAxis() {
  pen.fillStyle = colours.paper;
  pen.fillRect(0, 0, size.width, TOP);
  pen.fillStyle = colours.line;
  pen.fillRect(0, TOP - 1, size.width, 1);
  pen.font = `11px ${colours.mono}`;
  pen.textBaseline = "middle";
  pen.textAlign = "left";
  const bottom = panes.length ? panes[panes.length - 1].bottom : TOP;
  const tick = (x, text) => {
    pen.fillStyle = colours.faint;
    pen.fillRect(x, TOP - 7, 1, 6);
    pen.globalAlpha = 0.35;
    pen.fillStyle = colours.line;
    pen.fillRect(x, TOP, 1, bottom - TOP);
    pen.globalAlpha = 1;
    pen.fillStyle = colours.soft;
    pen.fillText(text, x + 4, TOP - 10);
  };
  label("virtual time, s", 12, TOP - 10, 1e9, colours.faint);
  if (!axis.at.length) return;
  if (axis.cut) {
    for (let x = LEFT + 1; x < size.width - 84;) {
      const n = lower(axis.begin, uAt(x) - 1e-9);
      if (n >= axis.at.length) break;
      const place = xOf(axis.begin[n]);
      if (place > size.width - 84) break;
      tick(Math.round(place), stampOf(axis.at[n]));
      x = Math.max(place, x) + 98;
    }
    return;
  }
  const width = (state.to - state.from) / Math.max(1, (size.width - LEFT - RIGHT) / 110);
  const power = 10 ** Math.floor(Math.log10(Math.max(width, 1)));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= width) || power * 10;
  const origin = axis.at[0];
  for (let at = Math.ceil((origin + state.from) / step) * step; ; at += step) {
    const x = xOf(at - origin);
    if (x > size.width - 30) break;
    if (x >= LEFT) tick(Math.round(x), String(+(at / 1e9).toFixed(9)));
  }
}

const stampOf = (at) => {
  const seconds = Math.floor(at / 1e9);
  return stamp(seconds, Math.round(at - seconds * 1e9)).replace(/(\.\d{3}\d*?)0+$/, "$1");
};

/** How dense the records are over the whole of the time, and which part of it is looked at. */
let density = null;
function paintOverview() {
  const [top, width] = [size.height - BOTTOM + 6, size.width - LEFT - RIGHT];
  pen.fillStyle = colours.paper;
  pen.fillRect(0, size.height - BOTTOM, size.width, BOTTOM);
  pen.fillStyle = colours.line;
  pen.fillRect(0, size.height - BOTTOM, size.width, 1);
  if (!density || density.width !== width || density.cut !== axis.cut) {
    const bins = new Float64Array(Math.max(1, width | 0));
    for (const run of data.runs) {
      for (let i = 0; i < run.count; i++)
        bins[Math.min(bins.length - 1, ((run.u[i] / axis.length) * bins.length) | 0)]++;
    }
    density = { width, cut: axis.cut, bins, most: Math.max(1, ...bins) };
  }
  pen.fillStyle = colours.faint;
  density.bins.forEach((count, x) => {
    if (count) {
      const height = 2 + (14 * Math.log(1 + count)) / Math.log(1 + density.most);
      pen.fillRect(LEFT + x, top + 18 - height, 1, height);
    }
  });
  const place = (u) => LEFT + (u / axis.length) * width;
  for (const run of data.runs) {
    for (let i = 0; i < run.count; i++) {
      if (run.kind[i] === KIND.fault) {
        pen.fillStyle = colours.fault;
        pen.fillRect(place(run.u[i]), top, 1.5, 18);
      }
    }
    for (const choice of run.choices) {
      pen.fillStyle = colours.choice;
      pen.fillRect(place(uOf(choice.at)), top, 1.5, 18);
    }
  }
  if (state.query) {
    pen.fillStyle = colours.pick;
    for (const [r, i] of state.matches.slice(0, 5000))
      pen.fillRect(place(data.runs[r].u[i]), top, 1.5, 18);
  }
  const [x1, x2] = [Math.max(LEFT, place(state.from)), Math.min(LEFT + width, place(state.to))];
  pen.strokeStyle = colours.accent;
  pen.lineWidth = 1.5;
  pen.strokeRect(x1, top - 2, Math.max(4, x2 - x1), 22);
  pen.globalAlpha = 0.08;
  pen.fillStyle = colours.accent;
  pen.fillRect(x1, top - 2, Math.max(4, x2 - x1), 22);
  pen.globalAlpha = 1;
  label("overview", 12, top + 9, 1e9, colours.faint);
}
