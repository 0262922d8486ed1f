"""What an index stores of an image: one JSON document for every implementation, and what can't be stored at all."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from imagesearch.errors import InvalidInput
from imagesearch.index.base import MAX_RESULTS, Action, Float32, Upsert
from imagesearch.index.filters import EXTRA, Value, extra_text
from imagesearch.index.words import weighted_words
from imagesearch.records import ImageMetadata

MAX_ID_BYTES = 512
"""UTF-8 bytes of an id; OpenSearch's own limit."""
MAX_DOCUMENT_BYTES = 1 << 20
"""UTF-8 bytes of the metadata of one image as JSON, so that no document outgrows a bulk request."""

INT64 = 2**63
UNIT_TOLERANCE = 1e-5
"""How far from 1 the length of a vector may be before it is normalised again; float32 rounding stays below 1e-6."""


def unit(vector: npt.ArrayLike, dim: int) -> Float32:
    """`vector` as (dim,) float32 of length 1.

    Raises:
        InvalidInput: it has another dimension, isn't finite, or is zero and so has no direction.
    """
    array = np.asarray(vector, dtype=np.float32)
    if array.shape != (dim,):
        raise InvalidInput(f"the vector has shape {array.shape}, where this index takes ({dim},)", "vector")
    length = float(np.linalg.norm(array.astype(np.float64)))
    if not np.isfinite(length):
        raise InvalidInput("the vector has components that aren't finite numbers", "vector")
    if length == 0:
        raise InvalidInput("the vector is zero, and so has no direction", "vector")
    return array if abs(length - 1) <= UNIT_TOLERANCE else (array / length).astype(np.float32)


def check_search(vector: npt.ArrayLike, k: int, offset: int, dim: int) -> Float32:
    """The query vector, of length 1, of a search whose arguments are all right.

    Raises:
        InvalidInput: one of them isn't.
    """
    check_page(k, offset)
    return unit(vector, dim)


def check_page(k: int, offset: int) -> None:
    """Nothing, if an index answers with `k` hits after `offset`.

    Raises:
        InvalidInput: it doesn't.
    """
    if k < 1:
        raise InvalidInput(f"k must be at least 1, not {k}", "k")
    if offset < 0:
        raise InvalidInput(f"offset must be at least 0, not {offset}", "offset")
    if offset + k > MAX_RESULTS:
        raise InvalidInput(f"offset + k may not exceed {MAX_RESULTS:,}: narrow the search by a filter", "offset")


def valid_id(image_id: str) -> bool:
    """Whether an index can have a document of this id."""
    try:
        return 1 <= len(image_id.encode()) <= MAX_ID_BYTES
    except UnicodeEncodeError:
        return False


def to_document(action: Action) -> dict[str, Any]:
    """The JSON document of `action`, without the vector; a deletion has nothing but its id.

    Besides the metadata, absent fields left out, an upsert's document has what searches need: `location` (a geo point),
    `orientation`, `present` (names of the fields that have a value), `extra_values` (see `extra_term`) and `words` (see
    words.py; separated by spaces, absent where there are none).
    A NaN in `extra`, for which JSON has no word, becomes null.

    Raises:
        InvalidInput: the id or the version is out of bounds, or the metadata can't be written as JSON.
    """
    if not valid_id(action.id):
        raise InvalidInput(f"an id must have 1 to {MAX_ID_BYTES} bytes of valid UTF-8")
    if not 0 <= action.version < INT64:
        raise InvalidInput(f"a version must be from 0 to 2^63 - 1, not {action.version}")
    if not isinstance(action, Upsert):
        return {"id": action.id}
    metadata = action.metadata
    if any(value is not None and value >= INT64 for value in (metadata.width, metadata.height, metadata.bytes)):
        raise InvalidInput("width, height and bytes must be below 2^63")
    try:
        document = _plain_zone(metadata).model_dump(mode="json", exclude_defaults=True)
        size = len(json.dumps(document, ensure_ascii=False).encode())
    except (ValueError, OverflowError, RecursionError) as error:
        # Half a surrogate pair, a type that JSON doesn't know, a zone that leaves the calendar, nested too deep.
        raise InvalidInput(f"its metadata can't be written as JSON: {error}") from None
    if size > MAX_DOCUMENT_BYTES:
        raise InvalidInput(f"its metadata has {size:,} bytes as JSON; at most {MAX_DOCUMENT_BYTES:,} are allowed")
    leaves = list(_leaves(document.get("extra", {})))
    present = {"id", *document, *(EXTRA + path for path, _ in leaves)} - {"extra"}
    if metadata.lat is not None and metadata.lon is not None:
        document["location"] = {"lat": metadata.lat, "lon": metadata.lon}
        present.add("location")
    if shape := _orientation(metadata):
        document["orientation"] = shape
        present.add("orientation")
    if words := weighted_words(metadata):
        document["words"] = " ".join(words)
    extra_values = {extra_term(path, value) for path, value in leaves}
    return {"id": action.id, **document, "present": sorted(present), "extra_values": sorted(extra_values)}


def to_metadata(document: dict[str, Any]) -> ImageMetadata:
    """The metadata in a document of `to_document`."""
    return ImageMetadata.model_validate(
        {name: document[name] for name in ImageMetadata.model_fields if name in document}
    )


def extra_term(path: str, value: Value) -> str:
    """The one term that stands for `extra.<path>` having `value`: `path=value`, any = in the path escaped."""
    return path.replace("%", "%25").replace("=", "%3D") + "=" + extra_text(value)


def milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970, UTC where no zone is given."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _orientation(metadata: ImageMetadata) -> str | None:
    """Landscape, portrait or square; None where a side is unknown, or 0."""
    if not metadata.width or not metadata.height:
        return None
    if metadata.width == metadata.height:
        return "square"
    return "landscape" if metadata.width > metadata.height else "portrait"


def _plain_zone(metadata: ImageMetadata) -> ImageMetadata:
    """`metadata` with a date in UTC where its zone has seconds, as zones had before 1900, which JSON would cut off."""
    taken = metadata.created_at
    if taken is not None and (offset := taken.utcoffset()) and offset % timedelta(minutes=1):
        return metadata.model_copy(update={"created_at": taken.astimezone(UTC)})
    return metadata


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str | int | float]]:
    """The values in `extra` with their dotted paths; those of a list have the path of the list."""
    match value:
        case dict():
            for key, inner in value.items():
                yield from _leaves(inner, f"{path}.{key}" if path else key)
        case list():
            for inner in value:
                yield from _leaves(inner, path)
        case str() | int() | float():
            yield path, value
