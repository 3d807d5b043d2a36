// Draws the lanes of a run: what lasts, arrows, records.

function drawShape(ctx, kind, x, y, r) {
  ctx.beginPath();
  switch (kind) {
    case "dot":
      ctx.arc(x, y, r, 0, 7);
      ctx.fill();
      break;
    case "ring":
      ctx.arc(x, y, r, 0, 7);
      ctx.lineWidth = 1.5;
      ctx.stroke();
      break;
    case "square":
      ctx.rect(x - r, y - r, 2 * r, 2 * r);
      ctx.fill();
      break;
    case "diamond":
      ctx.moveTo(x, y - r * 1.3);
      ctx.lineTo(x + r * 1.3, y);
      ctx.lineTo(x, y + r * 1.3);
      ctx.lineTo(x - r * 1.3, y);
      ctx.fill();
      break;
    case "down":
      ctx.moveTo(x - r * 1.2, y - r);
      ctx.lineTo(x + r * 1.2, y - r);
      ctx.lineTo(x, y + r * 1.2);
      ctx.fill();
      break;
    case "cross":
      ctx.lineWidth = 2;
      ctx.moveTo(x - r, y - r);
      ctx.lineTo(x + r, y + r);
      ctx.moveTo(x + r, y - r);
      ctx.lineTo(x - r, y + r);
      ctx.stroke();
      break;
    case "bolt":
      ctx.moveTo(x + r * 0.4, y - r * 1.5);
      ctx.lineTo(x - r * 0.9, y + r * 0.3);
      ctx.lineTo(x, y + r * 0.3);
      ctx.lineTo(x - r * 0.4, y + r * 1.5);
      ctx.lineTo(x + r * 0.9, y - r * 0.3);
      ctx.lineTo(x, y - r * 0.3);
      ctx.fill();
      break;
    case "flag":
      ctx.rect(x - 1.5, y - r * 2, 3, r * 4);
      ctx.rect(x, y - r * 2, r * 2.4, r * 1.8);
      ctx.fill();
      break;
  }
}

/** The colour of a kind, by its number. */
function colourOf(kind) {
  if (kind === KIND.ending && data.failed) return colours.bad;
  return colours[(KIND_STYLES[data.kinds[kind]] || KIND_STYLES.poll)[0]];
}

let drawRequest = 0;
function requestDraw() {
  if (!drawRequest)
    drawRequest = requestAnimationFrame(() => {
      drawRequest = 0;
      drawView();
    });
}

function drawView() {
  layOutPanes();
  ctx.setTransform(size.ratio, 0, 0, size.ratio, 0, 0);
  ctx.fillStyle = colours.paper;
  ctx.fillRect(0, 0, size.width, size.height);
  panes.forEach(drawPane);
  drawAxis();
  drawOverview();
}

/** How strongly a record is drawn. */
function recordOpacity(run, i) {
  if (ancestors && ancestors.run === run) return ancestors.flags[i] ? 1 : 0.13;
  if (state.dimUnrelated && run.causalPast.length) return run.isPast[i] ? 1 : 0.35;
  return 1;
}

