"""Environments of their own for what a user would use instead, and for ours, which has what the query image has.

Each is in .cache/bench, made with uv from PyPI once (torch is large: minutes, and 5 GB on the disk) and again when what
belongs into it changes. The versions are those of uv.lock where it has them.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from local.containers import ROOT, uv

CACHE = ROOT / ".cache" / "bench"
CODE = CACHE / "code"
"""What the query image has of our own: the handler and the library, with their bytecode."""

PEERS = {
    "ours": (),
    "transformers": ("torch", "transformers"),
    "open_clip": ("torch", "open-clip-torch"),
    # its clip-anytorch imports pkg_resources
    "clip-retrieval": ("clip-retrieval==2.45.0", "torch", "torchvision", "setuptools<81"),
}
"""What is installed beside the handler's packages, which clip-retrieval does without."""

OURS_ALONE = ("onnxruntime", "tokenizers", "ftfy", "regex")
"""What the handler needs for `OnnxEncoder` and for nothing else."""

UNUSED = ("huggingface-hub", "opensearch-protobufs")
"""What the query image leaves out, too."""

CUDA = re.compile(r"/(nvidia|triton|cuda)[^/]*/|/torch/lib/[^/]*(cuda|nvrtc|nccl|cupti)[^/]*$")
"""Files that torch's wheels for CPUs alone don't have; those on PyPI are made for CUDA."""

_RUNTIME = re.compile(r"awslambdaric==[\d.]+")
_KEPT_SERVICES = re.compile(r"s3|sts|sso.*")
"""What the query image keeps of botocore/data."""


@cache
def python(name: str) -> Path:
    """The interpreter of the environment `name`, which is made where it isn't there yet or has changed."""
    folder = CACHE / name
    interpreter, made_of = folder / "bin" / "python", folder / "made-of.txt"
    handler, added, locked = _requirements(name)
    wanted = "\n\n".join("\n".join(lines) for lines in (handler, added, locked))
    if made_of.is_file() and made_of.read_text() == wanted:
        return interpreter
    print(f"making the environment {name}: {', '.join(added)}", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    _run("venv", "--quiet", "--python", sys.executable, str(folder))
    handler_file, locked_file = folder / "handler.txt", folder / "locked.txt"
    handler_file.write_text("\n".join(handler))
    locked_file.write_text("\n".join(locked))
    # bytecode is made here, as in the image: else every start would compile what it imports
    install = ("pip", "install", "--quiet", "--python", str(interpreter), "--compile-bytecode")
    if handler:
        _run(*install, "--no-deps", "--requirements", str(handler_file))
    _run(*install, "--constraints", str(locked_file), *added)
    _prune(site_packages(name))
    made_of.write_text(wanted)
    return interpreter


def site_packages(name: str) -> Path:
    """Where the packages of the environment `name` are."""
    (folder,) = (CACHE / name).glob("lib/python3.*/site-packages")
    return folder


def copy_code() -> Path:
    """Put handler and library, as they are now, side by side as in the query image, with their bytecode."""
    shutil.rmtree(CODE, ignore_errors=True)
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "layers/imagesearch/imagesearch", CODE / "imagesearch", ignore=ignore)
    shutil.copytree(ROOT / "functions/query/page", CODE / "page")
    shutil.copy(ROOT / "functions/query/app.py", CODE)
    compile_all = ("-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(CODE))
    subprocess.run([python("ours"), *compile_all], check=True)
    return CODE


def installed_mb(name: str) -> tuple[float, float]:
    """MB of the packages of the environment `name` and of our code, and how much of it is for CUDA alone."""
    folders = (site_packages(name), CODE)
    sizes = {path.as_posix(): path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file()}
    return sum(sizes.values()) / 1e6, sum(size for path, size in sizes.items() if CUDA.search(path)) / 1e6


def _requirements(name: str) -> tuple[list[str], list[str], list[str]]:
    """The handler's packages, what is added to them, and the versions of what that needs; a requirement each."""
    added = list(PEERS[name])
    locked = list(_export("imagesearch-batch", "--all-extras"))
    if name == "clip-retrieval":  # it takes older versions of most
        added = [next((pin for pin in locked if pin.startswith(f"{package}==")), package) for package in added]
        return [], added, []
    unneeded = UNUSED + (OURS_ALONE if added else ())
    handler = list(_export("imagesearch-query", *(word for package in unneeded for word in ("--prune", package))))
    (runtime,) = _RUNTIME.findall((ROOT / "functions/query/Dockerfile").read_text())
    return handler, [runtime, *added], locked


def _export(package: str, *options: str) -> Iterator[str]:
    plain = ("--no-dev", "--no-emit-workspace", "--no-hashes", "--no-annotate", "--no-header")
    done = _run("export", "--quiet", "--frozen", "--package", package, *plain, *options)
    yield from done.stdout.splitlines()


def _prune(packages: Path) -> None:
    """What the Dockerfile of the query image deletes."""
    unused = [path for path in packages.rglob("tests") if path.is_dir()]
    services = packages / "botocore" / "data"
    if services.is_dir():
        unused += [path for path in services.iterdir() if path.is_dir() and not _KEPT_SERVICES.fullmatch(path.name)]
    runtime = packages / "onnxruntime"
    unused += [runtime / tools for tools in ("quantization", "tools", "transformers")]
    for folder in unused:
        shutil.rmtree(folder, ignore_errors=True)  # one may be in another
    for library in runtime.glob("capi/libonnxruntime.so.*"):
        library.unlink()


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([uv(), *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
