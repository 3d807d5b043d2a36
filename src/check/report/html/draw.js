// Draws the lanes of a run: what lasts, arrows, records.

function shape(pen, kind, x, y, r) {
  pen.beginPath();
  switch (kind) {
    case "dot":
      pen.arc(x, y, r, 0, 7);
      pen.fill();
      break;
    case "ring":
      pen.arc(x, y, r, 0, 7);
      pen.lineWidth = 1.5;
      pen.stroke();
      break;
    case "square":
      pen.rect(x - r, y - r, 2 * r, 2 * r);
      pen.fill();
      break;
    case "diamond":
      pen.moveTo(x, y - r * 1.3);
      pen.lineTo(x + r * 1.3, y);
      pen.lineTo(x, y + r * 1.3);
      pen.lineTo(x - r * 1.3, y);
      pen.fill();
      break;
    case "down":
      pen.moveTo(x - r * 1.2, y - r);
      pen.lineTo(x + r * 1.2, y - r);
      pen.lineTo(x, y + r * 1.2);
      pen.fill();
      break;
    case "cross":
      pen.lineWidth = 2;
      pen.moveTo(x - r, y - r);
      pen.lineTo(x + r, y + r);
      pen.moveTo(x + r, y - r);
      pen.lineTo(x - r, y + r);
      pen.stroke();
      break;
    case "bolt":
      pen.moveTo(x + r * 0.4, y - r * 1.5);
      pen.lineTo(x - r * 0.9, y + r * 0.3);
      pen.lineTo(x, y + r * 0.3);
      pen.lineTo(x - r * 0.4, y + r * 1.5);
      pen.lineTo(x + r * 0.9, y - r * 0.3);
      pen.lineTo(x, y - r * 0.3);
      pen.fill();
      break;
    case "flag":
      pen.rect(x - 1.5, y - r * 2, 3, r * 4);
      pen.rect(x, y - r * 2, r * 2.4, r * 1.8);
      pen.fill();
      break;
  }
}

/** The colour of a kind, by its number. */
function colourOf(kind) {
  if (kind === KIND.ending && data.failed) return colours.bad;
  return colours[(LOOKS[data.kinds[kind]] || LOOKS.poll)[0]];
}

let asked = 0;
function draw() {
  if (!asked)
    asked = requestAnimationFrame(() => {
      asked = 0;
      paint();
    });
}

function paint() {
  arrange();
  pen.setTransform(size.ratio, 0, 0, size.ratio, 0, 0);
  pen.fillStyle = colours.paper;
  pen.fillRect(0, 0, size.width, size.height);
  panes.forEach(paintPane);
  paintAxis();
  paintOverview();
}

/** How strongly a record is drawn. */
function weight(run, i) {
  if (kin && kin.run === run) return kin.flags[i] ? 1 : 0.13;
  if (state.onlyPast && run.past.length) return run.isPast[i] ? 1 : 0.35;
  return 1;
}

function paintPane(pane) {
  const { run, r, top, strip, bottom, lanes, row } = pane;
  const right = size.width;
  pen.save();
  pen.beginPath();
  pen.rect(0, pane.body, right, pane.bottom - pane.body);
  pen.clip();
  let odd = false;
  for (const { y, isShown } of ORDER.map((lane) => lanes[lane])) {
    if (isShown) odd = !odd;
    if (isShown && odd) {
      pen.fillStyle = colours.row;
      pen.fillRect(0, y, right, row);
    }
  }
  pen.restore();
  pen.save();
  pen.beginPath();
  pen.rect(LEFT, strip, right - LEFT, bottom - strip);
  pen.clip();
  paintSpans(pane);
  // Life lines.
  pen.strokeStyle = colours.line;
  pen.lineWidth = 1;
  lanes.forEach(({ middle, isShown }) => {
    if (isShown) {
      pen.beginPath();
      pen.moveTo(LEFT, middle);
      pen.lineTo(right, middle);
      pen.stroke();
    }
  });
  paintChoiceLines(pane);
  paintArrows(pane);
  paintRecords(pane);
  pen.restore();
  paintLabels(pane);
  paintChoices(pane);
  // The title.
  pen.fillStyle = colours.paper;
  pen.fillRect(0, top, right, TITLE);
  pen.fillStyle = colours.line;
  pen.fillRect(0, top, right, 1);
  pen.font = `600 12px ${colours.sans}`;
  pen.fillStyle = colours.ink;
  pen.textBaseline = "middle";
  pen.textAlign = "left";
  pen.fillText(run.label, 12, top + TITLE / 2 + 1);
  const choices = data.isShrunk
    ? `${run.choices.length} of ${many(run.of, "choice")} matter`
    : many(run.of, "choice");
  const counts = `${many(run.count, "record")} · ${many(run.messages, "message")}`;
  const about = `seed ${run.seed} · ${counts} · ${choices}`;
  pen.font = `12px ${colours.sans}`;
  pen.fillStyle = colours.soft;
  pen.fillText(about, LEFT, top + TITLE / 2 + 1);
  if (state.run === r && data.runs.length > 1 && state.record >= 0) {
    pen.fillStyle = colours.accent;
    pen.fillRect(0, top, 4, bottom - top);
  }
}

