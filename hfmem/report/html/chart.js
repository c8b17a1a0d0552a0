// Memory against context: the four parts stacked, the context that was asked for, the cards' limits.
const LINE = 14, LETTER = 6.9;
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

const chart = (model, gpus, narrow) => {
  const points = model.curve;
  const limits = gpus.map((gpu, at) => ({ name: gpu.name, bytes: model.fit[at]?.usable }))
    .filter((one) => one.bytes).sort((a, b) => a.bytes - b.bytes);
  const peak = Math.max(...points.map((point) => point.slice(1).reduce((a, b) => a + b, 0)));
  // The first limit above the curve is shown, unless it would flatten the curve.
  const above = limits.map((one) => one.bytes).find((bytes) => bytes >= peak);
  const top = Math.max(peak, above && above < peak * 4 ? above : 0) * 1.06;
  const inside = limits.filter((one) => one.bytes <= top);
  const longest = Math.max(0, ...inside.map((one) => one.name.length));
  const W = narrow ? 340 : 620, H = narrow ? 240 : 280, L = 66, T = 22, B = 26;
  const R = longest ? Math.min(22 + longest * LETTER, W * 0.34) : 16;
  const first = Math.log2(points[0][0]), last = Math.log2(points[points.length - 1][0]);
  const x = (ctx) => L + (Math.log2(ctx) - first) / (last - first) * (W - L - R);
  const y = (bytes) => H - B - bytes / top * (H - T - B);
  const svg = drawn("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `memory of ${model.name} against context` });
  areas(svg, points, x, y);
  ticks(svg, top, y, L, W - R);
  contexts(svg, points.map((point) => point[0]), x, H - B + 18);
  const here = x(model.ctx), anchor = here < L + 40 ? "start" : here > W - R - 40 ? "end" : "middle";
  svg.append(drawn("line", { class: "here", x1: here, x2: here, y1: T - 6, y2: H - B }));
  svg.append(drawn("text", { x: here, y: T - 10, "text-anchor": anchor }, `at ${tokens(model.ctx)}`));
  cards(svg, inside, y, L, W - R, T, Math.floor((R - 14) / LETTER));
  const box = make("div", {}, svg);
  const rest = limits.filter((one) => one.bytes > top);
  if (rest.length) {
    const named = rest.slice(0, 3).map((one) => `${one.name} ${size(one.bytes)}`).join(", ");
    box.append(make("p", { class: "faint above" }, `Limits above the chart: ${named}${rest.length > 3 ? ` and ${rest.length - 3} more` : ""}`));
  }
  return box;
};

const areas = (svg, points, x, y) => {
  const outline = (heights) => points.map((point, at) => `${x(point[0]).toFixed(1)},${y(heights[at]).toFixed(1)}`);
  let floor = points.map(() => 0);
  PARTS.forEach((part, at) => {
    const roof = points.map((point, number) => floor[number] + point[at + 1]);
    svg.append(drawn("polygon", { class: part, points: [...outline(roof), ...outline(floor).reverse()].join(" ") }));
    floor = roof;
  });
};

// Lines at 1, 2 or 5 times a power of ten, in the unit of the largest: three at least, seven at most.
const ticks = (svg, top, y, left, right) => {
  const scale = UNITS.findLastIndex((_, at) => at === 0 || top >= 2 * 1024 ** at);
  const unit = 1024 ** scale, suffix = UNITS[scale];
  const most = top / unit / 3, power = 10 ** Math.floor(Math.log10(most));
  const step = [5, 2, 1].find((one) => one * power <= most) * power;
  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  for (let number = 0; number * step * unit <= top; number += 1) {
    const height = y(number * step * unit);
    svg.append(drawn("line", { class: "axis", x1: left, x2: right, y1: height, y2: height, opacity: number ? 0.45 : 1 }));
    svg.append(drawn("text", { x: left - 8, y: height + 4, "text-anchor": "end" }, number ? `${grouped(number * step, digits)} ${suffix}` : "0"));
  }
};

// The first and the last are always named, of the others those that have room.
const contexts = (svg, found, x, height) => {
  const room = 36, last = found[found.length - 1];
  let taken = -Infinity;
  for (const ctx of found) {
    const clear = x(last) - x(ctx) >= room || ctx === last;
    if (x(ctx) - taken < room || !clear) continue;
    taken = x(ctx);
    svg.append(drawn("text", { x: taken, y: height, "text-anchor": "middle" }, tokens(ctx)));
  }
};

// From the smallest up, so that names that would meet move upwards.
const cards = (svg, limits, y, left, right, ceiling, letters) => {
  let taken = Infinity;
  for (const limit of limits) {
    const height = y(limit.bytes), label = Math.min(height, taken - LINE);
    svg.append(drawn("line", { class: "limit", x1: left, x2: right, y1: height, y2: height }));
    if (label < ceiling - 6) continue;
    taken = label;
    svg.append(drawn("path", { class: "limit", d: `M${right} ${height}L${right + 8} ${label}`, fill: "none" }));
    svg.append(drawn("text", { x: right + 12, y: label + 4 }, limit.name.length > letters ? `${limit.name.slice(0, letters - 1)}…` : limit.name));
  }
};
