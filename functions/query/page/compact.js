// A whole query in one line: horse -grass 2*"white mane" id:dog.jpg. The language is that of imagesearch/compact.py,
// where it is explained; a test holds both to the same answers.
"use strict";

const MAX_WEIGHT = 10;
const BLANKS = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]*/y; // as Python has them
const WORD = /[^\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/y;
const SIGN = /[+-]/y;
const WEIGHT = /([0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?)\*/y;
const PREFIX = /(id|image_url):/y;
const QUOTED = /"((?:[^"\\]|\\[^])*)"/y;

function matchAt(expression, text, position) {
  expression.lastIndex = position;
  return expression.exec(text);
}

const isBlank = (text) => matchAt(BLANKS, text, 0)[0].length === text.length;

/** The terms, {kind, value, weight}, that `text` is made of. Throws a Trouble that says where it isn't right. */
function parseQuery(text) {
  const terms = [];
  let words = []; // without sign, weight, prefix and quotes: they become one text
  const join = () => {
    if (words.length) terms.push({ kind: "text", value: words.join(" "), weight: 1 });
    words = [];
  };
  const skip = (position) => position + matchAt(BLANKS, text, position)[0].length;
  let position = skip(0);
  while (position < text.length) {
    const { term, plain, end } = termAt(text, position);
    if (plain) words.push(term.value);
    else {
      join();
      terms.push(term);
    }
    position = skip(end);
  }
  join();
  return terms;
}

function termAt(text, start) {
  let position = start;
  const take = (expression) => {
    const found = matchAt(expression, text, position);
    if (found) position += found[0].length;
    return found;
  };
  const sign = take(SIGN)?.[0];
  const at = position;
  const given = take(WEIGHT)?.[1];
  const weight = given === undefined ? 1 : Number(given);
  if (!(weight > 0 && weight <= MAX_WEIGHT)) {
    throw wrong(text, at, `a weight must be more than 0 and at most ${MAX_WEIGHT}, not ${given}`);
  }
  const kind = take(PREFIX)?.[1] ?? "text";
  const { value, quoted, end } = valueAt(text, position, text.slice(start, position));
  const plain = !quoted && position === start;
  return { term: { kind, value, weight: sign === "-" ? -weight : weight }, plain, end };
}

function valueAt(text, position, before) {
  if (text[position] !== '"') {
    const word = matchAt(WORD, text, position);
    if (word) return { value: word[0], quoted: false, end: position + word[0].length };
    throw wrong(text, position - before.length, `there is nothing after ${before}: write a word, or text in quotes`);
  }
  const found = matchAt(QUOTED, text, position);
  if (!found) throw wrong(text, position, "this quote is never closed");
  const end = position + found[0].length;
  if (end < text.length && matchAt(WORD, text, end)) {
    throw wrong(text, end, "there must be a blank after the closing quote");
  }
  const value = found[1].replace(/\\([^])/g, "$1");
  if (isBlank(value)) throw wrong(text, position, "there is nothing between the quotes");
  return { value, quoted: true, end };
}

function wrong(text, position, why) {
  const character = [...text.slice(0, position)].length + 1; // not UTF-16 units
  return new Trouble("invalid_query", `At character ${character}, ${why}.`);
}

/** The line that parseQuery makes these terms of again. */
const formatQuery = (terms) => terms.map((term, at) => formatTerm(term, at === 0)).join(" ");

function formatTerm({ kind, value, weight }, first) {
  const size = Math.abs(weight) === 1 ? "" : `${Math.abs(weight)}*`;
  const prefix = kind === "text" ? "" : `${kind}:`;
  const simple = matchAt(WORD, value, 0)?.[0] === value && value[0] !== '"'
    && ![SIGN, WEIGHT, PREFIX].some((special) => matchAt(special, value, 0));
  // Without a sign, a word would join the words beside it.
  const plus = simple && !first && !size && !prefix ? "+" : "";
  const written = simple ? value : `"${value.replace(/[\\"]/g, "\\$&")}"`;
  return (weight < 0 ? "-" : plus) + size + prefix + written;
}