function drawPane(pane) {
  const { run, r, top, strip, bottom, lanes, row } = pane;
  const right = size.width;
  ctx.save();
  ctx.beginPath();
  ctx.rect(0, pane.body, right, pane.bottom - pane.body);
  ctx.clip();
  let isStriped = false;
  for (const { y, isShown } of LANE_ORDER.map((lane) => lanes[lane])) {
    if (isShown) isStriped = !isStriped;
    if (isShown && isStriped) {
      ctx.fillStyle = colours.row;
      ctx.fillRect(0, y, right, row);
    }
  }
  ctx.restore();
  ctx.save();
  ctx.beginPath();
  ctx.rect(LEFT, strip, right - LEFT, bottom - strip);
  ctx.clip();
  drawSpans(pane);
  // Life lines.
  ctx.strokeStyle = colours.line;
  ctx.lineWidth = 1;
  lanes.forEach(({ middle, isShown }) => {
    if (isShown) {
      ctx.beginPath();
      ctx.moveTo(LEFT, middle);
      ctx.lineTo(right, middle);
      ctx.stroke();
    }
  });
  drawChoiceLines(pane);
  drawArrows(pane);
  drawRecords(pane);
  ctx.restore();
  drawLabels(pane);
  drawChoices(pane);
  // The title.
  ctx.fillStyle = colours.paper;
  ctx.fillRect(0, top, right, TITLE);
  ctx.fillStyle = colours.line;
  ctx.fillRect(0, top, right, 1);
  ctx.font = `600 12px ${colours.sans}`;
  ctx.fillStyle = colours.ink;
  ctx.textBaseline = "middle";
  ctx.textAlign = "left";
  ctx.fillText(run.label, 12, top + TITLE / 2 + 1);
  const choices = data.isShrunk
    ? `${run.choices.length} of ${pluralize(run.totalChoices, "choice")} matter`
    : pluralize(run.totalChoices, "choice");
  const counts = `${pluralize(run.count, "record")} · ${pluralize(run.messages, "message")}`;
  const about = `seed ${run.seed} · ${counts} · ${choices}`;
  ctx.font = `12px ${colours.sans}`;
  ctx.fillStyle = colours.soft;
  ctx.fillText(about, LEFT, top + TITLE / 2 + 1);
  if (state.run === r && data.runs.length > 1 && state.record >= 0) {
    ctx.fillStyle = colours.accent;
    ctx.fillRect(0, top, 4, bottom - top);
  }
}

/** Hosts that are down, and the bars of what is done to the network. */
function drawSpans(pane) {
  const { run, strip, lanes, row } = pane;
  for (const span of run.spans) {
    const [x1, x2] = [xOfAxis(run.u[span.begin]), xOfAxis(run.u[span.end])];
    if (x2 < LEFT || x1 > size.width) continue;
    if (["down", "pause"].includes(span.what)) {
      for (const lane of span.hosts) {
        if (!lanes[lane]?.isShown) continue;
        drawHatching(
          x1,
          lanes[lane].y,
          Math.max(2, x2 - x1),
          row,
          span.what === "down" ? colours.bad : colours.soft,
        );
        drawText(span.text, Math.max(x1, LEFT) + 5, lanes[lane].y + 8, x2, colours.bad);
      }
    } else {
      ctx.globalAlpha = 0.16;
      ctx.fillStyle = colours.fault;
      ctx.fillRect(x1, strip + 2, Math.max(2, x2 - x1), STRIP - 4);
      for (const lane of span.hosts) {
        if (lanes[lane]?.isShown) {
          ctx.globalAlpha = 0.09;
          ctx.fillRect(x1, lanes[lane].y, x2 - x1, row);
        }
      }
      ctx.globalAlpha = 1;
    }
  }
  const faults = Object.keys(run.faultLanes).map(Number);
  for (let n = 0; n < faults.length; n++) {
    const i = faults[n];
    const x = xOfAxis(run.u[i]);
    if (x < LEFT - 300 || x > size.width) continue;
    const all = run.faultLanes[i].length === 0;
    ctx.globalAlpha = 0.55 * recordOpacity(run, i);
    ctx.strokeStyle = colours.fault;
    ctx.lineWidth = 1;
    ctx.setLineDash([3, 3]);
    lanes.forEach((lane, l) => {
      if (!lane.isShown || !(all || run.faultLanes[i].includes(l))) return;
      ctx.beginPath();
      ctx.moveTo(x, lane.y);
      ctx.lineTo(x, lane.y + row);
      ctx.stroke();
    });
    ctx.setLineDash([]);
    ctx.globalAlpha = 1;
    const room = (n + 1 < faults.length ? xOfAxis(run.u[faults[n + 1]]) - 7 : size.width) - x - 8;
    if (room > 24) {
      const text = truncate(run.texts[run.text[i]], room, `11px ${colours.sans}`);
      drawText(text, x + 8, strip + STRIP / 2, 1e9, colours.fault);
    }
  }
}

