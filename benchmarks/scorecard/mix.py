"""What people ask a search for, mixed, and whether what they get is right; and clients that ask in a closed loop."""

import base64
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import urllib3

from benchmarks.scorecard.pictures import Picture

K = 20
REPEATED = 20
"""Texts that are asked for again and again."""
TIMEOUT_SECONDS = 40.0
"""What a client waits for an answer. API Gateway gives up after 29 s."""
SHARES = {"text": 35, "repeated text": 15, "filter": 15, "hybrid": 10, "image": 10, "similar": 10, "document": 5}
"""How many of a hundred requests are of which kind."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request; `check` says what is wrong with the body of its answer, or nothing."""

    kind: str
    method: str
    path: str
    body: dict[str, Any] | None
    check: Callable[[dict[str, Any]], str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request: `began` and `ended` are of time.monotonic().

    Attributes:
        status: HTTP status; 0 where there was no answer.
        problem: What was wrong; empty where an answer is right, or an error a proper one.
        parts: Milliseconds by the answer's Server-Timing: encode, search, sign.
    """

    kind: str
    began: float
    ended: float
    status: int
    problem: str = ""
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def ms(self) -> float:
        """How long it took."""
        return (self.ended - self.began) * 1_000


class Mix:
    """An endless mix of requests, the same for the same `seed`, for an index that has all of `pictures`.

    `id_of` is the id of a picture's document. `known` says whether there may be an image with an id.
    """

    def __init__(
        self, pictures: Sequence[Picture], id_of: Callable[[Picture], str], known: Callable[[str], bool], seed: int
    ) -> None:
        self._pictures = pictures
        self._id_of = id_of
        self._known = known
        self._random = random.Random(seed)  # noqa: S311
        self._seed = seed
        self._tagged = Counter(tag for picture in pictures for tag in picture.tags)
        self._images = [base64.b64encode(picture.path.read_bytes()).decode() for picture in pictures[:50]]

    def __iter__(self) -> Iterator[Ask]:
        number = 0
        while True:
            number += 1
            (kind,) = self._random.choices(list(SHARES), list(SHARES.values()))
            yield self._ask(kind, f"{number} of {self._seed}")

    def _ask(self, kind: str, distinct: str) -> Ask:
        picture = self._random.choice(self._pictures)
        text = f"{picture.title} {distinct}"  # nobody asked for it before: the cache of texts doesn't answer
        id = self._id_of(picture)
        match kind:
            case "text":
                return self._search(kind, {"text": text})
            case "repeated text":
                return self._search(kind, {"text": self._random.choice(self._pictures[:REPEATED]).title})
            case "hybrid":
                return self._search(kind, {"text": text, "match": "hybrid"})
            case "image":
                return self._search(kind, {"image": self._random.choice(self._images)})
            case "filter":
                tag = self._random.choice(picture.tags)
                return self._search(kind, {"text": text, "filter": {"tags": tag}}, min(K, self._tagged[tag]), tag)
            case "similar":
                return Ask(kind, "GET", f"/images/{id}/similar", None, lambda answer: self._hits(answer, K, None, id))
            case _:
                return Ask(kind, "GET", f"/images/{id}", None, lambda answer: wrong_id(answer, id))

    def _search(self, kind: str, body: dict[str, Any], least: int = K, tag: str | None = None) -> Ask:
        return Ask(kind, "POST", "/search", body, lambda answer: self._hits(answer, least, tag, None))

    def _hits(self, answer: dict[str, Any], least: int, tag: str | None, but: str | None) -> str:
        """What is wrong with the hits of an answer."""
        hits = answer.get("hits", [])
        ids = [hit["id"] for hit in hits]
        if len(hits) < least or len(hits) > K:
            return f"{len(hits)} hits instead of {least} to {K}"
        if unknown := [id for id in ids if not self._known(id)]:
            return f"an unknown id: {unknown[0]}"
        if len(set(ids)) < len(ids):
            return "an id twice"
        if tag and (others := [hit["id"] for hit in hits if tag not in hit["tags"]]):
            return f"a hit without the tag {tag}: {others[0]}"
        return "the image itself among those that are like it" if but in ids else ""


def wrong_id(answer: dict[str, Any], id: str) -> str:
    """What is wrong with an answer that should be the image with `id`."""
    return "" if answer.get("id") == id else f"another image than {id}"


def put(pool: urllib3.PoolManager, url: str, ask: Ask) -> Answer:
    """Ask the API at `url`. Never raises: what goes wrong is in the answer."""
    began = time.monotonic()
    try:
        reply = pool.request(ask.method, url + ask.path, json=ask.body)
    except urllib3.exceptions.HTTPError as error:
        return Answer(ask.kind, began, time.monotonic(), 0, f"no answer: {error}")
    ended = time.monotonic()
    try:
        body = json.loads(reply.data)
    except ValueError:
        return Answer(ask.kind, began, ended, reply.status, "no JSON")
    problem = ask.check(body) if reply.status == 200 else improper(reply.status, body)
    return Answer(ask.kind, began, ended, reply.status, problem, server_timing(reply.headers.get("Server-Timing", "")))


def improper(status: int, body: Any) -> str:
    """What is wrong with an error: it should be 503 or 429, with a code and words for people."""
    if status not in (429, 503):
        return f"status {status}: {json.dumps(body)[:200]}"
    error = body.get("error", {}) if isinstance(body, dict) else {}
    return "" if error.get("code") and error.get("message") else f"status {status} without a reason"


def server_timing(header: str) -> dict[str, float]:
    """Milliseconds by name: https://www.w3.org/TR/server-timing/."""
    entries = [entry.partition(";dur=") for entry in header.split(", ") if ";dur=" in entry]
    return {name: float(duration) for name, _, duration in entries}


def ask_for(
    mix: Mix, url: str, done: threading.Event, record: Callable[[Answer], None], pause: float = 0.0
) -> threading.Thread:
    """A client, started: it asks the API at `url` again as soon as it has an answer and paused, until it is `done`."""

    def run() -> None:
        # No second try: what an API answers is what counts. The connection is kept, if the server keeps it.
        with urllib3.PoolManager(maxsize=1, retries=False, timeout=TIMEOUT_SECONDS) as pool:
            for ask in mix:
                record(put(pool, url, ask))
                if done.wait(pause):
                    return

    thread = threading.Thread(target=run, name="client", daemon=True)
    thread.start()
    return thread
