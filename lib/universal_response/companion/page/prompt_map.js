// The map of a prompt, C(i, j) of every pair of tokens at every position, in the book and in pages
// that are mailed. It is built into #prompt-map from PROMPT_MAP, which companion.explorer_prompt
// writes, and needs nothing else. Tokens are whatever a prompt holds: they go in as text only.
"use strict";
(async () => {
  const root = document.getElementById("prompt-map"), d = window.PROMPT_MAP;
  if (!d) {
    root.textContent = "There are no results of a prompt in this copy of the book.";
    return;
  }

  // Elements

  const SVG = "http://www.w3.org/2000/svg";
  const filled = (made, attributes, children) => {
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };
  const element = (name, attributes = {}, ...children) =>
    filled(document.createElement(name), attributes, children);
  const drawn = (name, attributes = {}, ...children) =>
    filled(document.createElementNS(SVG, name), attributes, children);

  // Data: of every position the pairs j >= i, in the order of i, then j.

  async function unpack(text) { // explorer.pack backwards
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const b = new Uint8Array(await new Response(stream).arrayBuffer()), n = b.length / 4;
    const words = Uint32Array.from({ length: n }, (_, k) =>
      (b[k] << 24) | (b[n + k] << 16) | (b[2 * n + k] << 8) | b[3 * n + k]);
    return new Float32Array(words.buffer);
  }

  const finite = await unpack(d.finite), limit = await unpack(d.limit);
  const tokens = d.tokens, t = tokens.length, last = d.position.length - 1, pairs = t * (t + 1) / 2;
  const at = (l, i, j) => l * pairs + i * t - i * (i - 1) / 2 + j - i;
  const KINDS = {
    finite: { label: `C / ε at ε = ${d.epsilon0}`, value: (k) => finite[k], scale: d.scales.response },
    limit: { label: "limit of C / ε, ε → 0", value: (k) => limit[k], scale: d.scales.response },
    ratio: { label: "ratio, finite over limit", value: (k) => finite[k] / limit[k], scale: d.scales.ratio },
  };
  const number = (value) => (value > 0 ? value.toPrecision(3) : "no response");
  const named = (k) => `${k} “${tokens[k]}”`;

  // Colours

  const channels = (hex) => [1, 3, 5].map((from) => parseInt(hex.slice(from, from + 2), 16));
  function colour({ range: [low, high], colours }, value) {
    if (!(value > 0)) return d.scales.empty;
    const way = Math.log(value / low) / Math.log(high / low);
    const place = Math.min(Math.max(way, 0), 1) * (colours.length - 1);
    const below = Math.min(Math.floor(place), colours.length - 2), part = place - below;
    const [a, b] = [channels(colours[below]), channels(colours[below + 1])];
    return `rgb(${a.map((from, k) => Math.round(from + part * (b[k] - from))).join(", ")})`;
  }
  const isDark = (rgb) => { // whether white letters are read better on it
    const [r, g, b] = (rgb[0] === "#" ? channels(rgb) : rgb.match(/\d+/g).map(Number))
      .map((c) => (c / 255) ** 2.2);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b < 0.18;
  };

  // What is chosen: position, kind, a pair, and whether its row or its column is told.

  const state = { l: last, kind: "finite", i: 0, j: Math.min(1, t - 1), as: "source" };
  const value = (i, j, kind = state.kind, l = state.l) => KINDS[kind].value(at(l, i, j));

  function choose(change) {
    Object.assign(state, change);
    // The other end of the pair gives way.
    if (state.i > state.j) state["i" in change ? "j" : "i"] = "i" in change ? state.i : state.j;
    draw();
  }

  // Controls

  const slider = element("input", { type: "range", id: "prompt-map-l", min: 0, max: last, value: last });
  const sliderNow = element("output", { for: "prompt-map-l" });
  slider.addEventListener("input", () => choose({ l: +slider.value }));
  function radios(name, title, options) {
    const group = element("fieldset", {}, element("legend", {}, title));
    for (const [key, label] of Object.entries(options)) {
      const radio = element("input", { type: "radio", name: `prompt-map-${name}`, value: key });
      radio.checked = state[name] === key;
      radio.addEventListener("change", () => choose({ [name]: key }));
      group.append(element("label", {}, radio, ` ${label}`));
    }
    return group;
  }
  const asRadios = radios("as", "The chosen token", {
    source: "is perturbed: its row, what answers", target: "answers: its column, to what",
  });
  const controls = element("div", { class: "controls" },
    element("div", {}, element("label", { for: "prompt-map-l" }, "Position ℓ"), sliderNow, slider),
    radios("kind", "Shown", Object.fromEntries(Object.entries(KINDS).map(([key, { label }]) => [key, label]))),
    asRadios);
  const summary = element("p", { class: "summary", "aria-live": "polite" });

  // The map: a row for each perturbed token, a column for each that answers.

  const CELL = 12, LONGEST = 12;
  const cut = (text) => ([...text].length > LONGEST ? [...text].slice(0, LONGEST - 1).join("") + "…" : text);
  const room = 26 + 6.2 * Math.max(4, ...tokens.map((text) => [...cut(text)].length)), side = room + CELL * t + 4;
  const cells = new Map(), labels = { source: [], target: [] };
  const frames = ["row", "column", "pair"].map((kind) => drawn("rect", { class: `frame ${kind}` }));
  const picture = drawn("svg", {
    viewBox: `0 0 ${side} ${side}`, role: "application", tabindex: 0, class: "map", "aria-roledescription": "map of pairs",
  });

  function label(as, k) {
    const middle = room + CELL * (k + 0.5), dark = { class: `token ${as}`, "data-as": as, "data-k": k };
    const place = as === "source" ? { x: room - 4, y: middle } : { x: 0, y: 0, transform: `translate(${middle} ${room - 4}) rotate(-90)` };
    const anchor = as === "source" ? "end" : "start";
    return drawn("text", { ...dark, ...place, "text-anchor": anchor, dy: "0.35em" }, cut(tokens[k]));
  }

  function build() {
    picture.append(
      drawn("text", { class: "axis", x: side, y: 10, "text-anchor": "end" }, "observed token (target j)"),
      drawn("text", { class: "axis", transform: `translate(10 ${side}) rotate(-90)` }, "perturbed token (source i)"));
    for (let i = 0; i < t; i += 1) {
      for (const as of ["source", "target"]) picture.append(labels[as][i] = label(as, i));
      for (let j = i; j < t; j += 1) {
        const cell = drawn("rect", {
          x: room + CELL * j, y: room + CELL * i, width: CELL, height: CELL, "data-i": i, "data-j": j,
        });
        cells.set(i * t + j, cell);
        picture.append(cell);
      }
    }
    picture.append(...frames);
    // A short prompt need not fill the page; a long one scrolls where there is no room to read it.
    picture.style.maxWidth = `${1.2 * side}px`;
    picture.style.minWidth = `${0.7 * side}px`;
  }

  function frame(rect, i, j, wide, high) {
    const place = { x: room + CELL * j, y: room + CELL * i, width: CELL * wide, height: CELL * high };
    for (const [key, each] of Object.entries(place)) rect.setAttribute(key, each);
  }

  // The bar of colours

  const bar = element("div", { class: "bar" });
  function drawBar({ range: [low, high], colours }) {
    const way = (x) => 100 * Math.log(x / low) / Math.log(high / low);
    const strip = element("div", { class: "strip" });
    strip.style.background = `linear-gradient(to right, ${colours.join(", ")})`;
    const ticks = state.kind === "ratio" ? [low, 1, high]
      : Array.from({ length: 24 }, (_, k) => [1, 3][k % 2] * 10 ** (Math.floor(k / 2) - 9)).filter((x) => x >= low && x <= high);
    const marks = ticks.map((x) => {
      const mark = element("span", {}, String(+x.toPrecision(3)));
      mark.style.left = `${way(x)}%`;
      return mark;
    });
    const empty = element("i");
    empty.style.background = d.scales.empty;
    bar.replaceChildren(strip, element("div", { class: "ticks" }, ...marks),
      element("p", {}, `${KINDS[state.kind].label}; logarithmic, beyond its ends the last colours. `, empty, " no response"));
  }

  // The prompt itself, coloured by the row or the column of the chosen token.

  const strongest = element("p", { class: "strongest" });
  const text = element("div", { class: "text", role: "group", "aria-label": "The prompt, token by token" });
  const asRead = (token) => token.replaceAll("␣", " ").replaceAll("↵", "↵\n");
  const words = tokens.map((token, k) => {
    const word = element("button", { type: "button", "data-k": k }, asRead(token));
    word.addEventListener("click", () => choose(state.as === "source" ? { i: k } : { j: k }));
    return word;
  });
  text.append(...words);
  text.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key], chosen = state.as === "source" ? state.i : state.j;
    const next = event.key === "Home" ? 0 : event.key === "End" ? t - 1 : chosen + step;
    if (!(next >= 0 && next < t)) return;
    event.preventDefault();
    choose(state.as === "source" ? { i: next } : { j: next });
    words[next].focus();
  });

  function drawText() {
    const row = state.as === "source", chosen = row ? state.i : state.j, found = [];
    for (const [k, word] of words.entries()) {
      const there = row ? k >= chosen : k <= chosen, c = there ? (row ? value(chosen, k) : value(k, chosen)) : NaN;
      const fill = there ? colour(KINDS[state.kind].scale, c) : "transparent";
      word.style.background = fill;
      word.style.color = there ? (isDark(fill) ? "#fff" : "#000") : "inherit";
      word.setAttribute("aria-pressed", k === chosen);
      word.tabIndex = k === chosen ? 0 : -1;
      word.title = there ? `${named(k)}: ${number(c)}` : `${named(k)}: ${row ? "stands before" : "stands behind"}`;
      if (there && k !== chosen && c > 0) found.push([k, c]);
    }
    const apart = state.kind === "ratio" ? ([, c]) => Math.abs(Math.log(c)) : ([, c]) => c;
    const most = found.sort((a, b) => apart(b) - apart(a)).slice(0, 5).map(([k, c]) => `${named(k)} ${c.toPrecision(3)}`);
    const what = row ? `Token ${named(chosen)} is perturbed.` : `Token ${named(chosen)} answers.`;
    const order = state.kind === "ratio" ? "Furthest from 1" : row ? "Strongest answers" : "Strongest causes";
    strongest.textContent = `${what} ${most.length ? `${order}: ${most.join(", ")}.` : "No other token responds here."}`;
  }

  // The chosen pair along the residual stream

  const WIDE = 420, HIGH = 190, LEFT = 46, TOP = 10, BOTTOM = 30;
  const along = drawn("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, class: "along", role: "img" });
  function drawAlong() {
    const curves = { finite: [], limit: [] };
    for (const kind of ["finite", "limit"])
      for (let l = 0; l <= last; l += 1)
        if (value(state.i, state.j, kind, l) > 0) curves[kind].push([l, value(state.i, state.j, kind, l)]);
    const all = [...curves.finite, ...curves.limit].map(([, c]) => Math.log10(c));
    const low = Math.floor(Math.min(...all, 0)), high = Math.ceil(Math.max(...all, low + 1));
    const x = (l) => LEFT + (WIDE - LEFT - 8) * l / Math.max(last, 1);
    const y = (log) => TOP + (HIGH - TOP - BOTTOM) * (high - log) / (high - low);
    const parts = [];
    for (let power = low; power <= high; power += Math.ceil((high - low) / 6)) {
      parts.push(drawn("line", { class: "grid", x1: LEFT, x2: WIDE - 8, y1: y(power), y2: y(power) }),
        drawn("text", { x: LEFT - 5, y: y(power), dy: "0.35em", "text-anchor": "end" }, String(+(10 ** power).toPrecision(1))));
    }
    for (let l = 0; l <= last; l += Math.max(1, 2 * Math.round(last / 12)))
      parts.push(drawn("text", { x: x(l), y: HIGH - BOTTOM + 14, "text-anchor": "middle" }, String(l)));
    parts.push(drawn("text", { x: x(last / 2), y: HIGH - 3, "text-anchor": "middle" }, "position ℓ"),
      drawn("line", { class: "here", x1: x(state.l), x2: x(state.l), y1: TOP, y2: HIGH - BOTTOM }));
    for (const [kind, points] of Object.entries(curves))
      parts.push(drawn("polyline", { class: kind, points: points.map(([l, c]) => `${x(l)},${y(Math.log10(c))}`).join(" ") }));
    along.replaceChildren(...parts);
    along.setAttribute("aria-label", `C / ε of the chosen pair at every position. ${summary.textContent}`);
  }

  // Drawing

  let shown = "";
  function drawMap() {
    const { scale } = KINDS[state.kind], now = `${state.l} ${state.kind}`;
    if (shown !== now) {
      for (const cell of cells.values()) cell.setAttribute("fill", colour(scale, value(+cell.dataset.i, +cell.dataset.j)));
      drawBar(scale);
    }
    shown = now;
    frame(frames[0], state.i, state.i, t - state.i, 1);
    frame(frames[1], 0, state.j, 1, state.j + 1);
    frame(frames[2], state.i, state.j, 1, 1);
    frames[0].classList.toggle("told", state.as === "source");
    frames[1].classList.toggle("told", state.as === "target");
    for (const [as, k] of [["source", state.i], ["target", state.j]])
      labels[as].forEach((each, place) => each.classList.toggle("chosen", place === k));
  }

  const inWords = (i, j) => `i = ${named(i)}, j = ${named(j)}, Δj = ${j - i}`;
  const numbers = (i, j) => `C/ε = ${number(value(i, j, "finite"))} at ε = ${d.epsilon0}, limit ${number(value(i, j, "limit"))}` +
    (value(i, j, "limit") > 0 ? `, ratio ${number(value(i, j, "ratio"))}` : "");

  function draw() {
    const where = `${state.l}, ${d.position[state.l]}`;
    sliderNow.textContent = where;
    slider.setAttribute("aria-valuetext", where);
    slider.value = state.l;
    for (const radio of asRadios.querySelectorAll("input")) radio.checked = radio.value === state.as;
    summary.textContent = `ℓ = ${state.l} (${d.position[state.l]}): ${inWords(state.i, state.j)}: ${numbers(state.i, state.j)}.`;
    picture.setAttribute("aria-label", `Map of the prompt, ${KINDS[state.kind].label}. Arrow keys choose a pair. ${summary.textContent}`);
    drawMap();
    drawText();
    drawAlong();
  }

  // Pointer and keys on the map

  const hint = element("div", { class: "hint", "aria-hidden": "true", hidden: "" });
  function hover(event) {
    const { i, j, as, k } = event.target.dataset;
    hint.hidden = i === undefined && k === undefined;
    if (hint.hidden) return;
    const lines = i === undefined ? [named(+k), as === "source" ? "click: its row" : "click: its column"]
      : [`i = ${named(+i)}`, `j = ${named(+j)}`, `Δj = ${j - i}`, ...numbers(+i, +j).split(", ")];
    hint.replaceChildren(...lines.map((line) => element("div", {}, line)));
    const box = root.getBoundingClientRect(), x = event.clientX - box.left, left = x > box.width / 2;
    hint.style.left = `${x + (left ? -14 : 14)}px`;
    hint.style.top = `${event.clientY - box.top + 12}px`;
    hint.style.transform = left ? "translateX(-100%)" : "none";
  }
  picture.addEventListener("pointermove", hover);
  picture.addEventListener("pointerleave", () => { hint.hidden = true; });
  picture.addEventListener("click", ({ target: { dataset: { i, j, as, k } } }) => {
    if (i !== undefined) choose({ i: +i, j: +j });
    else if (as === "source") choose({ as, i: +k });
    else if (as === "target") choose({ as, j: +k });
  });
  picture.addEventListener("keydown", (event) => {
    const { i, j } = state;
    const next = { ArrowUp: [i - 1, j], ArrowDown: [i + 1, j], ArrowLeft: [i, j - 1], ArrowRight: [i, j + 1],
      Home: [i, i], End: [i, t - 1] }[event.key];
    if (!next) return;
    event.preventDefault();
    if (next[0] >= 0 && next[0] <= next[1] && next[1] < t) choose({ i: next[0], j: next[1] });
  });

  const figure = (name, caption, ...parts) =>
    element("figure", { class: name }, element("figcaption", {}, ...caption), ...parts);
  const strong = (words) => element("b", {}, words);
  const key = (name) => element("span", { class: `key ${name}` });
  build();
  root.replaceChildren(controls, summary,
    figure("whole", [strong("Map. "), "A row for each perturbed token, a column for each that answers. A click on a token shows its row or column."],
      element("div", { class: "scroll" }, picture), bar),
    element("div", { class: "beside" },
      figure("told", [strong("The prompt"), ", coloured by the row or the column of the chosen token. Click on another one."], text, strongest),
      figure("course", [strong("The chosen pair"), " at every position: C / ε at ", key("finite"), ` ε = ${d.epsilon0} and in the `, key("limit"), " limit."], along),
      element("p", { class: "made" }, `Made from ${d.title}: ${d.made.map((words) => words.join(" ")).join("; ")}.`)),
    hint);
  draw();
  root.setAttribute("aria-busy", "false");
})();
