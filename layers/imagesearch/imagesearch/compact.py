r"""A whole query in one line: `horse +"white mane" -grass -0.5*"green grass" id:dog.jpg`.

| written | means |
|---|---|
| `brown horse` | words that stand together, without signs, are one text |
| `+stripes`, `-grass` | a text of one word, wanted or unwanted; words after it start a text of their own |
| `"green grass"`, `-"green grass"` | a text in quotes; in it, `\"` is a quote and `\\` a backslash |
| `2*stripes`, `-0.5*"green grass"` | with a weight: how much it counts, 1 where nothing is said |
| `id:dog.jpg`, `-id:"a dog.jpg"` | like an indexed image, or unlike it |
| `image_url:https://…` | like the image at this URL |

What isn't at the start of a word has no meaning of its own: `rock'n'roll`, `16:9`, `black-and-white` are words.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast

from imagesearch.errors import InvalidInput

Kind = Literal["text", "id", "image_url"]

MAX_WEIGHT = 10.0
"""Largest weight of a term, and with a minus the smallest."""

_BLANK = re.compile(r"\s*")
_SIGN = re.compile(r"[+-]")
_WEIGHT = re.compile(r"(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)\*", re.ASCII)
_PREFIX = re.compile(r"(id|image_url):")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_WORD = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class CompactTerm:
    """One term of a query: what it is by, the words, id or URL, and its weight, negative where it is unwanted."""

    kind: Kind
    value: str
    weight: float = 1.0


def parse_query(text: str) -> list[CompactTerm]:
    """The terms that `text` is made of, in the language of this module.

    Raises:
        InvalidInput: it isn't in that language; the message says where, counting characters from 1.
    """
    terms: list[CompactTerm] = []
    words: list[str] = []  # without sign, weight, prefix and quotes: they become one text
    position = _skip_blanks(text, 0)
    while position < len(text):
        term, is_plain, position = _term(text, position)
        if is_plain:
            words.append(term.value)
        else:
            terms += _joined(words)
            terms.append(term)
            words = []
        position = _skip_blanks(text, position)
    terms += _joined(words)
    if not terms:
        raise InvalidInput("the query is empty: write what the image shows, such as: horse -grass", "query")
    return terms


def format_query(terms: Iterable[CompactTerm]) -> str:
    """The line that `parse_query` makes `terms` of again; numbers come back as they were, bit for bit."""
    return " ".join(_format(term, is_first=index == 0) for index, term in enumerate(terms))


def _term(text: str, start: int) -> tuple[CompactTerm, bool, int]:
    """The term at `start`, whether it is a word and nothing else, and where it ends."""
    position, sign, weight = start, "", 1.0
    if found := _SIGN.match(text, position):
        sign, position = found[0], found.end()
    if found := _WEIGHT.match(text, position):
        weight, position = _weight(found[1], position), found.end()
    kind: Kind = "text"
    if found := _PREFIX.match(text, position):
        kind, position = cast(Kind, found[1]), found.end()
    value, is_quoted, end = _value(text, position, text[start:position])
    is_plain = not is_quoted and position == start
    return CompactTerm(kind, value, -weight if sign == "-" else weight), is_plain, end


def _weight(number: str, position: int) -> float:
    weight = float(number)
    if not 0 < weight <= MAX_WEIGHT:
        raise _error(position, f"a weight must be more than 0 and at most {MAX_WEIGHT:g}, not {number[:20]}")
    return weight


def _value(text: str, position: int, before: str) -> tuple[str, bool, int]:
    """The word or the quoted text at `position`, after `before`; whether it was quoted, and where it ends."""
    if text.startswith('"', position):
        quoted = _QUOTED.match(text, position)
        if quoted is None:
            raise _error(position, 'this quote is never closed: end it with "')
        if quoted.end() < len(text) and not text[quoted.end()].isspace():
            raise _error(quoted.end(), "there must be a blank after the closing quote")
        value = _ESCAPE.sub(r"\1", quoted[1])
        if not value.strip():
            raise _error(position, "there is nothing between the quotes")
        return value, True, quoted.end()
    word = _WORD.match(text, position)
    if word is None:
        raise _error(position - len(before), f"there is nothing after {before}: write a word, or text in quotes")
    return word[0], False, word.end()


def _skip_blanks(text: str, position: int) -> int:
    blanks = _BLANK.match(text, position)
    return blanks.end() if blanks else position


def _joined(words: list[str]) -> list[CompactTerm]:
    return [CompactTerm("text", " ".join(words))] if words else []


def _error(position: int, why: str) -> InvalidInput:
    return InvalidInput(f"query: at character {position + 1}, {why}", "query")


def _format(term: CompactTerm, is_first: bool) -> str:
    weight = "" if abs(term.weight) == 1 else f"{abs(term.weight)!r}*".replace(".0*", "*")
    prefix = "" if term.kind == "text" else f"{term.kind}:"
    if _is_simple(term.value):
        value = term.value
        # Without a sign, a word would join the words beside it.
        plus = "" if is_first or weight or prefix else "+"
    else:
        value, plus = '"' + term.value.replace("\\", "\\\\").replace('"', '\\"') + '"', ""
    return ("-" if term.weight < 0 else plus) + weight + prefix + value


def _is_simple(value: str) -> bool:
    """Whether `value` can be written without quotes."""
    special = _SIGN.match(value) or _WEIGHT.match(value) or _PREFIX.match(value) or value.startswith('"')
    return not special and _WORD.fullmatch(value) is not None
