// The search page. One view for each history entry; what is on screen follows from the view and nothing else.
"use strict";

const PAGE_SIZE = 24; // fills whole rows of 2, 3, 4 and 6
const MAX_RESULTS = 10_000; // the index answers no deeper
const UPLOAD_SIDE = 512; // pixels; more than any CLIP image tower looks at
const UPLOAD_BYTES = 4_000_000; // base64 makes it 5.4 MB, and a Lambda request may have 6
const FRESH_MS = 10 * 60_000; // signed URLs of images live 15 minutes by default

const base = location.origin + location.pathname.replace(/\/*$/, "/");
const number = new Intl.NumberFormat("en");
const $ = (selector, within = document) => within.querySelector(selector);
const grid = $("#grid"), text = $("#text"), file = $("#file"), detail = $("#detail"), notice = $("#notice"), more = $("#more");

const views = new Map(); // history entry → view, so that Back is instant
const known = new Map(); // id → hit, to name and show the picture of "more like this"
let view; // {query, hits, offset, done, took, at}
let running = new AbortController(); // the search under way; a new one puts an end to it
let stock = null; // how many images are indexed

function el(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

const images = (count) => (count === 1 ? "1 image" : `${number.format(count)} images`);

// --- API ------------------------------------------------------------------------------------------------------------

class Trouble extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

const GATEWAY_TROUBLE = {
  413: ["request_too_large", "The picture is too large to upload."],
  429: ["overloaded", "Many people are searching right now."],
  504: ["timeout", "The search took too long."],
};

async function api(path, { body, signal, ask = true } = {}) {
  const key = storedKey();
  const headers = { ...(body && { "content-type": "application/json" }), ...(key && { "x-api-key": key }) };
  let response, answer;
  try {
    response = await fetch(base + path, { method: body ? "POST" : "GET", headers, signal, body: body && JSON.stringify(body) });
    answer = await response.json().catch((error) => (signal?.aborted ? Promise.reject(error) : null));
  } catch (error) {
    if (signal?.aborted) throw error;
    if (!navigator.onLine) throw new Trouble("offline", "The search runs again when you are back online.");
    throw new Trouble("unreachable", "The search service doesn't answer.");
  }
  if (response.ok && answer) return answer;
  if (answer?.error) throw new Trouble(answer.error.code, answer.error.message);
  if (response.status === 401 || response.status === 403) {
    if (ask && (await askForKey(key !== ""))) return api(path, { body, signal });
    throw new Trouble("no_key", "This search answers only with an API key.");
  }
  throw new Trouble(...(GATEWAY_TROUBLE[response.status] ?? ["failed", `The search service failed (${response.status}).`]));
}

const KEY_NAME = "imagesearch-api-key";
let sessionKey = ""; // where the browser allows no storage
let asking = null; // one dialog, however many requests were refused

function storedKey() {
  try {
    return localStorage.getItem(KEY_NAME) ?? sessionKey;
  } catch {
    return sessionKey;
  }
}

function askForKey(refused) {
  asking ??= new Promise((resolve) => {
    const dialog = $("#key"), value = $("#key-value");
    $("#key-hint").textContent = refused
      ? "That key was refused. Please check it."
      : "This search needs an API key. It stays in this browser.";
    dialog.returnValue = value.value = "";
    dialog.addEventListener("close", () => {
      asking = null;
      const given = dialog.returnValue === "use";
      if (given) {
        sessionKey = value.value.trim();
        try { localStorage.setItem(KEY_NAME, sessionKey); } catch { /* kept for this visit only */ }
      }
      resolve(given);
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

async function loadStock() {
  try {
    const { index } = await api("health", { ask: false });
    stock = index.available ? index.count : null;
    $("#stock").textContent = index.available ? `${images(stock)} indexed` : "The index doesn't answer right now";
  } catch (error) {
    $("#stock").textContent = error.code === "no_key" ? "" : "The search service doesn't answer right now";
  }
}

// --- Where we are: query ↔ address ----------------------------------------------------------------------------------

// A query is {text}, {id}, {image_url} or {picture: data URL}; null is the start page. A picture has no address of its
// own, but it lives in its history entry.
const PARAMETERS = { q: "text", id: "id", url: "image_url" };

function queryOf(search) {
  const parameters = new URLSearchParams(search);
  for (const [parameter, kind] of Object.entries(PARAMETERS)) {
    const value = parameters.get(parameter)?.trim();
    if (value) return { [kind]: value };
  }
  return null;
}

function hrefOf(query) {
  const parameters = new URLSearchParams();
  for (const [parameter, kind] of Object.entries(PARAMETERS)) if (query?.[kind]) parameters.set(parameter, query[kind]);
  return `?${parameters}`;
}

