// Draws what stands around the lanes: names, choices, the axis, the overview.

function drawLabels(pane) {
  const { run, strip, lanes, row, bottom } = pane;
  ctx.save();
  ctx.beginPath();
  ctx.rect(0, strip, LEFT, bottom - strip);
  ctx.clip();
  ctx.fillStyle = colours.paper;
  ctx.globalAlpha = 0.9;
  ctx.fillRect(0, strip, LEFT - 1, bottom - strip);
  ctx.globalAlpha = 1;
  ctx.fillStyle = colours.line;
  ctx.fillRect(LEFT - 1, strip, 1, bottom - strip);
  lanes.forEach((lane, place) => {
    if (!lane.isShown) return;
    const count = run.tasks[place].size;
    const font = `600 12.5px ${colours.mono}`;
    const name = truncate(data.lanes[place], LEFT - 24, font);
    const step = row / (lane.tracks + 1);
    // The names of its tracks, if there is room for all.
    const isNamed = lane.tracks > 1 && lane.tracks === tracks[place].size && step > 17;
    const showCount = row >= 34 && count > 0;
    const y = isNamed ? lane.y + 12 : lane.middle - (showCount ? 7 : 0);
    drawText(name, 12, y, 1e9, place ? colours.ink : colours.soft, font);
    if (showCount) drawText(pluralize(count, "task"), 12, y + 15, 1e9, colours.faint);
    if (!isNamed) return;
    for (const [track, n] of tracks[place]) {
      const small = `11px ${colours.sans}`;
      const text = truncate(track.slice(track.lastIndexOf("/") + 1), 66, small);
      ctx.font = small;
      drawText(
        text,
        LEFT - 8 - ctx.measureText(text).width,
        lane.y + step * (n + 1),
        1e9,
        colours.soft,
        small,
      );
    }
  });
  ctx.restore();
  if (run.spans.length || Object.keys(run.faultLanes).length) {
    ctx.fillStyle = colours.paper;
    ctx.fillRect(0, strip, LEFT - 1, STRIP);
    drawText("faults", 12, strip + STRIP / 2, 1e9, colours.fault);
  }
}

/** As much of a text as there is room for. */
function truncate(text, width, font) {
  ctx.font = font;
  if (ctx.measureText(text).width <= width) return text;
  while (text.length > 1 && ctx.measureText(text + "…").width > width) text = text.slice(0, -1);
  return text + "…";
}

function choicePosition(pane, choice) {
  const lane = pane.lanes[choice.lane];
  return [xOfAxis(axisOfTime(choice.at)), lane?.isShown ? lane.y + 8 : pane.strip + STRIP / 2];
}

function drawChoiceLines(pane) {
  ctx.strokeStyle = colours.choice;
  ctx.lineWidth = 1;
  for (const choice of pane.run.choices) {
    const [x] = choicePosition(pane, choice);
    ctx.globalAlpha = choice.key === state.chosenKey ? 0.9 : 0.28;
    ctx.beginPath();
    ctx.moveTo(x, pane.body);
    ctx.lineTo(x, pane.bottom);
    ctx.stroke();
  }
  ctx.globalAlpha = 1;
}

/** The choices that matter, by their numbers. */
function drawChoices(pane) {
  ctx.save();
  ctx.beginPath();
  ctx.rect(LEFT, pane.strip, size.width, pane.bottom - pane.strip);
  ctx.clip();
  let before = [-99, -99];
  for (const choice of pane.run.choices) {
    let [x, y] = choicePosition(pane, choice);
    // Side by side where they would hide each other.
    if (Math.abs(x - before[0]) < 16 && y === before[1]) x = before[0] + 16;
    before = [x, y];
    choice.position = [x, y];
    const number = choiceNumber(choice);
    ctx.fillStyle = colours.choice;
    ctx.beginPath();
    ctx.arc(x, y, 7.5, 0, 7);
    ctx.fill();
    if (choice.key === state.chosenKey) {
      ctx.strokeStyle = colours.ink;
      ctx.lineWidth = 2;
      ctx.stroke();
    }
    ctx.fillStyle = colours.paper;
    ctx.font = `700 ${number > 9 ? 8.5 : 10}px ${colours.sans}`;
    ctx.textAlign = "center";
    ctx.textBaseline = "middle";
    ctx.fillText(number, x, y + 0.5);
  }
  ctx.restore();
}

/** Choices have the numbers under which the last run has them. */
const choiceNumbers = new Map(
  data.runs[data.runs.length - 1].choices.map((choice, n) => [choice.key, n + 1]),
);
const choiceNumber = (choice) => choiceNumbers.get(choice.key) ?? "·";

