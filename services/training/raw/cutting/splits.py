"""Splits mammograms by patient: by a seed, or as the source or its lists say. Their leaks are named."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence

from services.imaging.patches import SPLITS
from services.training.raw.case import RawMammogram
from services.training.raw.cutting.recipe import CutRecipe


def split_patients(patients: Iterable[str], recipe: CutRecipe) -> dict[str, str]:
    """The split of each patient by the seed. The order of patients is that of SHA-256 over the seed and their names, so
    that it depends on neither the order of files nor a library; the first part is for training, and so on."""
    ordered = sorted(set(patients), key=lambda name: hashlib.sha256(f"{recipe.seed}/{name}".encode()).digest())
    train, val, test = recipe.splits
    total = train + val + test
    ends = [round(len(ordered) * train / total), round(len(ordered) * (train + val) / total), len(ordered)]
    splits = {}
    for place, patient in enumerate(ordered):
        splits[patient] = next(split for split, end in zip(SPLITS, ends, strict=True) if place < end)
    return splits


def assign_splits(mammograms: Sequence[RawMammogram], recipe: CutRecipe) -> list[str]:
    """The split of each mammogram. With the rules `source` and `lists`, mammograms without a split join another one of
    their patient, or else one by the seed."""
    if recipe.split_rule == "seed":
        own: dict[str, str] = {}
        by_seed = split_patients((one.patient for one in mammograms), recipe)
        return [by_seed[one.patient] for one in mammograms]
    own = {one.patient: one.split for one in mammograms if one.split}
    by_seed = split_patients((one.patient for one in mammograms if one.patient not in own), recipe)
    return [one.split or own.get(one.patient) or by_seed[one.patient] for one in mammograms]


def leaks(mammograms: Sequence[RawMammogram], splits: Sequence[str]) -> list[str]:
    """The patients in more than one split, each with its splits, such as `B_3159 in val and test`."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for mammogram, split in zip(mammograms, splits, strict=True):
        found[mammogram.patient].add(split)
    return [
        f"{patient} in {' and '.join(split for split in SPLITS if split in in_splits)}"
        for patient, in_splits in sorted(found.items())
        if len(in_splits) > 1
    ]
