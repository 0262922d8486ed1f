"""An index made before there were searches by words and by orientation: it goes on, and takes up what it lacks."""

import json
import secrets
import urllib.request
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from imagesearch.index import open_index
from imagesearch.index.base import Facet, Upsert, VectorIndex
from imagesearch.index.embedded import COLUMNS
from imagesearch.index.filters import parse_filter
from imagesearch.index.opensearch_mapping import index_body
from imagesearch.records import ImageMetadata

NEW = {"orientation", "words", "words_length"}
VECTOR = np.array([1, 0, 0], dtype=np.float32)


def photo(id: str) -> Upsert:
    return Upsert(id, 1, VECTOR, ImageMetadata(uri=f"file:///{id}", title="A dog", format="png", width=3, height=2))


def check_that_it_goes_on_and_takes_up_what_it_lacks(index: VectorIndex) -> None:
    """`index` was made earlier, and has the image `a`. At first nothing is written; a search may come before that."""
    assert index.search_words("dog", 5) == []
    assert index.facets(None, ["orientation"]) == {"orientation": []}
    assert index.count(parse_filter({"orientation": "landscape"})) == 0
    assert [hit.id for hit in index.search(VECTOR, 5)] == ["a"]
    assert index.bulk([photo("b")]).rejected == []
    index.refresh()
    assert [hit.id for hit in index.search_words("dog", 5)] == ["b"]
    assert index.facets(None, ["format", "orientation"]) == {
        "format": [Facet("png", 2)],
        "orientation": [Facet("landscape", 1)],
    }
    index.bulk([photo("a")])  # as loading its part again does
    index.refresh()
    assert [hit.id for hit in index.search_words("dog", 5)] == ["a", "b"]
    assert index.count(parse_filter({"orientation": "landscape"})) == 2
    assert index.get(["a"])["a"].metadata == photo("a").metadata


def test_a_file_of_the_embedded_index(tmp_path: Path) -> None:
    path = tmp_path / "photos.duckdb"
    columns = {name: kind if isinstance(kind, str) else f"{kind[0]}[]" for name, kind in COLUMNS.items()}
    # As the code before made it, which put the columns in another order and had none of the new ones.
    old = {name: columns[name] for name in reversed(columns) if name not in NEW}
    document = {"id": "a", **photo("a").metadata.model_dump(exclude_defaults=True)}
    with duckdb.connect(str(path)) as con:
        con.execute(
            'CREATE TABLE "images-x" (id VARCHAR, version BIGINT, vector FLOAT[3], document VARCHAR, '
            + ", ".join(f"{name} {kind}" for name, kind in old.items())
            + ")"
        )
        con.execute(
            'INSERT INTO "images-x" BY NAME '
            "SELECT 'a' AS id, 1 AS version, [1, 0, 0]::FLOAT[3] AS vector, ? AS document, 'png' AS format",
            [json.dumps(document)],
        )
    check_that_it_goes_on_and_takes_up_what_it_lacks(open_index(f"duckdb://{path}", "x", 3))


def test_an_index_of_opensearch(opensearch_url: str) -> None:
    index = open_index(opensearch_url, secrets.token_hex(6), 3)
    body = index_body(3, "lucene", 1)
    body["mappings"]["_source"]["excludes"].remove("words")
    for field in NEW & body["mappings"]["properties"].keys():
        del body["mappings"]["properties"][field]
    document = {"id": "a", "vector": [1, 0, 0], **photo("a").metadata.model_dump(exclude_defaults=True)}
    try:
        put(f"{opensearch_url}/{index.name}", body)
        put(f"{opensearch_url}/{index.name}/_doc/a?version=1&version_type=external_gte&refresh=true", document)
        check_that_it_goes_on_and_takes_up_what_it_lacks(index)
    finally:
        index.drop()


def put(url: str, body: dict[str, Any]) -> None:
    headers = {"Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers, method="PUT")).close()
