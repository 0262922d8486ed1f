// The page as a whole: history entries and what is on screen for each, links, and keys. It starts everything.
"use strict";

const views = new Map(); // history entry → view, so that Back is instant

/** Go on to another search. `focus` puts the keyboard where it was, after what had it was made anew. */
function go(search, focus = null) {
  const state = { entry: `${Math.random()}`, search };
  try {
    history.pushState(state, "", addressOf(search));
  } catch { // browsers limit what an entry may hold: it does without pictures then
    const terms = search.terms.filter(({ kind }) => kind !== "image"), lost = search.terms.length - terms.length;
    views.set(state.entry, newView(search));
    history.pushState({ ...state, search: { ...search, terms, lost } }, "", addressOf(search));
  }
  scrollTo(0, 0);
  arrive();
  focus?.();
}

function arrive() {
  if (!history.state) {
    const search = searchOf(location.search), image = new URLSearchParams(location.search).get("image") ?? undefined;
    history.replaceState({ entry: `${Math.random()}`, search, image }, "");
  }
  const { entry, search, image } = history.state;
  if (image === undefined && detail.open) detail.close();
  if (!view || view !== views.get(entry)) show(entry, search);
  if (image !== undefined && shown?.hit.id !== image) openById(image);
}

function show(entry, search) {
  abandon();
  tries = 0;
  view = views.get(entry);
  if (!view || (view.at && Date.now() - view.at > FRESH_MS)) {
    view = newView(view?.search ?? search);
    views.set(entry, view);
  }
  render();
  if (!view.at && !isStart(search) && !(search.lost && !isQuery(search))) load();
}

function render() {
  const { search, hits } = view, start = isStart(search);
  document.body.dataset.page = start ? "start" : "results";
  document.title = [search.terms.map(titleOfTerm).join(" "), "Image search"].filter(Boolean).join(" · ");
  if (start) text.value = "";
  if (!search.terms.some((term) => isSame(term, edited))) edited = null;
  notice.hidden = true;
  $("p", more).textContent = "";
  $("#copied").textContent = "";
  say(search.lost && isQuery(search) ? LOST : "");
  $("#asked").hidden = start;
  renderTerms(search);
  grid.replaceChildren();
  append(hits.splice(0)); // which puts them back
  setBusy(false);
  summarise();
  renderMarks();
  renderPanel();
  if (search.lost && !isQuery(search)) complain(new Trouble("lost", LOST));
}

const LOST = "A picture stays on the device of whoever searches with it, so the link doesn’t have it: add it again.";

const titleOfTerm = ({ kind, value, weight }) => {
  return (weight < 0 ? "−" : "") + (kind === "text" ? value : kind === "image" ? "picture" : fileName(value));
};

addEventListener("click", (event) => { // links to this page; with a modifier the browser opens a tab
  const link = event.target.closest("a[href^='?']");
  if (!link || event.defaultPrevented || modified(event)) return;
  event.preventDefault();
  const search = searches.get(link) ?? searchOf(link.search);
  go(search, () => (isStart(search) ? text : $("#asked")).focus({ preventScroll: true }));
});

addEventListener("keydown", (event) => {
  const taken = event.metaKey || event.ctrlKey || event.altKey || $("dialog[open]");
  if (event.key !== "/" || taken || event.target.matches("input, select")) return;
  event.preventDefault();
  text.focus();
  text.select();
});

grid.addEventListener("keydown", (event) => {
  const cards = [...grid.querySelectorAll(".open")], last = cards.length - 1;
  const item = event.target.closest("#grid > li"), at = cards.indexOf(item && $(".open", item));
  const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
  const across = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last };
  const to = { ArrowUp: at - columns, ArrowDown: at + columns, ...across }[event.key];
  if (to === undefined || at < 0 || modified(event)) return;
  event.preventDefault();
  const lastRow = Math.floor(at / columns) === Math.floor(last / columns);
  if (to < 0) text.focus();
  else if (to > last && lastRow) $("button", more).focus(); // nothing happens where all are loaded
  else cards[Math.min(to, last)].focus();
});

$(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // no history entry of its own
  ($(".open", grid) ?? grid).focus();
});

addEventListener("popstate", arrive);
loadStock();
arrive();
