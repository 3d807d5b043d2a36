// Listens to the pointer, the keys and the address, and begins. What the address can say:
// `#run=1&record=17&q=text&gaps=1&theme=dark`.

/** The record under the pointer, or nearly so. */
function recordAt(x, y) {
  let [best, distance] = [null, 14];
  for (const pane of panes) {
    if (y < pane.strip || y > pane.bottom || x < LEFT) continue;
    const { run } = pane;
    const [start, end] = [lowerBound(run.u, axisOfX(x - 14)), lowerBound(run.u, axisOfX(x + 14))];
    for (let i = start; i < Math.min(end + 1, run.count); i++) {
      const gap = Math.hypot(xOfAxis(run.u[i]) - x, recordY(pane, i) - y) + (recordOpacity(run, i) < 1 ? 4 : 0);
      if (gap < distance) [best, distance] = [[pane.r, i], gap];
    }
  }
  return best;
}

function choiceAt(x, y) {
  for (const pane of panes) {
    for (const choice of pane.run.choices) {
      if (choice.position && Math.hypot(choice.position[0] - x, choice.position[1] - y) < 9)
        return [pane.r, choice];
    }
  }
  return null;
}

let drag = null;
canvas.addEventListener("pointerdown", (event) => {
  const [x, y] = [event.offsetX, event.offsetY];
  drag = {
    x,
    y,
    from: state.from,
    to: state.to,
    scroll: state.scroll,
    moved: false,
    overview: y > size.height - BOTTOM,
  };
  canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener("pointermove", (event) => {
  const [x, y] = [event.offsetX, event.offsetY];
  if (drag) {
    drag.moved ||= Math.hypot(x - drag.x, y - drag.y) > 4;
    if (!drag.moved) return;
    canvas.className = "drag";
    $("tip").hidden = true;
    const width = size.width - LEFT - RIGHT;
    const move = drag.overview
      ? ((x - drag.x) / width) * axis.length
      : ((drag.x - x) / width) * (drag.to - drag.from);
    if (!drag.overview) state.scroll = drag.scroll + drag.y - y;
    setView(drag.from + move, drag.to + move);
    return;
  }
  const choice = choiceAt(x, y);
  const hover = choice ? null : recordAt(x, y);
  canvas.className = choice || hover ? "over" : "";
  const tip = $("tip");
  tip.hidden = !choice && !hover;
  if (choice) tip.textContent = `choice ${choiceNumber(choice[1])}: ${choice[1].description}`;
  else if (hover) tip.textContent = recordLine(data.runs[hover[0]], hover[1]).trim();
  if (!tip.hidden) {
    tip.style.left = `${Math.min(x + 14, Math.max(0, size.width - tip.offsetWidth - 8))}px`;
    const isLow = y + 18 + tip.offsetHeight > size.height;
    tip.style.top = `${isLow ? y - tip.offsetHeight - 10 : y + 18}px`;
  }
  if (String(hover) !== String(state.hover)) {
    state.hover = hover;
    requestDraw();
  }
});
canvas.addEventListener("pointerup", (event) => {
  const [x, y] = [event.offsetX, event.offsetY];
  const previousDrag = drag;
  drag = null;
  canvas.className = "";
  if (!previousDrag || previousDrag.moved) return;
  if (previousDrag.overview) {
    const u = ((x - LEFT) / (size.width - LEFT - RIGHT)) * axis.length;
    return setView(u - (state.to - state.from) / 2, u + (state.to - state.from) / 2);
  }
  const choice = choiceAt(x, y);
  if (choice) return selectChoice(...choice);
  const hit = recordAt(x, y);
  if (hit) select(...hit, { move: false });
  else if (state.record >= 0 || state.chosenKey) clearSelection();
});
canvas.addEventListener("pointerleave", () => {
  $("tip").hidden = true;
  state.hover = null;
  requestDraw();
});
canvas.addEventListener(
  "wheel",
  (event) => {
    event.preventDefault();
    const unit = event.deltaMode === 1 ? 16 : 1;
    const [dx, dy] = [event.deltaX * unit, event.deltaY * unit];
    if (event.shiftKey || Math.abs(dx) > Math.abs(dy))
      pan((Math.abs(dx) > Math.abs(dy) ? dx : dy) / size.width);
    else if (event.offsetX < LEFT) {
      state.scroll += dy;
      requestDraw();
    } else zoom(Math.exp(dy * 0.0016), axisOfX(event.offsetX));
  },
  { passive: false },
);

/** The record of the other run at the same moment. */
function selectInOtherRun() {
  if (data.runs.length < 2) return;
  const other = data.runs.length - 1 - state.run;
  const run = data.runs[other];
  if (state.record < 0) {
    state.run = other;
    return refresh();
  }
  const at = data.runs[state.run].at[state.record];
  const subject = data.runs[state.run].texts[data.runs[state.run].subject[state.record]];
  // That of the same task that is nearest in time.
  let best = Math.min(run.count - 1, lowerBound(run.at, at));
  let distance = Infinity;
  for (let i = 0; i < run.count; i++) {
    const gap = Math.abs(run.at[i] - at);
    if (run.texts[run.subject[i]] === subject && gap < distance) [best, distance] = [i, gap];
  }
  select(other, best);
}

const stepRecord = (step) => {
  const run = data.runs[state.run];
  const start = state.record >= 0 ? state.record + step : step > 0 ? 0 : run.count - 1;
  if (start >= 0 && start < run.count) select(state.run, start);
};
const KEYS = {
  "/": () => {
    $("query").focus();
    $("query").select();
  },
  "+": () => zoom(0.7),
  "=": () => zoom(0.7),
  "-": () => zoom(1 / 0.7),
  "−": () => zoom(1 / 0.7),
  0: showAll,
  ArrowLeft: () => pan(-0.2),
  ArrowRight: () => pan(0.2),
  ArrowUp: () => stepRecord(-1),
  ArrowDown: () => stepRecord(1),
  n: () => nextMatch(1),
  N: () => nextMatch(-1),
  c: () => toggle("past"),
  g: () => toggle("gaps"),
  d: () => toggle("theme"),
  "?": () => $("keys").showModal(),
  e: () => select(state.run, data.runs[state.run].count - 1),
  x: selectInOtherRun,
  Enter: () => {
    const causes = state.record >= 0 ? data.runs[state.run].causes[state.record] : [];
    const before = state.record >= 0 ? data.runs[state.run].previous[state.record] : -1;
    if (causes.length) select(state.run, causes[0]);
    else if (before >= 0) select(state.run, before);
  },
  Escape: () => {
    if (state.record >= 0 || state.chosenKey) clearSelection();
    else {
      $("query").value = "";
      search("");
    }
  },
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
  if (event.target === $("query")) {
    if (event.key === "Escape") {
      $("query").value = "";
      search("");
      canvas.focus();
    }
    if (event.key === "Enter") {
      event.preventDefault();
      nextMatch(event.shiftKey ? -1 : 1);
    }
    return;
  }
  // A button that has the focus keeps the keys by which it is pressed.
  const onButton = event.target.closest?.("button, code, pre");
  if (onButton && ["Enter", " "].includes(event.key)) return;
  const action = KEYS[event.key];
  if (action) {
    event.preventDefault();
    action();
  }
});

function toggle(what) {
  if (what === "past") state.dimUnrelated = !state.dimUnrelated;
  if (what === "gaps") {
    const [from, to] = [timeOfAxis(state.from), timeOfAxis(state.to)];
    const all = state.from <= 0 && state.to >= axis.length;
    axis.isCompressed = !axis.isCompressed;
    layOutAxis();
    if (all) showAll();
    else setView(axisOfTime(from), axisOfTime(to));
  }
  if (what === "theme") {
    state.theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    applyTheme();
  }
  refresh();
}

const dark = matchMedia("(prefers-color-scheme: dark)");
function applyTheme() {
  document.documentElement.dataset.theme = state.theme || (dark.matches ? "dark" : "light");
  const style = getComputedStyle(document.documentElement);
  const names = [
    "paper",
    "card",
    "line",
    "row",
    "ink",
    "soft",
    "faint",
    "accent",
    "pick",
    "poll",
    "deliver",
    "lose",
    "fault",
    "note",
    "choose",
    "abort",
    "foreign",
    "ending",
    "bad",
    "good",
    "wake",
    "choice",
    "mono",
    "sans",
  ];
  colours = Object.fromEntries(
    names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]),
  );
  const used = new Set(
    data.runs.flatMap((run) => Array.from(new Set(run.kind), (kind) => data.kinds[kind])),
  );
  const legend = [...used].map((name) =>
    element("span", {}, kindIcon(name, colourOf(KIND[name])), name),
  );
  $("legend").replaceChildren(...legend);
}