/** Hosts that are down, and the bars of what is done to the network. */
function paintSpans(pane) {
  const { run, strip, lanes, row } = pane;
  const bars = run.spans.filter((span) => !["down", "pause"].includes(span.what));
  bars.sort((a, b) => a.begin - b.begin);
  for (const span of run.spans) {
    const [x1, x2] = [xOf(run.u[span.begin]), xOf(run.u[span.end])];
    if (x2 < LEFT || x1 > size.width) continue;
    if (["down", "pause"].includes(span.what)) {
      for (const lane of span.hosts) {
        if (!lanes[lane]?.isShown) continue;
        hatch(
          x1,
          lanes[lane].y,
          Math.max(2, x2 - x1),
          row,
          span.what === "down" ? colours.bad : colours.soft,
        );
        label(span.text, Math.max(x1, LEFT) + 5, lanes[lane].y + 8, x2, colours.bad);
      }
    } else {
      pen.globalAlpha = 0.16;
      pen.fillStyle = colours.fault;
      pen.fillRect(x1, strip + 2, Math.max(2, x2 - x1), STRIP - 4);
      for (const lane of span.hosts) {
        if (lanes[lane]?.isShown) {
          pen.globalAlpha = 0.09;
          pen.fillRect(x1, lanes[lane].y, x2 - x1, row);
        }
      }
      pen.globalAlpha = 1;
    }
  }
  const faults = Object.keys(run.hosts).map(Number);
  for (let n = 0; n < faults.length; n++) {
    const i = faults[n];
    const x = xOf(run.u[i]);
    if (x < LEFT - 300 || x > size.width) continue;
    const all = run.hosts[i].length === 0;
    pen.globalAlpha = 0.55 * weight(run, i);
    pen.strokeStyle = colours.fault;
    pen.lineWidth = 1;
    pen.setLineDash([3, 3]);
    lanes.forEach((lane, l) => {
      if (!lane.isShown || !(all || run.hosts[i].includes(l))) return;
      pen.beginPath();
      pen.moveTo(x, lane.y);
      pen.lineTo(x, lane.y + row);
      pen.stroke();
    });
    pen.setLineDash([]);
    pen.globalAlpha = 1;
    const room = (n + 1 < faults.length ? xOf(run.u[faults[n + 1]]) - 7 : size.width) - x - 8;
    if (room > 24) {
      const text = fit(run.texts[run.text[i]], room, `11px ${colours.sans}`);
      label(text, x + 8, strip + STRIP / 2, 1e9, colours.fault);
    }
  }
}

function hatch(x, y, width, height, colour) {
  pen.save();
  pen.beginPath();
  pen.rect(x, y + 1, width, height - 2);
  pen.clip();
  pen.globalAlpha = 0.1;
  pen.fillStyle = colour;
  pen.fillRect(x, y, width, height);
  pen.globalAlpha = 0.35;
  pen.strokeStyle = colour;
  pen.lineWidth = 1;
  pen.beginPath();
  const start = Math.max(x, LEFT) - height;
  for (let at = start - (start % 9); at < Math.min(x + width, size.width); at += 9) {
    pen.moveTo(at, y + height);
    pen.lineTo(at + height, y);
  }
  pen.stroke();
  pen.restore();
}

/** Writes what fits before `end`. Returns how wide it is. */
function label(text, x, y, end, colour, font = `11px ${colours.sans}`) {
  pen.font = font;
  pen.textBaseline = "middle";
  pen.textAlign = "left";
  const width = pen.measureText(text).width;
  if (x + width > end) return 0;
  pen.fillStyle = colour;
  pen.fillText(text, x, y);
  return width;
}

