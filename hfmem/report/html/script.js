// The table of models, the fit matrix, and what sorts and filters both.
const data = JSON.parse(document.getElementById("data").textContent);
const RANK = { fits: 0, tight: 1, offload: 2, no: 3 };
const PAGE = 100, MORE = 1000;
const NARROW = matchMedia("(max-width: 1100px)");
const $ = (id) => document.getElementById(id);
const models = data.models;
models.forEach((model, at) => {
  model.at = at;
  model.key = model.name.toLowerCase();
  model.words = [model.key, model.type, model.dtype, ...Object.values(model.input)].join("\n").toLowerCase();
});
const state = { text: "", gpu: -1, verdict: "", sort: "at", up: true, shown: PAGE, own: false, open: new Set(), largest: 1 };

const verdictOf = (fit) => fit?.verdict || "unknown";
const ofGpu = (gpu, at) => ({ key: `gpu${at}`, title: gpu.name, gpu: at, value: (m) => RANK[m.fit[at]?.verdict] ?? 9 });
const COLUMNS = [
  { key: "name", title: "model", value: (m) => m.key },
  { key: "dtype", title: "dtype", kind: "wide fact", value: (m) => m.dtype },
  { key: "parameters", title: "parameters", number: true, kind: "wide fact", value: (m) => m.parameters ?? -1 },
  { key: "bar", title: "memory" },
  // Beside verdicts there is room for two parts; the bar and the details tell all four.
  ...PARTS.slice(0, data.named ? 2 : 4).map((part, at) => ({ key: part, title: LABELS[part], number: true, kind: "wide part", value: (m) => m.parts[at] ?? -1 })),
  { key: "total", title: "total", number: true, kind: "total", value: (m) => m.low },
  ...data.gpus.slice(0, data.named ? 2 : 0).map((gpu, at) => ({ ...ofGpu(gpu, at), kind: "wide" })),
];
const SORTS = [
  { key: "at", title: "as listed", value: (m) => m.at },
  ...COLUMNS.filter((column) => column.value && column.gpu === undefined),
  ...data.gpus.map(ofGpu),
];

const chosen = () => {
  const found = models.filter((model) =>
    (!state.text || model.words.includes(state.text)) &&
    (!state.verdict || verdicts(model).some((verdict) =>
      state.verdict === "any" ? verdict === "fits" || verdict === "tight" : verdict === state.verdict)));
  const { value } = SORTS.find((one) => one.key === state.sort);
  return found.sort((left, right) => {
    const a = value(left), b = value(right);
    return (a < b ? -1 : a > b ? 1 : left.at - right.at) * (state.up ? 1 : -1);
  });
};
const verdicts = (model) => (state.gpu < 0 ? model.fit : model.fit.slice(state.gpu, state.gpu + 1)).map(verdictOf);

const badge = (fit) => {
  const verdict = verdictOf(fit);
  const node = make("span", { class: `verdict ${verdict}` }, verdict);
  if (fit && fit.headroom !== null) {
    node.title = `headroom ${size(fit.headroom)}, context up to ${known(fit.max_ctx)}, batch up to ${known(fit.max_batch)}`;
  }
  return node;
};

const bar = (model) => {
  const node = make("div", { class: "bar", role: "img" });
  const whole = state.own ? Math.max(1, model.low) : state.largest;
  const said = [];
  PARTS.forEach((part, at) => {
    const share = (model.parts[at] || 0) / whole;
    if (share > 0) {
      // A gap between slivers would be all that is seen of them.
      const piece = make("i", { class: share > 0.03 ? `${part} apart` : part });
      piece.style.width = `${100 * share}%`;
      node.append(piece);
    }
    said.push(`${LABELS[part]} ${size(model.parts[at])}`);
  });
  node.title = said.join("\n");
  node.setAttribute("aria-label", said.join(", "));
  return node;
};

const classes = (column) => [column.number && "number", column.kind].filter(Boolean).join(" ");

