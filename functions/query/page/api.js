// The API: requests, what goes wrong with them in words, and the key that it may ask for.
"use strict";

const KEY = "imagesearch-api-key";

/** What went wrong, for people. `field` is the part of the request at fault, `after` the seconds to wait. */
class Trouble extends Error {
  constructor(code, message, { field, after } = {}) {
    super(message.replace(/^./, (letter) => letter.toUpperCase())); // the API's begin in lower case
    Object.assign(this, { code, field, after });
  }
}

async function api(path, { body, signal, ask = true } = {}) {
  const key = forTab[KEY] ?? forGood[KEY];
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
  if ([401, 403].includes(response.status)) { // only the gateway in front of the search answers so
    if (ask && (await askForKey(key))) return api(path, { body, signal });
    throw new Trouble("no_key", "This search answers only with a valid API key.");
  }
  throw troubleOf(response, answer?.error ?? {});
}

function troubleOf({ status, headers }, { code, message, field }) {
  const after = Number(headers.get("retry-after")) || undefined;
  if (status === 413) return new Trouble("too_large", message ?? "The search takes no more than 6 MB.");
  if (status === 429 && code !== "quota_exceeded") {
    return new Trouble("too_many_requests", "It is busy right now.", { after });
  }
  if (status === 503) {
    return new Trouble("index_unavailable", message ?? "The search is not there right now.", { after });
  }
  return new Trouble(code ?? "failed", message ?? `The search service answered with status ${status}.`, { field });
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
      if (given) remember(value.value.trim(), $("#key-keep").checked);
      resolve(given);
    };
    dialog.showModal();
  });
  return asking;
}

function remember(key, keep) {
  delete forTab[KEY];
  delete forGood[KEY];
  (keep ? forGood : forTab)[KEY] = key;
}

$("#key .cancel").addEventListener("click", () => $("#key").close());

/** What is known of the image with this id; null if that can't be found out. */
async function lookUp(id) {
  if (!known.has(id)) {
    const found = await api(`images/${encodeURIComponent(id)}`, { ask: false }).catch(() => null);
    if (found && !known.has(id)) known.set(id, found);
  }
  return known.get(id) ?? null;
}
