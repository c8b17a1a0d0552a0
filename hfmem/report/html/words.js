"use strict";
// Numbers in words, and elements whose every text is set as text: names and notes are strangers'.
const PARTS = ["weights", "kv_cache", "activations", "overhead"];
const LABELS = { weights: "weights", kv_cache: "KV cache", activations: "activations", overhead: "overhead" };

const make = (tag, attributes, ...children) => {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key === "on") node.addEventListener(...value); else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
};
const drawn = (tag, attributes, text) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
};
// A long name breaks behind a slash, an underscore or a dot, a class before what it is for, and only
// then within a word.
const breakable = (text) =>
  text.split(/(?<=[/_.:])(?! )|(?=For[A-Z])/).flatMap((piece, at) => (at ? [document.createElement("wbr"), piece] : [piece]));

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
const known = (number) => (number === null || number === undefined ? "unknown" : grouped(number));
const tokens = (number) => (number >= 1024 && number % 1024 === 0 ? `${grouped(number / 1024)}k` : grouped(number));
