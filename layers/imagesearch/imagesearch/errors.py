"""Every exception that this project raises on purpose.

Library code raises these and nothing else for foreseen trouble; only an edge (a handler, the command line) turns one
into a status or an exit code. The message is written for the person who can do something about it: it says what was
wrong and what would be right.

```
ImageSearchError
├── InvalidInput            the caller's request can't be answered as it stands
│   ├── InputTooLarge       more than is accepted
│   ├── InvalidImage        bytes that are no usable image; `reason` says why
│   ├── InvalidFilter       a filter that is malformed or names an unknown field
│   └── UnreachableUrl      a URL that may not, or could not, be fetched
├── NotFound                no such image, model or run
├── ModelError              a model artifact or checkpoint that is missing, damaged or of another kind
├── PartError               a vector part of a wrong schema, dimension or fingerprint
├── SourceError             a source of photos that can't be listed or read
├── StorageError            an object store that refused or failed
├── ApiError                the search API refused a request, or doesn't answer; for its clients
└── VectorIndexError        trouble with the vector index
    ├── IndexUnavailable    it doesn't answer
    └── IndexOverloaded     it answers, but asks for patience
```
"""

from enum import StrEnum


class ImageSearchError(Exception):
    """Base of all errors of this project. `code` is stable and machine-readable; the message is for people."""

    code = "error"


class InvalidInput(ImageSearchError):
    """The caller's input can't be used; `field` names the part of a request that is at fault, where there is one."""

    code = "invalid_input"

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class InputTooLarge(InvalidInput):
    """A part of the request is larger than is accepted (of an image, `InvalidImage` says so)."""

    code = "too_large"


class ImageReason(StrEnum):
    """Why bytes are no usable image: the value stands in the ledger and in API answers."""

    EMPTY = "empty"
    NOT_AN_IMAGE = "not_an_image"
    UNSUPPORTED_FORMAT = "unsupported_format"
    CORRUPT = "corrupt"
    TRUNCATED = "truncated"
    TOO_MANY_BYTES = "too_many_bytes"
    TOO_MANY_PIXELS = "too_many_pixels"


class InvalidImage(InvalidInput):
    """Bytes that are no usable image."""

    code = "invalid_image"

    def __init__(self, reason: ImageReason, message: str, field: str | None = None) -> None:
        super().__init__(message, field)
        self.reason = reason


class InvalidFilter(InvalidInput):
    """A filter that is malformed, or that names a field or an operator which doesn't exist."""

    code = "invalid_filter"


class UnreachableUrl(InvalidInput):
    """A URL that may not be fetched (not public, not https) or could not be (no answer, an error, too slow)."""

    code = "unreachable_url"


class NotFound(ImageSearchError):
    """There is no such image, model or run."""

    code = "not_found"


class ModelError(ImageSearchError):
    """A model artifact or checkpoint that is missing, damaged or of another kind than asked for."""

    code = "model_error"


class PartError(ImageSearchError):
    """A vector part of a wrong schema, dimension or fingerprint, or no Parquet at all."""

    code = "part_error"


class SourceError(ImageSearchError):
    """A source of photos that can't be listed or read."""

    code = "source_error"


class StorageError(ImageSearchError):
    """The object store refused or failed."""

    code = "storage_error"


class ApiError(ImageSearchError):
    """The search API refused a request, or doesn't answer: what its clients raise.

    `status` is the HTTP status, None where there was no answer; `code` is the API's own word. `passing` says that the
    same request may succeed later, `retry_after` that it can't before so many seconds.
    """

    code = "api_error"

    def __init__(
        self,
        message: str,
        status: int | None = None,
        code: str | None = None,
        *,
        passing: bool = False,
        retry_after: float = 0,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code or self.code
        self.passing = passing
        self.retry_after = retry_after


class VectorIndexError(ImageSearchError):
    """Trouble with the vector index."""

    code = "index_error"


class IndexUnavailable(VectorIndexError):
    """The index doesn't answer, or isn't there."""

    code = "index_unavailable"


class IndexOverloaded(VectorIndexError):
    """The index answers, but asks for patience (429), and retries with back-off didn't help."""

    code = "index_overloaded"
