// The search page. Every history entry has a view: a query and the hits so far. What is on screen follows from it.
"use strict";

const PAGE_SIZE = 24; // fills whole rows of 2, 3, 4, 6 and 8
const MAX_RESULTS = 10_000; // the index answers no deeper
const UPLOAD_SIDE = 512; // pixels; more than any CLIP model looks at
const UPLOAD_BYTES = 4_000_000; // 5.4 MB as base64; a Lambda function takes requests of 6 MB
const FRESH_MS = 10 * 60_000; // signed URLs of images work for 15 minutes by default
const KEY = "imagesearch-api-key";

const base = location.origin + location.pathname.replace(/\/*$/, "/");
const storage = (() => { try { return localStorage; } catch { return {}; } })(); // a browser may forbid it
const number = new Intl.NumberFormat("en");
const images = (count) => (count === 1 ? "1 image" : `${number.format(count)} images`);
const $ = (selector, within = document) => within.querySelector(selector);
const [text, file, grid] = [$("#text"), $("#file"), $("#grid")];
const [more, notice, detail] = [$("#more"), $("#notice"), $("#detail")];

const views = new Map(); // history entry → view, so that Back is instant
const known = new Map(); // id → hit, to name and show the picture of "more like this"
let view; // {query, hits, offset, done, took, at}
let running = new AbortController(); // of the search under way: a new one puts an end to it
let stock = null; // how many images are indexed

function el(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// --- The API --------------------------------------------------------------------------------------------------------

class Trouble extends Error {
  constructor(code, message) {
    super(message.replace(/^./, (letter) => letter.toUpperCase())); // the API's begin in lower case
    this.code = code;
  }
}

async function api(path, { body, signal, ask = true } = {}) {
  const key = storage[KEY];
  const headers = { ...(key && { "x-api-key": key }), ...(body && { "content-type": "application/json" }) };
  const request = { method: body ? "POST" : "GET", body: body && JSON.stringify(body), headers, signal };
  const response = await fetch(base + path, request).catch((error) => {
    if (signal?.aborted) throw error;
    throw navigator.onLine
      ? new Trouble("unreachable", "The search service doesn’t answer.")
      : new Trouble("offline", "The search runs again when you are back online.");
  });
  const answer = await response.json().catch(() => null);
  signal?.throwIfAborted();
  if (response.ok && answer) return answer;
  const { code, message } = answer?.error ?? {};
  if ([401, 403].includes(response.status)) { // only the gateway in front of the search answers so
    if (ask && (await askForKey(key))) return api(path, { body, signal });
    throw new Trouble("no_key", "This search answers only with a valid API key.");
  }
  if (response.status === 413) throw new Trouble("too_large", message ?? "The search takes no more than 6 MB.");
  if (response.status === 429 && code !== "quota_exceeded") {
    throw new Trouble("too_many_requests", "It is busy right now. Please try again in a few seconds.");
  }
  throw new Trouble(code ?? "failed", message ?? `The search service answered with status ${response.status}.`);
}

let asking = null; // one dialog, however many requests were refused

function askForKey(refused) {
  asking ??= new Promise((resolve) => {
    const dialog = $("#key"), value = $("#key-value");
    $("#key-hint").textContent = refused
      ? "The key was refused. Please check it."
      : "This search needs an API key. It stays in this browser.";
    dialog.returnValue = value.value = "";
    dialog.onclose = () => {
      asking = null;
      const given = dialog.returnValue === "use";
      if (given) storage[KEY] = value.value.trim();
      resolve(given);
    };
    dialog.showModal();
  });
  return asking;
}

async function loadStock() {
  const unknown = ({ code }) => ({ index: { available: code === "no_key", count: null } });
  const { index } = await api("health", { ask: false }).catch(unknown);
  stock = index.count;
  $("#stock").textContent = stock === null ? "" : `${images(stock)} indexed`;
  if (!index.available) $("#stock").textContent = "The search doesn’t answer right now";
}

// --- Query and address ----------------------------------------------------------------------------------------------

// A query is {text}, {id}, {image_url} or {image: data URL}; null is the start page. A picture is too long for an
// address, so it lives in its history entry.
const PARAMETERS = { q: "text", id: "id", url: "image_url" };

function queryOf(search) {
  for (const [parameter, value] of new URLSearchParams(search)) {
    if (PARAMETERS[parameter] && value.trim()) return { [PARAMETERS[parameter]]: value.trim() };
  }
  return null;
}

function hrefOf(query) {
  const given = Object.entries(PARAMETERS).filter(([, kind]) => query?.[kind]);
  return `?${new URLSearchParams(given.map(([parameter, kind]) => [parameter, query[kind]]))}`;
}

function go(query) {
  const address = new URL(location);
  address.search = hrefOf(query);
  history.pushState({ entry: `${Math.random()}`, query }, "", address);
  scrollTo(0, 0);
  arrive();
}

function arrive() {
  if (!history.state) history.replaceState({ entry: `${Math.random()}`, query: queryOf(location.search) }, "");
  const { entry, query } = history.state;
  running.abort();
  detail.close();
  view = views.get(entry);
  if (!view || Date.now() - view.at > FRESH_MS) {
    view = { query, hits: [], offset: 0, done: false, took: 0, at: 0 };
    views.set(entry, view);
  }
  render();
  if (query && !view.at) load();
}

// --- Search ---------------------------------------------------------------------------------------------------------

async function load() {
  running.abort();
  const { signal } = (running = new AbortController());
  const { query, hits, offset } = view;
  const k = Math.min(PAGE_SIZE, MAX_RESULTS - offset);
  setBusy(true);
  try {
    const answer = await api("search", { body: { ...query, k, offset }, signal });
    const seen = new Set(hits.map(({ id }) => id)); // the index may have changed between two pages
    const fresh = answer.hits.filter(({ id }) => !seen.has(id));
    for (const hit of fresh) known.set(hit.id, hit);
    hits.push(...fresh);
    const done = answer.hits.length < k || offset + k >= MAX_RESULTS;
    const took = Object.values(answer.took).reduce((sum, ms) => sum + ms);
    Object.assign(view, { offset: offset + k, done, took, at: Date.now() });
    if (offset === 0) grid.replaceChildren();
    grid.append(...fresh.map(card));
    summarise();
    if (stock === null) loadStock().then(summarise);
  } catch (error) {
    if (signal.aborted) return;
    if (hits.length) $("p", more).textContent = error.message;
    else complain(error);
  }
  setBusy(false);
}

function setBusy(busy) {
  grid.ariaBusy = busy;
  more.classList.toggle("busy", busy);
  if (!busy) return;
  notice.hidden = true;
  $("p", more).textContent = "";
  if (view.hits.length) return;
  $("#summary").textContent = "Searching…";
  grid.replaceChildren(...Array.from(Array(PAGE_SIZE), () => el("li", { className: "skeleton", ariaHidden: true })));
}

// --- What is on screen ----------------------------------------------------------------------------------------------

function render() {
  const { query, hits } = view;
  document.body.dataset.page = query ? "results" : "start";
  document.title = query?.text ? `${query.text} · Image search` : "Image search";
  text.value = query?.text ?? "";
  notice.hidden = true;
  $("p", more).textContent = "";
  $("#asked").hidden = !query;
  if (query) describe(query);
  grid.replaceChildren(...hits.map(card));
  setBusy(false);
  summarise();
}

function summarise() {
  const { hits, done, took, at } = view;
  more.hidden = done || !hits.length;
  if (!at) return;
  if (!hits.length) {
    return complain(new Trouble("empty", stock === 0 ? "No image is indexed yet." : "Try another search."));
  }
  const closest = stock >= hits.length ? `${number.format(hits.length)} of ${images(stock)}` : images(hits.length);
  $("#summary").textContent = `Closest ${closest} · ${number.format(Math.ceil(took))} ms`;
}

async function describe(query) {
  const chip = $("#chip"), label = $("#chip-text"), { id } = query, shown = view;
  const show = (words, url) => {
    $(".thumb", chip)?.remove();
    label.textContent = words;
    if (url) chip.prepend(el("span", { className: "thumb" }, picture(url, "")));
  };
  if (query.text) return show(`“${query.text}”`);
  if (!id) return show("Like this picture", query.image ?? query.image_url);
  if (!known.has(id)) {
    show("Like this picture");
    const hit = await api(`images/${encodeURIComponent(id)}`, { ask: false }).catch(() => null);
    if (!hit || view !== shown) return; // what is wrong the search itself says
    known.set(id, hit);
  }
  show(`Like “${titleOf(known.get(id))}”`, known.get(id).url);
}

const titleOf = ({ title, description, uri, id }) => title || description || uri?.split("/").at(-1) || id;

function picture(url, title, properties) {
  const missing = () => el("span", { className: "missing", textContent: title });
  if (!url) return missing();
  const image = el("img", { alt: title, decoding: "async", draggable: false, ...properties, src: url });
  image.addEventListener("error", () => image.replaceWith(missing()));
  return image;
}

function card(hit) {
  const item = $("#card").content.cloneNode(true);
  $(".frame", item).append(picture(hit.url, titleOf(hit), { loading: "lazy" }));
  $(".title", item).textContent = titleOf(hit);
  $(".score", item).textContent = hit.score.toFixed(2);
  $(".open", item).addEventListener("click", () => showDetail(hit));
  $(".like", item).href = hrefOf({ id: hit.id });
  return item;
}

const AGAIN = ["Try again", load];
const CHOOSE = ["Choose another picture", () => file.click()];
const RESTART = ["Start again", () => (go(null), text.focus())];
const COMPLAINTS = {
  offline: ["You are offline", AGAIN],
  no_key: ["An API key is needed", ["Enter the key", load]],
  index_unavailable: ["The index doesn’t answer", AGAIN],
  too_many_requests: ["Too many searches at the moment", AGAIN],
  quota_exceeded: ["No more searches today", AGAIN],
  invalid_image: ["That can’t be read as a picture", CHOOSE],
  too_large: ["That picture is too large", CHOOSE],
  unreachable_url: ["That picture can’t be fetched", CHOOSE],
  not_found: ["That picture isn’t in the index", RESTART],
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

// --- One hit in full ------------------------------------------------------------------------------------------------

let shownHit;

function showDetail(hit) {
  shownHit = hit;
  const title = titleOf(hit);
  $("figure", detail).replaceChildren(picture(hit.url, title));
  $("h2", detail).textContent = title;
  $(".description", detail).textContent = hit.description === title ? "" : hit.description;
  $(".tags", detail).replaceChildren(...hit.tags.map((tag) => el("a", { href: hrefOf({ text: tag }) }, tag)));
  const facts = factsOf(hit).filter(([, value]) => value);
  $("dl", detail).replaceChildren(...facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
  $(".like", detail).href = hrefOf({ id: hit.id });
  const original = $(".original", detail);
  original.hidden = !hit.url || !/^https?:$/.test(new URL(hit.url, base).protocol);
  if (!original.hidden) original.href = hit.url;
  for (const button of detail.querySelectorAll("[data-step]")) button.disabled = !neighbour(button.dataset.step);
  if (!detail.open) detail.showModal();
}

function factsOf({ score, width, height, format, color, created_at: taken, credit }) {
  const swatch = el("span", { className: "swatch" });
  swatch.style.backgroundColor = color; // a name that CSS doesn't know changes nothing
  return [
    ["Similarity", score.toFixed(3)],
    ["Size", width && height && `${number.format(width)} × ${number.format(height)} px`],
    ["Format", format?.toUpperCase()],
    ["Colour", color && el("span", {}, swatch, color)],
    ["Taken", taken && new Date(taken).toLocaleDateString("en", { dateStyle: "long", timeZone: "UTC" })],
    ["Credit", credit && linked(credit)],
  ];
}

// A credit such as "Photo by Ann on Unsplash (https://unsplash.com/@ann)": its words lead to the URL in brackets.
function linked(credit) {
  const [, words, href] = credit.match(/^(.+) \((https:\/\/\S+)\)$/) ?? [];
  return words ? el("a", { href, target: "_blank", rel: "noopener noreferrer" }, words) : credit;
}

const neighbour = (by) => view.hits[view.hits.indexOf(shownHit) + Number(by)];

function step(by) {
  if (neighbour(by)) showDetail(neighbour(by));
}

detail.addEventListener("click", ({ target }) => {
  const button = target.closest("button");
  if (button?.dataset.step) step(button.dataset.step);
  else if (button || target === detail) detail.close(); // its backdrop counts as the dialog itself
});
detail.addEventListener("keydown", ({ key }) => {
  if (key === "ArrowLeft") step(-1);
  if (key === "ArrowRight") step(1);
});
detail.addEventListener("close", () => grid.querySelectorAll(".open")[view.hits.indexOf(shownHit)]?.focus());

// --- A picture as the query -----------------------------------------------------------------------------------------

async function searchPicture(blob) {
  running.abort();
  const { signal } = (running = new AbortController());
  try {
    const image = await shrink(blob);
    if (!signal.aborted) go({ image });
  } catch (error) {
    if (signal.aborted) return;
    setBusy(false);
    complain(error);
  }
}

// A data URL of the picture, made small here so that it uploads fast. What this browser can't decode (HEIC, say) goes
// as it is, since the server may know the format.
async function shrink(blob) {
  const bitmap = await createImageBitmap(blob).catch(() => null);
  if (!bitmap) return asItIs(blob);
  const scale = Math.min(1, UPLOAD_SIDE / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
  const canvas = el("canvas", { width, height });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = "white"; // JPEG has no transparency; the index lays pictures on white too
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return canvas.toDataURL("image/jpeg", 0.92);
}

function asItIs(blob) {
  const name = `“${blob.name}”`;
  if (!blob.size || !/^(image\/.*)?$/.test(blob.type)) throw new Trouble("invalid_image", `${name} is no image file.`);
  if (blob.size > UPLOAD_BYTES) {
    throw new Trouble("too_large", `This browser can’t make ${name} smaller than ${UPLOAD_BYTES / 1e6} MB.`);
  }
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Trouble("invalid_image", `${name} can’t be read from this device.`));
    reader.readAsDataURL(blob);
  });
}

file.addEventListener("change", () => {
  if (file.files[0]) searchPicture(file.files[0]);
  file.value = ""; // so that the same file can be chosen again
});

addEventListener("paste", ({ clipboardData: { files } }) => files[0] && searchPicture(files[0]));

let ownDrag = false; // something of this page is dragged, which is no query

function drag(event) {
  const { types } = event.dataTransfer;
  const usable = !ownDrag && (types.includes("Files") || types.includes("text/uri-list"));
  if (usable) event.preventDefault();
  $("#drop").classList.toggle("shown", usable && event.type === "dragover");
  return usable;
}

addEventListener("dragstart", () => (ownDrag = true));
addEventListener("dragend", () => (ownDrag = false));
addEventListener("dragover", drag);
addEventListener("dragleave", (event) => event.relatedTarget || drag(event)); // leaves the window
addEventListener("drop", (event) => {
  if (!drag(event)) return;
  const files = [...event.dataTransfer.files], address = event.dataTransfer.getData("URL");
  if (files.length) searchPicture(files.find(({ type }) => type.startsWith("image/")) ?? files[0]);
  else if (address) go({ image_url: address });
});

// --- Words, links, keys ---------------------------------------------------------------------------------------------

const modified = (event) => event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey;

$("#search").addEventListener("submit", (event) => {
  event.preventDefault();
  const words = text.value.trim();
  if (words) go(/^https?:\/\/\S+$/.test(words) ? { image_url: words } : { text: words });
  if (matchMedia("(hover: none)").matches) text.blur(); // puts the keyboard of a phone away
});

addEventListener("click", (event) => { // links to this page; with a modifier the browser opens a tab
  const link = event.target.closest("a[href^='?']");
  if (!link || modified(event)) return;
  event.preventDefault();
  const query = queryOf(link.search);
  go(query);
  (query ? $("#asked") : text).focus({ preventScroll: true });
});

addEventListener("keydown", (event) => {
  const taken = event.metaKey || event.ctrlKey || event.altKey || event.target.matches("input") || $("dialog[open]");
  if (event.key !== "/" || taken) return;
  event.preventDefault();
  text.focus();
  text.select();
});

text.addEventListener("keydown", ({ key }) => key === "ArrowDown" && $(".open", grid)?.focus());

grid.addEventListener("keydown", (event) => {
  const cards = [...grid.querySelectorAll(".open")], last = cards.length - 1;
  const at = cards.indexOf($(".open", event.target.closest("li")));
  const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
  const across = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last };
  const to = { ArrowUp: at - columns, ArrowDown: at + columns, ...across }[event.key];
  if (to === undefined || modified(event)) return;
  event.preventDefault();
  const lastRow = Math.floor(at / columns) === Math.floor(last / columns);
  if (to < 0) text.focus();
  else if (to > last && lastRow) $("button", more).focus(); // nothing happens where all are loaded
  else cards[Math.min(to, last)].focus();
});

$("button", more).addEventListener("click", load);
$("#key .cancel").addEventListener("click", () => $("#key").close());

addEventListener("popstate", arrive);
loadStock();
arrive();
