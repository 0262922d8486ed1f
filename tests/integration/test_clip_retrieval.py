"""clip-retrieval's own client against the running stack, which it takes for its service."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from batch.encode import open_encoder
from batch.ingest import ingest
from batch.sources import open_source
from local.containers import uv
from local.stack import Stack, stack

PACKAGE = "clip-retrieval==2.45.0"
NAMES = ("dog-face", "cat-face", "pizza", "rocket", "banana")

# The package imports torch and faiss as soon as it is imported, for its server. Its client is one file, which needs
# requests: so that file is loaded by its path.
SCRIPT = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("clip_client", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
options, query = json.load(sys.stdin)
options["modality"] = module.Modality[options.pop("modality", "IMAGE")]
if key := options.pop("key", None):  # as docs/search.md says
    from functools import partial
    module.requests.post = partial(module.requests.post, headers={"x-api-key": key})
print(json.dumps(module.ClipClient(**options).query(**query)))
"""

Client = Callable[..., Any]


@pytest.fixture(scope="module")
def client_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The interpreter of an environment with clip-retrieval and what its client needs, and the client's file."""
    folder = tmp_path_factory.mktemp("clip-retrieval")
    for command in (
        ["venv", "--quiet", "--python", sys.executable, str(folder)],
        ["pip", "install", "--quiet", "--python", str(folder), "--no-deps", PACKAGE],
        ["pip", "install", "--quiet", "--python", str(folder), "requests"],
    ):
        subprocess.run([uv(), *command], check=True)
    (file,) = folder.glob("lib/python3.*/site-packages/clip_retrieval/clip_client.py")
    return str(folder / "bin" / "python"), str(file)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    photos = folder / "photos"
    photos.mkdir()
    for name in NAMES:
        (photos / f"{name}.webp").write_bytes((tiny_model / "photos" / f"{name}.webp").read_bytes())
    (photos / "pizza again.webp").write_bytes((photos / "pizza.webp").read_bytes())
    with stack(folder / "state", tiny_model, photos, api_key="open-sesame") as running:
        ingest(open_source(str(photos)), running.vectors, open_encoder(tiny_model))
        while running.queue.pending():
            time.sleep(0.05)
        yield running


@pytest.fixture
def ask(client_file: tuple[str, str], running: Stack) -> Client:
    """What `ClipClient(**options).query(**query)` answers."""
    python, file = client_file

    def ask(query: dict[str, Any], **options: Any) -> Any:
        url = f"{running.url}/knn-service"
        options = {"url": url, "indice_name": "photos", "num_images": 3, "key": "open-sesame", **options}
        done = subprocess.run(
            [python, "-c", SCRIPT, file], input=json.dumps([options, query]), check=True, capture_output=True, text=True
        )
        return json.loads(done.stdout)

    return ask


def test_the_client_finds_images_by_words(ask: Client, running: Stack) -> None:
    hits = ask({"text": "pizza"}, num_images=2, deduplicate=False)
    assert {hit["id"] for hit in hits} == {"pizza.webp", "pizza again.webp"}
    for hit in hits:
        assert hit.keys() == {"id", "similarity", "url", "caption"}
        assert 0 < hit["similarity"] < 1
        assert hit["url"].startswith(running.url)


def test_the_client_finds_images_by_a_file_and_by_an_embedding(ask: Client, tiny_model: Path) -> None:
    (hit,) = ask({"image": str(tiny_model / "photos" / "rocket.webp")}, num_images=1)
    assert (hit["id"], hit["similarity"]) == ("rocket.webp", pytest.approx(1, abs=1e-3))
    embedding = open_encoder(tiny_model).encode_text(["banana"])[0]
    (hit,) = ask({"embedding_input": [float(number) for number in embedding]}, num_images=1)
    assert hit["id"] == "banana.webp"


def test_the_clients_deduplication_leaves_out_near_duplicates(ask: Client) -> None:
    ids = [hit["id"] for hit in ask({"text": "pizza"}, num_images=10)]
    assert len(ids) == len(NAMES)
    assert len({"pizza.webp", "pizza again.webp"} & {*ids}) == 1


def test_the_clients_other_options_are_taken(ask: Client) -> None:
    plain = ask({"text": "dog face"})
    options = {
        "use_mclip": True,
        "aesthetic_score": 1,
        "aesthetic_weight": 1,
        "use_safety_model": False,
        "use_violence_detector": False,
        "indice_name": "laion5B",
    }
    assert ask({"text": "dog face"}, **options) == plain


def test_what_can_not_be_answered_is_told(ask: Client) -> None:
    assert ask({"text": "dog"}, modality="TEXT")["error"]["field"] == "modality"
    assert ask({"text": "dog"}, num_images=201)["error"]["field"] == "num_images"
    assert ask({"image": "https://127.0.0.1/a.jpg"})["error"]["code"] == "unreachable_url"
    assert ask({"text": "dog"}, key=None)["error"]["code"] == "no_key"
