const PAGE = 80;
const CHIPS = 12;

function badge(feature) {
  if (feature.auc === null) return h("span", { class: "badge none", title: "too few held-out texts fire it" }, "not measured");
  const good = feature.auc >= 0.8;
  const text = `${good ? "●" : "○"} AUC ${number(feature.auc, 2)}`;
  return h("span", { class: `badge ${good ? "good" : "weak"}`, title: good ? "reliable label" : "weak label" }, text);
}

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

function chip([term, count, lift]) {
  return h("span", { class: "chip", title: `${plural(count, "text")} hold the term and fire the feature` },
    term, " ", h("small", null, `×${number(lift, lift < 10 ? 1 : 0)} · ${number(count)}`));
}

function section(title, note, ...children) {
  return h("section", { class: "card" }, h("h2", null, title), note ? h("p", { class: "note" }, note) : null, ...children);
}

function featureView(data, feature) {
  const step = (by) => `#feature/${(feature.id + by + data.features.length) % data.features.length}`;
  const verdict =
    feature.auc === null ? "too few held-out texts fire this feature to measure its label"
    : feature.auc >= 0.8 ? "its terms predict firing on texts they were not chosen from"
    : "a weak label: its terms predict firing poorly on texts they were not chosen from";
  const relatives = data.members[feature.family].filter((other) => other !== feature).sort((one, two) => two.count - one.count);
  const family = data.families[feature.family];
  const neighbours = feature.neighbours.map(([id, together, cosine]) => {
    const link = featureLink(data.features[id]);
    link.lastChild.textContent = `cosine ${number(cosine, 2)}`;
    link.title = `${plural(together, "text")} of the sample fire both`;
    return h("li", null, link);
  });
  return h("article", { class: "feature", "aria-labelledby": "feature-title" },
    h("div", { class: "card head" },
      h("div", { class: "bar-line" },
        h("a", { href: "#features" }, "All features"),
        h("span", null, h("a", { href: step(-1), "data-key": "p" }, "Previous"), " · ", h("a", { href: step(1), "data-key": "n" }, "Next"))),
      h("h1", { id: "feature-title", tabindex: "-1" }, feature.name),
      h("p", { class: "facts" },
        h("span", null, "feature ", h("b", null, String(feature.id))),
        h("span", null, "fires on ", h("b", null, percent(feature.rate)), ` (${plural(feature.count, "text")})`),
        h("span", null, badge(feature), ` ${verdict}`)),
      feature.terms.length
        ? h("div", { class: "chips" }, feature.terms.slice(0, CHIPS).map(chip))
        : h("p", { class: "note" }, "No term tells its texts from the others."),
      feature.terms.length > CHIPS
        ? h("details", null, h("summary", null, `${feature.terms.length - CHIPS} more terms`), h("div", { class: "chips" }, feature.terms.slice(CHIPS).map(chip)))
        : null,
      feature.terms.length ? h("p", { class: "note" }, "Each term with its lift (how many times more often it stands in firing texts) and the number of texts. The texts below mark these terms.") : null),
    h("div", { class: "columns" },
      section("Strongest", "Fire it with the largest logit margin.", quotes(data, feature, "strongest")),
      section("Borderline", "Just fire it.", quotes(data, feature, "borderline")),
      section("Just off", "Just do not fire it.", quotes(data, feature, "just_off")),
      section("Nearest to its direction", "Cosine of the embedding with the decoder's row.", quotes(data, feature, "nearest")),
      section("Fires together with", null, neighbours.length ? h("ul", { class: "links" }, neighbours) : h("p", { class: "note" }, "None.")),
      section("Family", `${family[0] || "unnamed"}, ${plural(data.members[feature.family].length, "feature")}, in the group ${data.groups[family[1]] || family[1] + 1}.`,
        h("ul", { class: "links" }, relatives.slice(0, 12).map((other) => h("li", null, featureLink(other)))),
        relatives.length > 12 ? h("p", { class: "note" }, `and ${relatives.length - 12} more`) : null)));
}

// The searchable list; what was typed stays when a feature is opened.
function featureList(data, state) {
  const results = h("ol", { id: "results", "aria-label": "Features found" });
  const count = h("p", { class: "note", role: "status" });
  const input = h("input", { class: "field", id: "search", type: "search", placeholder: "Search labels, terms, numbers", "aria-label": "Search features", "aria-controls": "results", autocomplete: "off", spellcheck: "false" });
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
    count.textContent = found.length ? plural(found.length, "feature") : "No feature has these words.";
    more();
  }
  input.value = state.query;
  input.addEventListener("input", () => { state.query = input.value; refresh(); });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && found.length) location.hash = `#feature/${found[0].id}`;
  });
  const groups = [["", "All groups"], ...data.groups.map((label, group) => [String(group), label || `group ${group + 1}`])];
  const aside = h("aside", { class: "card list", "aria-label": "Feature list" },
    input,
    h("div", { class: "row2" },
      select("Group", groups, state.group, (value) => { state.group = value; refresh(); }),
      select("Order", Object.entries(SORTS).map(([key, [text]]) => [key, text]), state.sort, (value) => { state.sort = value; refresh(); })),
    count, results);
  aside.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    if (event.target.tagName === "SELECT") return;
    const links = [input, ...results.querySelectorAll("a, button")];
    const next = links.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1);
    if (links[next]) { event.preventDefault(); links[next].focus(); }
  });
  refresh();
  return aside;
}
