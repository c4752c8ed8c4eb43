"""Which patches detection uses and what they show, on a small data set with outlines."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from services.activation_extraction.analyses.context import Context
from services.activation_extraction.analyses.detection.concepts import Concepts
from services.activation_extraction.analyses.detection.kind import Detection
from services.activation_extraction.analyses.detection.patches import DetectionPatches
from services.activation_extraction.analyses.detection.random_network import random_networks
from services.activation_extraction.analyses.outlines import rasterise
from services.activation_extraction.analyses.settings import DetectionSettings
from services.common.blobs import Blobs, FolderBlobs
from services.common.errors import InvalidInput, JobStopped, NotFound
from services.imaging.dataset import Dataset
from services.imaging.dataset_writer import DatasetWriter
from services.imaging.patches import Box, Lesion, Patch
from tests.fakes.data import ignore_progress
from tests.fakes.ddsm import class_pattern, jpeg
from tests.fakes.outlined import extract_outlined, store_outlined

KIND = Detection()
SETTINGS = DetectionSettings(replicates=100, random_networks=1)


def context_of(
    blobs: Blobs, folder: Path, settings: DetectionSettings = SETTINGS, **of_data: Any
) -> Context[DetectionSettings]:
    data, dataset = store_outlined(blobs, **of_data)
    manifest, _ = extract_outlined(blobs, folder, data, dataset)
    return Context(blobs, manifest, torch.device("cpu"), 5, settings)


def detect(context: Context[DetectionSettings], order: int = 1) -> dict[str, list[dict[str, Any]]]:
    pieces = range(KIND.pieces(context))[::order]
    states = {piece: KIND.run_piece(context, piece, lambda _done, _total: None) for piece in pieces}
    tables = KIND.merge(context, [states[piece] for piece in sorted(states)], ignore_progress)
    return {name: table.to_pylist() for name, table in tables}


def test_a_patch_shows_what_covers_it_or_has_its_centre_in_it(tmp_path: Path) -> None:
    """The labels equal those of plain loops over all outlines."""
    data, _ = store_outlined(FolderBlobs(tmp_path), patients=8)
    concepts, rows = Concepts(data, 0.05), data.index.to_pylist()
    shown = concepts.shown(range(len(rows)))
    assert concepts.names == ["mass", "vessel"] and shown.any(0).all() and not shown.all(0).any()
    for row, flags in zip(rows, shown, strict=True):
        box = Box(row["row"], row["column"], row["height"], row["width"])
        for name, flag in zip(concepts.names, flags, strict=True):
            polygons = [
                np.array(one["outline"], dtype=float)
                for one in data.lesions
                if (one["mammogram"], one["phenomenon"]) == (row["mammogram"], name)
            ]
            cells = sum(rasterise(one, box, 112) for one in polygons)
            covered = np.count_nonzero(cells) > 0.05 * 112**2
            centres = [(one.min(0) + one.max(0)) / 2 + 0.5 for one in polygons]
            within = any(
                box.row <= y < box.row + box.height and box.column <= x < box.column + box.width for y, x in centres
            )
            assert flag == (covered or within)


def test_words_and_known_patches_are_concepts(tmp_path: Path) -> None:
    """A word of an outline is shown where the outline is, and the phenomenon of a patch on the patch alone."""
    blobs, outline = FolderBlobs(tmp_path), ((2.0, 2.0), (2.0, 30.0), (30.0, 30.0), (30.0, 2.0))
    image = jpeg(class_pattern(np.random.default_rng(0), 0))
    with DatasetWriter(blobs, "training", "words", ("no", "yes")) as writer:
        writer.add_outlines([Lesion("m", "mass", outline, ("spiculated", "irregular"))])
        writer.add_patch(Patch("a", "val", 0, "p", "m", Box(0, 0, 64, 64), image))
        writer.add_patch(Patch("b", "val", 1, "p", "m", Box(64, 64, 64, 64), image, phenomenon="vessel"))
        _, ref = writer.finish()
    concepts = Concepts(Dataset.open(blobs, ref), 0.01)
    assert concepts.names == ["irregular", "mass", "spiculated", "vessel"]
    assert concepts.shown([0, 1]).tolist() == [[True, True, True, False], [False, False, False, True]]


def test_no_patient_is_in_both_parts(tmp_path: Path) -> None:
    """With one split, half of its patients with outlines choose names, and the others score them."""
    patches = DetectionPatches(context_of(FolderBlobs(tmp_path), tmp_path, patients=8))
    names = np.array(patches._data.index["patient"].to_pylist())
    choosing, scoring = (set(names[ids].tolist()) for ids in (patches.choosing, patches.scoring))
    assert patches.scored_split == "val"
    assert choosing | scoring == {f"p{number}" for number in range(7)}, "the last one has no outlines"
    assert not choosing & scoring and len(choosing) == 4


def test_shards_and_their_order_change_nothing(tmp_path: Path) -> None:
    """The rows are the same for one shard or several, forwards or backwards."""
    one = detect(context_of(FolderBlobs(tmp_path / "1"), tmp_path, patients=8))
    several = context_of(FolderBlobs(tmp_path / "2"), tmp_path, patients=8, shard_patches=5)
    assert KIND.pieces(several) == 5
    assert detect(several) == detect(several, order=-1) == one
    assert {row["verdict"] for row in one["layer4"]} <= {"verified", "unverified", "refuted"}
    assert all(row["patients"] > 0 for row in one["layer4"] if not row["machine"])


def test_few_patients_verify_nothing(tmp_path: Path) -> None:
    """With one patient to score on there are no intervals, and nothing is verified or refuted."""
    rows = detect(context_of(FolderBlobs(tmp_path), tmp_path, patients=4))["layer3"]
    assert {row["verdict"] for row in rows} == {"unverified"}
    assert all(row["correlation_low"] is None and row["p"] == 1 for row in rows)


def test_random_weights_depend_on_the_seed_alone(tmp_path: Path) -> None:
    """The same seed gives the same network, with normalisation set on the split's patches; another seed gives
    another."""
    context = context_of(FolderBlobs(tmp_path), tmp_path)
    first, again, other = (network.state_dict() for network in random_networks(context, (1, 1, 2)))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    means = [value for name, value in first.items() if name.endswith("running_mean")]
    assert means and all(value.abs().sum() > 0 for value in means)


def test_a_split_of_which_nothing_is_known_cannot_be_scored(tmp_path: Path) -> None:
    context = context_of(FolderBlobs(tmp_path), tmp_path, outlined=False)
    with pytest.raises(InvalidInput, match="no mammogram of split val of data set outlined has outlines or known"):
        KIND.pieces(context)


def test_a_split_of_one_patient_leaves_nobody_to_score_on(tmp_path: Path) -> None:
    """The error says so, and names the split, before any network runs."""
    context = context_of(FolderBlobs(tmp_path), tmp_path, patients=2)
    with pytest.raises(InvalidInput, match="no patient of split val of data set outlined is left to score names on"):
        KIND.pieces(context)


def test_unknown_layers_and_splits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="has no layer 'conv9'"):
        KIND.pieces(context_of(FolderBlobs(tmp_path / "1"), tmp_path, DetectionSettings(layers=("conv9",))))
    with pytest.raises(InvalidInput, match="has no split 'later'"):
        KIND.pieces(context_of(FolderBlobs(tmp_path / "2"), tmp_path, DetectionSettings(split="later")))


def test_a_piece_stops_between_batches(tmp_path: Path) -> None:
    """run_piece reports its progress after each batch, and stops when on_progress raises JobStopped."""
    reports = []

    def stop(done: int, total: int) -> None:
        reports.append((done, total))
        raise JobStopped("requested")

    with pytest.raises(JobStopped):
        KIND.run_piece(context_of(FolderBlobs(tmp_path), tmp_path), 0, stop)
    assert reports == [(5, 9)], "three of four mammograms have outlines"
