function overview(data) {
  const silent = data.features.filter((feature) => feature.count === 0).length;
  const tile = (value, label) => h("div", { class: "card tile" }, h("b", null, value), h("span", null, label));
  const map = featureMap(data, (id) => { location.hash = `#feature/${id}`; });
  const named = data.pairs.map((pair) => pair.parts.reduce((sum, part) => sum + part[1], 0) / pair.score).sort((one, two) => one - two);
  return h("div", null,
    h("div", { class: "intro" },
      h("h1", null, "What this model reads in texts"),
      h("p", null, `Each text has a few of ${number(data.features.length)} names. This page shows them in ${plural(data.texts, "text")}: their texts, their relatives, and why texts match.`)),
    h("div", { class: "tiles" },
      tile(number(data.features.length), silent ? `names, of which no text here has ${number(silent)}` : "names; texts here have all of them"),
      tile(number(meanActive(data), 1), "names per text"),
      tile(named.length ? percent(Math.max(0, named[Math.floor(named.length / 2)])) : "–", "of a match's score in names (median of the pairs)"),
      tile(number(data.families.length), `families in ${data.groups.length} groups`)),
    h("div", { class: "board" },
      h("section", { class: "card map" }, h("h2", null, "Map of the names"), h("p", { class: "note" }, "Near each other where they mean nearly the same, larger where more texts have them. Choose a point to open it."), map.frame, map.legend),
      h("section", { class: "card curve" }, h("h2", null, "How often"), h("p", { class: "note" }, "Share of the texts that have a name, most frequent first (both axes logarithmic)."), firingCurve(data)),
      h("section", { class: "card active" }, h("h2", null, "Names per text"), h("p", { class: "note" }, "How many texts have so many names."), activeHistogram(data))));
}

function missing() {
  return h("div", null, h("h1", null, "Not here"), h("p", { class: "empty" }, "This page has no such view. ", h("a", { href: "#overview" }, "Go to the overview")));
}

function themeButton() {
  const button = document.getElementById("theme");
  const names = ["as the system", "light", "dark"];
  let at = 0;
  button.addEventListener("click", () => {
    at = (at + 1) % names.length;
    if (at) document.documentElement.dataset.theme = names[at];
    else delete document.documentElement.dataset.theme;
    button.setAttribute("aria-label", `Colours: ${names[at]}`);
    button.textContent = ["◐", "☀", "☾"][at];
    window.dispatchEvent(new Event("themechange"));
  });
}

// A list beside what was chosen from it; the list stays as it is while it is the same one.
function browse(main, kind, makeList, chosen, hint) {
  const old = main.querySelector(`.browse[data-kind="${kind}"] > .list`);
  const list = old || makeList();
  for (const item of old ? list.querySelectorAll(".item") : []) {
    if (item.getAttribute("href") === location.hash) item.setAttribute("aria-current", "true");
    else item.removeAttribute("aria-current");
  }
  const scrolled = list.querySelector("ol").scrollTop;
  const empty = h("div", { class: "feature card" }, h("p", { class: "empty" }, hint));
  main.replaceChildren(h("div", { class: chosen ? "browse open" : "browse", "data-kind": kind }, list, chosen || empty));
  list.querySelector("ol").scrollTop = scrolled;
}

function route(data, state) {
  const main = document.getElementById("main");
  const [view, one] = location.hash.slice(1).split("/");
  const place = (text, limit) => (/^\d+$/.test(text ?? "") && Number(text) < limit ? Number(text) : null);
  const feature = view === "feature" ? data.features[place(one, data.features.length)] : undefined;
  const pair = view === "pairs" ? data.pairs[place(one, data.pairs.length)] : undefined;
  let tab = view;
  if (view === "" || view === "overview") {
    tab = "overview";
    main.replaceChildren(overview(data));
  } else if (view === "features" || feature) {
    tab = "features";
    state.feature = feature ? feature.id : null;
    browse(main, "names", () => featureList(data, state), feature && featureView(data, feature), "Choose a name from the list.");
    if (!feature && state.came) document.getElementById("search").focus({ preventScroll: true });
  } else if (view === "pairs" && (pair || one === undefined)) {
    browse(main, "pairs", () => pairList(data, state, pair?.id), pair && pairView(data, pair), "Choose a pair of texts from the list.");
  } else {
    main.replaceChildren(missing());
  }
  for (const link of document.querySelectorAll(".top nav a")) {
    if (link.dataset.view === tab) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (state.came && location.hash !== "#features") {
    window.scrollTo(0, 0);
    (main.querySelector("h1[tabindex]") || main).focus({ preventScroll: true });
  }
  state.came = true;
}

function keys(event) {
  const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName);
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/" && !typing) {
    event.preventDefault();
    if (!document.getElementById("search")?.offsetParent) location.hash = "#features";
    else document.getElementById("search").focus();
  } else if (event.key === "Escape" && /^#(feature|pairs)\//.test(location.hash)) {
    location.hash = location.hash.startsWith("#pairs") ? "#pairs" : "#features";
  } else if ((event.key === "n" || event.key === "p") && !typing) {
    document.querySelector(`[data-key="${event.key}"]`)?.click();
  }
}

async function start() {
  themeButton();
  try {
    const data = await unpack(document.getElementById("data").textContent);
    const state = { query: "", group: "", sort: "rate", pairs: "", feature: null, came: false };
    window.addEventListener("hashchange", () => { if (location.hash !== "#main") route(data, state); });
    window.addEventListener("themechange", () => { if (["", "#overview"].includes(location.hash)) route(data, state); });
    document.addEventListener("keydown", keys);
    route(data, state);
    document.documentElement.dataset.ready = Math.round(performance.now()); // milliseconds since the page was asked for
  } catch (error) {
    document.getElementById("main").replaceChildren(h("p", { class: "loading", role: "alert" }, `This page could not be opened (${error.message}). It needs a browser of 2024 or later.`));
    throw error;
  }
}

start();
