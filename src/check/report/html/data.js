// Draws the records of a run, or of two, as lanes over virtual time. The files of this folder are
// one script, in the order in which `report/html.rs` has them.
//
// Knows what is packed in the element `data`; refuses to know how it is drawn.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const KIND = Object.fromEntries(data.kinds.map((name, number) => [name, number]));
/** The lanes from top to bottom: the world, then hosts by their names. */
const collator = new Intl.Collator(undefined, { numeric: true });
const LANE_ORDER = data.lanes
  .map((_, lane) => lane)
  .sort((a, b) => (a && b ? collator.compare(data.lanes[a], data.lanes[b]) : a - b));
/** The ways to draw a kind: colour and shape. */
const KIND_STYLES = {
  poll: ["poll", "dot"],
  deliver: ["deliver", "down"],
  drop: ["lose", "cross"],
  fault: ["fault", "bolt"],
  note: ["note", "square"],
  choose: ["choose", "diamond"],
  abort: ["abort", "ring"],
  caught: ["lose", "ring"],
  fail: ["lose", "square"],
  foreign: ["foreign", "diamond"],
  ending: ["ending", "flag"],
};

/** The tracks of a lane, in both runs: tasks that differ only in their number share one. */
const tracks = data.lanes.map(() => new Map());

/** What is known of a run beside its columns: how records lie in time, and what they led to. */
function prepareRun(run) {
  const count = run.kind.length;
  run.count = count;
  run.at = Float64Array.from(run.seconds, (second, i) => second * 1e9 + run.nanos[i]);
  run.u = new Float64Array(count);
  run.isPast = new Uint8Array(count);
  for (const i of run.causalPast) run.isPast[i] = 1;
  run.messages = 0;
  // What could be an arrow, as pairs of a cause and what it led to.
  const pairs = [];
  for (let i = 0; i < count; i++) {
    if (run.kind[i] === KIND.deliver && run.causes[i].length) run.messages++;
    if (run.kind[i] !== KIND.fault && run.kind[i] !== KIND.ending) {
      for (const cause of run.causes[i]) pairs.push(cause, i);
    }
  }
  run.pairs = Int32Array.from(pairs);
  for (const column of ["kind", "lane", "sourceLane"]) run[column] = Int16Array.from(run[column]);
  run.tasks = data.lanes.map(() => new Set());
  run.isUsed = data.lanes.map(() => false);
  run.track = new Int16Array(count).fill(-1);
  for (let i = 0; i < count; i++) {
    const lane = run.lane[i];
    run.isUsed[lane] = true;
    const subject = run.texts[run.subject[i]];
    if (run.sourceLane[i] >= 0) run.isUsed[run.sourceLane[i]] = true;
    if (run.sourceLane[i] >= 0 || !subject) continue;
    run.tasks[lane].add(subject);
    const track = subject.replace(/#\d+$/, "");
    const laneTracks = tracks[lane];
    if (!laneTracks.has(track)) laneTracks.set(track, laneTracks.size);
    run.track[i] = laneTracks.get(track);
  }
  for (const choice of run.choices) choice.at = choice.seconds * 1e9 + choice.nanos;
  run.spans = faultSpans(run);
}

/** What lasts: hosts that are down or paused, ways that are cut; from its beginning to its end. */
function faultSpans(run) {
  const open = [];
  const done = [];
  const close = (i, test) => {
    for (let n = 0; n < open.length;) {
      if (test(open[n])) done.push({ ...open.splice(n, 1)[0], end: i });
      else n++;
    }
  };
  const first = (i, test) => {
    const found = open.find(test);
    if (found) close(i, (span) => span === found);
  };
  for (let i = 0; i < run.count; i++) {
    if (run.kind[i] !== KIND.fault) continue;
    const text = run.texts[run.text[i]];
    const [verb, ...rest] = text.split(" ");
    const about = rest.join(" ");
    const hosts = run.faultLanes[i];
    const begin = (what, more) => open.push({ what, text, begin: i, hosts, about, ...more });
    const same = (what) => (span) => span.what === what && span.about === about;
    if (verb === "crash" || verb === "power_off") {
      const host = about.replace(/^to restart /, "");
      begin("down", { about: host, text: verb === "crash" ? "down" : "no power" });
    } else if (verb === "restart") close(i, same("down"));
    else if (verb === "pause") begin("pause", { text: "paused" });
    else if (verb === "resume") close(i, same("pause"));
    else if (verb === "partition" || verb === "one_way") begin(verb);
    else if (verb === "hold") begin("hold");
    else if (verb === "release") close(i, same("hold"));
    else if (text === "registry down") begin("registry");
    else if (text === "registry up") close(i, (span) => span.what === "registry");
    else if (verb === "edit" && text.endsWith(" undone")) {
      close(i, (span) => span.what === "edit" && span.text + " undone" === text);
    } else if (verb === "edit") begin("edit");
    else if (verb === "heal") {
      close(i, (span) => ["partition", "one_way", "hold", "registry"].includes(span.what));
    } else if (text.startsWith("the end of a ")) {
      first(i, (span) => span.what === text.slice("the end of a ".length));
    }
  }
  return done.concat(open.map((span) => ({ ...span, end: run.count - 1, open: true })));
}

/** An instant as records print it. */
const formatInstant = (seconds, nanos) => `${seconds}.${String(nanos).padStart(9, "0")}`;

/** A text in one line, as the library prints it. */
const inOneLine = (text) =>
  text.replace(/[\u0000-\u001f\u007f-\u009f]/g, (c) => {
    const known = { "\t": "\\t", "\r": "\\r", "\n": "\\n" }[c];
    return known || `\\u{${c.codePointAt(0).toString(16)}}`;
  });

/** A record without its time. */
function recordText(run, i) {
  const kind = data.kinds[run.kind[i]];
  const subject = run.texts[run.subject[i]];
  const source = run.texts[run.source[i]];
  const text = inOneLine(run.texts[run.text[i]]);
  const start = `${kind.padEnd(7)} ${subject}`;
  switch (kind) {
    case "poll":
      return `${start} by ${source} ${run.ordinal[i]}`;
    case "abort":
      return `${start} by ${source}`;
    case "choose":
      return `${start} ${source} ${run.ordinal[i]} = ${run.values[i]}`;
    case "deliver":
    case "drop":
      return `${start} ${run.ordinal[i]} ${text}`;
    case "foreign":
      return start;
    default:
      return `${start} ${text}`;
  }
}

/** A record, letter by letter as the trace prints it. */
const recordLine = (run, i) => `${formatInstant(run.seconds[i], run.nanos[i]).padStart(14)} ${recordText(run, i)}`;

const pluralize = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;

/** A length of time in the unit that suits it. */
function formatDuration(nanos) {
  for (const [unit, size] of [
    ["s", 1e9],
    ["ms", 1e6],
    ["µs", 1e3],
  ]) {
    if (Math.abs(nanos) >= size) return `${+(nanos / size).toPrecision(4)} ${unit}`;
  }
  return `${nanos} ns`;
}
