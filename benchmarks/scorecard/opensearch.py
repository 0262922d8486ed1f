"""The OpenSearch that sections measure with: one for all, compiled as servers are, and gone with the process."""

import atexit
import os
import tempfile
from functools import cache
from pathlib import Path

from local.opensearch import LocalOpenSearch

HEAP = "-Xms2g -Xmx2g"
"""Without -XX:TieredStopAtLevel=1, which the tests set: it starts fast, and then runs at half the speed."""


@cache
def server_url() -> str:
    """URL of a real OpenSearch, which is started on first use."""
    os.environ.setdefault("OPENSEARCH_JAVA_OPTS", HEAP)
    server = LocalOpenSearch(Path(tempfile.mkdtemp(prefix="opensearch-")))
    atexit.register(server.delete)
    return server.start()
