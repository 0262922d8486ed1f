// What all scripts of the page share: elements, numbers, pictures, and what the browser remembers.
// The scripts run in the order in which index.html names them, and see each other's names.
"use strict";

const base = location.origin + location.pathname.replace(/\/*$/, "/");
const number = new Intl.NumberFormat("en");
const images = (count) => (count === 1 ? "1 image" : `${number.format(count)} images`);
const $ = (selector, within = document) => within.querySelector(selector);

const known = new Map(); // id → what is known of an image, to name it and to show its picture

/** Keep what a hit tells of its image, and not how well that matched. */
function learn({ score, confidence, similar, similar_count, ...document }) {
  known.set(document.id, document);
}

/** An element. What comes from outside goes in as a child or as textContent: then it is text and nothing else. */
function el(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** A picture of those at the top of index.html, which the words beside it say too. */
function icon(name) {
  const [svg, use] = ["svg", "use"].map((tag) => document.createElementNS("http://www.w3.org/2000/svg", tag));
  use.setAttribute("href", `#i-${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

/** The image at `url`; its title instead, where there is no URL or nothing at it. */
function picture(url, title, properties) {
  const missing = () => el("span", { className: "missing", textContent: title });
  if (!url) return missing();
  const image = el("img", { alt: title, decoding: "async", draggable: false, ...properties, src: url });
  image.addEventListener("error", () => image.replaceWith(missing()));
  return image;
}

const fileName = (path) => path.split("/").at(-1) || path;
const titleOf = ({ title, description, uri, id }) => title || description || fileName(uri ?? id) || id;

// A credit such as "Photo by Ann on Unsplash (https://unsplash.com/@ann)": words, and the URL that they lead to.
function creditOf(credit) {
  const [, words, href] = credit.match(/^(.+) \((https:\/\/\S+)\)$/) ?? [];
  return words ? { words, href } : { words: credit };
}

const searches = new WeakMap(); // link → the search that it leads to, pictures and all

/** Let a link of this page lead to a search. */
function lead(link, search) {
  link.href = addressOf(search);
  searches.set(link, search);
  return link;
}

/** A link that leaves the page, and tells nothing of where it came from. */
const away = (href, ...children) => el("a", { href, target: "_blank", rel: "noopener noreferrer" }, ...children);

// From which confidence on a match is called what: how far it stands out, not how likely it is to be what was meant.
const CONFIDENCES = [[0.95, "excellent"], [0.8, "strong"], [0.5, "fair"], [0.2, "faint"], [0, "weak"]];
const GOOD = 0.5;
const inWords = (confidence) => CONFIDENCES.find(([least]) => confidence >= least)[1];

const modified = (event) => event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey;

/** What the browser remembers: for this tab, or for good. It may forbid either. */
const [forTab, forGood] = ["sessionStorage", "localStorage"].map((name) => {
  try {
    return window[name] ?? {};
  } catch {
    return {};
  }
});
