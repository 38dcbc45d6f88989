// A field that finds one of the example texts by its words; the pattern is ARIA's combobox with a list.
function picker(data, label, name, place, choose) {
  const list = h("ul", { class: "options", role: "listbox", id: `${name}-options`, "aria-label": `Texts for ${label}`, hidden: true });
  const input = h("input", { class: "field", id: name, role: "combobox", "aria-expanded": "false", "aria-controls": `${name}-options`, "aria-autocomplete": "list", autocomplete: "off", spellcheck: "false", placeholder: "Type words of an example text" });
  let options = [];
  let active = -1;
  function close() {
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }
  function highlight(to) {
    active = options.length ? (to + options.length) % options.length : -1;
    [...list.children].forEach((child, at) => child.setAttribute("aria-selected", String(at === active)));
    if (active < 0) return;
    input.setAttribute("aria-activedescendant", `${name}-${active}`);
    list.children[active].scrollIntoView({ block: "nearest" });
  }
  function refresh() {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    options = [];
    for (let at = 0; at < data.examples.length && options.length < 12; at++) {
      const text = data.examples[at].text.toLowerCase();
      if (words.every((word) => text.includes(word))) options.push(at);
    }
    list.replaceChildren(...options.map((at, order) =>
      h("li", { role: "option", id: `${name}-${order}`, "aria-selected": "false", onpointerdown: (event) => { event.preventDefault(); choose(at); } }, data.examples[at].text)));
    if (!options.length) list.append(h("li", { class: "note" }, "No example has these words."));
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    highlight(options.length ? 0 : -1);
  }
  input.addEventListener("input", refresh);
  input.addEventListener("focus", () => { if (input.value) refresh(); });
  input.addEventListener("click", refresh);
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden) refresh();
      else highlight(active + (event.key === "ArrowDown" ? 1 : -1));
    } else if (event.key === "Enter" && !list.hidden && active >= 0) choose(options[active]);
    else if (event.key === "Escape" && !list.hidden) { event.stopPropagation(); close(); }
  });
  const chosen = place === null ? h("p", { class: "chosen note" }, "Nothing chosen yet.") : h("p", { class: "chosen" }, data.examples[place].text);
  return h("div", { class: "card pick" }, h("label", { for: name }, label), h("div", { class: "pick" }, input, list), chosen);
}

function weights(parts, largest) {
  return h("ol", { class: "weights" }, parts.map(({ feature, value }) =>
    h("li", null, h("a", { href: `#feature/${feature.id}` },
      h("span", null, feature.name),
      h("span", { class: "track", "aria-hidden": "true" }, h("i", { css: { width: `${Math.round((100 * value) / (largest || 1))}%` } })),
      h("span", { class: "value" }, number(value, 3))))));
}

function textsView(data, a, b) {
  const go = (left, right) => { location.hash = `#texts/${left ?? ""}/${right ?? ""}`; };
  const root = h("div", { class: "texts" },
    h("div", { class: "intro" },
      h("h1", null, "Why do two texts match?"),
      h("p", null, `Choose two of ${plural(data.examples.length, "example text")} and see which features they share.`)),
    h("div", { class: "compare" },
      picker(data, "First text", "first", a, (at) => go(at, b)),
      picker(data, "Second text", "second", b, (at) => go(a, at))));
  const actions = h("div", { class: "actions" },
    h("button", { class: "button", type: "button", id: "surprise", onclick: () => { const at = Math.floor(Math.random() * data.examples.length); go(at, closest(data, at)); } }, "A random pair that matches"),
    a === null ? null : h("button", { class: "button second", type: "button", id: "closest", onclick: () => go(a, closest(data, a)) }, "The example closest to the first"));
  root.append(actions);
  if (a === null && b === null) return root;
  if (a === null || b === null) {
    const { ids } = data.examples[a ?? b];
    const parts = ids.map((id) => ({ feature: data.features[id], value: data.features[id].idf })).sort((one, two) => two.value - one.value);
    root.append(section(plural(parts.length, "active feature"), "With their weights: the rarer a feature, the more it says (IDF).", weights(parts, parts[0]?.value)));
    return root;
  }
  const result = compare(data, data.examples[a].ids, data.examples[b].ids);
  const largest = Math.max(...[...result.shared, ...result.left, ...result.right].map((part) => part.value), 0);
  root.append(
    section("What they share", null,
      h("p", { class: "verdict", id: "verdict" },
        h("span", null, h("b", null, number(result.shared.length)), " shared features"),
        h("span", null, h("b", null, number(result.idf, 3)), " IDF-weighted cosine"),
        h("span", null, h("b", null, number(result.overlap, 3)), " plain cosine of the codes")),
      h("p", { class: "note" }, "Each feature with what it adds to the IDF-weighted cosine; together they are the whole score."),
      result.shared.length ? weights(result.shared, largest) : h("p", { class: "empty" }, "Nothing: no feature fires on both.")),
    h("div", { class: "columns" },
      section("Only the first", "Would add so much if the second had them.", weights(result.left, largest)),
      section("Only the second", "Would add so much if the first had them.", weights(result.right, largest))));
  return root;
}
