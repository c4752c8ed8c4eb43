"""A small data set in the original's layout: patches with visible classes and DDSM's names."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from services.imaging.patches import parse_patch_name

SIDE = 64


def make_ddsm(folder: Path, patches_per_split: dict[str, int], classes: int = 3, seed: int = 0) -> Path:
    """Write `<split>.txt` and `images/…` below `folder`; every exam is in one split."""
    rng = np.random.default_rng(seed)
    (folder / "images" / "1").mkdir(parents=True)
    for case, (split, count) in enumerate(patches_per_split.items(), 3000):
        lines = []
        for number in range(count):
            label = number % classes
            name = patch_file(case + 100 * (number % 2), 20 * number, 30)
            path = f"images/1/{name}"
            (folder / path).write_bytes(jpeg(class_pattern(rng, label)))
            lines.append(f"{path} {label}\n")
        (folder / f"{split}.txt").write_text("".join(lines))
    return folder


def make_outlines(folder: Path) -> Path:
    """Write `outlines.jsonl` into such a folder: a square on every mammogram, called a disc."""
    listed = "".join(path.read_text() for path in sorted(folder.glob("*.txt")))
    names = {parse_patch_name(line.split()[0].rpartition("/")[2]).mammogram for line in listed.splitlines()}
    corners = [[10, 40], [10, 80], [300, 80], [300, 40]]
    lines = [{"mammogram": name, "phenomenon": "disc", "outline": corners} for name in sorted(names)]
    file = folder / "outlines.jsonl"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return file


def patch_file(case: int, row: int, column: int) -> str:
    """Return a patch name in DDSM's format, with a box."""
    return f"benign_01-B_{case}_1.LEFT_CC.LJPEG.1-x{row}_y{column}_w{SIDE}_h{SIDE}_imgfrac0.25_stridefrac0.5.jpg"


def class_pattern(rng: np.random.Generator, label: int) -> np.ndarray:
    """Return noise, with a bright disc for class 1 and stripes for class 2."""
    grey = rng.normal(90, 25, (SIDE, SIDE))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    if label == 1:
        row, column = rng.integers(20, 44, 2)
        grey[(rows - row) ** 2 + (columns - column) ** 2 < 160] += 90
    elif label == 2:
        grey += 60 * (np.sin((rows + columns) / 2.5 + rng.random() * 6) > 0)
    return grey.clip(0, 255).astype(np.uint8)


def jpeg(grey: np.ndarray) -> bytes:
    """Encode an image as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()
