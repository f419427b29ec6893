// Glue between the controls of book/explorer.md, the scripts written by universal_response.explorer
// (EXPLORER) and Plotly. The numbers are those of the results files.
"use strict";
(() => {
  const { models, metrics, colours, layouts } = window.EXPLORER;
  const { byId, root, show, withError, isDark, onClick, tell, controlsOf, start } = window.EXPLORER;
  const controls = controlsOf(["model", "metric", "epsilon", "position", "view", "scale"]);

  // What the controls say.

  function chosen(d) {
    controls.epsilon.max = d.epsilon.length - 1; // moves a slider that stands beyond
    controls.position.max = d.position.length - 1;
    const [e, l] = [+controls.epsilon.value, +controls.position.value];
    const m = d.metric.indexOf(controls.metric.value), metric = metrics[d.metric[m]];
    const t = d.distances.all.length, view = controls.view.value, cosine = metric.power === 0;
    const row = (name, position = l, strength = e) => {
      const start = ((m * d.epsilon.length + strength) * d.position.length + position) * t;
      return d[name] ? d[name].subarray(start, start + t) : new Float32Array(t);
    };
    const divided = controls.scale.value === "divided" && !cosine;
    const unit = (strength) => (divided ? (d.epsilon[strength] / d.epsilon0) ** metric.power : 1);
    return { d, m, e, l, t, metric, row, cosine, divided, unit, view, dj: d.distances[view] };
  }

  function hover({ row, unit, e }, l, dj, divisor = 1) {
    const [value, error] = ["response", "error"].map((name) => row(name, l)[dj]);
    return withError(value / divisor, error / divisor);
  }

  // Panels

  const paler = (hex, share) => // mixed with white
    `#${[1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)).map((part) =>
      Math.round(part + share * (255 - part)).toString(16).padStart(2, "0")).join("")}`;

  const ends = (s) => ({ range: [s.dj[0] - 0.5, s.dj.at(-1) + 0.5], dtick: s.view === "near" ? 2 : 16 });

  function drawCurve(s) {
    const { d, e, l, dj, cosine, metric } = s;
    const values = (name, k) => dj.map((j) => s.row(name, l, k)[j] / s.unit(k));
    const curves = d.epsilon.map((_, k) => values("response", k));
    const y = curves[e], error = values("error", e).map((x) => x || 0);
    const upper = y.map((c, k) => c + error[k]);
    const lower = y.map((c, k) => (cosine ? c - error[k] : Math.max(c - error[k], c / 1000)));
    const all = [...curves.flat(), ...upper].filter((c) => cosine || c > 0);
    const [low, high] = [Math.min(...all), Math.max(...all)].map((c) => (cosine ? c : Math.log10(c)));
    const range = [low - 0.05 * (high - low), high + 0.05 * (high - low)];
    const dark = isDark(), colour = colours.response[dark ? "dark" : "light"];
    // On black the dark end of the colours would vanish.
    const thin = d.strengthColours.map((c, k) =>
      (dark ? paler(c, 0.5 * (1 - k / d.strengthColours.length)) : c));
    const plain = { x: dj, mode: "lines", hoverinfo: "skip" };
    const area = (name, from, to, fillcolor) => [from, to].map((edge, k) =>
      ({ ...plain, name, y: edge, line: { width: 0 }, ...(k && { fill: "tonexty", fillcolor }) }));
    show("curve", [
      ...curves.map((curve, k) =>
        ({ ...plain, name: `ε = ${d.epsilon[k]}`, y: curve, opacity: dark ? 0.9 : 0.6, line: { width: 1, color: thin[k] } })),
      ...area("standard error", lower, upper, `${colour}60`),
      { ...plain, name: "response", y, line: { width: 2, color: colour }, hoverinfo: "text",
        text: dj.map((j) => hover(s, l, j, s.unit(e))), hovertemplate: "%{text}<extra></extra>" },
    ], ends(s), {
      range, ...(cosine || { type: "log", dtick: range[1] - range[0] > 2 ? 1 : "D2", exponentformat: "power" }),
      title: { text: `C̄<sub>${metric.symbol}</sub>` + (s.divided ? ` / (ε/ε<sub>0</sub>)${metric.power > 1 ? "²" : ""}` : "") },
    }, { annotations: d.marks.names, shapes: d.marks.lines });
  }

  const frame = ({ l }) => // around the row of the chosen position
    [{ type: "rect", xref: "paper", x0: 0, x1: 1, y0: l - 0.5, y1: l + 0.5, line: { color: colours.accent, width: 2.5 } }];

  function drawMap(s) {
    const { d, dj, cosine } = s, ratio = s.view === "near" && !cosine;
    const z = d.position.map((_, l) => {
      const values = s.row("response", l);
      const largest = ratio ? Math.max(...dj.map((j) => values[j])) : 1;
      return dj.map((j) => (values[j] === 0 ? null : values[j] / largest));
    });
    const text = z.map((_, l) => dj.map((j) => `ℓ = ${l}, Δj = ${j}<br>${hover(s, l, j)}`));
    show("map", [heat(s, z, text, dj, ratio, "C̄")], ends(s), { range: [-0.5, z.length - 0.5] },
      { annotations: d.marks.names, shapes: frame(s), plot_bgcolor: colours.empty });
  }

  function drawMatrix(s) {
    const { d, m, t } = s, tokens = d.distances.all;
    const z = tokens.map((i) => tokens.map((j) => (j < i ? null : d.matrix[(m * t + i) * t + j])));
    const text = z.map((row, i) => row.map((c, j) => c === null ? "no response: j < i"
      : `i = ${i}, j = ${j}, Δj = ${j - i}<br>${withError(c)}`));
    const axis = { dtick: 32, constrain: "domain" };
    show("matrix", [heat(s, z, text, tokens, false, "C")], { ...axis, range: [-0.5, t - 0.5] },
      { ...axis, range: [t - 0.5, -0.5], scaleanchor: "x" }, { annotations: d.marks.diagonal });
  }

  function heat({ metric, cosine }, z, text, x, ratio, name) {
    const log = !cosine && !ratio;
    const drawn = log ? z.map((row) => row.map((c) => (c > 0 ? Math.log10(c) : null))) : z;
    // The faint first positions would take most of the colours: a few per cent share the last ones.
    const sorted = drawn.flat().filter((c) => c !== null).map((c) => (cosine ? Math.abs(c) : c)).sort((p, q) => p - q);
    const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
    const [zmin, zmax] = cosine ? [-at(0.97), at(0.97)] : ratio ? [0, 1] : [at(0.06), at(0.998)];
    const wide = zmax - zmin > 2.5, powers = Array.from({ length: 41 }, (_, k) => (wide ? k - 40 : k / 2 - 20));
    const named = (p) => (wide ? `10<sup>${p}</sup>` : `${+(10 ** p).toPrecision(1)}`);
    const title = { text: `${name}<sub>${metric.symbol}</sub>${ratio ? " / largest of the row" : ""}`, side: "top" };
    const ticks = log && { tickvals: powers, ticktext: powers.map(named) };
    return { type: "heatmap", x, z: drawn, text, hovertemplate: "%{text}<extra></extra>", zmin, zmax,
      colorscale: metric.colours, colorbar: { ...layouts.colorbar, title, ...ticks } };
  }

  // The same in words

  function tellAll(s) {
    const { d, m, e, l } = s;
    const what = `${models[controls.model.value]}, ${d.metric[m]}`, strength = `ε = ${d.epsilon[e]}`;
    const values = s.row("response");
    const peak = d.distances.near.reduce((best, j) => (values[j] > values[best] ? j : best));
    const place = { [d.t0]: " = T₀", [d.t0 - 1]: " = T₀\u00a0−\u00a01" }[peak] ?? "";
    const largest = `largest near T₀ at Δj = ${peak}${place}, ${hover(s, l, peak)}`;
    const words = {
      summary: `${what}, ${strength}, ℓ = ${l} (${d.position[l]}): ${values[peak] ? largest : "no response near T₀"}.`,
      "epsilon-now": `${d.epsilon[e]}`, "position-now": `${l}, ${d.position[l]}`,
      "curve-at": `${strength}, ℓ = ${l}`, "map-at": strength,
      "matrix-at": `ℓ = 2L = ${d.position.length - 1}, ε₀ = ${d.epsilon0}`,
    };
    tell(words);
    for (const key of ["epsilon", "position"]) controls[key].setAttribute("aria-valuetext", words[`${key}-now`]);
    byId("curve").setAttribute("aria-label", `Response function. ${words.summary}`);
    byId("map").setAttribute("aria-label", `Response against distance and position. ${what}, ${strength}.`);
    byId("matrix").setAttribute("aria-label", `Response matrix. ${what}, ${words["matrix-at"]}.`);
    controls.scale.disabled = s.cosine;
  }

  // Drawing, only what has changed.

  const before = {};
  const changed = (panel, ...causes) => before[panel] !== (before[panel] = String(causes));

  function draw(d) {
    const s = chosen(d), { color } = getComputedStyle(root), model = controls.model.value;
    drawCurve(s);
    if (changed("map", model, s.m, s.e, s.view, color)) {
      drawMap(s);
      onClick("map", ({ y }) => choose({ position: y }));
    } else Plotly.relayout(byId("map"), { shapes: frame(s) });
    if (changed("matrix", model, s.m, color)) drawMatrix(s);
    tellAll(s);
  }

  controls.model.append(...Object.entries(models).map(([name, title]) => new Option(title, name)));
  controls.metric.append(...Object.entries(metrics).map(([name, { label }]) => new Option(label, name)));
  const choose = start(controls, draw);
})();