const row = (model) => {
  const open = make("button", { class: "name", "aria-expanded": "false", on: ["click", () => toggle(model, line, open)] }, make("span", {}, ...breakable(model.name)));
  // Anywhere on the line, unless words are being marked for copying; the button has its own click.
  const line = make("tr", { class: "line", on: ["click", (event) => {
    if (!open.contains(event.target) && !String(getSelection())) toggle(model, line, open);
  }] }, make("th", { scope: "row" }, open, make("span", { class: "kind", title: model.type }, model.type)));
  for (const column of COLUMNS.slice(1)) {
    const cell = make("td", { class: classes(column) });
    if (column.key === "bar") cell.append(bar(model));
    else if (column.gpu !== undefined) cell.append(badge(model.fit[column.gpu]));
    else if (column.key === "dtype") cell.append(model.dtype);
    else if (column.key === "parameters") cell.append(count(model.parameters));
    else if (column.key === "total") cell.append(model.total === null ? `> ${size(model.low)}` : size(model.total));
    else cell.append(size(model.parts[PARTS.indexOf(column.key)]));
    line.append(cell);
  }
  if (state.open.has(model)) expand(model, line, open);
  return line;
};

const expand = (model, line, button) => {
  button.setAttribute("aria-expanded", "true");
  const cell = make("td", { colspan: COLUMNS.length }, details(model));
  line.more = make("tr", { class: "more" }, cell);
  line.after(line.more);
};

const toggle = (model, line, button) => {
  if (state.open.delete(model)) {
    button.setAttribute("aria-expanded", "false");
    line.more.remove();
    return;
  }
  state.open.add(model);
  expand(model, line, button);
};

const details = (model) => {
  const box = make("div", { class: "inside" });
  const left = make("div"), right = make("div");
  if (model.curve.length > 1) {
    left.append(make("h3", {}, `memory against context${model.fit.length ? ", with the limits of the cards" : ""}`), chart(model, data.gpus, NARROW.matches));
  }
  if (model.fit.length) left.append(make("h3", {}, "where it fits"), fits(model));
  const facts = make("dl");
  const fact = (name, value, part) => {
    if (!value) return;
    facts.append(make("dt", {}, ...(part ? [make("i", { class: part })] : []), name), make("dd", {}, ...breakable(value)));
  };
  fact("total", model.total === null ? `at least ${size(model.low)}` : size(model.total));
  if (model.range && model.range[1] !== null) fact("range", `${size(model.range[0])} to ${size(model.range[1])}`);
  PARTS.forEach((part, at) => fact(LABELS[part], size(model.parts[at]), part));
  fact("largest instant", model.phase);
  fact("parameters", count(model.parameters));
  fact("dtype", model.dtype);
  fact("one more token", model.per_token === null ? "" : size(model.per_token));
  fact("context", `${grouped(model.ctx)} of ${known(model.max_context)} tokens`);
  fact("class", model.type);
  fact("commit", model.revision);
  fact("source", model.source);
  for (const [name, value] of Object.entries(model.input)) fact(name, value);
  right.append(make("h3", {}, "the figures"), facts);
  if (model.notes.length) {
    right.append(make("h3", {}, "notes"), make("ul", { class: "notes" }, ...model.notes.map((at) => make("li", {}, data.notes[at]))));
  }
  box.append(...(left.firstChild ? [left] : []), right);
  return box;
};

const fits = (model) => {
  const cell = (text, more = "") => make("td", { class: `number${more}` }, text);
  const heads = [["gpu", ""], ["verdict", ""], ["limit", "number wide"], ["headroom", "number"], ["max ctx", "number"], ["max batch", "number"]];
  return make("div", { class: "inner" }, make("table", { class: "fit" },
    make("thead", {}, make("tr", {}, ...heads.map(([head, kind]) => make("th", { scope: "col", class: kind }, head)))),
    make("tbody", {}, ...data.gpus.map((gpu, at) => {
      const fit = model.fit[at];
      return make("tr", {}, make("th", { scope: "row" }, gpu.name), make("td", {}, badge(fit)),
        cell(size(fit?.usable), " wide"), cell(size(fit?.headroom)), cell(known(fit?.max_ctx)), cell(known(fit?.max_batch)));
    }))));
};

