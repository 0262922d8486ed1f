"""A real single-node OpenSearch with the k-NN plugin on 127.0.0.1, for the demo and the tests.

    python -m local.opensearch --port 9200 .cache/opensearch     # runs until Ctrl-C; the data stay in the folder

Where a Docker engine answers, it is the official image; else the server is assembled from Maven Central, which needs
mvn (see opensearch_maven.py). The server ends with the process that started it, however that ends.
"""
# ruff: noqa: S603, S607  # commands of its own making, found on the user's PATH

import argparse
import contextlib
import hashlib
import json
import logging
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import IO

from imagesearch.errors import IndexUnavailable
from local.opensearch_maven import OPENSEARCH, ensure_java, install, java_command

logger = logging.getLogger(__name__)

IMAGE = f"opensearchproject/opensearch:{OPENSEARCH}"
START_SECONDS = 180.0
STOP_SECONDS = 30.0


def cache_folder() -> Path:
    """Where the assembled server is kept, shared by all clones: $CLIP_IMAGE_SEARCH_CACHE, or in the user's cache.

    For root it is in /var/cache, since the user that runs the server then may not enter /root.
    """
    if folder := os.environ.get("CLIP_IMAGE_SEARCH_CACHE"):
        return Path(folder).resolve()
    return Path("/var/cache" if os.geteuid() == 0 else "~/.cache").expanduser() / "clip-image-search"


