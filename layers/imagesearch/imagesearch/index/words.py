"""Search by words: what counts as a word, and the numbers of BM25, the same for every implementation.

The text of an image is its title, tags and description, each word of a field repeated by the field's weight; that is
BM25F with whole weights (Robertson, Zaragoza, Taylor 2004, "Simple BM25 extension to multiple weighted fields").
Text is cut into words here, before any index sees it, so that all of them agree: OpenSearch splits what it gets at
spaces.

```
words_of("Früh am Strand, mit dem Hund (IMG_0042.jpg)")
# ['fruh', 'am', 'strand', 'mit', 'dem', 'hund', 'img', '0042', 'jpg']
```
"""

import re
import unicodedata

from imagesearch.records import ImageMetadata

K1, B = 1.2, 0.75
"""How soon more of the same word stops to count, and how far long texts count less: Lucene's defaults."""
WEIGHTS = {"title": 3, "tags": 2, "description": 1}
"""How often a word of a field counts: what a photo is called says more of it than a word in passing."""

MAX_QUERY_WORDS = 100
"""Words of a query that are searched for; Lucene refuses a query of more than 1,024 clauses."""
MAX_FIELD_WORDS = 10_000
"""Words of one field that are indexed, so that no text outgrows a bulk request."""
MAX_WORD = 100
"""Characters of a word that count; OpenSearch would cut one of more than 255 in pieces."""

# Letters that don't decompose into a plain one and a mark: the commonest of those that Lucene's ASCII folding knows.
_LETTERS = str.maketrans({"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "\u0131": "i"})
_ASCII_WORD = re.compile("[a-z0-9]+")
_LATIN_MARKS = re.compile("[\u0300-\u036f]")
# Chinese characters and hiragana, written without spaces: each is a word, as in Unicode's default segmentation.
_IDEOGRAPH = re.compile("[\u3041-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]\u3099?\u309a?")


def words_of(text: str) -> list[str]:
    """The words of `text`, in their order: runs of letters and digits in lower case, without accents."""
    if text.isascii():  # most are, and this takes a tenth of the time
        return [word[:MAX_WORD] for word in _ASCII_WORD.findall(text.lower())]
    plain = _LATIN_MARKS.sub("", unicodedata.normalize("NFKD", text)).casefold().translate(_LETTERS)
    spaced = _IDEOGRAPH.sub(r" \g<0> ", unicodedata.normalize("NFC", plain))
    kept = "".join(char if unicodedata.category(char)[0] in "LMN" else " " for char in spaced)
    return [word[:MAX_WORD] for word in kept.split()]


def weighted_words(metadata: ImageMetadata) -> list[str]:
    """The words of an image as BM25 counts them, each repeated by the weight of its field."""
    texts = {"title": metadata.title or "", "tags": " ".join(metadata.tags), "description": metadata.description or ""}
    return [word for field, text in texts.items() for word in words_of(text)[:MAX_FIELD_WORDS] * WEIGHTS[field]]


def stored_length(words: int) -> int:
    """The length of a text of so many words as Lucene's BM25 knows it: exact below 40, then rounded down to four bits.

    Lucene keeps the length in one byte (`SmallFloat.intToByte4` and its inverse).
    """
    rest = words - 24
    shift = max(0, rest.bit_length() - 4) if rest > 0 else 0
    return 24 + (rest >> shift << shift)
