"""The linear probe: its features, its strength, and the report of an evaluation with it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from primitives.training.v1 import evaluation_pb2 as pb
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from services.common.errors import InvalidInput
from services.common.grpc import to_message
from services.imaging.architectures import build_network
from services.imaging.checkpoint import open_checkpoint
from services.imaging.dataset import Dataset
from services.training.evaluation.probe import STRENGTHS, fit_probe, probe
from tests.fakes.data import store_dataset
from tests.unit.training.evaluation.test_evaluations import SETTINGS, Training

CPU = torch.device("cpu")


def clusters(seed: int = 5) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Features of 240 patches of 24 patients: one says something of the class, one says which patient it is."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(rng.integers(0, 2, 24), 10)
    own = np.repeat(rng.normal(0, 30, 24), 10)[:, None] * rng.normal(1, 0.01, (240, 12))
    signal = labels[:, None] + rng.normal(0, 1.0, (240, 1))
    features = np.concatenate([signal, own], axis=1).astype(np.float32)
    return features, labels, [f"p{number}" for number in np.repeat(np.arange(24), 10)]


def test_the_strength_is_chosen_over_patients() -> None:
    """The chosen strength is the one that scikit-learn's own cross-validation over the same patients prefers. Patches
    of other patients prefer a stronger penalty than patches of the same ones."""
    features, labels, patients = clusters()
    model = fit_probe(features, labels, patients)

    def likelihood(strength: float, folds: GroupKFold | KFold) -> float:
        alone = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
        scores = cross_val_score(alone, features, labels, groups=patients, cv=folds, scoring="neg_log_loss")
        return float(scores.mean())

    over_patients = max(STRENGTHS, key=lambda one: likelihood(one, GroupKFold(5)))
    over_patches = max(STRENGTHS, key=lambda one: likelihood(one, KFold(5, shuffle=True, random_state=1)))
    assert model[-1].C == over_patients < over_patches  # type: ignore[index]


def test_one_class_has_no_probe() -> None:
    """InvalidInput says what is missing."""
    features, labels, patients = clusters()
    with pytest.raises(InvalidInput, match="all of one class"):
        fit_probe(features[:10], labels[:10] * 0, patients[:10])


def test_features_are_those_before_the_last_layer(tmp_path: Path) -> None:
    """The probe of a network without training is logistic regression on the inputs of its last layer; the weights of
    the checkpoint play no part."""
    training = Training(tmp_path)
    first, second = (
        open_checkpoint(training.blobs, training.evaluations.get(training.start(run)).checkpoint)
        for run in ("run-1", "run-2")
    )
    settings = {"architecture": "test_resnet", "weights": "none", "image_size": 64, "seed": 3}
    first, second = (one.model_copy(update={"settings": settings}) for one in (first, second))
    calls: list[int] = []
    found = probe(first, training.data, "val", 4, CPU, calls.append)
    again = probe(second, training.data, "val", 8, CPU)
    np.testing.assert_allclose(found.probabilities, again.probabilities, atol=1e-6)
    assert calls[-1] == 6 + 15
    np.testing.assert_allclose(found.probabilities.sum(1), 1.0)
    torch.manual_seed(3)
    network = build_network("test_resnet", 3).eval()
    features = {}
    for split in ("train", "val"):
        ids = training.data.ids(split).tolist()
        pixels = [first.preprocessing.pixels(training.data.read(patch), "patch") for patch in ids]
        with torch.inference_mode():
            maps = network.forward_features(first.preprocessing.normalise(torch.tensor(np.stack(pixels))))  # type: ignore[operator]
        features[split] = maps.mean((2, 3)).numpy()
    labels = training.data.labels[training.data.ids("train")]
    expected = fit_probe(features["train"], labels, ["train"] * 6)
    columns = expected.classes_
    np.testing.assert_allclose(found.probabilities[:, columns], expected.predict_proba(features["val"]), atol=1e-4)


def test_an_evaluation_reports_the_probe(tmp_path: Path) -> None:
    """The report has the probe's AUCs with intervals and the paired comparison; gRPC has the same. Without the option
    there is none."""
    training = Training(tmp_path)
    for number in (1, 2):
        row = training.evaluations.get(training.start(f"run-{number}"))
        assert open_checkpoint(training.blobs, row.checkpoint).architecture == "test_resnet"
    training.sent()
    evaluation_id = training.evaluate(settings=SETTINGS | {"baseline": "probe"})
    report = training.evaluations.report(evaluation_id)
    assert report.baseline is not None
    assert report.baseline.macro_auc.low is None or report.baseline.macro_auc.low <= report.baseline.macro_auc.value  # type: ignore[operator]
    for own, compared in zip(report.classes, report.baseline.classes, strict=True):
        assert compared.a == own.auc.value
    assert to_message(report, pb.EvaluationReport).baseline.name == "probe"
    assert training.evaluations.report(training.evaluate()).baseline is None


def test_a_data_set_without_training_patches_has_no_probe(tmp_path: Path) -> None:
    """The error names the data set and the split."""
    training = Training(tmp_path)
    checkpoint = open_checkpoint(training.blobs, training.evaluations.get(training.start()).checkpoint)
    data, _ = store_dataset(training.blobs, tmp_path / "other", {"val": 5})
    with pytest.raises(InvalidInput, match="no split train to fit a probe on"):
        probe(checkpoint, Dataset(training.blobs, data.manifest), "val", 4, CPU)
