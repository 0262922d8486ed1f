"""Settings and mapping of the OpenSearch index.

What the mapping rests on:

- The vector isn't in `_source`, where every hit would have to read and skip several kB of JSON, but it comes back
  bit for bit from its doc values, by a script. A copy made by OpenSearch's own reindex therefore has no vectors:
  index the parts again instead. The plugin's own answer, derived source, is switched off: in 3.5, after a reindex,
  searches of the index that was read from keep failing with "already closed".
- `extra` is kept as it is, unindexed, and its values are indexed as terms `path=value` in `extra_values`. The type made
  for that, flat_object, refuses the whole photo for one value of more than 32,766 bytes.
- `present` names the fields that have a value; a keyword longer than `ignore_above` would pass for absent otherwise.
- A deletion is a document with nothing but its id and its version. OpenSearch forgets the version of a document that is
  really deleted after `index.gc_deletes`, and at each restart; an upsert that came late would bring the photo back.
"""

from dataclasses import dataclass
from typing import Any

from imagesearch.index.base import MAX_RESULTS

KEYWORD = {"type": "keyword", "ignore_above": 8_191}  # characters; Lucene takes 32,766 bytes
LOOKUP = {**KEYWORD, "doc_values": False}
LONG, DOUBLE = {"type": "long"}, {"type": "double"}


@dataclass(frozen=True, slots=True)
class Method:
    """A way to keep vectors: the plugin's engine, what the mapping says of it, and whether searches have to compare."""

    engine: str
    vector: dict[str, str]
    rescore: bool = False


METHODS: dict[str, Method] = {
    "lucene": Method("lucene", {"mode": "in_memory", "compression_level": "1x"}),
    # Seven bits a component in memory, a quarter of the size; searches compare the best with the floats on disk.
    "lucene-sq": Method("lucene", {"mode": "on_disk", "compression_level": "4x"}, rescore=True),
    # One bit a component in memory, 0.2 GB a million of 512; the best are then compared at full precision from disk.
    "faiss": Method("faiss", {"mode": "on_disk", "compression_level": "32x"}),
}


def index_body(dim: int, engine: str, shards: int) -> dict[str, Any]:
    """Settings and mapping of an index for vectors of `dim`; whatever the plugin has a default for is written out."""
    method = METHODS[engine]
    vector = {
        "type": "knn_vector",
        "dimension": dim,
        "data_type": "float",
        "space_type": "cosinesimil",
        **method.vector,
        "method": {"name": "hnsw", "engine": method.engine, "parameters": {"m": 16, "ef_construction": 100}},
    }
    properties = {
        "id": {"type": "keyword"},
        "vector": vector,
        **dict.fromkeys(("uri", "etag", "format", "color", "credit", "title", "description", "tags"), KEYWORD),
        "orientation": {"type": "keyword"},
        **dict.fromkeys(("width", "height", "bytes"), LONG),
        "created_at": {"type": "date", "format": "strict_date_optional_time"},
        **dict.fromkeys(("lat", "lon"), DOUBLE),
        "location": {"type": "geo_point"},
        "extra": {"type": "object", "enabled": False},
        "extra_values": LOOKUP,
        "present": LOOKUP,
        # Cut into words before; BM25 with k1 = 1.2 and b = 0.75, as in words.py. No phrases, so no positions.
        "words": {"type": "text", "analyzer": "whitespace", "similarity": "BM25", "index_options": "freqs"},
    }
    settings = {
        "knn": True,
        "knn.derived_source.enabled": False,
        "number_of_shards": shards,
        "auto_expand_replicas": "0-1",
        "max_result_window": MAX_RESULTS,
    }
    mappings = {"dynamic": "strict", "_source": {"excludes": ["vector", "words"]}, "properties": properties}
    return {"settings": {"index": settings}, "mappings": mappings}
