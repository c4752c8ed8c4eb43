"""Names of units from an image-text model: a toy model that sees how bright a picture is."""

import io
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import httpx
import numpy as np
import pytest
from PIL import Image

from primitives_client import InvalidInput, suggest_names
from tests.fakes.http_services import HttpServices
from tests.unit.client.test_units import extraction

GREY = {0: 10, 1: 240, 2: 120, 3: 40, 4: 220}
"""The grey value of each patch."""
TOP = {0: [0, 3], 1: [1, 4], 2: [0, 1]}
"""The top patches of each unit; unit 2 is silent."""


class Brightness:
    """Embeds pictures by their grey value on a half circle from black to white, and words by what they mean."""

    MEANINGS: ClassVar[dict[str, float]] = {"dark": 0.0, "grey": 0.5, "bright": 1.0}

    def __init__(self) -> None:
        self.pictures = Counter[int]()

    def embed_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        greys = [float(np.asarray(one).mean()) for one in images]
        self.pictures.update(min(GREY.values(), key=lambda grey: abs(grey - found)) for found in greys)
        return self._on_circle([grey / 255 for grey in greys])

    def embed_words(self, words: Sequence[str]) -> np.ndarray:
        return self._on_circle([self.MEANINGS[word] for word in words])

    def _on_circle(self, places: list[float]) -> np.ndarray:
        angles = np.pi * np.asarray(places)
        return 3 * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def answer(request: httpx.Request) -> httpx.Response:
    """Answer as the services do, about five patches and three units."""
    path = request.url.path
    if path.endswith("/extractions/extraction-1"):
        return extraction()
    if path.endswith("/units"):
        units = [unit for unit in TOP if unit != 2]
        rows = [_summary(unit) for unit in units]
        layer = {"layer": "layer4", "classes": [], "ranking_method": "influence", "rankings": [], "dissected": False}
        return httpx.Response(200, json=layer | {"units": rows, "total": len(rows), "order": units})
    unit = int(re.findall(r"/units/(\d+)", path)[0])
    if path.endswith(".jpeg"):
        rank, source = int(re.findall(r"(\d+)\.jpeg", path)[0]), request.url.params["from"]
        patch = TOP[unit][rank - 1] if source == "top" else list(GREY)[rank - 1]
        content = io.BytesIO()
        Image.new("L", (8, 8), GREY[patch]).save(content, "JPEG")
        return httpx.Response(200, content=content.getvalue())
    details = _summary(unit) | {
        "layer": "layer4", "minimum": 0.0, "quantiles": [], "thresholds": [], "classes": [], "similar": [],
        "duplicates": [], "duplicate_names": [], "dissection": [],
        "top": [_patch(rank, patch) | {"row": 0, "column": 0} for rank, patch in enumerate(TOP[unit], 1)],
        "sample": [_patch(rank, patch) for rank, patch in enumerate(GREY, 1)],
    }  # fmt: skip
    return httpx.Response(200, json=details)


def _summary(unit: int) -> dict[str, Any]:
    return {
        "unit": unit, "name": f"unit_{unit + 1:04}", "silent": unit == 2, "mean": 0.5, "deviation": 0.1, "maximum": 2.0,
        "active": 0.25, "auc_by_class": [], "ranks": [], "best": None,
    }  # fmt: skip


def _patch(rank: int, patch: int) -> dict[str, Any]:
    return {
        "rank": rank, "value": 1.0, "patch_id": patch, "patch": f"patch-{patch}", "label": 0, "phenomenon": "",
        "mammogram": "m",
    }  # fmt: skip


def suggest(model: Any, words: Sequence[str] = ("dark", "bright", "grey"), **options: Any) -> list[tuple[int, str]]:
    found = HttpServices(answer).client().extractions.get("extraction-1")
    return [(one.unit, one.word) for one in suggest_names(found, "layer4", model, words, **options)]


def test_units_are_named_by_what_the_model_sees_on_their_top_patches() -> None:
    """The unit of dark patches is dark, the other one bright; each patch is embedded once, and silent units have no
    name."""
    model = Brightness()
    assert suggest(model) == [(0, "dark"), (1, "bright")]
    assert set(model.pictures) == set(GREY.values()) and set(model.pictures.values()) == {1}
    assert suggest(Brightness(), units=[2, "unit_0002"], patches=1) == [(1, "bright")]


def test_a_word_that_fits_every_patch_names_no_unit() -> None:
    """What the sample shows as much as the top patches do has the score 0."""
    found = HttpServices(answer).client().extractions.get("extraction-1")
    everywhere = type("Everywhere", (Brightness,), {"MEANINGS": Brightness.MEANINGS | {"tissue": 0.4}})()
    names = suggest_names(found, "layer4", everywhere, ["tissue", "bright"], units=[1], patches=1)
    assert (names[0].word, names[0].next_word) == ("bright", "tissue")
    assert names[0].score > 0 > names[0].next_score


def test_models_that_do_not_fit_are_refused() -> None:
    """One word is no choice; embeddings need a row for each image and word, numbers, and the same space."""
    with pytest.raises(InvalidInput, match="at least two different"):
        suggest(Brightness(), ["dark", "dark"])
    broken = type("Broken", (Brightness,), {"embed_words": lambda _self, words: np.full((len(words), 2), np.nan)})
    with pytest.raises(InvalidInput, match=r"embedding of words is no finite \(3, dimensions\) array"):
        suggest(broken())
    other = type("Other", (Brightness,), {"embed_words": lambda _self, words: np.ones((len(words), 5))})
    with pytest.raises(InvalidInput, match="spaces of different sizes"):
        suggest(other())