function drawHatching(x, y, width, height, colour) {
  ctx.save();
  ctx.beginPath();
  ctx.rect(x, y + 1, width, height - 2);
  ctx.clip();
  ctx.globalAlpha = 0.1;
  ctx.fillStyle = colour;
  ctx.fillRect(x, y, width, height);
  ctx.globalAlpha = 0.35;
  ctx.strokeStyle = colour;
  ctx.lineWidth = 1;
  ctx.beginPath();
  const start = Math.max(x, LEFT) - height;
  for (let at = start - (start % 9); at < Math.min(x + width, size.width); at += 9) {
    ctx.moveTo(at, y + height);
    ctx.lineTo(at + height, y);
  }
  ctx.stroke();
  ctx.restore();
}

/** Writes what fits before `end`. Returns how wide it is. */
function drawText(text, x, y, end, colour, font = `11px ${colours.sans}`) {
  ctx.font = font;
  ctx.textBaseline = "middle";
  ctx.textAlign = "left";
  const width = ctx.measureText(text).width;
  if (x + width > end) return 0;
  ctx.fillStyle = colour;
  ctx.fillText(text, x, y);
  return width;
}

/** Arrows of messages, and thin lines where a host wakes another. */
function drawArrows(pane) {
  const { run, lanes } = pane;
  // Of arrows that begin and end at the same pixels one is drawn, or nearly: a table of the last
  // ones. Where there are very many, pixels are coarser.
  const BITS = 14;
  const drawn = new Int32Array(2 << BITS).fill(-1);
  const pixelStep = lowerBound(run.u, state.to) - lowerBound(run.u, state.from) > DENSE_RECORDS ? 3 : 1;
  const chosen = state.run === pane.r ? state.record : -1;
  const { u, kind, lane: laneOf, sourceLane: fromOf, pairs } = run;
  const axisStart = axisOfX(LEFT);
  const axisEnd = axisOfX(size.width);
  const newPaths = (isFaint) => ({
    isFaint,
    message: new Path2D(),
    lost: new Path2D(),
    wake: new Path2D(),
  });
  const [faint, strong, highlightedArrows] = [newPaths(true), newPaths(false), []];
  for (let n = 0; n < pairs.length; n += 2) {
    const cause = pairs[n];
    const i = pairs[n + 1];
    if (u[i] < axisStart || u[cause] > axisEnd) continue;
    const isMessage = fromOf[i] >= 0;
    const isHighlighted = i === chosen || cause === chosen;
    const lane = isMessage ? fromOf[i] : laneOf[cause];
    if (lane === laneOf[i] && !isMessage && !isHighlighted) continue;
    const x1 = xOfAxis(u[cause]);
    const x2 = xOfAxis(u[i]);
    const y2 = recordY(pane, i);
    const isFault = kind[cause] === KIND.fault;
    const y1 =
      isMessage && !isFault && laneOf[cause] !== lane ? lanes[lane].middle : recordY(pane, cause);
    if (isHighlighted) {
      highlightedArrows.push([i, isMessage && !isFault, x1, y1, x2, y2]);
      continue;
    }
    const from = (((x1 / pixelStep) | 0) << 16) ^ y1;
    const to = (((x2 / pixelStep) | 0) << 16) ^ y2;
    const slot = (Math.imul(from ^ Math.imul(to, 0x9e3779b1), 0x85ebca6b) >>> (32 - BITS)) << 1;
    if (drawn[slot] === from && drawn[slot + 1] === to) continue;
    drawn[slot] = from;
    drawn[slot + 1] = to;
    const isFaint = recordOpacity(run, i) < 1 || recordOpacity(run, cause) < 1;
    if (pixelStep === 1)
      arrow(run, i, isMessage && !isFault, false, isFaint ? 0.25 : 1, x1, y1, x2, y2);
    else {
      // So many that no arrow could be told from another: lines will do, all in one stroke.
      const paths = isFaint ? faint : strong;
      const path = kind[i] === KIND.drop ? paths.lost : isMessage ? paths.message : paths.wake;
      path.moveTo(x1, y1);
      path.lineTo(x2, y2);
    }
  }
  for (const { isFaint, message, lost, wake } of [faint, strong]) {
    ctx.lineWidth = 1;
    for (const [path, colour] of [
      [wake, colours.wake],
      [message, colours.deliver],
      [lost, colours.lose],
    ]) {
      ctx.globalAlpha = isFaint ? 0.12 : 0.6;
      ctx.strokeStyle = colour;
      ctx.stroke(path);
    }
  }
  for (const [i, isMessage, ...ends] of highlightedArrows) arrow(run, i, isMessage, true, 1, ...ends);
  ctx.globalAlpha = 1;
  ctx.setLineDash([]);
}