function go(query) {
  if (detail.open) detail.close();
  const address = new URL(location);
  address.search = hrefOf(query);
  address.hash = "";
  history.pushState({ entry: `${Math.random()}`, query }, "", address);
  scrollTo(0, 0);
  open(query);
}

function open(query) {
  running.abort();
  view = views.get(history.state.entry);
  if (!view || Date.now() - view.at > FRESH_MS) {
    view = { query, hits: [], offset: 0, done: false, took: 0, at: 0 };
    views.set(history.state.entry, view);
  }
  render();
  if (query && !view.at) load();
}

function arrive() {
  const query = history.state?.query ?? queryOf(location.search);
  if (!history.state) history.replaceState({ entry: `${Math.random()}`, query }, "");
  open(query);
}

// --- Search ---------------------------------------------------------------------------------------------------------

async function load() {
  const { signal } = (running = new AbortController());
  const { query, hits, offset } = view, shown = view, first = !hits.length;
  notice.hidden = true;
  $("p", more).textContent = "";
  grid.ariaBusy = true;
  more.classList.add("busy");
  if (first) {
    $("#summary").textContent = "Searching…";
    grid.replaceChildren(...Array.from({ length: PAGE_SIZE / 2 }, () => el("li", { className: "skeleton", ariaHidden: true })));
  }
  try {
    const asked = query.picture ? { image: query.picture.split(",")[1] } : query;
    const k = Math.min(PAGE_SIZE, MAX_RESULTS - offset);
    const answer = await api("search", { body: { ...asked, k, offset }, signal });
    signal.throwIfAborted();
    const seen = new Set(hits.map((hit) => hit.id)); // the index may have changed between two pages
    const fresh = answer.hits.filter((hit) => !seen.has(hit.id));
    for (const hit of fresh) known.set(hit.id, hit);
    hits.push(...fresh);
    shown.offset += answer.hits.length;
    shown.done = answer.hits.length < k || shown.offset >= MAX_RESULTS;
    shown.took = Object.values(answer.took ?? {}).reduce((sum, ms) => sum + ms, 0);
    shown.at = Date.now();
    if (first) grid.replaceChildren();
    grid.append(...fresh.map((hit, i) => card(hit, hits.length - fresh.length + i)));
    summarise();
    if (stock === null) loadStock().then(() => view === shown && summarise());
  } catch (error) {
    if (signal.aborted) return;
    if (first) {
      grid.replaceChildren();
      $("#summary").textContent = "";
      complain(error);
    } else {
      $("p", more).textContent = error.message;
    }
  } finally {
    if (!signal.aborted) {
      grid.ariaBusy = false;
      more.classList.remove("busy");
    }
  }
}

// --- What is on screen ----------------------------------------------------------------------------------------------

function render() {
  const { query, hits } = view;
  document.body.dataset.page = query ? "results" : "start";
  document.title = query?.text ? `${query.text} · Image search` : "Image search";
  text.value = query?.text ?? "";
  notice.hidden = true;
  $("#asked").hidden = !query;
  if (query) describeQuery(query);
  grid.ariaBusy = false;
  grid.replaceChildren(...hits.map(card));
  more.classList.remove("busy");
  summarise();
}

function summarise() {
  const { query, hits, done, took, at } = view;
  more.hidden = done || !hits.length;
  $("p", more).textContent = "";
  $("button", more).textContent = "Load more";
  if (!query || !at) return;
  if (!hits.length) {
    $("#summary").textContent = "No results";
    return complain(new Trouble("empty", stock === 0 ? "No image is indexed yet." : "Try other words, or another picture."));
  }
  const closest = stock >= hits.length ? `${number.format(hits.length)} of ${images(stock)}` : images(hits.length);
  $("#summary").textContent = `Closest ${closest} · ${number.format(Math.ceil(took))} ms`;
}

async function describeQuery(query) {
  const label = $("#chip-text"), chip = $("#chip");
  const shown = view;
  $(".thumb", chip)?.remove();
  const thumb = (url) => chip.prepend(el("span", { className: "thumb" }, picture(url, "")));
  if (query.text) label.textContent = `“${query.text}”`;
  if (query.picture) {
    label.textContent = "Like your picture";
    thumb(query.picture);
  }
  if (query.image_url) {
    label.textContent = "Like the picture at this address";
    thumb(query.image_url);
  }
  if (query.id) {
    label.textContent = "Like this picture";
    if (!known.has(query.id)) {
      const hit = await api(`images/${encodeURIComponent(query.id)}`, { ask: false }).catch(() => null);
      if (!hit || view !== shown) return; // the search itself says what is wrong
      known.set(query.id, hit);
    }
    const hit = known.get(query.id);
    label.textContent = `Like “${titleOf(hit)}”`;
    thumb(hit.url);
  }
}

