// A search: what it holds, how it stands in an address, and what the API is asked for. Nothing here touches the page.
"use strict";

const PAGE_SIZE = 24; // fills whole rows of 2, 3, 4, 6 and 8
const MAX_TERMS = 16;
const MATCHES = ["vector", "words", "hybrid"];
const SIDES = [1000, 2000, 4000]; // pixels
const KILOMETRES = [1, 10, 100];

// Facets: the field of the API, its parameter in an address, and its name.
const FACETS = {
  tags: ["tag", "Tags"],
  color: ["color", "Colour"],
  credit: ["credit", "Photographer"],
  year: ["year", "Year"],
  orientation: ["orientation", "Orientation"],
  format: ["format", "Format"],
};

/**
 * A search that asks for nothing yet.
 *
 * terms:   [{kind, value, weight}]; kind is text, id, image_url, or image, whose value is a data URL
 * like, unlike:  ids of results that were marked
 * picked:  facet field → values that results must have
 * from, to:  dates as 2024-12-31, or ""; side: pixels that the longer side has at least, or 0
 * near:    {lat, lon, km}, or null
 * lost:    how many pictures the address stood for that weren't in it
 */
const newSearch = () => ({
  terms: [], like: [], unlike: [], match: "vector", sure: false, grouped: true,
  picked: Object.fromEntries(Object.keys(FACETS).map((field) => [field, []])),
  from: "", to: "", side: 0, near: null, lost: 0,
});

const isQuery = ({ terms, like }) => terms.length > 0 || like.length > 0;
const isWanted = ({ terms, like }) => like.length > 0 || terms.some(({ weight }) => weight > 0);
const isFiltered = (search) => filterOf(search) !== undefined;
const isStart = (search) => !isQuery(search) && !isFiltered(search) && !search.unlike.length;

// --- Addresses ------------------------------------------------------------------------------------------------------

const ALONE = { q: "text", id: "id", url: "image_url" }; // one wanted term has an address that people can write

/** The query string of a search. Pictures are too long for one: it says how many there were. */
function addressOf(search, { image } = {}) {
  const { terms, like, unlike, match, sure, grouped, picked, from, to, side, near } = search;
  const said = terms.filter(({ kind }) => kind !== "image");
  const pictures = terms.length - said.length || search.lost;
  const [alone] = Object.entries(ALONE).filter(([, kind]) => said[0]?.kind === kind);
  const parameters = [];
  if (said.length === 1 && said[0].weight === 1) parameters.push([alone[0], said[0].value]);
  else if (said.length) parameters.push(["query", formatQuery(said)]);
  if (pictures) parameters.push(["pictures", pictures]);
  parameters.push(...like.map((id) => ["like", id]), ...unlike.map((id) => ["unlike", id]));
  for (const [field, [name]] of Object.entries(FACETS)) {
    parameters.push(...picked[field].map((value) => [name, value]));
  }
  const rest = {
    from, to, side, near: near && `${near.lat},${near.lon},${near.km}`, match: match !== "vector" && match,
    sure: sure && 1, group: !grouped && "0", image,
  };
  parameters.push(...Object.entries(rest).filter(([, value]) => value));
  return `?${new URLSearchParams(parameters)}`;
}

/** The search that an address stands for. Anyone may have written it: what makes no sense is passed over. */
function searchOf(address) {
  const given = new URLSearchParams(address), search = newSearch();
  const one = (name) => given.get(name)?.trim() ?? "";
  const oneOf = (name, values, otherwise) => values.find((value) => `${value}` === one(name)) ?? otherwise;
  for (const [name, kind] of Object.entries(ALONE)) {
    if (one(name)) search.terms.push({ kind, value: one(name), weight: 1 });
  }
  try {
    search.terms.push(...parseQuery(one("query")));
  } catch {
    search.terms.push({ kind: "text", value: one("query"), weight: 1 });
  }
  for (const [field, [name]] of Object.entries(FACETS)) search.picked[field] = [...new Set(given.getAll(name))];
  search.picked.year = search.picked.year.filter((year) => /^\d{1,4}$/.test(year));
  Object.assign(search, {
    like: given.getAll("like"), unlike: given.getAll("unlike"), match: oneOf("match", MATCHES, "vector"),
    sure: one("sure") === "1", grouped: one("group") !== "0", from: dateOf(one("from")), to: dateOf(one("to")),
    side: oneOf("side", SIDES, 0), near: placeOf(one("near")),
    lost: Math.max(0, Math.min(parseInt(one("pictures")) || 0, MAX_TERMS)),
  });
  return search;
}