const draw = () => {
  const found = chosen();
  const shown = found.slice(0, state.shown);
  state.largest = Math.max(1, ...found.map((model) => model.low));
  const lines = shown.map(row);
  $("rows").replaceChildren(...lines.flatMap((line) => (line.more ? [line, line.more] : [line])));
  $("none").hidden = found.length > 0;
  $("shown").textContent = found.length === models.length ? plural(models.length) : `${grouped(found.length)} of ${plural(models.length)}`;
  const rest = found.length - shown.length;
  $("rest").hidden = rest <= 0;
  $("rest").firstElementChild.textContent = rest > MORE ? `Show ${grouped(MORE)} more` : `Show all ${grouped(found.length)}`;
  document.querySelectorAll("th[data-key]").forEach((head) => {
    if (head.dataset.key === state.sort) head.setAttribute("aria-sort", state.up ? "ascending" : "descending");
    else head.removeAttribute("aria-sort");
  });
  $("sort").value = state.sort;
  if ($("matrix")) {
    $("fitted").textContent = rest > 0 ? `the first ${grouped(shown.length)} of those above` : "the models that are shown above";
    $("matrix").replaceChildren(...shown.map((model) => make("tr", {}, make("th", { scope: "row" }, ...breakable(model.name)),
      ...data.gpus.map((_, at) => make("td", {}, badge(model.fit[at]))))));
    $("unfit").hidden = found.length > 0;
  }
};
const plural = (number) => `${grouped(number)} ${number === 1 ? "model" : "models"}`;

// Numbers are sorted largest first, words from the start of the alphabet.
const sortBy = (key, up) => {
  Object.assign(state, { sort: key, up: up ?? !SORTS.find((one) => one.key === key).number });
  draw();
};
const heading = (column) => {
  const head = make("th", { scope: "col", class: classes(column) });
  if (!column.value) { head.append(make("span", {}, column.title)); return head; }
  head.dataset.key = column.key;
  // Paper gets the words alone: of a heading that is repeated Chromium prints no button.
  head.append(make("span", { class: "paper", "aria-hidden": "true" }, column.title), make("button", { on: ["click", () => {
    sortBy(column.key, state.sort === column.key ? !state.up : undefined);
  }] }, column.title));
  return head;
};

const middle = (numbers) => numbers.sort((a, b) => a - b)[numbers.length >> 1];
if (models.length) {
  $("heads").append(...COLUMNS.map(heading));
  $("fitheads")?.append(...[COLUMNS[0], ...data.gpus.map(ofGpu)].map(heading));
  $("sort").append(...SORTS.map((column) => make("option", { value: column.key }, column.key === "at" ? column.title : `by ${column.title}`)));
  $("sort").addEventListener("change", () => sortBy($("sort").value));
  // Beside one giant the bars of the others could not be seen.
  state.own = Math.max(...models.map((model) => model.low)) > 30 * middle(models.map((model) => model.low));
  $("scale").value = state.own ? "own" : "common";
  const listen = (id, event, change) => $(id)?.addEventListener(event, () => { change($(id)); state.shown = PAGE; draw(); });
  listen("text", "input", (node) => { state.text = node.value.trim().toLowerCase(); });
  listen("gpu", "change", (node) => { state.gpu = Number(node.value); });
  listen("verdict", "change", (node) => { state.verdict = node.value; });
  listen("scale", "change", (node) => { state.own = node.value === "own"; });
  const all = () => { state.shown = Infinity; draw(); };
  $("rest").firstElementChild.addEventListener("click", () => {
    const next = state.shown;
    state.shown += MORE;
    draw();
    document.querySelectorAll("#rows .name")[next]?.focus();
  });
  window.addEventListener("beforeprint", all);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/" && !/INPUT|SELECT|TEXTAREA/.test(event.target.tagName)) { event.preventDefault(); $("text").focus(); }
    if (event.key === "Escape" && event.target === $("text")) { $("text").value = ""; state.text = ""; draw(); }
  });
  // Of one model there is nothing to look for, and everything to see.
  if (models.length === 1) {
    state.open.add(models[0]);
    document.querySelector(".tools").hidden = true;
  }
  draw();
}
$("theme").hidden = false;
$("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme === "dark" || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "light" : "dark";
});