const titleOf = (hit) => hit.title || hit.description || hit.id;

function picture(url, title, properties) {
  const missing = () => el("span", { className: "missing", textContent: title });
  if (!url) return missing();
  const image = el("img", { alt: title, decoding: "async", draggable: false, ...properties, src: url });
  image.addEventListener("error", () => image.replaceWith(missing()));
  return image;
}

function card(hit, at) {
  const item = $("#card").content.cloneNode(true);
  const title = titleOf(hit);
  $(".frame", item).append(picture(hit.url, title, { loading: "lazy" }));
  $(".title", item).textContent = title;
  $(".score", item).textContent = hit.score.toFixed(2);
  $(".open", item).addEventListener("click", () => showDetail(at));
  $(".like", item).href = hrefOf({ id: hit.id });
  return item;
}

// --- Trouble on screen ----------------------------------------------------------------------------------------------

const AGAIN = ["Try again", () => load()];
const CHOOSE = ["Choose another picture", () => file.click()];
const RESTART = ["Start again", () => (go(null), text.focus())];
const COMPLAINTS = {
  offline: ["You are offline", AGAIN],
  no_key: ["An API key is needed", ["Enter the key", () => load()]],
  index_unavailable: ["The index doesn't answer", AGAIN],
  index_overloaded: ["Too many searches at the moment", AGAIN],
  overloaded: ["Too many searches at the moment", AGAIN],
  invalid_image: ["That is no picture we can read", CHOOSE],
  request_too_large: ["That picture is too large", CHOOSE],
  unreachable_url: ["That picture can't be fetched", CHOOSE],
  not_found: ["That picture isn't in the index", RESTART],
  empty: ["Nothing found", RESTART],
};
let remedy; // what the button of the notice does

function complain({ code, message }) {
  const [title, [action, does]] = COMPLAINTS[code] ?? ["The search didn't work", AGAIN];
  $("h2", notice).textContent = title;
  $("p", notice).textContent = message;
  $("button", notice).textContent = action;
  remedy = does;
  notice.dataset.code = code;
  notice.hidden = false;
}

$("button", notice).addEventListener("click", () => remedy());
addEventListener("online", () => !notice.hidden && notice.dataset.code === "offline" && load());

// --- One picture in full --------------------------------------------------------------------------------------------

let shownAt; // which of the hits the dialog shows

function showDetail(at) {
  shownAt = at;
  const hit = view.hits[at], title = titleOf(hit);
  $("figure", detail).replaceChildren(picture(hit.url, title));
  $("h2", detail).textContent = title;
  $(".description", detail).textContent = hit.description === title ? "" : hit.description ?? "";
  $(".tags", detail).replaceChildren(...(hit.tags ?? []).map((tag) => el("a", { textContent: tag, href: hrefOf({ text: tag }) })));
  $("dl", detail).replaceChildren(...Object.entries(factsOf(hit)).flatMap(([name, value]) =>
    value ? [el("dt", { textContent: name }), el("dd", {}, value)] : []));
  $(".like", detail).href = hrefOf({ id: hit.id });
  const original = $(".original", detail);
  original.hidden = !hit.url || !/^https?:$/.test(new URL(hit.url, base).protocol);
  if (!original.hidden) original.href = hit.url;
  for (const button of detail.querySelectorAll("[data-step]")) button.disabled = !view.hits[at + Number(button.dataset.step)];
  if (!detail.open) detail.showModal();
}

function factsOf({ score, width, height, format, color, created_at: taken, credit }) {
  const swatch = el("span", { className: "swatch" });
  if (color) swatch.style.backgroundColor = color; // a name that CSS doesn't know leaves it transparent
  return {
    Similarity: score.toFixed(3),
    Size: width && height && `${number.format(width)} × ${number.format(height)} px`,
    Format: format?.toUpperCase(),
    Colour: color && el("span", {}, swatch, color),
    Taken: taken && new Date(taken).toLocaleDateString("en", { dateStyle: "long", timeZone: "UTC" }),
    Credit: credit,
  };
}

function step(by) {
  if (view.hits[shownAt + by]) showDetail(shownAt + by);
}

detail.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.step) step(Number(button.dataset.step));
  else if (button || event.target === detail) detail.close(); // the dialog itself is what shows as its backdrop
});
detail.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});
detail.addEventListener("close", () => grid.querySelectorAll(".open")[shownAt]?.focus());

// --- A picture as the query -----------------------------------------------------------------------------------------

