// Elements are built from text nodes only: no text of a corpus is ever parsed as HTML.
function h(tag, attributes, ...children) {
  const svg = ["svg", "path", "rect", "line", "text", "g", "title"].includes(tag);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "css") for (const [key, to] of Object.entries(value)) element.style.setProperty(key, to);
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat()) if (child !== null && child !== undefined) element.append(child);
  return element;
}

const number = (value, digits = 0) =>
  value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

const small = (value) => (Math.abs(value) >= 0.01 || value === 0 ? number(value, 2) : Number(value.toPrecision(1)).toString());

const percent = (share) => (share >= 0.1 ? number(100 * share, 0) : share >= 0.001 ? number(100 * share, 1) : number(100 * share, 2)) + " %";

const plural = (count, one) => `${number(count)} ${one}${count === 1 ? "" : "s"}`;

const WORD = /[\p{L}\p{N}_][\p{L}\p{N}_'-]*[\p{L}\p{N}_]/gu;

// A text with the words marked that are among the terms (single words, or pairs of neighbouring words).
function marked(text, terms) {
  const found = [...text.matchAll(WORD)].map((match) => ({ from: match.index, to: match.index + match[0].length, word: match[0].toLowerCase() }));
  const hit = found.map((token) => terms.has(token.word));
  for (let at = 0; at + 1 < found.length; at++) {
    if (terms.has(`${found[at].word} ${found[at + 1].word}`)) hit[at] = hit[at + 1] = true;
  }
  const parts = [];
  let end = 0;
  found.forEach((token, at) => {
    if (!hit[at]) return;
    parts.push(text.slice(end, token.from), h("mark", null, text.slice(token.from, token.to)));
    end = token.to;
  });
  parts.push(text.slice(end));
  return parts.filter((part) => part !== "");
}
