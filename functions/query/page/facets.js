// Filters: facets with their counts as lists to check, dates, size, place; and what is active as chips to remove.
"use strict";

const SHOWN_VALUES = 6; // of a facet, before all of them are asked for
const panel = $("#panel"), drawer = $("#drawer");
const unfolded = new Set(); // facets of which all values are shown
const NAMES = { format: (value) => value.toUpperCase(), credit: (value) => creditOf(value).words };
const nameOf = (field, value) => NAMES[field]?.(value) ?? value;

const withoutFilters = (search) => ({ ...newSearch(), ...search, ...picking(newSearch()) });
const picking = ({ picked, from, to, side, near }) => ({ picked, from, to, side, near });

/** Show what `view.search` says on the panel; the counts stay until the answer brings others. */
function renderPanel() {
  const { search } = view, possible = possibleMatches(search), match = matchOf(search);
  for (const radio of panel.querySelectorAll("[name=match]")) {
    radio.checked = radio.value === match;
    radio.disabled = !possible.includes(radio.value);
  }
  $("#sure").checked = search.sure;
  $("#grouped").checked = search.grouped;
  for (const end of ["from", "to"]) $(`#${end}`).value = search[end];
  $("#side-pixels").value = search.side;
  $("#near").hidden = !search.near;
  if (search.near) $("#km").value = search.near.km;
  if (search.near && $("#km").selectedIndex < 0) {
    $("#km").append(el("option", { value: search.near.km, selected: true }, `${number.format(search.near.km)} km`));
  }
  renderActive();
  renderFacets();
}

let counts = {}; // those on screen
let knowsConfidence = false; // not every collection has statistics

function renderFacets() {
  counts = view.counts ?? counts;
  knowsConfidence ||= view.hits.some(({ confidence }) => confidence !== null);
  $("#sure").closest("label").hidden = !knowsConfidence && !view.search.sure;
  const focused = document.activeElement?.closest("#facets [data-key]")?.dataset.key;
  const closed = new Set([...panel.querySelectorAll("details:not([open])")].map(({ dataset }) => dataset.field));
  const groups = Object.keys(FACETS).map((field) => facetGroup(field, !closed.has(field)));
  $("#facets").replaceChildren(...groups.filter(Boolean));
  if (focused) $(`[data-key="${CSS.escape(focused)}"]`, panel)?.focus();
}

function facetGroup(field, open) {
  const picked = view.search.picked[field], found = counts[field] ?? [];
  const unfound = picked.filter((value) => !found.some((one) => one.value === value));
  const values = [...found, ...unfound.map((value) => ({ value }))];
  if (values.length < 2 && !picked.length) return null; // what all have, or none, narrows nothing down
  const all = unfolded.has(field);
  const shown = values.filter(({ value }, at) => all || at < SHOWN_VALUES || picked.includes(value));
  const list = el("ul", {}, ...shown.map(({ value, count }) => facetValue(field, value, count)));
  const group = el("details", { open }, el("summary", {}, el("h3", {}, FACETS[field][1])), list);
  group.dataset.field = field;
  if (values.length > SHOWN_VALUES) {
    const words = all ? "Show fewer" : `Show all ${values.length}`;
    const ariaLabel = `${words}: ${FACETS[field][1]}`;
    const button = el("button", { type: "button", className: "plain", ariaLabel }, words);
    button.dataset.key = `${field} all`;
    button.addEventListener("click", () => {
      if (!unfolded.delete(field)) unfolded.add(field);
      renderFacets();
    });
    group.append(button);
  }
  return group;
}

function facetValue(field, value, count) {
  const box = el("input", { type: "checkbox", checked: view.search.picked[field].includes(value) });
  box.dataset.key = `${field} ${value}`;
  box.addEventListener("change", () => go(withPicked(view.search, field, toggled(view.search.picked[field], value))));
  const name = el("span", { className: "value", dir: "auto" }, nameOf(field, value));
  if (field === "color") name.prepend(swatch(value));
  const counted = count === undefined ? [] : [el("span", { className: "count" }, number.format(count))];
  return el("li", {}, el("label", {}, box, name, ...counted));
}

function swatch(color) {
  const spot = el("span", { className: "swatch" });
  spot.style.backgroundColor = color; // a name that CSS doesn't know changes nothing
  return spot;
}

/** Every active filter: what to call it, and the search without it. */
function activeFilters(search) {
  const { picked, from, to, side, near } = search;
  const active = Object.entries(picked).flatMap(([field, values]) => values.map((value) => ({
    words: `${FACETS[field][1].replace(/s$/, "")}: ${nameOf(field, value)}`,
    without: withPicked(search, field, toggled(values, value)),
  })));
  if (from) active.push({ words: `From ${dayOf(from)}`, without: { ...search, from: "" } });
  if (to) active.push({ words: `To ${dayOf(to)}`, without: { ...search, to: "" } });
  if (side) active.push({ words: `${number.format(side)} px or larger`, without: { ...search, side: 0 } });
  if (near) {
    const words = `Within ${number.format(near.km)} km of ${placeInWords(near)}`;
    active.push({ words, without: { ...search, near: null } });
  }
  return active;
}

const dayOf = (date) => new Date(date).toLocaleDateString("en", { dateStyle: "medium", timeZone: "UTC" });
const degrees = (value, [positive, negative]) => `${Math.abs(value).toFixed(3)}° ${value < 0 ? negative : positive}`;
const placeInWords = ({ lat, lon }) => `${degrees(lat, "NS")}, ${degrees(lon, "EW")}`;

function renderActive() {
  const active = activeFilters(view.search);
  $("#active").replaceChildren(...active.map(({ words, without }, at) => {
    const ariaLabel = `Remove the filter ${words}`;
    const button = el("button", { type: "button", ariaLabel }, el("span", { dir: "auto" }, words), icon("close"));
    button.addEventListener("click", () => go(without, () => ($("#active").children[at]?.firstChild ?? text).focus()));
    return el("li", {}, button);
  }));
  if (active.length > 1) {
    const button = el("button", { type: "button", className: "plain" }, "Clear filters");
    button.addEventListener("click", () => go(withoutFilters(view.search), () => text.focus()));
    $("#active").append(el("li", {}, button));
  }
  $("#filters .badge").textContent = active.length || "";
}

// --- Controls that are always there ---------------------------------------------------------------------------------

for (const radio of panel.querySelectorAll("[name=match]")) {
  radio.addEventListener("change", () => go({ ...view.search, match: radio.value }));
}
for (const id of ["sure", "grouped"]) {
  $(`#${id}`).addEventListener("change", ({ target }) => go({ ...view.search, [id]: target.checked }));
}
for (const id of ["from", "to"]) {
  $(`#${id}`).addEventListener("change", ({ target }) => {
    if (target.value === dateOf(target.value)) go({ ...view.search, [id]: target.value });
  });
}
$("#side-pixels").addEventListener("change", ({ target }) => go({ ...view.search, side: Number(target.value) }));
$("#km").addEventListener("change", ({ target }) => {
  go({ ...view.search, near: { ...view.search.near, km: Number(target.value) } });
});

// --- The drawer that the panel is in where there is no room beside the results --------------------------------------

const narrow = matchMedia("(max-width: 60rem)");

$("#filters").addEventListener("click", () => {
  $("#drawer .content").append(panel);
  drawer.showModal();
});
drawer.addEventListener("close", () => $("#side-panel").append(panel));
drawer.addEventListener("click", ({ target }) => {
  if (target === drawer || target.closest(".done")) drawer.close(); // its backdrop counts as the dialog itself
});
narrow.addEventListener("change", () => drawer.close());
