"""What tests of every kind share: a real OpenSearch, and the bundled model."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.opensearch import LocalOpenSearch

# Some tests stop a process of their own with Ctrl-C. What is started in the background of a script ignores that signal,
# and so would everything that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def opensearch_url() -> Iterator[str]:
    """A real OpenSearch: the one at $OPENSEARCH_URL, else one of its own, which takes some ten seconds to start."""
    if url := os.environ.get("OPENSEARCH_URL"):
        yield url
        return
    server = LocalOpenSearch(Path(tempfile.mkdtemp(prefix="opensearch-")))
    try:
        yield server.start()
    finally:
        server.delete()


@pytest.fixture(scope="session")
def tiny_model() -> Path:
    """Folder of the bundled model artifact."""
    return Path(__file__).parents[1] / "models" / "tiny"
