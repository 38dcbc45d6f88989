// The data is gzip in base64; what comes out is what build_atlas of bsa_st/concepts/atlas.py has made.
async function unpack(base64) {
  const bytes = Uint8Array.from(atob(base64.trim()), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const raw = await new Response(stream).json();
  const texts = Math.max(1, raw.texts);
  raw.features.forEach((feature, id) => {
    feature.id = id;
    feature.rate = feature.count / texts;
    feature.group = raw.families[feature.family][1];
  });
  raw.members = raw.families.map(() => []);
  for (const feature of raw.features) raw.members[feature.family].push(feature);
  raw.pairs.forEach((pair, id) => Object.assign(pair, { id, a: raw.strings[pair.a], b: raw.strings[pair.b] }));
  return raw;
}

const words = (feature) => (feature.words ??= new Set([feature.name, ...feature.aliases].map((name) => name.toLowerCase())));

const haystack = (feature) => (feature.haystack ??= [...words(feature)].join(" "));

const SORTS = {
  rate: ["Most frequent first", (one, two) => two.count - one.count],
  rare: ["Rarest first", (one, two) => one.count - two.count],
  name: ["By name", (one, two) => one.name.localeCompare(two.name, "en")],
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
