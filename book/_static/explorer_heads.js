// Glue between the controls of book/explorer_heads.md, the scripts written by
// universal_response.companion.explorer_heads (EXPLORER) and Plotly. The numbers are those of the
// results files.
"use strict";
(() => {
  const { models, sizes, measures, scales, classes, colours, layouts } = window.EXPLORER;
  const { byId, root, show, withError, onClick, tell, controlsOf, start } = window.EXPLORER;
  const controls = controlsOf(["model", "measure", "strength", "layer", "head"]);
  const SHARES = measures.findIndex(({ name }) => name.startsWith("share"));

  if (!Object.keys(models).length) {
    byId("none").hidden = false;
    root.hidden = true;
    root.setAttribute("aria-busy", false);
    return;
  }

  // What the controls say.

  function chosen(d) {
    const { layers, heads } = sizes[controls.model.value];
    const [m, s] = [controls.measure.selectedIndex, d.strength.indexOf(controls.strength.value)];
    const [layer, head] = [+controls.layer.value, +controls.head.value];
    const at = (l, h, before = 0) => (before * layers + l) * heads + h;
    const share = (c, p, l = layer, h = head, strength = s) =>
      d.share[at(l, h, (strength * d.compared.length + c) * d.position.length + p)];
    const measured = (l, h, k = m) => (k < SHARES ? d.measured[at(l, h, k)] : share(k - SHARES, d.added[l], l, h));
    const error = (l, h, k = m) => (k < SHARES ? d.error[at(l, h, k)] : NaN);
    const carried = (k, part) => d.carried[at(layer, head, s * d.distance.length + k) * d.part.length + part];
    const kind = (l, h) => Object.keys(classes).find((name) => d.classes[name].some(([a, b]) => a === l && b === h));
    return { d, layers, heads, layer, head, m, s, at, share, measured, error, carried, kind };
  }

  const strengthName = (d, s) => (d.strength[s] === "limit" ? "in the limit" : `at ε = ${d.epsilon}`);
  const count = (n) => Array.from({ length: n }, (_, k) => k);
  const line = (more, colour, width = 1) => ({ type: "line", ...more, line: { color: colour, width } });

  // Panels

  function drawMap(s) {
    const { d, layers, heads, layer, head } = s, { unit, signed } = measures[s.m];
    const z = count(layers).map((l) => count(heads).map((h) => s.measured(l, h)));
    // The few largest share the last colours, so that the rest can be told apart.
    const sizesOf = z.flat().map(Math.abs).sort((p, q) => p - q);
    const reach = sizesOf[Math.round(0.99 * (sizesOf.length - 1))] || 1;
    const [zmin, zmax] = signed ? [-reach, reach] : [0, 1];
    const text = z.map((row, l) => row.map((value, h) =>
      `head ${l}.${h}: ${withError(value, s.error(l, h))}<br>${classes[s.kind(l, h)]?.title ?? "no class"}`));
    const title = { text: unit, side: "top" };
    const map = { type: "heatmap", z, text, hovertemplate: "%{text}<extra></extra>", zmin, zmax,
      colorscale: scales[signed ? "signed" : "plain"], colorbar: { ...layouts.colorbar, title } };
    const size = Math.min(11, 260 / layers);
    const rings = Object.entries(classes).flatMap(([name, { symbol, colour }]) =>
      [["#fff", 4], [colour, 2]].map(([color, width]) => ({ // on white, to be seen on any cell
        name, x: d.classes[name].map(([, h]) => h), y: d.classes[name].map(([l]) => l), mode: "markers",
        hoverinfo: "skip", marker: { symbol: `${symbol}-open`, size, color, line: { color, width } } })));
    const [beside, above] = [0.5 + heads / 150, 0.5 + layers / 100]; // the frame leaves room for a ring
    const frame = { x0: head - beside, x1: head + beside, y0: layer - above, y1: layer + above };
    show("map", [map, ...rings], { range: [-beside, heads - 1 + beside], dtick: 1 },
      { range: [-above, layers - 1 + above], dtick: layers > 12 ? 5 : 1 },
      { shapes: [["#fff", 5], ["#000", 2.5]].map((look) => ({ ...line(frame, ...look), type: "rect" })) });
  }

  function drawAttention({ d, layer, head, at }) {
    const n = d.t0 + 1, first = at(layer, head) * n, y = [...d.attention.subarray(first, first + n)];
    const of = { 1: classes.previous_token, [d.t0 - 1]: classes.induction, [d.t0]: classes.duplicate_token };
    show("attention", [{
      type: "bar", name: "attention", x: count(n), y, marker: { color: count(n).map((k) => of[k]?.colour ?? colours.other) },
      text: y.map((value, k) => `offset ${k}: ${value.toPrecision(4)}`), textposition: "none",
      hovertemplate: "%{text}<extra></extra>",
    }], { range: [-0.7, 1.05 * n], dtick: n > 40 ? 8 : 4 }, { range: [0, Math.max(0.1, 1.06 * Math.max(...y))] },
    { annotations: d.marks.offsets });
  }

  function drawShare(s) {
    const { d, layer, share } = s, x = count(d.position.length), mine = d.added[layer];
    const names = d.compared.map((dj) => `Δj = ${dj}`);
    const of = (c, strength) => x.map((p) => share(c, p, undefined, undefined, strength));
    const values = d.strength.map((_, k) => names.map((_, c) => of(c, k)));
    const [limit, finite] = ["limit", "finite"].map((name) => values[d.strength.indexOf(name)]);
    const text = x.map((p) => `ℓ = ${p}, ${d.position[p]}` + names.map((name, c) =>
      `<br>${name}: ${limit[c][p].toPrecision(3)}, at ε = ${d.epsilon} ${finite[c][p].toPrecision(3)}`).join(""));
    const [low, high] = [Math.min, Math.max].map((end, k) => end(...values.flat(2), [0, 0.02][k]));
    const range = [low - 0.06 * (high - low), high + 0.06 * (high - low)];
    const order = count(names.length).reverse(); // T0 - 1 on top
    const traces = order.flatMap((c) => [
      { name: `${names[c]}, limit`, x, y: limit[c], mode: "lines", line: { width: 2, color: colours.compared[c] },
        ...(c ? { hoverinfo: "skip" } : { text, hovertemplate: "%{text}<extra></extra>" }) },
      { name: `${names[c]}, finite`, x, y: finite[c], mode: "markers", hoverinfo: "skip",
        marker: { size: 5, color: colours.compared[c], symbol: "circle-open" } },
    ]);
    const { color } = getComputedStyle(root);
    show("share", traces, { range: [-0.5, x.length - 0.5], dtick: x.length > 24 ? 10 : 4 }, { range }, { shapes: [
      line({ xref: "paper", x0: 0, x1: 1, y0: 0, y1: 0, layer: "below" }, color),
      line({ x0: mine, x1: mine, yref: "paper", y0: 0, y1: 1, layer: "below" }, colours.other, 1.5),
    ], annotations: [{ x: mine, y: 1, yref: "paper", yanchor: "bottom", showarrow: false, text: "the head adds",
      xanchor: mine < x.length / 4 ? "left" : mine > 0.75 * x.length ? "right" : "center" }] });
  }

  function drawCarried(s) {
    const { d } = s, limit = d.strength[s.s] === "limit";
    const near = d.distance.slice(1), x = [near[0] - 2, ...near]; // the control beside them
    const parts = d.part.map((_, part) => x.map((_, k) => s.carried(k, part)));
    const total = x.map((_, k) => parts.reduce((sum, part) => sum + part[k], 0));
    const whole = x.map((_, k) => d.response[s.s * x.length + k]);
    const text = x.map((_, k) => `Δj = ${d.distance[k]}: ${total[k].toPrecision(3)} of ${whole[k].toPrecision(3)}` +
      d.part.map((name, part) => `<br>${name} ${parts[part][k].toPrecision(3)}`).join(""));
    const ends = (end, sign) => end(0, ...x.map((_, k) =>
      parts.reduce((sum, part) => sum + (sign * part[k] > 0 ? part[k] : 0), 0)));
    const least = 0.02 * Math.max(...whole);
    const [low, high] = [ends(Math.min, -1), Math.max(ends(Math.max, 1), least)];
    const { color } = getComputedStyle(root);
    show("carried", [
      ...d.part.map((name, part) => ({ type: "bar", name, x, y: parts[part], hoverinfo: "skip",
        marker: { color: colours.parts[part] } })),
      { name: "sum", x, y: total, mode: "markers", text, hovertemplate: "%{text}<extra></extra>",
        marker: { symbol: "line-ew", size: 16, line: { width: 3, color } } },
    ], { range: [x[0] - 0.6, x.at(-1) + 0.6], tickvals: x, ticktext: d.distance.map(String), tickangle: 0, tickfont: { size: 12 } },
    { range: [low - 0.06 * (high - low), high + 0.06 * (high - low)], exponentformat: "power",
      title: { text: `C<sub>Δ</sub>${limit ? " / ε" : ""}` } },
    { annotations: d.marks.distances,
      shapes: [line({ xref: "paper", x0: 0, x1: 1, y0: 0, y1: 0, layer: "below" }, color)] });
  }

  // The same in words

  const number = (value, error) => // with a minus sign that is not a hyphen
    [value, error].filter(Number.isFinite).map((each) => each.toFixed(3).replace("-", "−")).join("\u00a0±\u00a0");

  function tellAll(s) {
    const { d, layer, head, measured, error, at, m } = s, name = `head ${layer}.${head}`;
    const own = s.kind(layer, head), k = own ? measures.findIndex((each) => each.name === own)
      : [0, 1, 2].reduce((best, each) => (measured(layer, head, each) > measured(layer, head, best) ? each : best));
    const title = `${models[controls.model.value]}, ${name}`, strength = strengthName(d, s.s);
    const score = `${own ? "score" : `largest score, ${classes[measures[k].name].title},`} ${number(measured(layer, head, k), error(layer, head, k))}`;
    const ablation = measures.findIndex((each) => each.name === "ablation_effect");
    const share = s.share(0, d.added[layer]), shown = number(measured(layer, head), error(layer, head));
    tell({
      summary: `${title}, ${own ? classes[own].title : "no class"}: ${score}, without repetition ` +
        `${number(d.unrepeated[at(layer, head, k)])}. Share of the response at Δj = T₀\u00a0−\u00a01, where the head adds it: ` +
        `${number(share)} ${strength}. With the head at its mean the logit difference changes by ` +
        `${number(measured(layer, head, ablation), error(layer, head, ablation))}.`,
      "measure-now": `${name}: ${shown}`,
      "map-at": measures[m].label + (m < SHARES ? "" : `, ${strength}`),
      "attention-at": name, "share-at": name, "share-strength": `ε = ${d.epsilon}`,
      "share-control": `Δj = ${d.compared[2]}`, "carried-at": `${name}, ${strength}`,
    });
    const label = { attention: "Attention by offset", share: "Share of the response along the positions",
      carried: "What the head carries of the response at the end, by distance and part" };
    for (const [panel, text] of Object.entries(label)) byId(panel).setAttribute("aria-label", `${text}. ${title}.`);
    byId("map").setAttribute("aria-label", `Map of heads, ${measures[m].label}. ${name}: ${shown}. Arrow keys move.`);
    controls.strength.options[1].text = `ε = ${d.epsilon}`;
  }

  // A key to the rings and a way to the heads. It stays as it is, so that a button keeps the focus.
  function listClasses(model, d) {
    const make = (tag, more) => Object.assign(document.createElement(tag), more);
    byId("classes").replaceChildren(...Object.entries(classes).map(([name, { title, symbol, colour }]) => {
      const row = make("p"), ring = make("span", { className: `ring ${symbol}` });
      ring.style.borderColor = colour;
      const buttons = d.classes[name].map(([l, h]) => {
        const button = make("button", { type: "button", textContent: `${l}.${h}` });
        button.dataset.explorer = new URLSearchParams({ layer: l, head: h });
        return button;
      });
      row.append(ring, `${title}: `, ...(buttons.length ? buttons : ["none"]));
      return row;
    }));
    listed = model;
  }

  function markChosen({ layer, head }) {
    for (const button of byId("classes").querySelectorAll("button")) {
      button.setAttribute("aria-pressed", button.textContent === `${layer}.${head}`);
    }
  }

  let listed = null;

  function draw(d) {
    const s = chosen(d);
    drawMap(s);
    drawAttention(s);
    drawShare(s);
    drawCarried(s);
    if (listed !== controls.model.value) listClasses(controls.model.value, d);
    markChosen(s);
    tellAll(s);
    onClick("map", ({ x, y }) => choose({ layer: y, head: x }));
  }

  // Controls: a model comes with its numbers of layers and heads, and with a head to start from.

  function fit(key) {
    if (key !== "model") return;
    const { layers, heads, start: strongest } = sizes[controls.model.value];
    for (const [name, n, first] of [["layer", layers, strongest[0]], ["head", heads, strongest[1]]]) {
      controls[name].replaceChildren(...count(n).map((k) => new Option(k, k, k === first, k === first)));
    }
  }

  const arrows = { ArrowUp: ["layer", 1], ArrowDown: ["layer", -1], ArrowRight: ["head", 1], ArrowLeft: ["head", -1] };
  byId("map").addEventListener("keydown", (event) => {
    const [name, step] = arrows[event.key] ?? [];
    if (!name || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const to = +controls[name].value + step;
    if (to >= 0 && to < controls[name].length) choose({ [name]: to });
  });

  controls.model.append(...Object.entries(models).map(([name, title]) => new Option(title, name)));
  for (const group of new Set(measures.map((each) => each.group))) {
    const options = measures.filter((each) => each.group === group).map(({ name, label }) => new Option(label, name));
    const together = Object.assign(document.createElement("optgroup"), { label: group });
    together.append(...options);
    controls.measure.append(together);
  }
  controls.measure.value = "induction";
  for (const [names, palette] of [["before same control", colours.compared], ["values pattern both", colours.parts]]) {
    names.split(" ").forEach((name, k) => { root.querySelector(`.key.${name}`).style.background = palette[k]; });
  }
  fit("model");
  const choose = start(controls, draw, fit);
})();
