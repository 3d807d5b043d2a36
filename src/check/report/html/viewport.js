// What is looked at: the part of the axis, the lanes, the record that is open.

const state = {
  from: 0,
  to: 1,
  scroll: 0,
  run: data.runs.length - 1,
  record: -1,
  query: "",
  matches: [],
  match: -1,
  dimUnrelated: data.failed,
  tab: "why",
  hover: null,
  chosenKey: null,
  theme: "",
};
const canvas = $("canvas");
const ctx = canvas.getContext("2d");
/** From so many records in sight on, they are drawn as rows and lines. */
const DENSE_RECORDS = 3000;
const LEFT = 148,
  RIGHT = 22,
  TOP = 42,
  BOTTOM = 34,
  TITLE = 21,
  STRIP = 18;
let size = { width: 800, height: 500, ratio: 1 };
let colours = {};
let panes = [];

const xOfAxis = (u) =>
  LEFT + ((u - state.from) / (state.to - state.from)) * (size.width - LEFT - RIGHT);
const axisOfX = (x) =>
  state.from + ((x - LEFT) / (size.width - LEFT - RIGHT)) * (state.to - state.from);

/** The lanes of a run in which anything happens in either, and how high they are. */
function layOutPanes() {
  const shown = data.lanes.map((_, lane) => data.runs.some((run) => run.isUsed[lane]));
  const rows = shown.filter(Boolean).length || 1;
  const height = (size.height - TOP - BOTTOM) / data.runs.length;
  const row = Math.max(20, Math.min(150, (height - TITLE - STRIP - 8) / rows));
  const inner = height - TITLE - STRIP;
  state.scroll = Math.max(0, Math.min(state.scroll, rows * row + 8 - inner));
  panes = data.runs.map((run, r) => {
    const top = TOP + r * height;
    const strip = top + TITLE;
    const lanes = [];
    let y = strip + STRIP - state.scroll;
    for (const lane of LANE_ORDER) {
      const count = Math.max(1, Math.min(tracks[lane].size, Math.floor((row - 8) / 11)));
      lanes[lane] = { y, middle: y + row / 2, isShown: shown[lane], tracks: count };
      if (shown[lane]) y += row;
    }
    const bottom = Math.min(top + height, y);
    return {
      run,
      r,
      top,
      strip,
      body: strip + STRIP,
      bottom: Math.max(bottom, strip + STRIP),
      lanes,
      row,
    };
  });
}

/** The height at which a record is drawn: tasks of a lane one below the other, as far as there is
    room. */
function recordY(pane, i) {
  const { run, row, lanes } = pane;
  if (run.kind[i] === KIND.fault) return pane.strip + STRIP / 2;
  const lane = lanes[run.lane[i]];
  if (run.track[i] < 0) return lane.middle;
  return lane.y + (row * ((run.track[i] % lane.tracks) + 1)) / (lane.tracks + 1);
}

/** What led to a record, and to that, and so on: a flag for each. */
function ancestorFlags(run, i) {
  const flags = new Uint8Array(run.count);
  const remaining = [i];
  while (remaining.length) {
    const place = remaining.pop();
    if (flags[place]) continue;
    flags[place] = 1;
    remaining.push(...run.causes[place]);
    if (run.previous[place] >= 0) remaining.push(run.previous[place]);
  }
  return flags;
}
let ancestors = null;
