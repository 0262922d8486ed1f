// Results: searching, the grid, more of them on scrolling, and what to do when that fails.
"use strict";

const CANDIDATES = 500; // of a search, as the API finds them
const FRESH_MS = 10 * 60_000; // signed URLs of images work for 15 minutes by default
const PATIENCE = 5; // times that a search is tried again by itself
const PATIENT = ["too_many_requests", "index_overloaded", "index_unavailable"];
const [grid, more, notice] = [$("#grid"), $("#more"), $("#notice")];

let view; // {search, hits, cursor, counts, weak, took, at, marks}: what is on screen follows from it
let running = new AbortController(); // of the search under way: a new one puts an end to it
let waiting; // to try again
let tries = 0;
let stock = null; // how many images are indexed

const newView = (search) => ({
  search, hits: [], cursor: null, counts: null, weak: false, took: 0, at: 0, marks: new Map(),
});

async function load() {
  abandon();
  const { signal } = running;
  const shown = view, first = !view.at;
  if (first && !isQuery(view.search)) return complain(new Trouble("no_query", "Your filters stay."));
  if (first && !isWanted(view.search)) return complain(new Trouble("unwanted", "Add something that they should show."));
  setBusy(true);
  try {
    const body = first ? requestOf(view.search) : { cursor: view.cursor, k: PAGE_SIZE };
    let answer = await api("search", { body, signal });
    const weak = answer.no_good_match; // what there is, is shown all the same, and called what it is
    if (weak) answer = await api("search", { body: { ...body, min_confidence: undefined }, signal });
    tries = 0;
    shown.took = Object.values(answer.took).reduce((sum, ms) => sum + ms);
    Object.assign(shown, { cursor: answer.cursor, at: shown.at || Date.now() });
    if (first) begin(answer, weak);
    append(answer.hits);
    if (first) renderFacets();
    setBusy(false);
    summarise();
    if (first) countOthers(signal);
    if (stock === null) loadStock().then(summarise);
  } catch (error) {
    if (signal.aborted) return;
    setBusy(false);
    failed(error);
  }
}

/** Put an end to the search under way. */
function abandon() {
  running.abort();
  running = new AbortController();
  clearTimeout(waiting);
  delete more.dataset.failed;
}

function begin({ hits, facets }, weak) {
  const [best] = hits;
  view.weak = weak || (best?.confidence ?? 1) < GOOD;
  view.counts = facets;
  grid.replaceChildren();
}

/** Until the answer is there, a field of which something was picked shows that alone: what else there is comes here. */
async function countOthers(signal) {
  const searches = countRequests(view.search), shown = view;
  if (!searches.length) return;
  const { answers } = await api("search/batch", { body: { searches }, signal }).catch(() => ({ answers: [] }));
  if (signal.aborted) return;
  for (const { facets } of answers) Object.assign(shown.counts, facets);
  renderFacets();
}

function failed(error) {
  if (error.field === "cursor") { // too old, or of a process that is gone
    view = Object.assign(view, newView(view.search));
    grid.replaceChildren();
    scrollTo(0, 0);
    load().then(() => view.at && say("These results had become too old to go on with: here they are anew."));
    return;
  }
  const patient = PATIENT.includes(error.code) && tries < PATIENCE;
  if (patient) {
    const seconds = Math.max(error.after ?? 1, 2 ** ++tries);
    error.message += " It is tried again by itself.";
    waiting = setTimeout(load, seconds * 1000);
  }
  if (!view.hits.length) return complain(error);
  more.dataset.failed = "";
  $("p", more).textContent = error.message;
}

// --- What is said ---------------------------------------------------------------------------------------------------

function setBusy(busy) {
  grid.ariaBusy = busy;
  more.classList.toggle("busy", busy);
  if (!busy) return;
  notice.hidden = true;
  $("p", more).textContent = "";
  if (view.hits.length) return;
  $("#weak div").hidden = true;
  $("#summary").textContent = "Searching…";
  grid.replaceChildren(...Array.from(Array(PAGE_SIZE), () => el("li", { className: "skeleton", ariaHidden: true })));
}