const dateOf = (text) => (/^\d{4}-\d\d-\d\d$/.test(text) && !isNaN(Date.parse(text)) ? text : "");

function placeOf(text) {
  const [lat, lon, km] = text.split(",").map((part) => (part ? Number(part) : NaN));
  return Math.abs(lat) <= 90 && Math.abs(lon) <= 180 && km > 0 && km <= 20_000 ? { lat, lon, km } : null;
}

// --- Requests -------------------------------------------------------------------------------------------------------

/** What of words, meaning, or both can be matched: words need a wanted text, and words alone nothing but texts. */
function possibleMatches({ terms, like, unlike }) {
  if (!terms.some(({ kind, weight }) => kind === "text" && weight > 0)) return ["vector"];
  const onlyTexts = terms.every(({ kind }) => kind === "text") && !like.length && !unlike.length;
  return onlyTexts ? MATCHES : ["vector", "hybrid"];
}

const matchOf = (search) => (possibleMatches(search).includes(search.match) ? search.match : "vector");

/** The body of the request for the first page. */
function requestOf(search) {
  const { terms, like, unlike, sure, grouped } = search;
  return {
    ...(terms.length && { terms: terms.map(({ kind, value, weight }) => ({ [kind]: value, weight })) }),
    ...(like.length && { like }),
    ...(unlike.length && { unlike }),
    ...(isFiltered(search) && { filter: filterOf(search) }),
    ...(sure && { min_confidence: GOOD }),
    match: matchOf(search), k: PAGE_SIZE, group: grouped, facets: Object.keys(FACETS),
  };
}

/** The filter of a search, without what was picked of the field `but`; undefined where there is none. */
function filterOf({ picked, from, to, side, near }, but) {
  const conditions = Object.entries(picked)
    .filter(([field, values]) => values.length && field !== but)
    .map(([field, values]) => (field === "year" ? { or: values.map(yearFilter) } : valuesFilter(field, values)));
  if (from) conditions.push({ created_at: { gte: from } });
  if (to) conditions.push({ created_at: { lte: `${to}T23:59:59.999Z` } });
  if (side) conditions.push({ or: [{ width: { gte: side } }, { height: { gte: side } }] });
  if (near) conditions.push({ location: { near } });
  return conditions.length ? { and: conditions } : undefined;
}

// An image has several tags, and all that were picked; of everything else it has one, which is among those.
const valuesFilter = (field, values) => ({ [field]: { [field === "tags" ? "all_of" : "any_of"]: values } });

function yearFilter(year) {
  const [first, next] = [Number(year), Number(year) + 1].map((one) => `${String(one).padStart(4, "0")}-01-01`);
  return { created_at: { gte: first, ...(next.length === 10 && { lt: next }) } };
}

/** For each field of which something was picked, but tags, how its other values would count: searches of a batch. */
function countRequests(search) {
  const fields = Object.keys(FACETS).filter((field) => field !== "tags" && search.picked[field].length);
  return fields.map((field) => {
    const { filter: _, ...request } = requestOf(search);
    const others = filterOf(search, field);
    return { ...request, ...(others && { filter: others }), k: 1, group: false, facets: [field] };
  });
}

const isSame = (term, other) => term.kind === other?.kind && term.value === other.value;

/** The search with some terms more; the same thing twice is one term, with the later weight. */
function withTerms(search, terms) {
  const all = [...search.terms];
  for (const term of terms) {
    const at = all.findIndex((one) => isSame(one, term));
    if (at < 0) all.push(term);
    else all[at] = term;
  }
  const pictures = terms.filter(({ kind }) => kind === "image").length;
  return { ...search, terms: all, lost: Math.max(0, search.lost - pictures) };
}

const withPicked = (search, field, values) => ({ ...search, picked: { ...search.picked, [field]: values } });

function toggled(values, value) {
  return values.includes(value) ? values.filter((one) => one !== value) : [...values, value];
}
