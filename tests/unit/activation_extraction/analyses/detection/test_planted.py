"""Detection on units that are known by construction: the right names pass, wrong ones and random networks do not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from services.activation_extraction.analyses.context import Context
from services.activation_extraction.analyses.detection.kind import Detection
from services.activation_extraction.analyses.detection.patches import DetectionPatches
from services.activation_extraction.analyses.detection.scores import Sample, best_thresholds, score
from services.activation_extraction.analyses.settings import DetectionSettings
from services.common.blobs import FolderBlobs, ObjectRef
from tests.fakes.data import ignore_progress
from tests.fakes.planted import MEANINGS, extract_shapes, store_shapes

KIND = Detection()
SCORES = ("correlation", "f1", "iou", "auprc")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> tuple[FolderBlobs, ObjectRef]:
    blobs = FolderBlobs(tmp_path_factory.mktemp("shapes"))
    return blobs, store_shapes(blobs)


def open_context(shapes: tuple[FolderBlobs, ObjectRef], folder: Path, **network: Any) -> Context[DetectionSettings]:
    blobs, dataset = shapes
    manifest = extract_shapes(blobs, folder, dataset, **network)
    return Context(blobs, manifest, torch.device("cpu"), 64, DetectionSettings(replicates=200))


def run_pieces(context: Context[DetectionSettings]) -> list[dict[str, torch.Tensor]]:
    return [KIND.run_piece(context, piece, lambda _done, _all: None) for piece in range(KIND.pieces(context))]


def detect(context: Context[DetectionSettings]) -> list[dict[str, Any]]:
    [(_, table)] = KIND.merge(context, run_pieces(context), ignore_progress)
    return table.to_pylist()


def test_planted_units_get_their_names_and_no_others(shapes: tuple[FolderBlobs, ObjectRef], tmp_path: Path) -> None:
    """At least 95% of the machine names are right and verified. What a reader would say rightly of a unit that detects
    one shape is verified; of what would be said wrongly of any unit, at most 5% is, and at least 90% is refuted."""
    rows = detect(open_context(shapes, tmp_path))
    names = {row["unit"]: row for row in rows if row["machine"]}
    right = [set(names[unit]["concept"].split(" OR ")) == set(meaning) for unit, meaning in enumerate(MEANINGS)]
    assert np.mean(right) >= 0.95
    assert np.mean([names[unit]["verdict"] == "verified" for unit in range(len(MEANINGS))]) >= 0.95
    of_one = [row for row in rows if not row["machine"] and MEANINGS[row["unit"]] == (row["concept"],)]
    assert np.mean([row["verdict"] == "verified" for row in of_one]) >= 0.95
    wrong = [row for row in rows if not row["machine"] and row["concept"] not in MEANINGS[row["unit"]]]
    assert len(of_one) == 36 and len(wrong) > 90
    assert np.mean([row["verdict"] == "verified" for row in wrong]) <= 0.05
    assert np.mean([row["verdict"] == "refuted" for row in wrong]) >= 0.9


@pytest.mark.parametrize("seed", [1, 2])
def test_names_of_a_network_with_random_weights_hardly_pass(
    shapes: tuple[FolderBlobs, ObjectRef], tmp_path: Path, seed: int
) -> None:
    """At most 5% of its units have a verified machine name, although many correlate with a shape."""
    rows = detect(open_context(shapes, tmp_path, planted=False, seed=seed))
    names = [row for row in rows if row["machine"]]
    assert sum(row["correlation"] > 0.1 for row in names) > 10, "the case shows nothing"
    assert sum(row["verdict"] == "verified" for row in names) <= 0.05 * len(MEANINGS)


@pytest.mark.parametrize("damage", ["half of the labels are missing", "as many labels are added"])
def test_every_score_falls_with_damaged_labels(
    shapes: tuple[FolderBlobs, ObjectRef], tmp_path: Path, damage: str
) -> None:
    """For at least 95% of the units, each score falls when half of a concept's labels are removed, and when as many
    are added: the sanity checks that recall and AUC fail."""
    context = open_context(shapes, tmp_path)
    patches, states = DetectionPatches(context), run_pieces(context)
    ids = torch.cat([state["ids"] for state in states]).numpy()
    rows = np.searchsorted(ids, patches.scoring, sorter=np.argsort(ids))
    activations = torch.cat([state["units/trained"] for state in states]).double().numpy()[np.argsort(ids)[rows]]
    labels, names = patches.concepts.shown(patches.scoring), patches.concepts.names
    damaged, rng = labels.copy(), np.random.default_rng(0)
    for concept in range(len(names)):
        missing = damage.startswith("half")
        count = int(labels[:, concept].sum())
        where = np.flatnonzero(labels[:, concept] == missing)
        damaged[rng.choice(where, count // 2 if missing else count, replace=False), concept] = not missing
    found = []
    for these in (labels, damaged):
        sample = Sample(activations, these, patches.patients(patches.scoring))
        found.append(score(sample, best_thresholds(activations, labels), 100, ignore_progress))
    single = [(names.index(meaning[0]), unit) for unit, meaning in enumerate(MEANINGS) if len(meaning) == 1]
    for name in SCORES:
        before, after = (np.array([getattr(one, name).value[place] for place in single]) for one in found)
        assert np.mean(after < before) >= 0.95, name
