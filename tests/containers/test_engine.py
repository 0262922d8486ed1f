"""Where there is no Docker engine and none can be started, everything here fails, and says what to do."""

import subprocess
import sys
from pathlib import Path

from local.containers import ROOT


def test_a_machine_that_can_run_no_engine_is_told_how_to_get_one(tmp_path: Path) -> None:
    program = "from local.docker import DockerEngine\nwith DockerEngine() as engine: pass"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"PATH": str(tmp_path), "HOME": str(tmp_path)},  # where no program is found
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "no Docker engine answers" in done.stderr
    assert "start Docker (https://docs.docker.com/engine/install/)" in done.stderr
