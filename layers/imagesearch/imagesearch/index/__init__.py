"""The vector index: a protocol (base.py), and its two implementations.

```
index = open_index("duckdb:///var/data/photos.duckdb", fingerprint="3f1c…", dim=512)
index.create()
index.bulk([Upsert("a", version=1, vector=vector, metadata=ImageMetadata(uri="s3://photos/a.jpg"))])
index.search(vector, k=10, filter=parse_filter({"width": {"gte": 1000}}))
```
"""

from pathlib import Path

from imagesearch.errors import InvalidInput
from imagesearch.index.base import VectorIndex


def open_index(url: str, fingerprint: str, dim: int, engine: str = "lucene", shards: int = 1) -> VectorIndex:
    """The index at `url` for the vectors, of dimension `dim`, of the model with `fingerprint`; it isn't created yet.

    Args:
        url: `https://…` or `http://…` of an OpenSearch; `duckdb:///path` (or `duckdb://relative/path`) of a file of the
            embedded index; `duckdb://` alone keeps it in memory.
        fingerprint: Names the vector space, and so the index.
        dim: Dimension of the vectors.
        engine: k-NN engine with which a new OpenSearch index is created, and searched: `lucene`, `lucene-sq` (quantised
            vectors in memory) or `faiss`.
        shards: Primary shards of a new OpenSearch index; it keeps their number for good.

    Raises:
        InvalidInput: the URL is of no known kind.
        IndexUnavailable: the file of the embedded index is in use by another process.
    """
    # Imported on use: a function that asks OpenSearch has no DuckDB, and the demo on DuckDB needs no OpenSearch client.
    if url.startswith(("https://", "http://")):
        from imagesearch.index.opensearch import OpenSearchIndex

        return OpenSearchIndex(url, fingerprint, dim, engine, shards)
    if url.startswith("duckdb://"):
        from imagesearch.index.embedded import EmbeddedIndex

        path = url.removeprefix("duckdb://")
        return EmbeddedIndex(Path(path) if path else None, fingerprint, dim)
    raise InvalidInput("an index URL must start with https://, http:// or duckdb://", "index_url")
