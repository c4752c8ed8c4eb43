"""The bench of breast masks."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.breast import BACKGROUND, MUSCLE, bench_breast
from services.common.errors import InvalidInput
from tests.fakes.raw.drawn import drawn_breast

HEIGHT, WIDTH = 640, 400


def test_the_mask_is_compared_with_the_labels(tmp_path: Path) -> None:
    """A drawn breast is found. The worst image is the one whose labels are elsewhere."""
    (tmp_path / "images").mkdir()
    (tmp_path / "tissue_labels").mkdir()
    grey = drawn_breast(HEIGHT, WIDTH, deep=False)
    right = np.where(grey > 40, MUSCLE, 0).astype(np.uint8)
    wrong = np.zeros_like(right)
    wrong[: HEIGHT // 4] = BACKGROUND + 1
    for name, labels in (("right", right), ("wrong", wrong)):
        Image.fromarray(grey).save(tmp_path / "images" / f"{name}.png")
        Image.fromarray(labels).save(tmp_path / "tissue_labels" / f"{name}_LI.png")
    figures = bench_breast(tmp_path)
    assert figures["images"] == 2
    assert figures["breast_worst"] == "wrong"
    assert figures["breast_dice_worst"] < 0.5
    assert 2 * figures["breast_dice_mean"] - figures["breast_dice_worst"] > 0.95


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    """The error names what is missing."""
    with pytest.raises(InvalidInput, match=r"images/\*\.png"):
        bench_breast(tmp_path)