/** Arrows of messages, and thin lines where a host wakes another. */
function paintArrows(pane) {
  const { run, lanes } = pane;
  // Of arrows that begin and end at the same pixels one is drawn, or nearly: a table of the last
  // ones. Where there are very many, pixels are coarser.
  const BITS = 14;
  const drawn = new Int32Array(2 << BITS).fill(-1);
  const grain = lower(run.u, state.to) - lower(run.u, state.from) > MANY ? 3 : 1;
  const chosen = state.run === pane.r ? state.record : -1;
  const { u, kind, lane: laneOf, from: fromOf, pairs } = run;
  const leftmost = uAt(LEFT);
  const rightmost = uAt(size.width);
  const plain = (isFaint) => ({
    isFaint,
    message: new Path2D(),
    lost: new Path2D(),
    wake: new Path2D(),
  });
  const [faint, strong, near] = [plain(true), plain(false), []];
  for (let n = 0; n < pairs.length; n += 2) {
    const cause = pairs[n];
    const i = pairs[n + 1];
    if (u[i] < leftmost || u[cause] > rightmost) continue;
    const isMessage = fromOf[i] >= 0;
    const isNear = i === chosen || cause === chosen;
    const lane = isMessage ? fromOf[i] : laneOf[cause];
    if (lane === laneOf[i] && !isMessage && !isNear) continue;
    const x1 = xOf(u[cause]);
    const x2 = xOf(u[i]);
    const y2 = yOf(pane, i);
    const isFault = kind[cause] === KIND.fault;
    const y1 =
      isMessage && !isFault && laneOf[cause] !== lane ? lanes[lane].middle : yOf(pane, cause);
    if (isNear) {
      near.push([i, isMessage && !isFault, x1, y1, x2, y2]);
      continue;
    }
    const from = (((x1 / grain) | 0) << 16) ^ y1;
    const to = (((x2 / grain) | 0) << 16) ^ y2;
    const slot = (Math.imul(from ^ Math.imul(to, 0x9e3779b1), 0x85ebca6b) >>> (32 - BITS)) << 1;
    if (drawn[slot] === from && drawn[slot + 1] === to) continue;
    drawn[slot] = from;
    drawn[slot + 1] = to;
    const isFaint = weight(run, i) < 1 || weight(run, cause) < 1;
    if (grain === 1)
      arrow(run, i, isMessage && !isFault, false, isFaint ? 0.25 : 1, x1, y1, x2, y2);
    else {
      // So many that no arrow could be told from another: lines will do, all in one stroke.
      const paths = isFaint ? faint : strong;
      const path = kind[i] === KIND.lose ? paths.lost : isMessage ? paths.message : paths.wake;
      path.moveTo(x1, y1);
      path.lineTo(x2, y2);
    }
  }
  for (const { isFaint, message, lost, wake } of [faint, strong]) {
    pen.lineWidth = 1;
    for (const [path, colour] of [
      [wake, colours.wake],
      [message, colours.deliver],
      [lost, colours.lose],
    ]) {
      pen.globalAlpha = isFaint ? 0.12 : 0.6;
      pen.strokeStyle = colour;
      pen.stroke(path);
    }
  }
  for (const [i, isMessage, ...ends] of near) arrow(run, i, isMessage, true, 1, ...ends);
  pen.globalAlpha = 1;
  pen.setLineDash([]);
}

function arrow(run, i, isMessage, isNear, strength, x1, y1, x2, y2) {
  const text = run.texts[run.text[i]];
  const isLost = run.kind[i] === KIND.lose || (isMessage && text.startsWith("RST"));
  pen.strokeStyle = pen.fillStyle = isLost
    ? colours.lose
    : isMessage
      ? colours.deliver
      : colours.wake;
  pen.globalAlpha = isNear ? 1 : strength * (isMessage ? 0.85 : 0.6);
  pen.lineWidth = isNear ? 2.4 : isMessage ? 1.3 : 1;
  pen.setLineDash(run.kind[i] === KIND.lose ? [5, 4] : isMessage ? [] : [2, 3]);
  pen.beginPath();
  pen.moveTo(x1, y1);
  pen.lineTo(x2, y2);
  pen.stroke();
  pen.setLineDash([]);
  const length = Math.hypot(x2 - x1, y2 - y1);
  if (length < 14 || run.kind[i] === KIND.lose) return;
  const [dx, dy] = [(x2 - x1) / length, (y2 - y1) / length];
  const [x, y, s] = [x2 - dx * 5, y2 - dy * 5, isMessage ? 7 : 5];
  pen.beginPath();
  pen.moveTo(x, y);
  pen.lineTo(x - dx * s - dy * s * 0.45, y - dy * s + dx * s * 0.45);
  pen.lineTo(x - dx * s + dy * s * 0.45, y - dy * s - dx * s * 0.45);
  pen.fill();
  if (isMessage && length > 120 && strength === 1 && Math.abs(dy) < 0.72) {
    const words = text
      .replace(/^(\S+) \S+->\S+ /, "$1 ")
      .replace(/^(\S+) 0 bytes/, "$1")
      .replace(/ bytes$/, " B");
    pen.save();
    pen.translate((x1 + x2) / 2, (y1 + y2) / 2);
    pen.rotate(Math.atan2(dy, dx));
    pen.font = `10.5px ${colours.sans}`;
    pen.textAlign = "center";
    pen.textBaseline = "bottom";
    if (pen.measureText(words).width < length - 30) pen.fillText(words, 0, -2);
    pen.restore();
  }
}