function resize() {
  const box = $("stage").getBoundingClientRect();
  size = {
    width: Math.max(200, box.width),
    height: Math.max(120, box.height),
    ratio: window.devicePixelRatio || 1,
  };
  canvas.width = size.width * size.ratio;
  canvas.height = size.height * size.ratio;
  // At once: the picture is empty until then.
  drawView();
}

/** Goes where the address says. */
function applyHash() {
  const hash = new URLSearchParams(location.hash.slice(1));
  state.theme = hash.get("theme") || state.theme;
  applyTheme();
  if (hash.has("gaps") === axis.isCompressed) {
    axis.isCompressed = !axis.isCompressed;
    layOutAxis();
    showAll();
  }
  if (hash.has("q")) {
    $("query").value = hash.get("q");
    search(hash.get("q"));
  }
  const run = Number(hash.get("run") ?? state.run);
  const record = Number(hash.get("record") ?? -1);
  if (data.runs[run] && record >= 0 && record < data.runs[run].count) select(run, record);
  else refresh();
}

function start() {
  data.runs.forEach(prepareRun);
  layOutAxis();
  const last = data.runs[data.runs.length - 1];
  document.title = `${data.name} · ${data.failed ? "failed" : "passed"} · seed ${last.seed}`;
  $("badge").textContent = data.failed ? "FAILED" : "PASSED";
  $("badge").classList.toggle("well", !data.failed);
  $("name").textContent = data.name;
  $("seed").textContent = `seed ${last.seed}`;
  $("head").textContent = data.failureText || "all went well";
  $("replay").textContent = data.replay;
  $("text").textContent = data.report;
  canvas.setAttribute(
    "aria-label",
    `lanes of ${data.lanes.join(", ")}; the records are in the panel beside`,
  );
  if (!last.causalPast.length) $("past").hidden = true;
  const body = document.body.dataset;
  body.failed = data.failed;
  body.records = data.runs.map((run) => run.count).join(",");
  body.messages = data.runs.map((run) => run.messages).join(",");
  body.past = data.runs.map((run) => run.causalPast.length).join(",");
  body.choices = data.runs.map((run) => run.choices.length).join(",");
  body.lanes = data.lanes.length;
  $("query").addEventListener("input", () => {
    clearTimeout(search.later);
    search.later = setTimeout(() => search($("query").value), 90);
  });
  $("past").onclick = () => toggle("past");
  $("gaps").onclick = () => toggle("gaps");
  $("theme").onclick = () => toggle("theme");
  $("in").onclick = () => zoom(0.7);
  $("out").onclick = () => zoom(1 / 0.7);
  $("all").onclick = showAll;
  $("help").onclick = () => $("keys").showModal();
  $("keys").onclick = () => $("keys").close();
  $("copy").onclick = async () => {
    try {
      await navigator.clipboard.writeText(data.replay);
      $("copy").textContent = "copied";
    } catch {
      getSelection().selectAllChildren($("replay"));
    }
    setTimeout(() => {
      $("copy").textContent = "copy";
    }, 1500);
  };
  for (const tab of document.querySelectorAll("[data-tab]"))
    tab.onclick = () => openTab(tab.dataset.tab);
  dark.addEventListener("change", () => {
    applyTheme();
    refresh();
  });
  new ResizeObserver(resize).observe($("stage"));
  addEventListener("hashchange", applyHash);
  resize();
  showAll();
  applyHash();
  drawView();
  body.ready = "true";
}

start();
