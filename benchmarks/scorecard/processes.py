"""Processes that are measured: each takes commands, a line of JSON each, and answers every one with a line."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.scorecard.peers import CODE

OFFLINE = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"}


class Process:
    """A script in an interpreter of some environment, while entered; call it with a command.

    Its arguments are followed by what `time.monotonic()` is when it is started. Modules beside the script can't be
    imported, but the code of the query image can.
    """

    def __init__(self, python: Path, script: Path, *arguments: str, environment: Mapping[str, str]) -> None:
        self._command: Sequence[str] = (str(python), "-P", str(script), *arguments)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "IMAGESEARCH_"))}
        self._environment = {**kept, **OFFLINE, "PYTHONPATH": str(CODE), **environment}

    def __enter__(self) -> Self:
        self._log = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [*self._command, str(time.monotonic())],
            env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True,
        )  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def __call__(self, do: str, **arguments: str) -> dict[str, Any]:
        """What it answers to a command.

        Raises:
            RuntimeError: it failed.
        """
        assert self._process.stdin
        assert self._process.stdout
        line = ""
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            pass
        if not line:
            self._log.seek(0)
            raise RuntimeError(f"{' '.join(self._command[2:])} failed at {do}:\n{self._log.read()[-3000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer
