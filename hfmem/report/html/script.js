"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const PARTS = ["weights", "kv_cache", "activations", "overhead"];
  const LABELS = { weights: "weights", kv_cache: "KV cache", activations: "activations", overhead: "overhead" };
  const RANK = { fits: 0, tight: 1, offload: 2, no: 3 };
  const PAGE = 100;
  const $ = (id) => document.getElementById(id);
  const models = data.models;
  models.forEach((model, at) => { model.at = at; model.key = model.name.toLowerCase(); });
  const largest = Math.max(1, ...models.map((model) => model.low));
  const state = { text: "", gpu: -1, verdict: "", sort: "at", up: true, shown: PAGE, own: false };

  // Every text is set as text: names and notes are strangers'.
  const make = (tag, attributes, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name === "on") node.addEventListener(...value); else node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  };
  const drawn = (tag, attributes, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const grouped = (number, digits = 0) =>
    number.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const size = (bytes) => {
    if (bytes === null || bytes === undefined) return "unknown";
    const gib = bytes / 2 ** 30, amount = Math.abs(bytes);
    if (amount < 1024) return `${bytes} B`;
    if (amount < 2 ** 20) return `${grouped(bytes / 1024, 1)} KiB`;
    if (Math.abs(gib) < 0.1) return `${grouped(bytes / 2 ** 20, 1)} MiB`;
    return `${grouped(gib, Math.abs(gib) < 1000 ? 2 : 1)} GiB`;
  };
  const count = (number) => {
    if (number === null) return "unknown";
    for (const [scale, suffix] of [[1e12, " T"], [1e9, " B"], [1e6, " M"], [1e3, " K"]]) {
      if (number >= scale) return (number / scale).toFixed(2) + suffix;
    }
    return String(number);
  };
  const tokens = (number) => number >= 1024 && number % 1024 === 0 ? `${grouped(number / 1024)}k` : grouped(number);

  const COLUMNS = [
    { key: "name", title: "model", value: (m) => m.key },
    { key: "dtype", title: "dtype", wide: true, value: (m) => m.dtype },
    { key: "parameters", title: "parameters", number: true, wide: true, value: (m) => m.parameters ?? -1 },
    { key: "bar", title: "memory" },
    // Beside verdicts there is room for two parts; the bar and the details tell all four.
    ...PARTS.slice(0, data.named ? 2 : 4).map((part, at) => ({ key: part, title: LABELS[part], number: true, wide: true, value: (m) => m.parts[at] ?? -1 })),
    { key: "total", title: "total", number: true, value: (m) => m.low },
    ...data.gpus.slice(0, data.named ? 2 : 0).map((gpu, at) => (
      { key: `gpu${at}`, title: gpu.name, gpu: at, wide: true, value: (m) => RANK[m.fit[at]?.verdict] ?? 9 })),
  ];

  const chosen = () => {
    const found = models.filter((model) =>
      (!state.text || model.key.includes(state.text) || model.type.toLowerCase().includes(state.text)) &&
      (!state.verdict || verdicts(model).some((verdict) =>
        state.verdict === "any" ? verdict === "fits" || verdict === "tight" : verdict === state.verdict)));
    const column = COLUMNS.find((one) => one.key === state.sort);
    const value = column ? column.value : (model) => model.at;
    return found.sort((left, right) => {
      const a = value(left), b = value(right);
      return (a < b ? -1 : a > b ? 1 : left.at - right.at) * (state.up ? 1 : -1);
    });
  };
  const verdicts = (model) => (state.gpu < 0 ? model.fit : model.fit.slice(state.gpu, state.gpu + 1)).map((fit) => fit.verdict);

  const badge = (fit) => {
    const verdict = fit?.verdict || "unknown";
    const node = make("span", { class: `verdict ${verdict}` }, verdict);
    if (fit && fit.headroom !== null) {
      node.title = `headroom ${size(fit.headroom)}, context up to ${fit.max_ctx === null ? "unknown" : grouped(fit.max_ctx)}, batch up to ${fit.max_batch === null ? "unknown" : grouped(fit.max_batch)}`;
    }
    return node;
  };

  const bar = (model) => {
    const node = make("div", { class: "bar", role: "img" });
    const whole = state.own ? Math.max(1, model.low) : largest;
    const said = [];
    PARTS.forEach((part, at) => {
      const amount = model.parts[at] || 0;
      if (amount) {
        const piece = make("i", { class: part });
        piece.style.width = `${100 * amount / whole}%`;
        node.append(piece);
      }
      said.push(`${LABELS[part]} ${size(model.parts[at])}`);
    });
    node.title = said.join("\n");
    node.setAttribute("aria-label", said.join(", "));
    return node;
  };

  const row = (model) => {
    const open = make("button", { class: "name", "aria-expanded": "false", on: ["click", () => toggle(model, line, open)] }, model.name);
    // Anywhere on the line, unless words are being marked for copying; the button has its own click.
    const line = make("tr", { class: "line", on: ["click", (event) => {
      if (!open.contains(event.target) && !String(getSelection())) toggle(model, line, open);
    }] }, make("th", { scope: "row" }, open, make("span", { class: "kind" }, [model.type, model.revision].filter(Boolean).join(" · "))));
    for (const column of COLUMNS.slice(1)) {
      const cell = make("td", { class: [column.number && "number", column.wide && "wide", column.key === "total" && "total"].filter(Boolean).join(" ") });
      if (column.key === "bar") cell.append(bar(model));
      else if (column.gpu !== undefined) cell.append(badge(model.fit[column.gpu]));
      else if (column.key === "dtype") cell.append(model.dtype);
      else if (column.key === "parameters") cell.append(count(model.parameters));
      else if (column.key === "total") cell.append(model.total === null ? `> ${size(model.low)}` : size(model.total));
      else cell.append(size(model.parts[PARTS.indexOf(column.key)]));
      line.append(cell);
    }
    return line;
  };

  const toggle = (model, line, button) => {
    const open = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!open));
    if (open) { line.nextSibling.remove(); return; }
    const cell = make("td", { colspan: COLUMNS.length }, details(model));
    line.after(make("tr", { class: "more" }, cell));
  };

  const details = (model) => {
    const box = make("div", { class: "inside" });
    if (model.curve.length > 1) {
      box.append(make("div", {}, make("h3", {}, "memory against context, with the limits of the cards"), chart(model)));
    }
    const facts = make("dl");
    const fact = (name, value) => { if (value) facts.append(make("dt", {}, name), make("dd", {}, value)); };
    fact("total", model.total === null ? `at least ${size(model.low)}` : size(model.total));
    if (model.range && model.range[1] !== null) fact("range", `${size(model.range[0])} to ${size(model.range[1])}`);
    PARTS.forEach((part, at) => fact(LABELS[part], size(model.parts[at])));
    fact("largest instant", model.phase);
    fact("parameters", count(model.parameters));
    fact("one more token", model.per_token === null ? "" : size(model.per_token));
    fact("context", `${grouped(model.ctx)} of ${model.max_context === null ? "unknown" : grouped(model.max_context)} tokens`);
    fact("source", model.source);
    for (const [name, value] of Object.entries(model.input)) fact(name, value);
    const right = make("div", {}, make("h3", {}, "the figures"), facts);
    if (model.notes.length) {
      right.append(make("h3", {}, "notes"), make("ul", { class: "notes" }, ...model.notes.map((at) => make("li", {}, data.notes[at]))));
    }
    box.append(right);
    return box;
  };

  const chart = (model) => {
    const narrow = window.innerWidth < 720;
    const W = narrow ? 350 : 620, H = 260, L = 62, R = narrow ? 96 : 118, T = 12, B = 30;
    const points = model.curve;
    const sums = points.map((point) => point.slice(1).reduce((a, b) => a + b, 0));
    const limits = data.gpus.map((gpu, at) => ({ name: gpu.name, bytes: model.fit[at]?.usable })).filter((one) => one.bytes);
    const peak = Math.max(...sums);
    const above = limits.map((one) => one.bytes).filter((bytes) => bytes >= peak).sort((a, b) => a - b)[0];
    const top = Math.max(peak, above && above < peak * 4 ? above : 0) * 1.06;
    const first = Math.log2(points[0][0]), last = Math.log2(points[points.length - 1][0]);
    const x = (ctx) => L + (Math.log2(ctx) - first) / (last - first) * (W - L - R);
    const y = (bytes) => H - B - bytes / top * (H - T - B);
    const svg = drawn("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `memory of ${model.name} against context` });
    let floor = points.map(() => 0);
    PARTS.forEach((part, at) => {
      const roof = points.map((point, n) => floor[n] + point[at + 1]);
      const path = [...points.map((point, n) => `${x(point[0]).toFixed(1)},${y(roof[n]).toFixed(1)}`),
        ...points.map((point, n) => `${x(point[0]).toFixed(1)},${y(floor[n]).toFixed(1)}`).reverse()];
      svg.append(drawn("polygon", { class: part, points: path.join(" ") }));
      floor = roof;
    });
    // Ticks at 1, 2 or 5 times a power of ten in the unit of the largest.
    const unit = top >= 2 ** 30 ? 2 ** 30 : 2 ** 20;
    const rough = top / unit / 4, power = 10 ** Math.floor(Math.log10(rough));
    const step = ([1, 2, 5].find((one) => one * power >= rough) || 10) * power * unit;
    for (let bytes = 0; bytes <= top; bytes += step) {
      svg.append(drawn("line", { class: "axis", x1: L, x2: W - R, y1: y(bytes), y2: y(bytes), opacity: bytes ? .45 : 1 }));
      svg.append(drawn("text", { x: L - 8, y: y(bytes) + 4, "text-anchor": "end" }, bytes ? `${grouped(bytes / unit, step / unit < 1 ? 1 : 0)} ${unit === 2 ** 30 ? "GiB" : "MiB"}` : "0"));
    }
    let taken = -99;
    points.forEach((point) => {
      if (x(point[0]) - taken < 44) return;
      taken = x(point[0]);
      svg.append(drawn("text", { x: taken, y: H - B + 18, "text-anchor": "middle" }, tokens(point[0])));
    });
    svg.append(drawn("line", { class: "here", x1: x(model.ctx), x2: x(model.ctx), y1: T, y2: H - B }));
    let labelled = 1e9;
    for (const limit of limits.filter((one) => one.bytes <= top).sort((a, b) => a.bytes - b.bytes)) {
      svg.append(drawn("line", { class: "limit", x1: L, x2: W - R + 6, y1: y(limit.bytes), y2: y(limit.bytes) }));
      if (labelled - y(limit.bytes) < 13) continue;
      labelled = y(limit.bytes);
      svg.append(drawn("text", { x: W - R + 10, y: labelled + 4 }, limit.name));
    }
    return svg;
  };

  const draw = () => {
    const found = chosen();
    const shown = found.slice(0, state.shown);
    $("rows").replaceChildren(...shown.map(row));
    $("none").hidden = found.length > 0;
    $("shown").textContent = found.length === models.length ? `${grouped(models.length)} models` : `${grouped(found.length)} of ${grouped(models.length)} models`;
    const rest = found.length - shown.length;
    $("rest").hidden = rest <= 0;
    $("rest").firstElementChild.textContent = `Show all ${grouped(found.length)}`;
    document.querySelectorAll("#heads th").forEach((head) => {
      if (head.dataset.key === state.sort) head.setAttribute("aria-sort", state.up ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
    if ($("matrix")) {
      $("fitted").textContent = rest > 0 ? `the first ${grouped(shown.length)} of those above` : "the models that are shown above";
      $("matrix").replaceChildren(...shown.map((model) => make("tr", {}, make("th", { scope: "row" }, model.name),
        ...data.gpus.map((_, at) => make("td", {}, badge(model.fit[at]))))));
    }
  };

  const heads = COLUMNS.map((column) => {
    const head = make("th", { scope: "col", class: [column.number && "number", column.wide && "wide"].filter(Boolean).join(" ") });
    if (!column.value) { head.append(make("span", {}, column.title)); return head; }
    head.dataset.key = column.key;
    head.append(make("button", { on: ["click", () => {
      // Numbers are sorted largest first, words from the start of the alphabet.
      const up = state.sort === column.key ? !state.up : !column.number;
      Object.assign(state, { sort: column.key, up });
      draw();
    }] }, column.title));
    return head;
  });
  if (models.length) {
    $("heads").append(...heads);
    const listen = (id, event, change) => $(id)?.addEventListener(event, () => { change($(id)); state.shown = PAGE; draw(); });
    listen("text", "input", (node) => { state.text = node.value.trim().toLowerCase(); });
    listen("gpu", "change", (node) => { state.gpu = Number(node.value); });
    listen("verdict", "change", (node) => { state.verdict = node.value; });
    listen("scale", "change", (node) => { state.own = node.value === "own"; });
    const all = () => { state.shown = Infinity; draw(); };
    $("rest").firstElementChild.addEventListener("click", all);
    window.addEventListener("beforeprint", all);
    document.addEventListener("keydown", (event) => {
      if (event.key === "/" && !/INPUT|SELECT|TEXTAREA/.test(event.target.tagName)) { event.preventDefault(); $("text").focus(); }
      if (event.key === "Escape" && event.target === $("text")) { $("text").value = ""; state.text = ""; draw(); }
    });
    draw();
  }
  $("theme").hidden = false;
  $("theme").addEventListener("click", () => {
    const dark = document.documentElement.dataset.theme === "dark" || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
    document.documentElement.dataset.theme = dark ? "light" : "dark";
  });
})();
