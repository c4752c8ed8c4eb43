"""Similar cases, compared with a plain computation."""

from pathlib import Path

import numpy as np

from services.activation_extraction.explanations.cases import case_views
from services.activation_extraction.explanations.similar_cases import Signatures
from services.common.blobs import FolderBlobs
from tests.fakes.outlined import store_outlined


def test_the_most_similar_patch_of_each_patient_is_found(tmp_path: Path) -> None:
    """The order is that of the cosine of standardised maxima; each patient appears once, and one may be left out."""
    data, _ = store_outlined(FolderBlobs(tmp_path), patients=5)
    rng = np.random.default_rng(1)
    maxima = rng.gamma(2.0, 3.0, (15, 9)).astype(np.float32)
    maxima[:, 4] = 2.5  # a unit that never varies
    tile = rng.gamma(2.0, 3.0, 9).astype(np.float32)
    deviation = maxima.std(0)
    keep = deviation > 0

    def signature(values: np.ndarray) -> np.ndarray:
        return ((values - maxima.mean(0)) / np.where(keep, deviation, 1)) * keep

    cosines = [
        signature(row) @ signature(tile) / np.linalg.norm(signature(row)) / np.linalg.norm(signature(tile))
        for row in maxima
    ]
    patients = data.index["patient"].to_pylist()
    best = {name: max(np.flatnonzero(np.array(patients) == name), key=lambda one: cosines[one]) for name in patients}
    expected = sorted(best.values(), key=lambda one: -cosines[one])
    signatures = Signatures.of_blocks(np.arange(15), [maxima[:7], maxima[7:]])
    found = signatures.most_similar(tile, data, 3)
    assert [case.patch_id for case in found] == expected[:3]
    np.testing.assert_allclose([case.similarity for case in found], [cosines[one] for one in expected[:3]], atol=2e-3)
    left = signatures.most_similar(tile, data, 9, leave_out=patients[expected[0]])
    assert [case.patch_id for case in left] == expected[1:]
    [view] = case_views(data, found[:1])
    assert (view.patient, view.patch) == (patients[expected[0]], f"patch-{expected[0]}")
    rows = data.index.select(["label", "patient"]).to_pylist()
    labels = [row["label"] for row in rows if row["patient"] == view.patient]
    assert view.outcome == ("no", "yes")[max(labels)]


def test_no_patch_is_similar_to_a_tile_without_a_signature() -> None:
    """If no unit differs from its mean, all cosines are 0, not NaN."""
    maxima = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    found = Signatures.of_blocks(np.arange(2), [maxima]).similarities(maxima.mean(0))
    assert found.tolist() == [0.0, 0.0]
