// One image in full, in a dialog that has an address of its own.
"use strict";

const detail = $("#detail");
const AROUND_KM = 10;
const SWIPE = 60; // pixels
let shown = null; // {hit, list, opener, entry}: what the dialog shows, what left and right lead through, and from where

/** Show an image of `list`; closing gives the focus back to `opener`, or to its card. */
function openDetail(hit, list, opener = null) {
  const { entry, search } = history.state;
  history.pushState({ entry, search, image: hit.id, opened: true }, "", addressOf(search, { image: hit.id }));
  showDetail(hit, list, opener);
}

/** Show the image that an address names. */
async function openById(id) {
  const hit = view.hits.find((one) => one.id === id);
  if (hit) return showDetail(hit, view.hits);
  const found = await lookUp(id);
  if (history.state.image !== id) return;
  if (found) showDetail(found, [found]);
  else complain(new Trouble("not_found", "The image that the link leads to can’t be found."));
}

function showDetail(hit, list, opener = null) {
  shown = { hit, list, opener, entry: history.state.entry };
  fill({ ...known.get(hit.id), ...hit });
  if (!known.has(hit.id)) lookUp(hit.id).then((found) => found && shown?.hit === hit && fill({ ...found, ...hit }));
  for (const button of detail.querySelectorAll("[data-step]")) button.disabled = !canStep(Number(button.dataset.step));
  if (!detail.open) detail.showModal();
  detail.scrollTop = $(".facts", detail).scrollTop = 0;
}

function fill(hit) {
  const title = titleOf(hit), { description, tags = [] } = hit;
  $("figure", detail).replaceChildren(picture(hit.url, title));
  $("h2", detail).textContent = title;
  $(".description", detail).textContent = description === title ? "" : description ?? "";
  $(".tags", detail).replaceChildren(...tags.map((tag) => {
    return el("li", {}, lead(el("a", { title: "Only images with this tag" }, tag), tagged(tag)));
  }));
  const facts = factsOf(hit).filter(([, value]) => value);
  $("dl", detail).replaceChildren(...facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
  lead($(".alike", detail), likeThis(hit));
  $(".around", detail).hidden = !placeOfHit(hit);
  if (placeOfHit(hit)) lead($(".around", detail), around(hit));
  $(".itself", detail).href = addressOf(newSearch(), { image: hit.id });
  setOriginal(hit);
}

/** The picture itself: to save it, where a page may do that; else to open it, and to save it there. */
function setOriginal({ id, url }) {
  const original = $(".original", detail), address = url && new URL(url, base);
  original.hidden = !address || !/^https?:$/.test(address.protocol);
  if (original.hidden) return;
  const own = address.origin === location.origin;
  original.href = url;
  original.download = own ? fileName(id) : "";
  if (!own) original.removeAttribute("download"); // browsers pay it no heed
  $("span", original).textContent = own ? "Download" : "Open picture";
}

function factsOf(hit) {
  const { score, confidence, width, height, format, bytes, color, created_at: taken, credit } = hit;
  const cosine = score !== undefined && matchOf(view.search) === "vector";
  const size = width && height && `${number.format(width)} × ${number.format(height)} px`;
  const sure = confidence ?? null;
  return [
    ["Match", sure !== null && `${inWords(sure)}, confidence ${(Math.floor(sure * 100) / 100).toFixed(2)}`],
    ["Cosine", cosine && score.toFixed(3)],
    ["Size", [size, bytes && bytesInWords(bytes)].filter(Boolean).join(" · ")],
    ["Format", format?.toUpperCase()],
    ["Colour", color && el("span", {}, swatch(color), color)],
    ["Taken", taken && new Date(taken).toLocaleDateString("en", { dateStyle: "long", timeZone: "UTC" })],
    ["Place", placeOfHit(hit) && away(mapOf(hit), placeInWords(hit))],
    ["Credit", credit && linked(creditOf(credit))],
    ["File", fileName(hit.id)],
  ];
}

const linked = ({ words, href }) => (href ? away(href, words) : words);
const placeOfHit = ({ lat, lon }) => (lat ?? null) !== null && (lon ?? null) !== null;
const mapOf = ({ lat, lon }) => `https://www.openstreetmap.org/?mlat=${lat}&mlon=${lon}#map=14/${lat}/${lon}`;
const bytesInWords = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

/** The search with one more tag to have; where there is no search, that for the tag. */
function tagged(tag) {
  const { search } = view;
  if (!isQuery(search)) return { ...search, terms: [{ kind: "text", value: tag, weight: 1 }] };
  return withPicked(search, "tags", [...new Set([...search.picked.tags, tag])]);
}

function around(hit) {
  const search = isQuery(view.search) ? view.search : likeThis(hit);
  return { ...search, near: { lat: hit.lat, lon: hit.lon, km: AROUND_KM } };
}

// --- Left, right, and closed ----------------------------------------------------------------------------------------

const place = () => shown.list.indexOf(shown.hit);

/** Whether there is one so far left or right, if only because more can be loaded. */
function canStep(by) {
  const loads = by > 0 && shown.list === view.hits && view.cursor !== null;
  return loads || shown.list[place() + by] !== undefined;
}

async function step(by) {
  if (!shown || !canStep(by)) return;
  const from = shown;
  if (!shown.list[place() + by]) await load(); // the last one so far
  const hit = from.list[from.list.indexOf(from.hit) + by];
  if (shown !== from || !hit) return;
  history.replaceState({ ...history.state, image: hit.id }, "", addressOf(view.search, { image: hit.id }));
  showDetail(hit, from.list, from.opener);
}

detail.addEventListener("click", ({ target }) => {
  const button = target.closest("button");
  if (button?.dataset.step) step(Number(button.dataset.step));
  else if (button?.classList.contains("close") || target === detail) detail.close(); // its backdrop counts as itself
});
detail.addEventListener("keydown", ({ key }) => {
  if (key === "ArrowLeft") step(-1);
  if (key === "ArrowRight") step(1);
});
let touched = null; // where a finger came down, if it was one
detail.addEventListener("touchstart", ({ touches }) => (touched = touches.length === 1 ? touches[0] : null));
detail.addEventListener("touchend", ({ changedTouches: [last] }) => {
  const [x, y] = touched ? [last.clientX - touched.clientX, last.clientY - touched.clientY] : [0, 0];
  if (Math.abs(x) > SWIPE && Math.abs(x) > 2 * Math.abs(y)) step(-Math.sign(x));
});

detail.addEventListener("close", () => {
  const { hit, opener, entry: from } = shown;
  const cards = [...grid.querySelectorAll("li")], item = cards.find((one) => one.hit?.id === hit.id);
  shown = null;
  const { entry, search, image, opened } = history.state;
  if (image !== undefined && opened) history.back();
  else if (image !== undefined) history.replaceState({ entry, search }, "", addressOf(search));
  if (entry === from) (opener ?? (item && $(".open", item)) ?? text).focus(); // else a link led on
});

$(".add", detail).addEventListener("click", () => {
  const term = { kind: "id", value: shown.hit.id, weight: 1 };
  go(withTerms(view.search, [term]), () => $("#asked").focus());
});

$(".itself", detail).addEventListener("click", async (event) => {
  if (modified(event)) return;
  event.preventDefault();
  const copied = await navigator.clipboard?.writeText(event.currentTarget.href).then(() => true, () => false);
  $("#copied").textContent = copied ? "The link is copied." : `The link: ${$(".itself", detail).href}`;
});
