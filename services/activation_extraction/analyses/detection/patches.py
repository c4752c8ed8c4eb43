"""The patches on which names are chosen, and those of other patients on which they are scored."""

import hashlib
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from services.activation_extraction.analyses.context import Context
from services.activation_extraction.analyses.detection.concepts import Concepts
from services.activation_extraction.analyses.settings import DetectionSettings
from services.common.errors import InvalidInput
from services.imaging.dataset import Shard

HELD_OUT = "test"


class DetectionPatches:
    """Patches of mammograms of which something is known, in two parts without a common patient.

    Names are chosen on the split of the extraction, whose patches readers saw, and scored on another split; patients in
    both are left out of the scores. If both are the same split, each half of its patients does one of the two.
    """

    def __init__(self, context: Context[DetectionSettings]) -> None:
        self._data, self._own = context.data, context.manifest.split
        self.concepts = Concepts(context.data, context.settings.covered)
        self.scored_split = _scored_split(context)
        self.shards: list[Shard] = [
            shard for split in dict.fromkeys((self._own, self.scored_split)) for shard in self._data.shards(split)
        ]
        """The shards of both splits: the pieces of the analysis."""
        index = self._data.index
        self._patients = np.asarray(index["patient"].to_pylist())
        known = np.isin(np.asarray(index["mammogram"].to_pylist()), sorted(self.concepts.mammograms))
        splits = np.asarray(index["split"].to_pylist())
        self._chosen, self._scored = known & (splits == self._own), known & (splits == self.scored_split)
        for part, split in ((self._chosen, self._own), (self._scored, self.scored_split)):
            if not part.any():
                raise InvalidInput(
                    f"no mammogram of split {split} of data set {self._data.manifest.name} has outlines or known "
                    "phenomena; detection needs some"
                )
        self._separate()
        if not self._scored.any():
            raise InvalidInput(
                f"no patient of split {self.scored_split} of data set {self._data.manifest.name} is left to score "
                "names on: all of them choose names"
            )

    def within(self, shard: Shard) -> NDArray[np.int64]:
        """The ids of the patches of a shard that are needed."""
        part = slice(shard.first, shard.last + 1)
        return np.flatnonzero(self._chosen[part] | self._scored[part]) + shard.first

    @cached_property
    def choosing(self) -> NDArray[np.int64]:
        """The ids of the patches on which names are chosen."""
        return np.flatnonzero(self._chosen)

    @cached_property
    def scoring(self) -> NDArray[np.int64]:
        """The ids of the patches on which names are scored."""
        return np.flatnonzero(self._scored)

    def patients(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of each patch's patient, from 0 in the order of their names."""
        numbers: NDArray[np.int64] = np.unique(self._patients[ids], return_inverse=True)[1]
        return numbers

    def _separate(self) -> None:
        """Give every patient to one part only."""
        if self.scored_split != self._own:
            self._scored &= ~np.isin(self._patients, np.unique(self._patients[self._chosen]))
            return
        names = sorted(
            set(self._patients[self._chosen].tolist()), key=lambda one: hashlib.sha256(one.encode()).digest()
        )
        first_half = np.isin(self._patients, names[: (len(names) + 1) // 2])
        self._chosen, self._scored = self._chosen & first_half, self._scored & ~first_half


def _scored_split(context: Context[DetectionSettings]) -> str:
    own, requested = context.manifest.split, context.settings.split
    if requested:
        context.data.shards(requested)
        return requested
    return HELD_OUT if context.data.manifest.splits.get(HELD_OUT) else own
