// Fills the panel: why it failed, the record that is open, the report.

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** The shape of a kind of record. */
function kindIcon(name, colour) {
  const small = element("canvas", { class: "mark", width: 24, height: 24 });
  const ctx = small.getContext("2d");
  ctx.scale(2, 2);
  ctx.fillStyle = ctx.strokeStyle = colour;
  drawShape(
    ctx,
    (KIND_STYLES[name] || KIND_STYLES.poll)[1],
    name === "ending" ? 4 : 6,
    6,
    name === "ending" ? 3 : 3.8,
  );
  return small;
}

/** A record as a line that can be clicked. */
function recordItem(r, i) {
  const run = data.runs[r];
  const name = data.kinds[run.kind[i]];
  const now = state.run === r && state.record === i;
  const text = recordText(run, i).replace(/^(\S+) +/, "$1 ");
  const bad = name === "ending" && data.failed;
  return element(
    "li",
    {},
    element(
      "button",
      { class: now ? "now" : undefined, onclick: () => select(r, i) },
      kindIcon(name, colourOf(run.kind[i])),
      element("time", {}, instantLabel(run.at[i])),
      element("i", { class: bad ? "bad" : undefined }, text),
    ),
  );
}

function openTab(tab) {
  state.tab = tab;
  refresh();
}

function fillWhy() {
  const r = data.runs.length - 1;
  const run = data.runs[r];
  const why = $("why");
  why.replaceChildren();
  if (data.isShrunk) {
    const [matter, of] = [run.choices.length, data.runs[0].totalChoices];
    why.append(
      element(
        "h2",
        {},
        matter === 0
          ? `none of ${pluralize(of, "choice")} matters`
          : `${matter} of ${pluralize(of, "choice")} ${matter === 1 ? "matters" : "matter"}`,
      ),
    );
    why.append(
      element(
        "p",
        {},
        matter === 0
          ? "It also fails with all of them at 0."
          : `With all others at their most harmless it still fails. ${
              data.stopReason
                ? `Some of these may not matter: ${data.stopReason}.`
                : "Without any one of these it does not."
            }`,
      ),
    );
    const list = element("ol", { class: "lines" });
    for (const choice of run.choices) {
      list.append(
        element(
          "li",
          {},
          element(
            "button",
            {
              class: choice.key === state.chosenKey ? "now" : undefined,
              title: choice.key,
              onclick: () => selectChoice(r, choice),
            },
            element("span", { class: "number" }, String(choiceNumber(choice))),
            element("time", {}, instantLabel(choice.at)),
            element("i", {}, choice.description),
          ),
        ),
      );
    }
    why.append(list);
  } else if (data.failed) {
    why.append(
      element("h2", {}, "not shrunk"),
      element("p", {}, "It is not known which choices matter."),
    );
  }
  if (run.causalPast.length) {
    why.append(
      element("h2", {}, "what led to it"),
      element("p", {}, "By wake-ups and messages: what tasks share in memory leaves no record."),
    );
    const list = element("ol", { class: "lines" });
    const isHighlight = new Set(run.highlights);
    let hidden = [];
    const addFoldedItem = () => {
      if (!hidden.length) return;
      const [places, item] = [hidden, element("li")];
      const expandItem = () => {
        // The nearest of very many.
        const rest = places.splice(-200);
        item.after(...rest.map((i) => recordItem(r, i)));
        if (places.length) item.firstChild.textContent = `.. ${places.length} more`;
        else item.remove();
      };
      item.append(
        element("button", { class: "more", onclick: expandItem }, `.. ${places.length} more`),
      );
      list.append(item);
      hidden = [];
    };
    for (const i of run.causalPast) {
      if (isHighlight.has(i)) {
        addFoldedItem();
        list.append(recordItem(r, i));
      } else hidden.push(i);
    }
    why.append(list);
  } else if (!data.failed) {
    why.append(
      element("h2", {}, "all went well"),
      element("p", {}, "Click a record to see what led to it, or search with /."),
    );
  }
}

