"""Splits by patient."""

import subprocess
from collections import Counter
from dataclasses import replace

import pytest
from pydantic import ValidationError

from services.training.raw.case import RawMammogram
from services.training.raw.cutting.recipe import CutRecipe
from services.training.raw.cutting.splits import assign_splits, leaks, split_patients

PLAIN = RawMammogram("m", "m.png", "p", "e", "LEFT", "CC")


def images(count: int, split: str = "") -> list[RawMammogram]:
    """Four mammograms of each of `count` patients."""
    return [
        replace(PLAIN, name=f"{patient}-{view}", patient=f"p{patient}", split=split)
        for patient in range(count)
        for view in range(4)
    ]


def test_patients_are_split_by_a_rule_that_another_program_can_follow() -> None:
    """The order is that of SHA-256 over seed and patient, here computed by coreutils."""
    patients = [f"p{number}" for number in range(20)]
    command = 'for p in "$@"; do echo "$(printf "7/%s" "$p" | sha256sum | cut -c1-64) $p"; done | sort | cut -d" " -f2'
    listed = subprocess.run(["bash", "-c", command, "bash", *patients], check=True, capture_output=True, text=True)
    ordered = listed.stdout.split()
    splits = split_patients(patients, CutRecipe(seed=7))
    assert [splits[patient] for patient in ordered] == ["train"] * 16 + ["val"] * 2 + ["test"] * 2
    assert splits != split_patients(patients, CutRecipe(seed=8))


def test_all_mammograms_of_a_patient_are_in_one_split() -> None:
    """The order of mammograms does not matter, and no patient leaks."""
    mammograms = images(50)
    splits = assign_splits(mammograms, CutRecipe())
    assert Counter(splits) == {"train": 160, "val": 20, "test": 20}
    assert leaks(mammograms, splits) == []
    assert assign_splits(mammograms[::-1], CutRecipe()) == splits[::-1]


def test_the_splits_of_the_source_are_kept_and_their_leaks_named() -> None:
    """A mammogram without a split joins another one of its patient. With the rule `seed`, the source's splits do not
    count."""
    mammograms = [*images(3, "train"), *images(1, "test"), *images(1)]
    splits = assign_splits(mammograms, CutRecipe())
    assert splits == ["train"] * 12 + ["test"] * 4 + splits[-4:]
    assert leaks(mammograms, splits) == ["p0 in train and test"]
    assert leaks(mammograms, assign_splits(mammograms, CutRecipe(split_rule="seed"))) == []


def test_parts_of_nobody_are_refused() -> None:
    """The parts of the patients cannot all be 0."""
    with pytest.raises(ValidationError, match="splits are all 0"):
        CutRecipe(splits=(0, 0, 0))
    assert set(split_patients(["a", "b", "c"], CutRecipe(splits=(1, 0, 0))).values()) == {"train"}