async function searchPicture(blob) {
  running.abort();
  const { signal } = (running = new AbortController());
  try {
    const picture = await shrink(blob);
    if (!signal.aborted) go({ picture });
  } catch (error) {
    if (!signal.aborted) complain(error);
  }
}

// A data URL of the picture, made small here so that it uploads fast. What this browser can't decode (HEIC, say) goes
// as it is, since the server may know the format.
async function shrink(blob) {
  const bitmap = await createImageBitmap(blob).catch(() => null);
  if (!bitmap) {
    const name = blob.name ? `“${blob.name}”` : "It";
    if (!blob.size || (blob.type && !blob.type.startsWith("image/"))) throw new Trouble("invalid_image", `${name} is no picture.`);
    if (blob.size > UPLOAD_BYTES) {
      throw new Trouble("request_too_large", `${name} has more than ${UPLOAD_BYTES / 1e6} MB, and this browser can't make it smaller.`);
    }
    return readDataUrl(blob);
  }
  const scale = Math.min(1, UPLOAD_SIDE / Math.max(bitmap.width, bitmap.height));
  const width = Math.max(1, Math.round(bitmap.width * scale)), height = Math.max(1, Math.round(bitmap.height * scale));
  const canvas = el("canvas", { width, height });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#fff"; // JPEG has no transparency; the index lays pictures on white too
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return canvas.toDataURL("image/jpeg", 0.92);
}

function readDataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Trouble("invalid_image", "It can't be read from this device."));
    reader.readAsDataURL(blob);
  });
}

file.addEventListener("change", () => {
  if (file.files[0]) searchPicture(file.files[0]);
  file.value = ""; // so that the same file can be chosen again
});

addEventListener("paste", ({ clipboardData }) => clipboardData?.files[0] && searchPicture(clipboardData.files[0]));

let ownDrag = false; // something of this page is dragged, which is no query
const droppable = ({ dataTransfer }) => !ownDrag && ["Files", "text/uri-list"].some((type) => dataTransfer?.types.includes(type));
const showDrop = (shown) => $("#drop").classList.toggle("shown", shown);
addEventListener("dragstart", () => (ownDrag = true));
addEventListener("dragend", () => (ownDrag = false));
addEventListener("dragleave", (event) => event.relatedTarget || showDrop(false));
addEventListener("dragover", (event) => {
  if (!droppable(event)) return;
  event.preventDefault();
  showDrop(true);
});
addEventListener("drop", (event) => {
  if (!droppable(event)) return;
  event.preventDefault();
  showDrop(false);
  const files = [...event.dataTransfer.files];
  const [address] = event.dataTransfer.getData("text/uri-list").split(/[\r\n]+/).filter((line) => line && !line.startsWith("#"));
  if (files.length) searchPicture(files.find(({ type }) => type.startsWith("image/")) ?? files[0]);
  else if (address) go({ image_url: address });
});

// --- Words, links, keys ---------------------------------------------------------------------------------------------

$("#search").addEventListener("submit", (event) => {
  event.preventDefault();
  const words = text.value.trim();
  if (!words) return;
  go(/^https?:\/\/\S+$/.test(words) ? { image_url: words } : { text: words });
  if (matchMedia("(hover: none)").matches) text.blur(); // puts the keyboard of a phone away
});

addEventListener("click", (event) => { // links that stay on this page; with a modifier the browser opens a new tab
  const link = event.target.closest("a[href^='?']");
  if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  const query = queryOf(link.search);
  go(query);
  (query ? $("#asked") : text).focus({ preventScroll: true });
});

addEventListener("keydown", (event) => {
  const elsewhere = event.target.matches("input") || document.querySelector("dialog[open]");
  if (event.key !== "/" || event.metaKey || event.ctrlKey || event.altKey || elsewhere) return;
  event.preventDefault();
  text.select();
});

text.addEventListener("keydown", (event) => event.key === "ArrowDown" && $(".open", grid)?.focus());

grid.addEventListener("keydown", (event) => {
  if (event.metaKey || event.ctrlKey || event.altKey || event.shiftKey) return;
  const cards = [...grid.querySelectorAll(".open")];
  const at = cards.indexOf($(".open", event.target.closest("li")));
  const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
  const to = {
    ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - columns, ArrowDown: at + columns, Home: 0, End: cards.length - 1,
  }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  const below = Math.floor(at / columns) < Math.floor((cards.length - 1) / columns);
  if (to < 0) text.focus();
  else (cards[to] ?? (below ? cards.at(-1) : more.hidden ? cards[at] : $("button", more))).focus();
});

$("button", more).addEventListener("click", () => load());
$("#key .cancel").addEventListener("click", () => $("#key").close());

addEventListener("popstate", arrive);
loadStock();
arrive();