const say = (words) => ($("#said").textContent = words);

function summarise() {
  const { hits, cursor, took, at, weak, search } = view;
  const found = hits.reduce((sum, hit) => sum + 1 + hit.similar_count, 0);
  more.hidden = !cursor && found < CANDIDATES;
  $("button", more).hidden = !cursor;
  if (!cursor) $("p", more).textContent = "These are the closest. More words or filters bring others.";
  observer.unobserve(more); // it reports changes only, and the end may be in sight still
  if (cursor) observer.observe(more);
  $("#weak div").hidden = !weak || !hits.length;
  if (!at) return;
  if (!hits.length) {
    const why = isFiltered(search) ? "No image has all that your filters ask for." : "Try another search.";
    complain(new Trouble(isFiltered(search) ? "filtered" : "empty", stock === 0 ? "No image is indexed yet." : why));
    return;
  }
  const closest = stock >= hits.length ? `${number.format(hits.length)} of ${images(stock)}` : images(hits.length);
  $("#summary").textContent = `Closest ${closest} · ${number.format(Math.ceil(took))} ms`;
}

const AGAIN = ["Try again", () => { tries = 0; load(); }];
const CHOOSE = ["Choose another picture", () => file.click()];
const DESCRIBE = ["Describe it", () => text.focus()];
const RESTART = ["Start again", () => go(newSearch(), () => text.focus())];
const COMPLAINTS = {
  offline: ["You are offline", AGAIN],
  no_key: ["An API key is needed", ["Enter the key", load]],
  index_unavailable: ["The index doesn’t answer", AGAIN],
  too_many_requests: ["Too many searches at the moment", AGAIN],
  index_overloaded: ["Too many searches at the moment", AGAIN],
  quota_exceeded: ["No more searches today", AGAIN],
  invalid_image: ["That can’t be read as a picture", CHOOSE],
  too_large: ["That picture is too large", CHOOSE],
  unreachable_url: ["That picture can’t be fetched", CHOOSE],
  not_found: ["That picture isn’t in the index", RESTART],
  invalid_query: ["That isn’t clear", DESCRIBE],
  too_many_terms: ["That is too much at once", DESCRIBE],
  unwanted: ["So far, it says only what the images shouldn’t show", DESCRIBE],
  no_query: ["What should the images show?", DESCRIBE],
  lost: ["This link was made with a picture", ["Choose the picture", () => file.click()]],
  filtered: ["Nothing found", ["Clear filters", () => go(withoutFilters(view.search), () => text.focus())]],
  empty: ["Nothing found", RESTART],
};

function complain({ code, message }) {
  const [title, [action, remedy]] = COMPLAINTS[code] ?? ["The search didn’t work", AGAIN];
  if (!view.hits.length) {
    grid.replaceChildren();
    $("#summary").textContent = "";
  }
  $("h2", notice).textContent = title;
  $("p", notice).textContent = message;
  $("button", notice).textContent = action;
  $("button", notice).onclick = () => remedy();
  notice.dataset.code = code;
  notice.hidden = false;
}

addEventListener("online", () => notice.hidden || notice.dataset.code !== "offline" || load());

async function loadStock() {
  const unknown = ({ code }) => ({ index: { available: code === "no_key", count: null } });
  const { index } = await api("health", { ask: false }).catch(unknown);
  stock = index.count;
  $("#stock").textContent = stock === null ? "" : `${images(stock)} indexed`;
  if (!index.available) $("#stock").textContent = "The search doesn’t answer right now";
}

// --- More -----------------------------------------------------------------------------------------------------------

const idle = () => view.cursor && !more.classList.contains("busy");

const observer = new IntersectionObserver(
  (changes) => changes.at(-1).isIntersecting && idle() && !("failed" in more.dataset) && load(),
  { rootMargin: "0px 0px 600px" },
);

$("button", more).addEventListener("click", () => {
  tries = 0;
  if (idle()) load();
});
