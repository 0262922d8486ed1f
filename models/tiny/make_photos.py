# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy==2.4.6", "pillow==13.0.0", "resvg_py==0.5.0"]
# ///
"""Make `photos/`, the pictures of the demo: every emoji that Noto draws, without the skin-tone variants.

    uv run models/tiny/make_photos.py

needs `npm` on the path, and a registry to install the pinned packages from, into a temporary folder. Titles and tags
are Emojibase's names and keywords; the description is Unicode's group and subgroup; the colour is computed from the
pixels. The same versions give the same bytes.
"""

import csv
import io
import json
import re
import shutil
import subprocess
import tempfile
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import resvg_py
from PIL import Image, ImageCms

OUT = Path(__file__).parent / "photos"
SIZE = 144
"""Side of the drawings, in pixels; that of the flags is 64, as their source has no larger ones."""

DRAWINGS, FLAGS, WORDS = "@iconify-json/noto", "emoji-datasource-google", "emojibase-data"
VERSIONS = {DRAWINGS: "1.2.9", FLAGS: "16.0.0", WORDS: "17.0.0"}

COMPONENTS = 2
"""Emojibase's group of skin tones and hair styles, which are no emoji by themselves."""

COLORS = {
    "black": (0x000000,),
    "gray": (0x929591,),
    "white": (0xFFFFFF,),
    "blue": (0x0343DF, 0x95D0FC, 0x00035B),
    "brown": (0x653700, 0xAD8150, 0x341C02),
    "green": (0x15B01A, 0x96F97B, 0x033500),
    "orange": (0xF97306, 0xFDAA48, 0xC65102),
    "pink": (0xFF81C0, 0xFFD1DF, 0xCB416B),
    "purple": (0x7E1E9C, 0xBF77F6, 0x35063E),
    "red": (0xE50000, 0xFF474C, 0x840000),
    "yellow": (0xFFFF14, 0xFFFE7A, 0xD5B60A),
}
"""The eleven basic colour terms of English: the median answers of the XKCD colour survey (sRGB, CC0) to the plain term
and, but for the three greys, to it with "light" and with "dark" before it."""

TO_LAB = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")


def main() -> None:
    """Write the pictures and `photos.csv`; pictures of an earlier run are removed."""
    OUT.mkdir(exist_ok=True)
    for old in OUT.glob("*.webp"):
        old.unlink()
    with tempfile.TemporaryDirectory() as folder:
        packages = install(Path(folder))
        drawings, flags = read_drawings(packages / DRAWINGS), read_flags(packages / FLAGS)
        emoji = read_emoji(packages / WORDS)
        shutil.copy(packages / WORDS / "LICENSE", OUT / "LICENSE-emojibase")
        rows = []
        for code, row in emoji.items():
            if code in drawings:
                image = render(drawings[code])
            elif code in flags:
                image = Image.open(flags[code]).convert("RGBA")
            else:
                print(f"no picture of {row['title']}")
                continue
            image.save(OUT / row["path"], lossless=True, method=6)
            rows.append(row | {"color": dominant_color(image)})

    if len({row["path"] for row in rows}) < len(rows):
        raise SystemExit("two emoji have the same file name")
    with (OUT / "photos.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["path", "title", "description", "tags", "color", "credit"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} pictures, {sum(p.stat().st_size for p in OUT.glob('*.webp')) / 1e6:.1f} MB")


def install(folder: Path) -> Path:
    """Install the pinned npm packages; where they are."""
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("npm is not on the path: install Node.js")
    names = [f"{name}@{version}" for name, version in VERSIONS.items()]
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--legacy-peer-deps"]
    subprocess.run([npm, "install", "--prefix", folder, *options, *names], check=True)
    return folder / "node_modules"


def load(path: Path) -> Any:
    """Parse a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def key(code_points: str) -> str:
    """Code points in hex, joined by `-`, as all three packages agree on them: without the variation selector."""
    return "-".join(part for part in code_points.lower().split("-") if part != "fe0f")


def read_emoji(package: Path) -> dict[str, dict[str, str]]:
    """The rows of `photos.csv` without a colour, by code points, in Unicode's order."""
    messages = load(package / "en/messages.json")
    groups = {group["order"]: group["message"] for group in messages["groups"]}
    subgroups = {group["order"]: group["message"] for group in messages["subgroups"]}
    emoji = [e for e in load(package / "en/data.json") if e.get("group", COMPONENTS) != COMPONENTS]
    return {
        key(e["hexcode"]): {
            "path": f"{slug(e['label'])}.webp",
            "title": e["label"],
            "description": f"{groups[e['group']]}: {subgroups[e['subgroup']]}",
            "tags": "|".join(e.get("tags", [])),
            "credit": "Noto Emoji, Google, Apache-2.0",
        }
        for e in sorted(emoji, key=lambda e: e["order"])
    }


def slug(label: str) -> str:
    """A file name that can be read and typed: `flag: Curaçao` is `flag-curacao`."""
    spelled = label.replace("#", "number sign").replace("*", "asterisk").replace("\N{RIGHT SINGLE QUOTATION MARK}", " ")
    ascii_only = unicodedata.normalize("NFKD", spelled).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", ascii_only.lower()).strip("-")


def read_drawings(package: Path) -> dict[str, str]:
    """SVG documents by code points."""
    icons = load(package / "icons.json")
    parents = {alias: icon["parent"] for alias, icon in icons["aliases"].items()}
    head = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    box = f'viewBox="0 0 {icons["width"]} {icons["height"]}">'
    return {
        key(code): f"{head}{box}{icons['icons'][parents.get(name, name)]['body']}</svg>"
        for code, name in load(package / "chars.json").items()
    }


def read_flags(package: Path) -> dict[str, Path]:
    """PNG files by code points."""
    return {key(path.stem): path for path in (package / "img/google/64").glob("*.png")}


def render(svg: str) -> Image.Image:
    """Draw `svg`, as an RGBA image on a transparent ground."""
    png = resvg_py.svg_to_bytes(svg_string=svg, width=SIZE, height=SIZE)
    return Image.open(io.BytesIO(bytes(png))).convert("RGBA")


def lab(image: Image.Image) -> npt.NDArray[np.float32]:
    """CIELAB values (pixels, 3) of an RGB image: L from 0 to 100, a and b around 0."""
    values = np.asarray(ImageCms.applyTransform(image, TO_LAB))  # Pillow holds L as 0 to 255, a and b as signed bytes
    lightness, opponents = values[..., :1] * np.float32(100 / 255), values[..., 1:].view(np.int8).astype(np.float32)
    return np.concatenate([lightness, opponents], axis=-1).reshape(-1, 3)


def dominant_color(image: Image.Image) -> str:
    """The basic colour term that most of the picture is nearest to, by distance in CIELAB, weighted by opacity."""
    shades = [(term, value) for term, values in COLORS.items() for value in values]
    swatches = Image.new("RGB", (len(shades), 1))
    swatches.putdata([tuple(value.to_bytes(3, "big")) for _, value in shades])
    distances = np.linalg.norm(lab(image.convert("RGB"))[:, None] - lab(swatches), axis=-1)
    opacity = np.asarray(image.getchannel("A"), np.float64).ravel()
    weights = dict.fromkeys(COLORS, 0.0)
    for (term, _), weight in zip(shades, np.bincount(distances.argmin(axis=1), opacity, len(shades)), strict=True):
        weights[term] += weight
    return max(weights, key=weights.__getitem__)


if __name__ == "__main__":
    main()
