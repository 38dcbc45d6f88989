// Matches explained: a searchable list of pairs, and one pair as bars that add up to its score.
function pairList(data, state, current) {
  const results = h("ol", { id: "pairs", "aria-label": "Pairs found" });
  const count = h("p", { class: "note", role: "status" });
  const input = h("input", { class: "field", id: "pair-search", type: "search", placeholder: "Search words of the texts", "aria-label": "Search pairs", "aria-controls": "pairs", autocomplete: "off", spellcheck: "false" });
  let first = null;
  function refresh() {
    const wanted = state.pairs.toLowerCase().split(/\s+/).filter(Boolean);
    const said = (pair) => `${pair.a} ${pair.b}`.toLowerCase();
    const found = data.pairs.filter((pair) => wanted.every((word) => said(pair).includes(word)));
    first = found[0] ?? null;
    results.replaceChildren(...found.slice(0, PAGE).map((pair) => h("li", null,
      h("a", { class: "item pair", href: `#pairs/${pair.id}`, "aria-current": pair.id === current ? "true" : null },
        h("span", { class: "name" }, pair.a), h("small", null, number(pair.score, 2))))));
    count.textContent = found.length ? plural(found.length, "pair") : "No pair has these words.";
  }
  input.value = state.pairs;
  input.addEventListener("input", () => { state.pairs = input.value; refresh(); });
  input.addEventListener("keydown", (event) => { if (event.key === "Enter" && first) location.hash = `#pairs/${first.id}`; });
  refresh();
  const aside = h("aside", { class: "card list", "aria-label": "Pairs" }, input, count, results);
  arrows(aside, input, results);
  return aside;
}

function bar(label, value, largest, link, whose) {
  const inside = [
    h("span", null, label, whose ? h("small", { class: "whose" }, ` ${whose}`) : null),
    h("span", { class: "track", "aria-hidden": "true" }, h("i", { css: { width: `${Math.max(0, Math.round((100 * value) / (largest || 1)))}%` } })),
    h("span", { class: "value" }, `${value < 0 ? "−" : "+"}${number(Math.abs(value), 3)}`)];
  return h("li", null, link ? h("a", { href: link }, ...inside) : h("span", { class: "row" }, ...inside));
}

// Whose meaning a part is: both texts', or mostly one's.
function whose(left, right) {
  if (Math.min(left, right) >= 0.25 * Math.max(left, right)) return "";
  return left > right ? "first text" : "second text";
}

function pairView(data, pair) {
  const named = pair.parts.reduce((sum, part) => sum + part[1], 0);
  const rest = pair.score - named;
  const largest = Math.max(rest, ...pair.parts.map((part) => part[1]));
  const step = (by) => `#pairs/${(pair.id + by + data.pairs.length) % data.pairs.length}`;
  return h("article", { class: "feature", "aria-labelledby": "pair-title" },
    h("div", { class: "card head" },
      h("div", { class: "bar-line" },
        h("a", { href: "#pairs" }, "All pairs"),
        h("span", null, h("a", { href: step(-1), "data-key": "p" }, "Previous"), " · ", h("a", { href: step(1), "data-key": "n" }, "Next"))),
      h("h1", { id: "pair-title", tabindex: "-1" }, "Why do these texts match?"),
      h("p", { class: "chosen" }, pair.a),
      h("p", { class: "chosen" }, pair.b),
      h("p", { class: "verdict", id: "verdict" },
        h("span", null, h("b", null, number(pair.score, 3)), " score (cosine)"),
        h("span", null, h("b", null, percent(Math.max(0, named / pair.score))), " of it in names"))),
    section("The score as a sum", "Each name with what it adds; with everything else they are the whole score.",
      h("ol", { class: "weights" },
        pair.parts.map(([id, value, left, right]) => bar(data.features[id].name, value, largest, `#feature/${id}`, whose(left, right))),
        bar("everything else", rest, largest))));
}
