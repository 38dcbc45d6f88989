function overview(data) {
  const reliable = data.features.filter((feature) => feature.auc !== null && feature.auc >= 0.8).length / data.features.length;
  const silent = data.features.filter((feature) => feature.count === 0).length;
  const tile = (value, label) => h("div", { class: "card tile" }, h("b", null, value), h("span", null, label));
  const map = featureMap(data, (id) => { location.hash = `#feature/${id}`; });
  return h("div", null,
    h("div", { class: "intro" },
      h("h1", null, "What this model's features mean"),
      h("p", null, `Each text becomes a few active features out of ${number(data.features.length)}. This page names them from ${plural(data.texts, "text")}, and says how far the names can be trusted.`)),
    h("div", { class: "tiles" },
      tile(number(data.features.length), silent ? `features, of which ${number(silent)} never fire` : "features; all of them fire"),
      tile(number(meanActive(data), 1), "active features per text"),
      tile(percent(reliable), "of the labels predict firing (AUC ≥ .8)"),
      tile(number(data.families.length), `families in ${data.groups.length} groups`)),
    h("div", { class: "board" },
      h("section", { class: "card map" }, h("h2", null, "Map of the features"), h("p", { class: "note" }, "Near each other where they fire on the same texts and point the same way, larger where they fire more often. Choose a point to open it."), map.frame, map.legend),
      h("section", { class: "card curve" }, h("h2", null, "Firing rates"), h("p", { class: "note" }, "Share of the texts that fire a feature, most frequent first (both axes logarithmic)."), firingCurve(data)),
      h("section", { class: "card active" }, h("h2", null, "Active features per text"), h("p", { class: "note" }, "How many texts have so many active features."), activeHistogram(data))));
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

function route(data, state) {
  const main = document.getElementById("main");
  const [view, one, two] = location.hash.slice(1).split("/");
  const place = (text, limit) => (/^\d+$/.test(text ?? "") && Number(text) < limit ? Number(text) : null);
  const feature = view === "feature" ? data.features[place(one, data.features.length)] : undefined;
  let tab = view;
  if (view === "" || view === "overview") {
    tab = "overview";
    main.replaceChildren(overview(data));
  } else if (view === "features" || feature) {
    tab = "features";
    state.feature = feature ? feature.id : null;
    const empty = h("div", { class: "feature card" }, h("p", { class: "empty" }, "Choose a feature from the list."));
    const list = main.querySelector(".browse > .list");
    if (list) {
      list.querySelectorAll(".item").forEach((item) => item.toggleAttribute("aria-current", item.getAttribute("href") === location.hash));
      list.querySelectorAll("[aria-current]").forEach((item) => item.setAttribute("aria-current", "true"));
    }
    const browse = h("div", { class: feature ? "browse open" : "browse" }, list || featureList(data, state), feature ? featureView(data, feature) : empty);
    const scrolled = list ? list.querySelector("ol").scrollTop : 0;
    main.replaceChildren(browse);
    browse.querySelector("ol").scrollTop = scrolled;
    if (!feature && state.came) document.getElementById("search").focus({ preventScroll: true });
  } else if (view === "texts") {
    main.replaceChildren(textsView(data, place(one, data.examples.length), place(two, data.examples.length)));
  } else {
    main.replaceChildren(missing());
  }
  for (const link of document.querySelectorAll(".top nav a")) {
    if (link.dataset.view === tab) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (state.came && view !== "features") {
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
  } else if (event.key === "Escape" && location.hash.startsWith("#feature/")) {
    location.hash = "#features";
  } else if ((event.key === "n" || event.key === "p") && !typing) {
    document.querySelector(`[data-key="${event.key}"]`)?.click();
  }
}

async function start() {
  themeButton();
  try {
    const data = await unpack(document.getElementById("data").textContent);
    const state = { query: "", group: "", sort: "rate", feature: null, came: false };
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
