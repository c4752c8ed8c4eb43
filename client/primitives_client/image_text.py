"""Names of units from an image-text model, such as Mammo-CLIP, that a lab runs with its own weights.

No model is part of this package: a lab writes a class with two methods (see `ImageTextModel`, and docs/detection.md for
an example). The names are those of a machine; whether they are right is a question for held-out patients.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from primitives_client.errors import InvalidInput, MissingPackage
from primitives_client.extraction import Extraction, UnitDetails

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

TEMPERATURE = 100.0
"""By which cosines are multiplied before the softmax over words, as in CLIP."""


class ImageTextModel(Protocol):
    """A model that embeds images and words into the same space."""

    def embed_images(self, images: "Sequence[Image]") -> "NDArray[np.floating[Any]]":
        """Return (images, dimensions)."""

    def embed_words(self, words: Sequence[str]) -> "NDArray[np.floating[Any]]":
        """Return (words, dimensions)."""


@dataclass(frozen=True)
class SuggestedName:
    """The word that fits the top patches of a unit best, and the next one, with their scores in nats: how much more
    probable the word is on the unit's top patches than on the sample of the layer."""

    unit: int
    name: str
    word: str
    score: float
    next_word: str
    next_score: float


def suggest_names(
    extraction: Extraction,
    layer: str,
    model: ImageTextModel,
    words: Sequence[str],
    units: Iterable[int | str] | None = None,
    patches: int = 16,
    size: int = 224,
) -> list[SuggestedName]:
    """Name units by the words that a model finds on their top patches, as CLIP-Dissect does.

    A patch gives each word a probability: the softmax of the cosines of its embedding and those of the words. A word's
    score for a unit is the mean of the log probability over the unit's top `patches`, minus the log of the mean
    probability over the sample of patches of the layer, so a word that fits every patch names no unit. Silent units
    have no name. `units` are channels or names; by default all units of the layer. Pictures are crops of `size` pixels.

    InvalidInput for fewer than two words, and for embeddings of another shape. MissingPackage without NumPy or Pillow.
    """
    np = _numpy()
    different = list(dict.fromkeys(words))
    if len(different) < 2:
        raise InvalidInput("names are chosen among words; give at least two different ones")
    of_words = _normalised(np, model.embed_words(different), len(different), "words")
    chosen = list(units) if units is not None else [unit.unit for unit in extraction.units(layer, silent=False)]
    probabilities = _Probabilities(np, model, of_words, size)
    names: list[SuggestedName] = []
    usual = None
    for one in chosen:
        unit = extraction.unit(layer, one)
        if unit.silent:
            continue
        if usual is None:
            usual = np.log(probabilities.of(unit, "sample", len(unit.sample)).mean(0))
        scores = np.log(probabilities.of(unit, "top", patches)).mean(0) - usual
        best, second = np.argsort(-scores, kind="stable")[:2].tolist()
        names.append(
            SuggestedName(
                unit.unit, unit.name, different[best], float(scores[best]), different[second], float(scores[second])
            )
        )
    return names


class _Probabilities:
    """The probabilities of words on patches, each of which is embedded once."""

    def __init__(self, np: Any, model: ImageTextModel, of_words: Any, size: int) -> None:
        self._np, self._model, self._of_words, self._size = np, model, of_words, size
        self._known: dict[int, Any] = {}

    def of(self, unit: UnitDetails, source: Any, count: int) -> Any:
        """(patches, words), for the first patches of a source."""
        np = self._np
        patches = (unit.top if source == "top" else unit.sample)[:count]
        new = [patch for patch in patches if patch.patch_id not in self._known]
        if new:
            images = [unit.picture(patch.rank, "crop", self._size, source) for patch in new]
            embedded = _normalised(np, self._model.embed_images(images), len(images), "images")
            if embedded.shape[1] != self._of_words.shape[1]:
                raise InvalidInput("the model embeds images and words in spaces of different sizes")
            logits = TEMPERATURE * embedded @ self._of_words.T
            exponents = np.exp(logits - logits.max(1, keepdims=True))
            shares = np.maximum(exponents / exponents.sum(1, keepdims=True), np.finfo(float).tiny)
            self._known |= {patch.patch_id: share for patch, share in zip(new, shares, strict=True)}
        return np.stack([self._known[patch.patch_id] for patch in patches])


def _normalised(np: Any, embedded: Any, count: int, what: str) -> Any:
    found = np.asarray(embedded, dtype=float)
    if found.ndim != 2 or len(found) != count or not np.isfinite(found).all():
        raise InvalidInput(f"the model's embedding of {what} is no finite ({count}, dimensions) array")
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), np.finfo(float).tiny)


def _numpy() -> Any:
    try:
        import numpy
    except ImportError as error:
        raise MissingPackage("install numpy for names from an image-text model") from error
    return numpy
