"""Similar cases: patches of known patients whose units respond as those of a tile do."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.imaging.dataset import Dataset


@dataclass(frozen=True)
class SimilarCase:
    """The patch of a patient that is most similar to a tile, and the cosine of both signatures."""

    patch_id: int
    similarity: float


class Signatures:
    """The signatures of all patches of a split: the maxima of a layer's units, standardised by unit, as vectors of
    length 1.

    Without standardisation a few units with large activations would decide alone. A unit that never varies is 0.
    """

    def __init__(self, ids: NDArray[np.int64], maxima: NDArray[np.float32]) -> None:
        """`maxima` is (patches, units), with the ids of the patches in the same order."""
        self._ids = ids
        self._mean = maxima.mean(0, dtype=np.float64).astype(np.float32)
        deviation = maxima.std(0, dtype=np.float64).astype(np.float32)
        self._scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)
        self._vectors = self._normalised(maxima).astype(np.float16)

    @classmethod
    def of_blocks(cls, ids: NDArray[np.int64], blocks: Iterable[NDArray[np.float32]]) -> "Signatures":
        """The signatures of the patches whose maxima come in blocks of rows."""
        return cls(ids, np.concatenate(list(blocks)))

    def similarities(self, maxima: NDArray[np.float32]) -> NDArray[np.float32]:
        """The (patches,) cosines with the signature of the (units,) maxima of a tile."""
        vector = self._normalised(maxima[None])[0]
        step = 4096
        parts = [
            self._vectors[first : first + step].astype(np.float32) @ vector
            for first in range(0, len(self._vectors), step)
        ]
        return np.concatenate(parts)

    def most_similar(
        self, maxima: NDArray[np.float32], data: Dataset, count: int, leave_out: str = ""
    ) -> list[SimilarCase]:
        """The most similar patch of each of the `count` most similar patients, most similar first. The patient
        `leave_out` is passed over."""
        similarities = self.similarities(maxima)
        patients = data.index["patient"].to_pylist()
        found: dict[str, SimilarCase] = {}
        for row in np.argsort(-similarities, kind="stable"):
            patch_id = int(self._ids[row])
            patient = patients[patch_id]
            if patient != leave_out and patient not in found:
                found[patient] = SimilarCase(patch_id, float(similarities[row]))
                if len(found) == count:
                    break
        return list(found.values())

    def _normalised(self, maxima: NDArray[np.float32]) -> NDArray[np.float32]:
        standardised = (maxima - self._mean) * self._scale
        lengths = np.linalg.norm(standardised, axis=1, keepdims=True)
        vectors: NDArray[np.float32] = standardised / np.where(lengths > 0, lengths, 1)
        return vectors
