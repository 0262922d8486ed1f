"""The query function in a process of its own, with one encoder or another: commands on stdin, answers on stdout.

    PYTHONPATH=.cache/bench/code python worker.py ENCODER START

ENCODER is a key of ENCODERS and START what `time.monotonic()` was when the process was started. The handler is the same
for all, and it is opened as Lambda opens it: it finds its settings in the environment. A command is a line of JSON,
{"do": NAME, ...}, see `Worker`; so is the answer to it, which tells besides how many seconds of wall time passed since
START, and how many of CPU time all threads of the process have used.

Nothing is imported that the encoder doesn't need, as a cold start is measured, and nothing that isn't in its
environment (see peers.py).
"""

import base64
import io
import json
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

if cores := os.environ.get("SCORECARD_CORES"):
    os.sched_setaffinity(0, map(int, cores.split(",")))  # before torch or ONNX Runtime counts them


def with_onnx_encoder() -> None:
    """Ours, as deployed."""


def with_transformers() -> None:
    """As in the model card of openai/clip-vit-base-patch32."""
    import torch
    from PIL import Image
    from transformers import CLIPModel, CLIPProcessor

    class Transformers(_Peer):
        def __init__(self, folder: Path) -> None:
            super().__init__(folder)
            weights = folder.parent / "transformers"
            self.model = CLIPModel.from_pretrained(weights)
            self.processor = CLIPProcessor.from_pretrained(weights)

        @torch.no_grad()
        def encode_text(self, texts: Sequence[str]) -> Any:
            inputs = self.processor(text=list(texts), return_tensors="pt", padding=True)
            return self._unit(self.model.get_text_features(**inputs))

        @torch.no_grad()
        def encode_pixels(self, pixels: Any) -> Any:
            return self._unit(self.model.get_image_features(pixel_values=torch.from_numpy(pixels)))

        @torch.no_grad()
        def encode_file(self, data: bytes) -> Any:
            inputs = self.processor(images=Image.open(io.BytesIO(data)), return_tensors="pt")
            return self._unit(self.model.get_image_features(**inputs))

        def _unit(self, features: Any) -> Any:
            features = getattr(features, "pooler_output", features)  # since transformers 5
            return (features / features.norm(p=2, dim=-1, keepdim=True)).numpy()

    _replace_encoder(Transformers)


def with_open_clip() -> None:
    """As in open_clip's README."""
    import open_clip
    import torch
    from PIL import Image

    class OpenClip(_Peer):
        def __init__(self, folder: Path) -> None:
            super().__init__(folder)
            checkpoint = str(folder.parent / "open_clip" / "checkpoint.pt")
            name = self.info.name
            self.model, _, self.preprocess = open_clip.create_model_and_transforms(name, pretrained=checkpoint)
            self.model.eval()
            self.tokenizer = open_clip.get_tokenizer(name)

        @torch.no_grad()
        def encode_text(self, texts: Sequence[str]) -> Any:
            return self._unit(self.model.encode_text(self.tokenizer(list(texts))))

        @torch.no_grad()
        def encode_pixels(self, pixels: Any) -> Any:
            return self._unit(self.model.encode_image(torch.from_numpy(pixels)))

        @torch.no_grad()
        def encode_file(self, data: bytes) -> Any:
            image = self.preprocess(Image.open(io.BytesIO(data))).unsqueeze(0)
            return self._unit(self.model.encode_image(image))

        def _unit(self, features: Any) -> Any:
            features /= features.norm(dim=-1, keepdim=True)
            return features.numpy()

    _replace_encoder(OpenClip)


ENCODERS: dict[str, Callable[[], None]] = {
    "ours": with_onnx_encoder,
    "transformers": with_transformers,
    "open_clip": with_open_clip,
}


class _Peer:
    """What the handler needs to know of a peer: it asks the same index as ours.

    The handler decodes and preprocesses an image, and has `encode_pixels` encode it. `encode_file` does all that in the
    peer's own way.
    """

    def __init__(self, folder: Path) -> None:
        from imagesearch.clip.model import ModelInfo

        self.info = ModelInfo.load(folder)


def _replace_encoder(encoder: type[_Peer]) -> None:
    """Have the handler find `encoder` where it looks for OnnxEncoder, so that ONNX Runtime isn't even imported."""
    module = ModuleType("imagesearch.clip.onnx")
    module.OnnxEncoder = encoder  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module


class Worker:
    """Does what the commands say; each method is one."""

    def __init__(self) -> None:
        import app  # the handler

        self._app = app
        self._context = SimpleNamespace(
            function_name="query", memory_limit_in_mb=1769, aws_request_id="0", invoked_function_arn="arn"
        )

    @property
    def _encoder(self) -> Any:
        return self._app.service().searcher.encoder._encoder  # the one that remembers no texts

    def search_text(self, text: str) -> dict[str, Any]:
        """Search by words, through the whole handler."""
        return self._search({"query": text, "input_type": "text"})

    def search_image(self, file: str) -> dict[str, Any]:
        """Search by an image, through the whole handler."""
        return self._search({"query": base64.b64encode(Path(file).read_bytes()).decode(), "input_type": "image"})

    def encode_text(self, text: str) -> dict[str, Any]:
        """Encode a text and nothing else."""
        began = time.perf_counter()
        vectors = self._encoder.encode_text([text])
        return _encoded(began, vectors)

    def encode_image(self, file: str) -> dict[str, Any]:
        """Decode, preprocess and encode an image whose bytes are in memory, as each would."""
        data = Path(file).read_bytes()
        encoder = self._encoder
        began = time.perf_counter()
        if isinstance(encoder, _Peer):
            vectors = encoder.encode_file(data)
        else:
            from imagesearch.images import open_image

            opened = open_image(data, target=encoder.info.image_size)
            vectors = encoder.encode_images([opened.image])
        return _encoded(began, vectors)

    def memory(self) -> dict[str, Any]:
        """MB that are resident, and the most that were."""
        status = Path("/proc/self/status").read_text()
        resident, peak = (int(re.findall(rf"{name}:\s+(\d+) kB", status)[0]) / 1024 for name in ("VmRSS", "VmHWM"))
        return {"resident_mb": resident, "peak_mb": peak}

    def _search(self, event: dict[str, Any]) -> dict[str, Any]:
        began = time.perf_counter()
        answer = self._app.lambda_handler(event, self._context)
        took = time.perf_counter() - began
        if answer["status_code"] != 200 or not answer["body"]["hits"]:
            raise RuntimeError(f"no hits: {str(answer)[:500]}")
        return {"ms": 1000 * took}


def _encoded(began: float, vectors: Any) -> dict[str, Any]:
    took = time.perf_counter() - began
    if vectors.shape != (1, 512) or not abs((vectors**2).sum() - 1) < 1e-3:
        raise RuntimeError(f"no embedding of length 1: {vectors.shape}")
    return {"ms": 1000 * took}


def main(encoder: str, start: float) -> None:
    """Answer the commands."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else writes to stdout
    ENCODERS[encoder]()
    worker = Worker()
    for line in sys.stdin:
        command = json.loads(line)
        answer = getattr(worker, command.pop("do"))(**command)
        totals = {"wall_s": time.monotonic() - start, "cpu_s": time.process_time()}
        print(json.dumps({**answer, **totals}), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