function arrow(run, i, isMessage, isHighlighted, strength, x1, y1, x2, y2) {
  const text = run.texts[run.text[i]];
  const isLost = run.kind[i] === KIND.drop || (isMessage && text.startsWith("RST"));
  ctx.strokeStyle = ctx.fillStyle = isLost
    ? colours.lose
    : isMessage
      ? colours.deliver
      : colours.wake;
  ctx.globalAlpha = isHighlighted ? 1 : strength * (isMessage ? 0.85 : 0.6);
  ctx.lineWidth = isHighlighted ? 2.4 : isMessage ? 1.3 : 1;
  ctx.setLineDash(run.kind[i] === KIND.drop ? [5, 4] : isMessage ? [] : [2, 3]);
  ctx.beginPath();
  ctx.moveTo(x1, y1);
  ctx.lineTo(x2, y2);
  ctx.stroke();
  ctx.setLineDash([]);
  const length = Math.hypot(x2 - x1, y2 - y1);
  if (length < 14 || run.kind[i] === KIND.drop) return;
  const [dx, dy] = [(x2 - x1) / length, (y2 - y1) / length];
  const [x, y, s] = [x2 - dx * 5, y2 - dy * 5, isMessage ? 7 : 5];
  ctx.beginPath();
  ctx.moveTo(x, y);
  ctx.lineTo(x - dx * s - dy * s * 0.45, y - dy * s + dx * s * 0.45);
  ctx.lineTo(x - dx * s + dy * s * 0.45, y - dy * s - dx * s * 0.45);
  ctx.fill();
  if (isMessage && length > 120 && strength === 1 && Math.abs(dy) < 0.72) {
    const words = text
      .replace(/^(\S+) \S+->\S+ /, "$1 ")
      .replace(/^(\S+) 0 bytes/, "$1")
      .replace(/ bytes$/, " B");
    ctx.save();
    ctx.translate((x1 + x2) / 2, (y1 + y2) / 2);
    ctx.rotate(Math.atan2(dy, dx));
    ctx.font = `10.5px ${colours.sans}`;
    ctx.textAlign = "center";
    ctx.textBaseline = "bottom";
    if (ctx.measureText(words).width < length - 30) ctx.fillText(words, 0, -2);
    ctx.restore();
  }
}

