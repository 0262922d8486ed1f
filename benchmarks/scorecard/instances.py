"""Instances of the query function, each a process of its own behind a gateway of its own, as Lambda runs them.

A Lambda instance answers one request at a time; so does each of these. Settings come from the environment, as ever.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from local.containers import ROOT
from local.gateway import Gateway
from local.stack import QUIET, without_metrics


@contextmanager
def instances(count: int) -> Iterator[list[str]]:
    """The URLs of `count` instances, which end on leaving, or with this process.

    Raises:
        RuntimeError: one doesn't start.
    """
    command = (sys.executable, "-m", "benchmarks.scorecard.instances")
    with ExitStack() as running:
        started = [
            running.enter_context(  # on leaving, their input ends, and they are waited for
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
            )
            for _ in range(count)
        ]
        urls = [process.stdout.readline().strip() for process in started if process.stdout]
        if not all(urls):
            raise RuntimeError("an instance of the query function didn't start: it said why above")
        yield urls


def main() -> None:
    """Answer requests until the input ends; the first line of the output is the URL."""
    os.environ |= QUIET | dict(os.environ)  # before the function is imported
    from functions.query import app

    gateway = Gateway(without_metrics(app))
    with gateway, suppress(KeyboardInterrupt):
        print(gateway.url, flush=True)
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the log: of the output, nobody reads a second line
        sys.stdin.read()


if __name__ == "__main__":
    main()