function paintRecords(pane) {
  const { run, r } = pane;
  const [start, end] = [lower(run.u, state.from - 1e-9), lower(run.u, uAt(size.width))];
  const lowest = Math.max(0, start - 1);
  const room = new Map();
  const radius = Math.max(2.6, Math.min(4.6, pane.row / 10));
  const isDense = end - start > MANY;
  const tones = data.kinds.map((_, kind) => colourOf(kind));
  let [tone, alpha] = ["", -1];
  const isRow = (key) => [KIND.poll, KIND.deliver].includes((key & 31) >> 1);
  // By height, kind and strength: the last one that was drawn, and where a row without gaps began.
  const last = new Float64Array(32 * ((size.height + 40) | 0)).fill(-9);
  const began = isDense ? new Float64Array(last.length) : null;
  const fill = (key) => {
    const kind = (key & 31) >> 1;
    pen.fillStyle = pen.strokeStyle = tone = tones[kind];
    pen.globalAlpha = alpha = key & 1 ? 0.35 : 1;
    pen.fillRect(began[key] - 1, (key >> 5) - radius, last[key] - began[key] + 2, 2 * radius);
  };
  for (const faint of [true, false]) {
    for (let i = lowest; i < Math.min(run.count, end + 1); i++) {
      const strength = weight(run, i);
      if (strength < 1 !== faint) continue;
      const x = xOf(run.u[i]);
      const y = yOf(pane, i);
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
      if (tone !== tones[run.kind[i]]) pen.fillStyle = pen.strokeStyle = tone = tones[run.kind[i]];
      if (alpha !== strength) pen.globalAlpha = alpha = strength;
      shape(pen, (LOOKS[kind] || LOOKS.poll)[1], x, y, kind === "ending" ? 5 : radius);
      if (strength === 1 && (kind === "note" || kind === "ending" || kind === "choose")) {
        const text =
          kind === "choose"
            ? `${run.texts[run.source[i]]} = ${run.values[i]}`
            : (kind === "ending" && data.wrong ? data.wrong : run.texts[run.text[i]]).split(
                "\n",
              )[0];
        const short = text.length > 46 ? text.slice(0, 45) + "…" : text;
        const free = room.get(y | 0) || -1e9;
        if (x > free) {
          pen.font = `11px ${colours.sans}`;
          const width = pen.measureText(short).width;
          const left = x + 9 + width > size.width - 4 ? x - 9 - width : x + 9;
          const high = kind === "ending" ? pane.lanes[run.lane[i]].y + 9 : y - 9;
          pen.fillStyle = colours.paper;
          pen.globalAlpha = 0.86;
          pen.fillRect(left - 2, high - 7, width + 4, 14);
          pen.globalAlpha = 1;
          label(short, left, high, 1e9, tones[run.kind[i]]);
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
  pen.globalAlpha = 1;
  if (state.query) {
    pen.strokeStyle = colours.pick;
    pen.lineWidth = 1.6;
    for (const [run, i] of state.matches) {
      if (run !== r || i < lowest || i > end) continue;
      pen.beginPath();
      pen.arc(xOf(pane.run.u[i]), yOf(pane, i), radius + 3.5, 0, 7);
      pen.stroke();
    }
  }
  const ring = (i, width) => {
    pen.strokeStyle = colours.ink;
    pen.lineWidth = width;
    pen.beginPath();
    pen.arc(xOf(run.u[i]), yOf(pane, i), radius + 5, 0, 7);
    pen.stroke();
  };
  if (state.hover && state.hover[0] === r) ring(state.hover[1], 1);
  if (state.run === r && state.record >= 0) ring(state.record, 2.2);
}
