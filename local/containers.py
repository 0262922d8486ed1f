"""Lambda functions in containers, kept as Lambda keeps them: read-only, as its user, within their memory.

The runtime interface emulator is AWS's own, which the SAM CLI brings along.
"""
# ruff: noqa: S603, S607  # commands of its own making, found on the user's PATH

import json
import os
import platform
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import urllib3

from imagesearch.errors import ImageSearchError
from local.docker import DockerEngine

ROOT = Path(__file__).resolve().parent.parent
SAM_CLI = "aws-sam-cli==1.170.0"
LAMBDA_USER = "993:990"
LISTEN_SECONDS = 30

_http = urllib3.PoolManager(retries=False)


class LambdaContainer:
    """A function of one instance, while entered; call it with an event, as it is a handler itself.

    It has the network of the machine, so that it reaches what listens on loopback.

    Raises:
        ImageSearchError: Docker refuses to start it, or it doesn't listen.
    """

    def __init__(
        self,
        engine: DockerEngine,
        image: str,
        environment: Mapping[str, str],
        *,
        command: Sequence[str] = (),
        mounts: Mapping[Path, str] | None = None,
        memory_mb: int = 2048,
        cpus: float | None = None,
        seconds: int = 60,
    ) -> None:
        """Prepare a container of `image`.

        `command` replaces entry point and command of the image; `mounts` has folders and the places where the function
        sees them; `cpus` limits the processor time (Lambda gives one CPU at 1,769 MB); `seconds` is the time limit of
        an invocation.
        """
        self._engine = engine
        self._image = image
        self._command = list(command)
        self._mounts = dict(mounts or {})
        self._limits = ["--memory", f"{memory_mb}m", *(["--cpus", str(cpus)] if cpus else [])]
        self._environment = {
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_LAMBDA_FUNCTION_NAME": image.rpartition("/")[2].partition(":")[0],
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory_mb),
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(seconds),
            **environment,
        }
        self._seconds = seconds
        self._id = ""

    def __enter__(self) -> Self:
        emulator, function = _free_port(), _free_port()
        command = self._command or self._image_command()
        self._url = f"http://127.0.0.1:{emulator}/2015-03-31/functions/function/invocations"
        self._id = self._docker(
            "run", "--detach", "--network", "host", "--read-only", "--tmpfs", "/tmp:size=512m",  # noqa: S108
            "--user", LAMBDA_USER, *self._limits,
            *(word for name, value in self._environment.items() for word in ("--env", f"{name}={value}")),
            *(word for folder, place in self._mounts.items() for word in ("--volume", f"{folder}:{place}:ro")),
            "--volume", f"{_emulator()}:/emulator:ro", "--entrypoint", "/emulator", self._image,
            "--runtime-interface-emulator-address", f"127.0.0.1:{emulator}",
            "--runtime-api-address", f"127.0.0.1:{function}", *command,
        ).strip()  # fmt: skip
        deadline = time.monotonic() + LISTEN_SECONDS
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", emulator)) == 0:
                    return self
            time.sleep(0.02)
        log = self.log()
        self.__exit__(None, None, None)
        raise ImageSearchError(f"{self._image} doesn't listen:\n{log}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._docker("rm", "--force", self._id)

    def __call__(self, event: Any, _context: object = None) -> Any:
        """Invoke the function with `event`, and return what it answers.

        Raises:
            RuntimeError: it raised, or ended, or took too long.
        """
        answer = _http.request("POST", self._url, body=json.dumps(event), timeout=self._seconds + 5)
        result = json.loads(answer.data) if answer.data else None
        if answer.status != 200 or (isinstance(result, dict) and "errorType" in result):
            raise RuntimeError(f"{self._image} failed with {answer.data!r}:\n{self.log()}")
        return result

    def log(self) -> str:
        """What it has written so far."""
        logs = subprocess.run(
            ["docker", "logs", self._id],
            env=self._engine.environment,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return logs.stdout

    def peak_mb(self) -> float:
        """The most memory that the function's process has had so far, in MB: its resident set."""
        script = (
            "import re, pathlib\n"
            "for status in pathlib.Path('/proc').glob('[0-9]*/status'):\n"
            "    print(*re.findall(r'VmHWM:\\s+(\\d+) kB', status.read_text()))"
        )
        peaks = self._docker("exec", self._id, "python", "-c", script).split()
        return max(map(int, peaks)) / 1024

    def _image_command(self) -> list[str]:
        config = json.loads(self._docker("image", "inspect", "--format", "{{json .Config}}", self._image))
        return [*(config["Entrypoint"] or ()), *(config["Cmd"] or ())]

    def _docker(self, *arguments: str) -> str:
        done = subprocess.run(
            ["docker", *arguments], env=self._engine.environment, check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise ImageSearchError(f"docker {arguments[0]} failed: {done.stderr.strip()}")
        return done.stdout


def uv() -> str:
    """The path of uv: that which runs this, the one on the PATH, or the one that `make` installed.

    Raises:
        ImageSearchError: there is none.
    """
    own = ROOT / ".cache" / "uv" / "bin" / "uv"
    found = os.environ.get("UV") or shutil.which("uv") or (str(own) if own.exists() else None)
    if not found:
        raise ImageSearchError("this needs uv: https://docs.astral.sh/uv/getting-started/installation/")
    return found


def sam(*arguments: str) -> list[str]:
    """The command that runs the SAM CLI, which has an environment of its own, with `arguments`."""
    return [uv(), "tool", "run", "--quiet", "--from", SAM_CLI, "sam", *arguments]


def sam_environment(engine: DockerEngine) -> dict[str, str]:
    """The environment for `sam`: no telemetry, no AWS account, `engine`, and uv where the layer's Makefile looks."""
    environment = {name: value for name, value in engine.environment.items() if not name.startswith("AWS_")}
    path = f"{Path(uv()).parent}{os.pathsep}{environment['PATH']}"
    return {**environment, "PATH": path, "SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": "us-east-1"}


@cache
def _emulator() -> Path:
    script = "import samcli.local.rapid as rapid; print(*rapid.__path__)"
    command = [uv(), "tool", "run", "--quiet", "--from", SAM_CLI, "python", "-c", script]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise ImageSearchError(f"can't install {SAM_CLI}: {done.stderr.strip()}")
    arm = platform.machine() in ("aarch64", "arm64")
    return Path(done.stdout.strip()) / f"aws-lambda-rie-{'arm64' if arm else 'x86_64'}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
