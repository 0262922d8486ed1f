"""From the bytes of a JPEG to the model's input, on one core, in two ways that take turns.

    python decoding.py MODEL START

A process of the environment with open_clip. A command names a folder; the answer has images a second of both.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def main(model: Path) -> None:
    """Answer the commands."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import open_clip
    from PIL import Image

    from imagesearch.clip.model import ModelInfo
    from imagesearch.clip.preprocess import preprocess
    from imagesearch.images import open_image

    info = ModelInfo.load(model)
    _, _, transform = open_clip.create_model_and_transforms(info.name)
    ways: dict[str, Callable[[Path], object]] = {
        "ours": lambda path: preprocess(open_image(path.read_bytes(), target=info.image_size).image, info),
        "pillow": lambda path: transform(Image.open(path)),
    }
    for line in sys.stdin:
        files = sorted(Path(json.loads(line)["folder"]).iterdir())
        rates = {}
        for name, decode in ways.items():
            began = time.perf_counter()
            for path in files:
                decode(path)
            rates[name] = len(files) / (time.perf_counter() - began)
        print(json.dumps(rates), file=answers, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