function drawAxis() {
  ctx.fillStyle = colours.paper;
  ctx.fillRect(0, 0, size.width, TOP);
  ctx.fillStyle = colours.line;
  ctx.fillRect(0, TOP - 1, size.width, 1);
  ctx.font = `11px ${colours.mono}`;
  ctx.textBaseline = "middle";
  ctx.textAlign = "left";
  const bottom = panes.length ? panes[panes.length - 1].bottom : TOP;
  const tick = (x, text) => {
    ctx.fillStyle = colours.faint;
    ctx.fillRect(x, TOP - 7, 1, 6);
    ctx.globalAlpha = 0.35;
    ctx.fillStyle = colours.line;
    ctx.fillRect(x, TOP, 1, bottom - TOP);
    ctx.globalAlpha = 1;
    ctx.fillStyle = colours.soft;
    ctx.fillText(text, x + 4, TOP - 10);
  };
  drawText("virtual time, s", 12, TOP - 10, 1e9, colours.faint);
  if (!axis.at.length) return;
  if (axis.isCompressed) {
    for (let x = LEFT + 1; x < size.width - 84;) {
      const n = lowerBound(axis.begin, axisOfX(x) - 1e-9);
      if (n >= axis.at.length) break;
      const place = xOfAxis(axis.begin[n]);
      if (place > size.width - 84) break;
      tick(Math.round(place), instantLabel(axis.at[n]));
      x = Math.max(place, x) + 98;
    }
    return;
  }
  const width = (state.to - state.from) / Math.max(1, (size.width - LEFT - RIGHT) / 110);
  const power = 10 ** Math.floor(Math.log10(Math.max(width, 1)));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= width) || power * 10;
  const origin = axis.at[0];
  for (let at = Math.ceil((origin + state.from) / step) * step; ; at += step) {
    const x = xOfAxis(at - origin);
    if (x > size.width - 30) break;
    if (x >= LEFT) tick(Math.round(x), String(+(at / 1e9).toFixed(9)));
  }
}

const instantLabel = (at) => {
  const seconds = Math.floor(at / 1e9);
  return formatInstant(seconds, Math.round(at - seconds * 1e9)).replace(/(\.\d{3}\d*?)0+$/, "$1");
};

/** How dense the records are over the whole of the time, and which part of it is looked at. */
let density = null;
function drawOverview() {
  const [top, width] = [size.height - BOTTOM + 6, size.width - LEFT - RIGHT];
  ctx.fillStyle = colours.paper;
  ctx.fillRect(0, size.height - BOTTOM, size.width, BOTTOM);
  ctx.fillStyle = colours.line;
  ctx.fillRect(0, size.height - BOTTOM, size.width, 1);
  if (!density || density.width !== width || density.isCompressed !== axis.isCompressed) {
    const bins = new Float64Array(Math.max(1, width | 0));
    for (const run of data.runs) {
      for (let i = 0; i < run.count; i++)
        bins[Math.min(bins.length - 1, ((run.u[i] / axis.length) * bins.length) | 0)]++;
    }
    density = { width, isCompressed: axis.isCompressed, bins, most: Math.max(1, ...bins) };
  }
  ctx.fillStyle = colours.faint;
  density.bins.forEach((count, x) => {
    if (count) {
      const height = 2 + (14 * Math.log(1 + count)) / Math.log(1 + density.most);
      ctx.fillRect(LEFT + x, top + 18 - height, 1, height);
    }
  });
  const place = (u) => LEFT + (u / axis.length) * width;
  for (const run of data.runs) {
    for (let i = 0; i < run.count; i++) {
      if (run.kind[i] === KIND.fault) {
        ctx.fillStyle = colours.fault;
        ctx.fillRect(place(run.u[i]), top, 1.5, 18);
      }
    }
    for (const choice of run.choices) {
      ctx.fillStyle = colours.choice;
      ctx.fillRect(place(axisOfTime(choice.at)), top, 1.5, 18);
    }
  }
  if (state.query) {
    ctx.fillStyle = colours.pick;
    for (const [r, i] of state.matches.slice(0, 5000))
      ctx.fillRect(place(data.runs[r].u[i]), top, 1.5, 18);
  }
  const [x1, x2] = [Math.max(LEFT, place(state.from)), Math.min(LEFT + width, place(state.to))];
  ctx.strokeStyle = colours.accent;
  ctx.lineWidth = 1.5;
  ctx.strokeRect(x1, top - 2, Math.max(4, x2 - x1), 22);
  ctx.globalAlpha = 0.08;
  ctx.fillStyle = colours.accent;
  ctx.fillRect(x1, top - 2, Math.max(4, x2 - x1), 22);
  ctx.globalAlpha = 1;
  drawText("overview", 12, top + 9, 1e9, colours.faint);
}