class LocalOpenSearch:
    """One OpenSearch server whose data live with `root`: start it, use its URL, stop it.

    JVM options may be given in $OPENSEARCH_JAVA_OPTS; by default the heap is 1 GB and the JIT stops at its first tier,
    which starts fast and is right for tests, but not for benchmarks.
    """

    def __init__(self, root: Path, port: int | None = None) -> None:
        self.root = root.resolve()
        self.root.mkdir(parents=True, exist_ok=True)
        self.port = port or _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        # Of this root; the name of its Docker container and volume.
        self.name = f"clip-image-search-{hashlib.sha256(str(self.root).encode()).hexdigest()[:12]}"
        self._server: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Install the server if need be, start it, wait until it is usable, and return its URL. Safe to call twice.

        Raises:
            IndexUnavailable: something needed is missing, or the server ended or didn't get ready.
        """
        if self._server is not None and self._server.poll() is None:
            return self.url
        if _docker_works() and _pulled(IMAGE):
            command, user = self._docker_command(), None
        else:
            command, user = self._maven_command()
        log = self.root / "opensearch.log"
        with log.open("wb") as output:
            self._server = _spawn(command, output, user)
        # Holds the only other end of a pipe from this process: when this process ends, even by SIGKILL, `read` returns.
        watch = ["sh", "-c", 'read -r _; kill "$0"', str(self._server.pid)]
        self._watchdog = subprocess.Popen(watch, stdin=subprocess.PIPE, start_new_session=True)
        self._wait(self._server, log)
        return self.url

    def stop(self) -> None:
        """Stop the server and wait until it is gone; nothing happens if it doesn't run. The data stay."""
        if self._server is None:
            return
        self._end_watchdog()
        self._server.terminate()  # the Docker client hands the signal on to the container
        try:
            self._server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._server = None

    def kill(self) -> None:
        """End the server at once, as a crash would; nothing happens if it doesn't run. The data stay."""
        if self._server is None:
            return
        self._end_watchdog()
        if self._server.args[0] == "docker":  # type: ignore[index]  # the container outlives its client
            subprocess.run(["docker", "kill", self.name], check=False, capture_output=True)
        self._server.kill()
        self._server.wait()
        self._server = None

    def _end_watchdog(self) -> None:
        if self._watchdog is not None:
            self._watchdog.kill()
            self._watchdog.communicate()
            self._watchdog = None

    def delete(self) -> None:
        """Stop the server and delete its data, with `root`."""
        self.stop()
        for folder in (self._state(), self.root):
            shutil.rmtree(folder, ignore_errors=True)
        if _docker_works():
            subprocess.run(["docker", "rm", "--force", self.name], check=False, capture_output=True)
            subprocess.run(["docker", "volume", "rm", "--force", self.name], check=False, capture_output=True)

    def _docker_command(self) -> list[str]:
        subprocess.run(["docker", "rm", "--force", self.name], check=False, capture_output=True)
        environment = {
            "discovery.type": "single-node",
            "DISABLE_SECURITY_PLUGIN": "true",
            "DISABLE_INSTALL_DEMO_CONFIG": "true",
            "cluster.routing.allocation.disk.threshold_enabled": "false",
            "OPENSEARCH_JAVA_OPTS": " ".join(_jvm_options()),
        }
        return [
            "docker", "run", "--rm", "--name", self.name, "--publish", f"127.0.0.1:{self.port}:9200",
            "--volume", f"{self.name}:/usr/share/opensearch/data",
            *(word for key, value in environment.items() for word in ("--env", f"{key}={value}")), IMAGE,
        ]  # fmt: skip

    def _maven_command(self) -> tuple[list[str], int | None]:
        """The server's command, and the user to run it as: OpenSearch refuses root, so then it is `nobody`."""
        cache, state = cache_folder(), self._state()
        cache.mkdir(parents=True, exist_ok=True)
        command = java_command(ensure_java(cache), install(cache), state, self.port, _jvm_options())
        if os.geteuid() != 0:
            return command, None
        user = pwd.getpwnam("nobody").pw_uid
        if not _enterable(cache):
            raise IndexUnavailable(
                f"OpenSearch doesn't run as root, and user nobody may not enter {cache}: "
                "set CLIP_IMAGE_SEARCH_CACHE to another folder"
            )
        for path in (state, *state.rglob("*")):
            os.chown(path, user, -1, follow_symlinks=False)
        return command, user

    def _state(self) -> Path:
        """The folder that the assembled server writes to: in `root`, unless its user couldn't get there."""
        if os.geteuid() == 0 and not _enterable(self.root):
            return cache_folder() / self.name
        return self.root / "opensearch"

    def _wait(self, server: subprocess.Popen[bytes], log: Path) -> None:
        deadline = time.monotonic() + START_SECONDS
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever $http_proxy says
        while time.monotonic() < deadline and server.poll() is None:
            # Connection errors and HTTP errors are OSErrors; both come while it starts.
            with contextlib.suppress(OSError, ValueError):
                health = f"{self.url}/_cluster/health?wait_for_status=yellow&timeout=5s"
                with direct.open(health, timeout=10) as reply:
                    if not json.load(reply)["timed_out"]:
                        return
            time.sleep(0.2)
        ended = server.returncode is not None
        self.stop()
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        what = "ended at once" if ended else f"wasn't ready after {START_SECONDS:.0f} s"
        raise IndexUnavailable(f"OpenSearch {what}; its log is {log} and ends:\n{tail}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _jvm_options() -> list[str]:
    return os.environ.get("OPENSEARCH_JAVA_OPTS", "-Xms1g -Xmx1g -XX:TieredStopAtLevel=1").split()


def _docker_works() -> bool:
    if not shutil.which("docker"):
        return False
    asked = subprocess.run(["docker", "version", "--format", "{{.Server.Version}}"], check=False, capture_output=True)
    return asked.returncode == 0


def _pulled(image: str) -> bool:
    if subprocess.run(["docker", "image", "inspect", image], check=False, capture_output=True).returncode == 0:
        return True
    logger.info("pulling %s (once)", image)
    pull = subprocess.run(["docker", "pull", "--quiet", image], check=False, capture_output=True, text=True)
    if pull.returncode:
        logger.warning("can't pull %s, so OpenSearch is assembled with Maven: %s", image, pull.stderr.strip())
    return pull.returncode == 0


def _spawn(command: list[str], output: IO[bytes], user: int | None) -> subprocess.Popen[bytes]:
    """Run in a session of its own, so that a Ctrl-C meant for this process doesn't end the server first."""
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        user=user, extra_groups=None if user is None else [],
    )  # fmt: skip


def _enterable(folder: Path) -> bool:
    """Whether every user may enter `folder` and the folders above it."""
    return all(path.stat().st_mode & 0o001 for path in (folder, *folder.parents))


def main() -> None:
    """Run a server until it ends or Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m local.opensearch", description="A real OpenSearch on 127.0.0.1.")
    parser.add_argument("folder", type=Path, help="where its data live")
    parser.add_argument("--port", type=int, default=9200)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    server = LocalOpenSearch(arguments.folder, arguments.port)
    try:
        logger.info("OpenSearch answers at %s; Ctrl-C ends it", server.start())
        signal.pause()
    except KeyboardInterrupt:
        server.stop()


if __name__ == "__main__":
    main()
