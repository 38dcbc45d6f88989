const PAGE = 80;

function featureLink(feature, current) {
  return h("a", { class: "item", href: `#feature/${feature.id}`, "aria-current": current ? "true" : null },
    h("span", { class: "swatch", css: { background: `var(--g${feature.group % 12})` } }),
    h("span", { class: "name" }, feature.name),
    h("small", null, percent(feature.rate)));
}

function quotes(data, feature, kind) {
  const items = feature[kind].map(([at, value]) =>
    h("li", null, h("span", { class: "value" }, small(value)), h("span", { class: "said" }, marked(data.strings[at], words(feature)))));
  return items.length ? h("ul", { class: "quotes" }, items) : h("p", { class: "note" }, "None.");
}

function section(title, note, ...children) {
  return h("section", { class: "card" }, h("h2", null, title), note ? h("p", { class: "note" }, note) : null, ...children);
}

function related(data, list, note) {
  if (!list.length) return h("p", { class: "note" }, "None.");
  return h("ul", { class: "links" }, list.map(([id, cosine]) => {
    const link = featureLink(data.features[id]);
    link.lastChild.textContent = `${note} ${number(cosine, 2)}`;
    return h("li", null, link);
  }));
}

function featureView(data, feature) {
  const step = (by) => `#feature/${(feature.id + by + data.features.length) % data.features.length}`;
  const relatives = data.members[feature.family].filter((other) => other !== feature).sort((one, two) => two.count - one.count);
  const family = data.families[feature.family];
  return h("article", { class: "feature", "aria-labelledby": "feature-title" },
    h("div", { class: "card head" },
      h("div", { class: "bar-line" },
        h("a", { href: "#features" }, "All names"),
        h("span", null, h("a", { href: step(-1), "data-key": "p" }, "Previous"), " · ", h("a", { href: step(1), "data-key": "n" }, "Next"))),
      h("h1", { id: "feature-title", tabindex: "-1" }, feature.name),
      h("p", { class: "facts" },
        h("span", null, "on ", h("b", null, percent(feature.rate)), ` of the texts (${number(feature.count)})`),
        feature.aliases.length ? h("span", null, "also ", h("b", null, feature.aliases.join(", "))) : null)),
    h("div", { class: "columns" },
      section("Strongest", "Texts that have it most, with its strength.", quotes(data, feature, "strongest")),
      section("At random", "Drawn from all texts that have it.", quotes(data, feature, "random")),
      section("Together with", "Names that the same texts have.", related(data, feature.together, "cosine")),
      section("Close in meaning", "What it may be confused with: the nearest names.", related(data, feature.close, "cosine")),
      section("Family", `${family[0]}, ${plural(data.members[feature.family].length, "name")}, in the group ${data.groups[family[1]]}.`,
        h("ul", { class: "links" }, relatives.slice(0, 12).map((other) => h("li", null, featureLink(other)))),
        relatives.length > 12 ? h("p", { class: "note" }, `and ${relatives.length - 12} more`) : null)));
}

// Up and down move through the search field and the links of a list.
function arrows(aside, input, results) {
  aside.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    if (event.target.tagName === "SELECT") return;
    const links = [input, ...results.querySelectorAll("a, button")];
    const next = links.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1);
    if (links[next]) { event.preventDefault(); links[next].focus(); }
  });
}

// The searchable list; what was typed stays when a feature is opened.
function featureList(data, state) {
  const results = h("ol", { id: "results", "aria-label": "Names found" });
  const count = h("p", { class: "note", role: "status" });
  const input = h("input", { class: "field", id: "search", type: "search", placeholder: "Search names", "aria-label": "Search names", "aria-controls": "results", autocomplete: "off", spellcheck: "false" });
  const select = (label, options, value, change) => {
    const element = h("select", { class: "field", "aria-label": label, onchange: () => change(element.value) },
      options.map(([key, text]) => h("option", { value: key, selected: key === value }, text)));
    return element;
  };
  let found = [];
  let shown = 0;
  function more() {
    results.querySelector(".more")?.parentElement.remove();
    for (const feature of found.slice(shown, shown + PAGE)) results.append(h("li", null, featureLink(feature, feature.id === state.feature)));
    shown = Math.min(found.length, shown + PAGE);
    if (shown < found.length) results.append(h("li", null, h("button", { class: "more", type: "button", onclick: more }, `Show more of ${number(found.length)}`)));
  }
  function refresh() {
    found = search(data, state.query, state.group, state.sort);
    shown = 0;
    results.replaceChildren();
    results.scrollTop = 0;
    count.textContent = found.length ? plural(found.length, "name") : "No name has these words.";
    more();
  }
  input.value = state.query;
  input.addEventListener("input", () => { state.query = input.value; refresh(); });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && found.length) location.hash = `#feature/${found[0].id}`;
  });
  const groups = [["", "All groups"], ...data.groups.map((label, group) => [String(group), label])];
  const aside = h("aside", { class: "card list", "aria-label": "List of names" },
    input,
    h("div", { class: "row2" },
      select("Group", groups, state.group, (value) => { state.group = value; refresh(); }),
      select("Order", Object.entries(SORTS).map(([key, [text]]) => [key, text]), state.sort, (value) => { state.sort = value; refresh(); })),
    count, results);
  arrows(aside, input, results);
  refresh();
  return aside;
}
