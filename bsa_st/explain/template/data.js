// The data is gzip in base64; what comes out is JSON of the shape of bsa/features.json.
async function unpack(base64) {
  const bytes = Uint8Array.from(atob(base64.trim()), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const raw = await new Response(stream).json();
  const texts = Math.max(1, raw.texts);
  raw.features.forEach((feature, id) => {
    feature.id = id;
    feature.name = feature.label || `feature ${id}`;
    feature.rate = feature.count / texts;
    feature.idf = Math.log((raw.texts + 1) / (feature.count + 1));
    feature.group = raw.families[feature.family][1];
  });
  raw.members = raw.families.map(() => []);
  for (const feature of raw.features) raw.members[feature.family].push(feature);
  raw.examples = raw.examples.map(([at, ids]) => ({ text: raw.strings[at], ids }));
  return raw;
}

const words = (feature) => (feature.words ??= new Set(feature.terms.map(([term]) => term)));

const haystack = (feature) => (feature.haystack ??= [feature.id, feature.name, ...words(feature)].join(" ").toLowerCase());

const SORTS = {
  rate: ["Most frequent first", (one, two) => two.count - one.count],
  quality: ["Best label first", (one, two) => (two.auc ?? -1) - (one.auc ?? -1)],
  weak: ["Weakest label first", (one, two) => (one.auc ?? 2) - (two.auc ?? 2)],
  number: ["By number", (one, two) => one.id - two.id],
};

function search(data, query, group, sort) {
  const wanted = query.toLowerCase().split(/\s+/).filter(Boolean);
  const found = data.features.filter(
    (feature) => (group === "" || feature.group === Number(group)) && wanted.every((word) => haystack(feature).includes(word)),
  );
  const order = SORTS[sort][1];
  const rank = (feature) => (wanted.length && wanted.every((word) => feature.name.toLowerCase().includes(word)) ? 0 : 1);
  return found.sort((one, two) => rank(one) - rank(two) || order(one, two) || one.id - two.id);
}

// Shared and own features of two codes, with what each shared one adds to the IDF-weighted cosine.
function compare(data, left, right) {
  const weight = (ids) => ids.reduce((sum, id) => sum + data.features[id].idf, 0);
  const other = new Set(right);
  const own = new Set(left);
  const shared = left.filter((id) => other.has(id));
  const length = Math.sqrt(weight(left) * weight(right));
  const part = (id) => (length > 0 ? data.features[id].idf / length : 0);
  const ranked = (ids) => ids.map((id) => ({ feature: data.features[id], value: part(id) })).sort((one, two) => two.value - one.value);
  return {
    shared: ranked(shared),
    left: ranked(left.filter((id) => !other.has(id))),
    right: ranked(right.filter((id) => !own.has(id))),
    idf: shared.reduce((sum, id) => sum + part(id), 0),
    overlap: left.length && right.length ? shared.length / Math.sqrt(left.length * right.length) : 0,
  };
}

function closest(data, place) {
  const scores = data.examples.map((example, at) => (at === place ? -1 : compare(data, data.examples[place].ids, example.ids).idf));
  return scores.indexOf(Math.max(...scores));
}
