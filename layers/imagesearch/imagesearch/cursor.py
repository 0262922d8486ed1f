"""A cursor: what one search found and hasn't shown yet, handed to the caller, who hands it back for the next page.

It carries the candidates themselves, not the query and a position: the next page is a look-up of ids. So while
documents are written, nothing is shown twice or passed over, and no vector is compared again; and the server keeps
nothing. It is signed, so that what comes back is what was handed out, and it is good for an hour.

    version (1 byte) · HMAC-SHA256 of the rest (32 bytes) · zlib-compressed JSON, all in URL-safe base64
"""

import base64
import binascii
import hashlib
import hmac
import json
import time
import zlib
from dataclasses import dataclass
from itertools import islice

from imagesearch.errors import InvalidInput

LIFETIME = 3_600
"""Seconds that a cursor is good for."""

_STEPS = 10_000_000
"""Scores and confidences are whole numbers of such a share of 1, about as exact as float32 is."""
_VERSION = b"\x01"
_DIGEST = hashlib.sha256().digest_size

Scored = tuple[str, float]
"""The id of an image, and its score."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One result to come: the images that it stands for, best first; several where near-duplicates are grouped."""

    images: tuple[Scored, ...]
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Cursor:
    """The results that are still to come, best first; `offset` of them came before, `k` is the size of a page."""

    candidates: tuple[Candidate, ...]
    offset: int
    k: int


def seal(cursor: Cursor, secret: bytes, fingerprint: str, now: float | None = None) -> str:
    """`cursor` as text that only `secret` can make, for the vector space `fingerprint`; `now`: seconds since 1970."""
    expires = int((time.time() if now is None else now) + LIFETIME)
    # By columns, which is quicker to write and shorter: every search pays for it.
    images = [image for candidate in cursor.candidates for image in candidate.images]
    content = {
        "fingerprint": fingerprint,
        "expires": expires,
        "offset": cursor.offset,
        "k": cursor.k,
        "ids": [id for id, _ in images],
        "scores": [round(score * _STEPS) for _, score in images],
        "sizes": [len(candidate.images) for candidate in cursor.candidates],
        "confidences": [
            None if candidate.confidence is None else round(candidate.confidence * _STEPS)
            for candidate in cursor.candidates
        ],
    }
    packed = zlib.compress(json.dumps(content, separators=(",", ":")).encode(), level=1)
    return base64.urlsafe_b64encode(_VERSION + _sign(packed, secret) + packed).decode().rstrip("=")


def unseal(text: str, secret: bytes, fingerprint: str, now: float | None = None) -> Cursor:
    """The cursor that `seal` made `text` of.

    Raises:
        InvalidInput: it isn't one, was changed, was made with another secret or for another model, or is too old.
    """
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _refused("this is no cursor: send one as it came in an answer") from None
    version, digest, packed = raw[:1], raw[1 : 1 + _DIGEST], raw[1 + _DIGEST :]
    # Nothing is unpacked before the signature is checked.
    if version != _VERSION or not hmac.compare_digest(digest, _sign(packed, secret)):
        raise _refused("the cursor was changed, or comes from another server: search again")
    content = json.loads(zlib.decompress(packed))
    if content["fingerprint"] != fingerprint:
        raise _refused("the cursor comes from a search with another model: search again")
    if content["expires"] <= (time.time() if now is None else now):
        raise _refused(f"the cursor has expired, as it does after {LIFETIME // 60} minutes: search again")
    images = zip(content["ids"], (score / _STEPS for score in content["scores"]), strict=True)
    candidates = tuple(
        Candidate(tuple(islice(images, size)), None if confidence is None else confidence / _STEPS)
        for size, confidence in zip(content["sizes"], content["confidences"], strict=True)
    )
    return Cursor(candidates, content["offset"], content["k"])


def _sign(packed: bytes, secret: bytes) -> bytes:
    return hmac.new(secret, _VERSION + packed, hashlib.sha256).digest()


def _refused(why: str) -> InvalidInput:
    return InvalidInput(why, "cursor")