function fillRecord() {
  const panel = $("record");
  panel.replaceChildren();
  if (state.record < 0) {
    panel.append(element("p", {}, "Click a record, or walk with ↑ and ↓."));
    return;
  }
  const [r, i] = [state.run, state.record];
  const run = data.runs[r];
  const text = (column) => run.texts[run[column][i]];
  panel.append(element("pre", { class: "line", id: "line" }, recordLine(run, i)));
  const list = element("dl");
  const row = (name, value) => {
    if (value) list.append(element("dt", {}, name), element("dd", {}, value));
  };
  row("record", `${i} of ${run.count}, ${run.label}`);
  row("time", `${formatInstant(run.seconds[i], run.nanos[i])} s`);
  const before = run.previous[i];
  if (before >= 0) row("", `${formatDuration(run.at[i] - run.at[before])} after the one before`);
  row("kind", data.kinds[run.kind[i]]);
  row(
    "host",
    run.sourceLane[i] >= 0
      ? `${data.lanes[run.sourceLane[i]]} → ${data.lanes[run.lane[i]]}`
      : data.lanes[run.lane[i]],
  );
  row(run.sourceLane[i] >= 0 ? "direction" : "task", text("subject"));
  row("by", text("source") && `${text("source")}, ${run.ordinal[i] + 1}. time`);
  row("value", run.values[i]);
  row("text", text("text"));
  panel.append(list);
  const step = (name, place, key) =>
    element(
      "button",
      {
        disabled: place < 0 || place >= run.count ? "" : undefined,
        title: key,
        onclick: () => select(r, place),
      },
      name,
    );
  panel.append(
    element(
      "div",
      { class: "steps" },
      step("↑ before", i - 1, "↑"),
      step("↓ after", i + 1, "↓"),
      step("same task: before", before, ""),
      step("after", run.previous.indexOf(i), ""),
    ),
  );
  const section = (title, places, none) => {
    panel.append(element("h2", {}, title));
    if (!places.length) {
      panel.append(element("p", {}, none));
      return;
    }
    const lines = element("ol", { class: "lines" });
    for (const place of places.slice(0, 60)) lines.append(recordItem(r, place));
    if (places.length > 60) lines.append(element("li", {}, `.. ${places.length - 60} more`));
    panel.append(lines);
  };
  const isTimer = text("source") === "timer";
  section(
    "led to it",
    run.causes[i],
    isTimer ? "A timer of its own." : "Nothing that virtnet knows of.",
  );
  const effects = [];
  for (let n = 0; n < run.pairs.length; n += 2)
    if (run.pairs[n] === i) effects.push(run.pairs[n + 1]);
  section("it led to", effects, "Nothing that virtnet knows of.");
}

/** Makes everything around the picture say what the state is. */
function refresh() {
  for (const tab of document.querySelectorAll("[data-tab]")) {
    const isOpen = tab.dataset.tab === state.tab;
    tab.setAttribute("aria-selected", isOpen);
    $(tab.dataset.tab).classList.toggle("open", isOpen);
  }
  if (state.tab === "why") fillWhy();
  fillRecord();
  document.querySelector("#why .now, #record .now")?.scrollIntoView?.({ block: "nearest" });
  $("past").setAttribute("aria-pressed", state.dimUnrelated);
  $("gaps").setAttribute("aria-pressed", axis.isCompressed);
  const count = state.matches.length;
  $("found").textContent = state.query
    ? state.match >= 0
      ? `${state.match + 1}/${count}`
      : String(count)
    : "";
  const hash = new URLSearchParams();
  if (state.record >= 0) {
    hash.set("run", state.run);
    hash.set("record", state.record);
  }
  if (state.query) hash.set("q", state.query);
  if (state.theme) hash.set("theme", state.theme);
  if (!axis.isCompressed) hash.set("gaps", 1);
  try {
    history.replaceState(null, "", "#" + hash);
  } catch {
    /* some browsers refuse it for files */
  }
  const body = document.body.dataset;
  body.run = state.run;
  body.record = state.record;
  body.tab = state.tab;
  body.matches = count;
  body.causes = state.record >= 0 ? data.runs[state.run].causes[state.record].join(",") : "";
  requestDraw();
}
