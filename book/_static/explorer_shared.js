// What the explorers have in common: data loaded when it is needed, panels in the colours of the
// page, controls whose choice the address keeps. Added to EXPLORER, which an index script makes.
"use strict";
Object.assign(window.EXPLORER, (() => {
  const here = document.currentScript.src;
  const { scripts, packed, layouts, data } = window.EXPLORER;
  const byId = (name) => document.getElementById(`explorer-${name}`);
  const root = byId("root");

  // Data: a script for each model, loaded when it is chosen.

  async function load(model) {
    const file = `${scripts}-${model}.js`;
    if (!data[model]) {
      await new Promise((onload, fail) => {
        const onerror = () => fail(new Error(`${file} did not load`));
        const src = new URL(file, here);
        document.head.append(Object.assign(document.createElement("script"), { src, onload, onerror }));
      });
    }
    const d = data[model];
    for (const name of packed) {
      if (typeof d[name] === "string") d[name] = await unpack(d[name]);
    }
    return d;
  }

  async function unpack(text) { // explorer.pack backwards
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const b = new Uint8Array(await new Response(stream).arrayBuffer());
    const n = b.length / 4;
    const words = Uint32Array.from({ length: n }, (_, k) =>
      (b[k] << 24) | (b[n + k] << 16) | (b[2 * n + k] << 8) | b[3 * n + k]);
    return new Float32Array(words.buffer);
  }

  // Panels

  function show(panel, traces, x, y, more) {
    const look = structuredClone(layouts[panel]), { fontFamily: family, color } = getComputedStyle(root);
    Object.assign(look.font, { family, color });
    Object.assign(look.xaxis, x);
    Object.assign(look.yaxis, y);
    Plotly.react(byId(panel), traces, { ...look, ...more }, { responsive: true, displayModeBar: false });
  }

  const withError = (value, error) =>
    value.toPrecision(4) + (error > 0 ? ` ± ${error.toPrecision(2)}` : "");

  const isDark = () => document.documentElement.dataset.theme === "dark";

  let scrolled = 0; // A finger that scrolls the page across a panel selects nothing.
  root.addEventListener("pointerdown", () => { scrolled = scrollY; }, { capture: true });

  function onClick(panel, pick) { // of a panel that has been drawn
    byId(panel).removeAllListeners("plotly_click");
    byId(panel).on("plotly_click", ({ points }) => scrollY === scrolled && pick(points[0]));
  }

  function tell(words) { // by id, texts of the page
    for (const [id, text] of Object.entries(words)) byId(id).textContent = text;
  }

  // Controls. The page is drawn at most once a frame.

  function start(controls, draw, fit = () => {}) { // fit: called with the key of what has changed
    let waiting = null;

    async function drawAll() {
      const model = controls.model.value, d = await load(model);
      if (controls.model.value !== model) return; // another was chosen meanwhile
      draw(d);
      const choice = Object.entries(controls).map(([key, { value }]) => [key, value]);
      history.replaceState(null, "", `#${new URLSearchParams(choice)}`);
    }

    function redraw() {
      root.setAttribute("aria-busy", true);
      waiting ??= requestAnimationFrame(async () => {
        waiting = null;
        await drawAll().catch((error) => tell({ summary: `The explorer cannot be shown: ${error.message}.` }));
        root.setAttribute("aria-busy", waiting !== null);
      });
    }

    function choose(state) {
      for (const [key, control] of Object.entries(controls)) {
        if (!(key in state)) continue;
        if (control.type === "range") control.max = 999; // that of the model comes with its data
        control.value = state[key];
        if (control.selectedIndex === -1) control.selectedIndex = 0; // no such choice
        fit(key);
      }
      redraw();
    }

    const parsed = (text) => Object.fromEntries(new URLSearchParams(text));
    const fromAddress = () => choose(parsed(location.hash.slice(1)));
    root.addEventListener("input", ({ target }) => {
      fit(Object.keys(controls).find((key) => controls[key] === target));
      redraw();
    });
    document.addEventListener("click", ({ target }) => {
      if (target.dataset.explorer) choose(parsed(target.dataset.explorer));
    });
    window.addEventListener("hashchange", fromAddress);
    new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    fromAddress();
    return choose;
  }

  const controlsOf = (keys) => Object.fromEntries(keys.map((key) => [key, byId(key)]));

  return { byId, root, show, withError, isDark, onClick, tell, controlsOf, start };
})());
