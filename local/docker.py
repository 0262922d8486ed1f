"""A Docker engine to build and run the images with: the one that runs already, or Debian's, started for the purpose.

A machine without a running engine gets a private one: own data, own socket, ended with the process that started it.
That needs root on Debian or Ubuntu. Images live on in the cache folder, so that the next build reuses its layers.

`python -m local.docker` runs one until Ctrl-C.
"""
# ruff: noqa: S603, S607  # commands of its own making, found on the user's PATH

import logging
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from imagesearch.errors import ImageSearchError
from local.opensearch import cache_folder

logger = logging.getLogger(__name__)

DEBIAN_IMAGE = "python:3.13-slim-trixie"
"""The base image that a private engine makes itself of Debian's packages: such an engine may have no registry."""
PACKAGES = ("docker.io", "iptables", "mmdebstrap")
COMMANDS = ("dockerd", "iptables", "mmdebstrap")
RUN = Path("/run/clip-image-search")
"""What an engine of ours needs while it runs: there is one a machine, since all would share Docker's network bridge."""
HOST = f"unix://{RUN / 'docker.sock'}"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
START_SECONDS = 60
STOP_SECONDS = 60
KEEP_HOURS = 14 * 24


class DockerEngine:
    """An engine, while entered. `environment` is what `docker`, `sam` and libraries need in theirs to find it.

    Raises:
        ImageSearchError: none runs, and none can be started here; the message says what to do.
    """

    def __init__(self) -> None:
        self._server: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self.private = False
        self.environment = dict(os.environ)

    def __enter__(self) -> Self:
        if self.answers():
            self.private = self.environment.get("DOCKER_HOST") == HOST
            return self
        self.private = True
        self.environment["DOCKER_HOST"] = HOST
        if not self.answers():  # else it is another process's
            self._install()
            self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is None or self._watchdog is None:
            return
        self._watchdog.kill()
        self._watchdog.communicate()
        self._server.terminate()
        try:
            self._server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()

    def answers(self) -> bool:
        """Whether there is an engine that takes orders."""
        return shutil.which("docker") is not None and self._docker("version").returncode == 0

    def has(self, image: str) -> bool:
        """Whether `image` is there."""
        return self._docker("image", "inspect", image).returncode == 0

    def base_image(self) -> str | None:
        """The image to build ours on, made if need be; None where the engine can pull the real ones.

        Raises:
            ImageSearchError: Debian's packages can't be had.
        """
        if not self.private:
            return None
        if not self.has(DEBIAN_IMAGE):
            logger.info("making %s of Debian's packages (once)", DEBIAN_IMAGE)
            self._make_debian_image()
        return DEBIAN_IMAGE

    def _docker(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(["docker", *arguments], env=self.environment, check=False, capture_output=True, text=True)

    def _install(self) -> None:
        installed = all(map(shutil.which, COMMANDS))
        if os.geteuid() != 0 or not (installed or shutil.which("apt-get")):
            raise ImageSearchError(
                "no Docker engine answers, and one can be started here only by root on Debian or Ubuntu: "
                "start Docker (https://docs.docker.com/engine/install/), or set DOCKER_HOST to where one runs"
            )
        if installed:
            return
        logger.info("installing %s", ", ".join(PACKAGES))
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = ["apt-get", "install", "--yes", "--quiet=2", "--no-install-recommends", *PACKAGES]
        for command in (["apt-get", "update", "--quiet=2"], install):
            done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
            if done.returncode:
                raise ImageSearchError(f"no Docker engine answers, and {' '.join(command)} failed:\n{done.stderr}")

    def _start(self) -> None:
        data, log = cache_folder() / "docker", RUN / "dockerd.log"
        for folder in (data, RUN):
            folder.mkdir(parents=True, exist_ok=True)
        command = [
            "dockerd", "--data-root", str(data), "--exec-root", str(RUN / "exec"), "--pidfile", str(RUN / "pid"),
            "--host", HOST,
            "--mtu", "1400",  # the machine may itself be on a network that wraps its packets
        ]  # fmt: skip
        with log.open("wb") as output:
            self._server = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        # Holds the only other end of a pipe from this process: when this process ends, even by SIGKILL, `read` returns.
        watch = ["sh", "-c", 'read -r _; kill "$0"', str(self._server.pid)]
        self._watchdog = subprocess.Popen(watch, stdin=subprocess.PIPE, start_new_session=True)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._server.poll() is None:
            if self.answers():
                # What is left over of builds lets the next one skip its steps, but not for ever.
                self._docker("system", "prune", "--force", "--filter", f"until={KEEP_HOURS}h")
                return
            time.sleep(0.2)
        self.__exit__(None, None, None)
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-10:])
        raise ImageSearchError(f"the Docker engine didn't start; its log is {log} and ends:\n{tail}")

    def _make_debian_image(self) -> None:
        make = [
            "mmdebstrap", "--quiet", "--variant=minbase", "--include=python3,python3-pip,ca-certificates",
            '--aptopt=Apt::Install-Recommends "false"',
            *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "locale", "man")),
            '--customize-hook=rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED; ln -sf python3 "$1"/usr/bin/python',
            '--customize-hook=rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*',
        ]  # fmt: skip
        settings = ['CMD ["python3"]', "ENV PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1"]
        if CERTIFICATES.exists():  # this machine may trust a local authority that pip has to trust too
            make.append(f"--customize-hook=copy-in {CERTIFICATES} {CERTIFICATES.parent}")
            settings.append(f"ENV PIP_CERT={CERTIFICATES} SSL_CERT_FILE={CERTIFICATES}")
        changes = [word for setting in settings for word in ("--change", setting)]
        load = ["docker", "import", *changes, "-", DEBIAN_IMAGE]
        with tempfile.TemporaryFile() as said:
            with subprocess.Popen([*make, "trixie", "-"], stdout=subprocess.PIPE, stderr=said) as tar:
                done = subprocess.run(
                    load, stdin=tar.stdout, env=self.environment, check=False, stdout=said, stderr=said
                )
            if tar.returncode or done.returncode:
                self._docker("image", "rm", DEBIAN_IMAGE)
                said.seek(0)
                raise ImageSearchError(f"can't make {DEBIAN_IMAGE}:\n{said.read().decode(errors='replace')}")


def main() -> None:
    """Run an engine until Ctrl-C, with the base image of the builds in it."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with DockerEngine() as engine:
        base = engine.base_image()
        if not engine.private:
            logger.info("a Docker engine runs already")
            return
        logger.info("export DOCKER_HOST=%s  # Ctrl-C ends the engine", engine.environment["DOCKER_HOST"])
        logger.info("it builds on %s", base)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            signal.pause()
        except KeyboardInterrupt:
            logger.info("stopping")


if __name__ == "__main__":
    main()
