// Where an instant lies on the axis, which both runs share.

/** All instants at which anything happens, and where each begins and ends on the axis. */
const axis = { at: null, begin: null, end: null, isCompressed: true, length: 1 };

/** Lays the instants out. With idle time cut short, each record of an instant has a place of its
    own, and a gap is as wide as its logarithm: what follows can be seen to follow. */
function layOutAxis() {
  const all = data.runs.map((run) => run.at);
  const merged = Float64Array.from(all.flatMap((at) => Array.from(at))).sort();
  const at = merged.filter((instant, i) => i === 0 || instant !== merged[i - 1]);
  const begin = new Float64Array(at.length);
  const end = new Float64Array(at.length);
  const next = data.runs.map(() => 0);
  let u = 0;
  for (let n = 0; n < at.length; n++) {
    const counts = data.runs.map((run, r) => {
      const start = next[r];
      while (next[r] < run.count && run.at[next[r]] === at[n]) next[r]++;
      return next[r] - start;
    });
    if (axis.isCompressed) {
      if (n > 0) u += 1 + 2.5 * Math.log10(1 + (at[n] - at[n - 1]) / 1e3);
      begin[n] = u;
      u += 1.6 * Math.min(64, Math.max(...counts) - 1);
      end[n] = u;
    } else begin[n] = end[n] = at[n] - at[0];
    data.runs.forEach((run, r) => {
      const step = (end[n] - begin[n]) / Math.max(1, counts[r] - 1);
      for (let k = 0; k < counts[r]; k++) run.u[next[r] - counts[r] + k] = begin[n] + k * step;
    });
  }
  Object.assign(axis, {
    at,
    begin,
    end,
    length: Math.max(at.length ? end[at.length - 1] : 0, 1e-9),
  });
}

/** The first place of a sorted list whose value is not less. */
function lowerBound(list, value) {
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Where an instant lies. */
function axisOfTime(at) {
  const n = lowerBound(axis.at, at);
  if (n >= axis.at.length) return axis.length;
  if (axis.at[n] === at || n === 0) return axis.begin[n];
  const share = (at - axis.at[n - 1]) / (axis.at[n] - axis.at[n - 1]);
  return axis.end[n - 1] + share * (axis.begin[n] - axis.end[n - 1]);
}

/** Which instant lies there. */
function timeOfAxis(u) {
  const n = lowerBound(axis.end, u);
  if (n >= axis.at.length) return axis.at[axis.at.length - 1] || 0;
  if (u >= axis.begin[n] || n === 0) return axis.at[n];
  const share = (u - axis.end[n - 1]) / (axis.begin[n] - axis.end[n - 1]);
  return axis.at[n - 1] + share * (axis.at[n] - axis.at[n - 1]);
}