function drawRecords(pane) {
  const { run, r } = pane;
  const [start, end] = [lowerBound(run.u, state.from - 1e-9), lowerBound(run.u, axisOfX(size.width))];
  const lowest = Math.max(0, start - 1);
  const room = new Map();
  const radius = Math.max(2.6, Math.min(4.6, pane.row / 10));
  const isDense = end - start > DENSE_RECORDS;
  const tones = data.kinds.map((_, kind) => colourOf(kind));
  let [tone, alpha] = ["", -1];
  const isRow = (key) => [KIND.poll, KIND.deliver].includes((key & 31) >> 1);
  // By height, kind and strength: the last one that was drawn, and where a row without gaps began.
  const last = new Float64Array(32 * ((size.height + 40) | 0)).fill(-9);
  const began = isDense ? new Float64Array(last.length) : null;
  const fill = (key) => {
    const kind = (key & 31) >> 1;
    ctx.fillStyle = ctx.strokeStyle = tone = tones[kind];
    ctx.globalAlpha = alpha = key & 1 ? 0.35 : 1;
    ctx.fillRect(began[key] - 1, (key >> 5) - radius, last[key] - began[key] + 2, 2 * radius);
  };
  for (const faint of [true, false]) {
    for (let i = lowest; i < Math.min(run.count, end + 1); i++) {
      const strength = recordOpacity(run, i);
      if (strength < 1 !== faint) continue;
      const x = xOfAxis(run.u[i]);
      const y = recordY(pane, i);
      // Of those that fall on the same pixel one is drawn.
      const key = (y | 0) * 32 + run.kind[i] * 2 + faint;
      if (y < 0 || y > size.height) continue;
      if (isDense && (run.kind[i] === KIND.poll || run.kind[i] === KIND.deliver)) {
        // So many that none could be told from another: rows of them.
        if (x - last[key] > 2.5) {
          if (last[key] >= 0) fill(key);
          began[key] = x;
        }
        last[key] = x;
        continue;
      }
      if (x - last[key] < 0.7) continue;
      last[key] = x;
      const kind = data.kinds[run.kind[i]];
      if (tone !== tones[run.kind[i]]) ctx.fillStyle = ctx.strokeStyle = tone = tones[run.kind[i]];
      if (alpha !== strength) ctx.globalAlpha = alpha = strength;
      drawShape(ctx, (KIND_STYLES[kind] || KIND_STYLES.poll)[1], x, y, kind === "ending" ? 5 : radius);
      if (strength === 1 && (kind === "note" || kind === "ending" || kind === "choose")) {
        const text =
          kind === "choose"
            ? `${run.texts[run.source[i]]} = ${run.values[i]}`
            : (kind === "ending" && data.failureText ? data.failureText : run.texts[run.text[i]]).split(
                "\n",
              )[0];
        const short = text.length > 46 ? text.slice(0, 45) + "…" : text;
        const labelEnd = room.get(y | 0) || -1e9;
        if (x > labelEnd) {
          ctx.font = `11px ${colours.sans}`;
          const width = ctx.measureText(short).width;
          const left = x + 9 + width > size.width - 4 ? x - 9 - width : x + 9;
          const high = kind === "ending" ? pane.lanes[run.lane[i]].y + 9 : y - 9;
          ctx.fillStyle = colours.paper;
          ctx.globalAlpha = 0.86;
          ctx.fillRect(left - 2, high - 7, width + 4, 14);
          ctx.globalAlpha = 1;
          drawText(short, left, high, 1e9, tones[run.kind[i]]);
          room.set(y | 0, x + width + 16);
          [tone, alpha] = ["", -1];
        }
      }
    }
  }
  if (isDense)
    last.forEach((x, key) => {
      if (x >= 0 && isRow(key)) fill(key);
    });
  ctx.globalAlpha = 1;
  if (state.query) {
    ctx.strokeStyle = colours.pick;
    ctx.lineWidth = 1.6;
    for (const [run, i] of state.matches) {
      if (run !== r || i < lowest || i > end) continue;
      ctx.beginPath();
      ctx.arc(xOfAxis(pane.run.u[i]), recordY(pane, i), radius + 3.5, 0, 7);
      ctx.stroke();
    }
  }
  const ring = (i, width) => {
    ctx.strokeStyle = colours.ink;
    ctx.lineWidth = width;
    ctx.beginPath();
    ctx.arc(xOfAxis(run.u[i]), recordY(pane, i), radius + 5, 0, 7);
    ctx.stroke();
  };
  if (state.hover && state.hover[0] === r) ring(state.hover[1], 1);
  if (state.run === r && state.record >= 0) ring(state.record, 2.2);
}
