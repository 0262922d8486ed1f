// Results as cards: what they say, their near-duplicates, and the marks that refine a search.
"use strict";

function append(hits) {
  hits.forEach(learn);
  const before = view.hits.at(-1);
  view.hits.push(...hits);
  grid.append(...hits.flatMap((hit, at) => {
    const divides = !view.weak && isWeak(hit) && !isWeak(hits[at - 1] ?? before ?? hit);
    return divides ? [divider("Weaker matches"), card(hit)] : [card(hit)];
  }));
}

const isWeak = ({ confidence }) => confidence !== null && confidence < GOOD && matchOf(view.search) === "vector";
const divider = (words) => el("li", { className: "divider" }, el("h3", {}, words));

function card(hit) {
  const item = $("#card").content.cloneNode(true).firstElementChild, title = titleOf(hit);
  item.hit = hit;
  $(".frame", item).append(picture(hit.url, title, { alt: "", loading: "lazy" }));
  $(".title", item).textContent = title;
  $(".score", item).append(...scoreOf(hit));
  $(".open", item).addEventListener("click", () => openDetail(hit, view.hits));
  lead($(".alike", item), likeThis(hit)).ariaLabel = `More like ${title}`;
  for (const mark of Object.keys(MARKS)) {
    const button = $(`.${mark}`, item);
    button.ariaLabel = `${MARKS[mark]}: ${title}`;
    button.ariaPressed = view.marks.get(hit.id) === mark;
    button.addEventListener("click", () => markResult(item, mark));
  }
  if (hit.similar_count) item.append(similarButton(item, hit));
  return item;
}

/** What a card says about how well it matches: confidence in words, and the cosine. */
function scoreOf({ score, confidence }) {
  const sure = confidence === null ? [] : [el("span", { className: "sure" }, inWords(confidence))];
  if (matchOf(view.search) !== "vector") return sure; // the score orders these results, and means nothing else
  const title = "Cosine with your search: 1 is the same";
  return [...sure, el("span", { className: "cosine", title }, score.toFixed(2))];
}

/** The search for more like an image, among the same filters. */
const likeThis = ({ id }) => ({
  ...view.search, terms: [{ kind: "id", value: id, weight: 1 }], like: [], unlike: [], match: "vector", lost: 0,
});

function similarButton(item, { similar, similar_count: count, ...hit }) {
  const words = `${number.format(count)} similar`;
  const button = el("button", { type: "button", className: "similar", ariaExpanded: false }, icon("stack"), words);
  button.ariaLabel = `${words}: ${titleOf(hit)}`;
  const strip = el("li", { className: "strip", hidden: true });
  const list = [hit, ...similar];
  const thumbs = similar.map((one, at) => {
    const open = el("button", { type: "button", className: "frame", ariaLabel: `Similar image ${at + 1} of ${count}` });
    open.append(picture(one.url, "", { loading: "lazy" }));
    open.addEventListener("click", () => openDetail(one, list, open));
    return el("li", {}, open);
  });
  strip.append(el("ul", { ariaLabel: `${words}: ${titleOf(hit)}` }, ...thumbs));
  if (count > similar.length) strip.append(el("p", {}, `and ${number.format(count - similar.length)} more`));
  const unfold = (open) => {
    strip.hidden = !open;
    button.ariaExpanded = open;
    if (open) endOfRow(item).after(strip);
  };
  button.addEventListener("click", ({ detail: clicks }) => {
    unfold(strip.hidden);
    if (!strip.hidden && !clicks) $("button", strip).focus(); // by keyboard: what opened may be some cards away
  });
  strip.addEventListener("keydown", ({ key }) => {
    if (key !== "Escape") return;
    unfold(false);
    button.focus();
  });
  return button;
}

/** The last card in the row of this one, so that what is put behind it leaves no hole. */
function endOfRow(item) {
  const next = item.nextElementSibling;
  return next?.hit && next.offsetTop === item.offsetTop ? endOfRow(next) : item;
}

// --- Marks: what was found good or bad, until the results are refined by it -----------------------------------------

function markResult(item, mark) {
  const { id } = item.hit, was = view.marks.get(id);
  view.marks.delete(id);
  if (was !== mark) view.marks.set(id, mark);
  for (const one of Object.keys(MARKS)) $(`.${one}`, item).ariaPressed = view.marks.get(id) === one;
  renderMarks();
}

function renderMarks() {
  const marked = [...view.marks.values()], good = marked.filter((mark) => mark === "like").length;
  $("#refine").hidden = !marked.length;
  $("#refine p").textContent = `${good} good, ${marked.length - good} bad`;
}

$("#refine .primary").addEventListener("click", () => {
  const { search, marks } = view;
  const now = (mark) => [...marks.keys()].filter((id) => marks.get(id) === mark);
  const marked = (mark) => [...search[mark].filter((id) => !marks.has(id)), ...now(mark)];
  go({ ...search, like: marked("like"), unlike: marked("unlike") }, () => $("#asked").focus());
});

$("#refine .clear").addEventListener("click", () => {
  view.marks.clear();
  for (const pressed of grid.querySelectorAll("[aria-pressed=true]")) pressed.ariaPressed = false;
  renderMarks();
  text.focus();
});
