// The query as chips: each a word, a picture, an address or an indexed image, wanted or not, with its weight.
"use strict";

const WEIGHTS = [0.5, 1, 2];
const MARKS = { like: "Good result", unlike: "Bad result" };
const text = $("#text");

function renderTerms(search) {
  const chips = search.terms.map((term, at) => termChip(term, at));
  for (const mark of ["like", "unlike"]) chips.push(...search[mark].map((id) => markChip(mark, id)));
  $("#terms").replaceChildren(...chips);
  $("#clear").hidden = chips.length < 2;
  text.placeholder = isQuery(search) ? "Add words, or -words" : "Describe a picture";
}

/** What a term is called, `words`, and the `url` of its picture, where it has one. */
function namesOf({ kind, value }) {
  if (kind === "text") return { words: value };
  if (kind === "image") return { words: "your picture", url: value.startsWith(SHRUNK) ? value : null };
  if (kind === "image_url") return { words: fileName(value), url: value };
  const hit = known.get(value);
  return { words: hit ? titleOf(hit) : fileName(value), url: hit?.url };
}

/** The parts of a chip: {chip, sign, label, size, remove}. */
function chipOf(names, kind, value, unwanted) {
  const button = (className, ...children) => el("button", { type: "button", className }, ...children);
  const [sign, size, remove] = [button("sign"), button("weight"), button("remove round", icon("close"))];
  const label = kind === "text" ? button("label") : el("span", { className: "label" });
  label.dir = "auto";
  const thumb = el("span", { className: "thumb", hidden: kind === "text" });
  const chip = el("li", { className: "chip" }, sign, thumb, label, size, remove);
  chip.classList.toggle("unwanted", unwanted);
  const show = ({ words, url }) => {
    label.textContent = words;
    thumb.replaceChildren(url ? picture(url, "") : icon("picture"));
  };
  show(names);
  if (kind === "id" && !known.has(value)) lookUp(value).then((hit) => hit && show(namesOf({ kind, value })));
  return { chip, sign, label, size, remove };
}

function termChip(term, at) {
  const { kind, value, weight } = term;
  const names = namesOf(term), called = kind === "text" ? `“${names.words}”` : names.words;
  const { chip, sign, label, size, remove } = chipOf(names, kind, value, weight < 0);
  sign.textContent = weight < 0 ? "−" : "+";
  sign.ariaLabel = weight < 0 ? `Unwanted: ${called}. Make it wanted` : `Wanted: ${called}. Make it unwanted`;
  size.textContent = `×${Math.abs(weight) === 0.5 ? "½" : number.format(Math.abs(weight))}`;
  size.ariaLabel = `Weight of ${called}: ${number.format(Math.abs(weight))}. Change`;
  remove.ariaLabel = `Remove ${called}`;
  const others = () => view.search.terms.filter((_, index) => index !== at);
  const change = (changed, part) => {
    go({ ...view.search, terms: others().toSpliced(at, 0, { ...term, weight: changed }) }, () => focusChip(at, part));
  };
  const drop = () => go({ ...view.search, terms: others() }, () => focusChip(at, "remove"));
  sign.addEventListener("click", () => change(-weight, "sign"));
  size.addEventListener("click", () => change(Math.sign(weight) * heavier(Math.abs(weight)), "weight"));
  remove.addEventListener("click", drop);
  if (kind === "text") {
    label.ariaLabel = `Edit ${called}`;
    label.addEventListener("click", () => edit(term));
  }
  chip.addEventListener("keydown", (event) => {
    if (event.metaKey || event.ctrlKey || event.altKey) return;
    if (["Delete", "Backspace"].includes(event.key)) drop();
    else if (["+", "-"].includes(event.key)) change(Number(`${event.key}${Math.abs(weight)}`), "sign");
    else return;
    event.preventDefault();
  });
  return chip;
}

const heavier = (size) => WEIGHTS.find((one) => one > size) ?? WEIGHTS[0];

function markChip(mark, id) {
  const names = namesOf({ kind: "id", value: id }), other = mark === "like" ? "unlike" : "like";
  const { chip, sign, size, remove } = chipOf(names, "id", id, mark === "unlike");
  size.remove();
  sign.append(icon("good"));
  sign.classList.toggle("bad", mark === "unlike");
  sign.ariaLabel = `${MARKS[mark]}: ${names.words}. Make it a ${MARKS[other].toLowerCase()}`;
  remove.ariaLabel = `Remove the ${MARKS[mark].toLowerCase()} ${names.words}`;
  const without = () => ({ ...view.search, [mark]: view.search[mark].filter((one) => one !== id) });
  sign.addEventListener("click", () => go({ ...without(), [other]: [...view.search[other], id] }, () => text.focus()));
  remove.addEventListener("click", () => go(without(), () => text.focus()));
  return chip;
}

function focusChip(at, part) {
  const chips = $("#terms").children;
  ($(`.${part}`, chips[Math.min(at, chips.length - 1)] ?? text) ?? text).focus();
}

let edited = null; // the term that is in the box; it stays a chip until something else is entered

/** Take a text back into the box, to change it there. */
function edit(term) {
  const written = term.weight === 1 && isPlain(term) ? term.value : formatQuery([term]);
  text.value = written;
  edited = term;
  text.focus();
  text.setSelectionRange(written.length, written.length);
}

/** Whether the text of a term means the same without quotes. */
function isPlain({ value }) {
  try {
    const terms = parseQuery(value);
    return terms.length === 1 && terms[0].value === value && terms[0].weight === 1 && terms[0].kind === "text";
  } catch {
    return false;
  }
}

/** What is in the box becomes chips: words, a compact query, or the address of a picture. */
function enter() {
  const words = text.value.trim();
  if (!words) return;
  let terms;
  try {
    terms = /^https?:\/\/\S+$/.test(words) ? [{ kind: "image_url", value: words, weight: 1 }] : parseQuery(words);
  } catch (trouble) {
    complain(trouble);
    return;
  }
  if (!add(terms, { ...view.search, terms: view.search.terms.filter((term) => !isSame(term, edited)) })) return;
  text.value = "";
  edited = null;
  if (matchMedia("(hover: none)").matches) text.blur(); // puts the keyboard of a phone away
}

/** Search with more terms; false where those are too many. */
function add(terms, search = view.search) {
  const next = withTerms(search, terms);
  if (next.terms.length > MAX_TERMS) {
    complain(new Trouble("too_many_terms", `A search takes ${MAX_TERMS} words and pictures at most: remove some.`));
    return false;
  }
  go(next);
  return true;
}

$("#search").addEventListener("submit", (event) => {
  event.preventDefault();
  enter();
});

text.addEventListener("input", () => {
  if (!text.value) edited = null;
});

text.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown") $(".open", grid)?.focus();
  if (event.key !== "Backspace" || text.value || event.repeat || !view.search.terms.length) return;
  event.preventDefault();
  const last = view.search.terms.at(-1);
  if (last.kind === "text") edit(last);
  else focusChip(view.search.terms.length - 1, "remove");
});

$("#clear").addEventListener("click", () => {
  go({ ...view.search, terms: [], like: [], unlike: [] }, () => text.focus());
});
