// Moves about: in time, from record to record, from match to match.

function setView(from, to) {
  const least = axis.isCompressed ? 0.5 : 1;
  const width = Math.max(least, Math.min(to - from, axis.length * 1.1));
  const middle = (from + to) / 2;
  const margin = axis.length * 0.05;
  from = Math.max(-margin, Math.min(middle - width / 2, axis.length + margin - width));
  state.from = from;
  state.to = from + width;
  requestDraw();
}
const showAll = () => setView(-axis.length * 0.02, axis.length * 1.02);
function zoom(factor, u = (state.from + state.to) / 2) {
  setView(u - (u - state.from) * factor, u + (state.to - u) * factor);
}
const pan = (share) => {
  const step = (state.to - state.from) * share;
  setView(state.from + step, state.to + step);
};

/** Opens a record: in the panel, in the picture, and in the address. */
function select(run, record, { move = true } = {}) {
  state.run = run;
  state.record = record;
  state.chosenKey = null;
  ancestors = { run: data.runs[run], flags: ancestorFlags(data.runs[run], record) };
  const u = data.runs[run].u[record];
  const margin = (state.to - state.from) * 0.01;
  if (move && (u < state.from + margin || u > state.to - margin)) {
    setView(u - (state.to - state.from) / 2, u + (state.to - state.from) / 2);
  }
  openTab("record");
}

function clearSelection() {
  state.record = -1;
  state.chosenKey = null;
  ancestors = null;
  openTab("why");
}

function selectChoice(run, choice) {
  clearSelection();
  state.chosenKey = choice.key;
  const u = axisOfTime(choice.at);
  if (u < state.from || u > state.to)
    setView(u - (state.to - state.from) / 2, u + (state.to - state.from) / 2);
  fillWhy();
  requestDraw();
}

function search(query) {
  state.query = query.trim().toLowerCase();
  state.matches = [];
  state.match = -1;
  if (state.query) {
    data.runs.forEach((run, r) => {
      run.lines ||= Array.from({ length: run.count }, (_, i) => recordLine(run, i).toLowerCase());
      run.lines.forEach((text, i) => {
        if (text.includes(state.query)) state.matches.push([r, i]);
      });
    });
  }
  refresh();
}

function nextMatch(step) {
  const count = state.matches.length;
  if (!count) return;
  if (state.match < 0) {
    // From the record that is open, if one is.
    const after = state.matches.findIndex(
      ([r, i]) => r > state.run || (r === state.run && i > state.record),
    );
    state.match =
      state.record < 0
        ? step > 0
          ? 0
          : count - 1
        : ((after < 0 ? 0 : after) + (step > 0 ? 0 : -1) + count) % count;
  } else state.match = (state.match + step + count) % count;
  select(...state.matches[state.match]);
}
