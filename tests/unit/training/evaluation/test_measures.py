"""The figures of a report, compared with direct calls of scikit-learn and with small cases computed by hand."""

import io
import json
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from services.training.evaluation.charts import Line, line_chart
from services.training.evaluation.figures import draw_figures
from services.training.evaluation.measures import CURVE_POINTS, Subject, calibration, measure, thin
from services.training.evaluation.predictions import Predictions
from services.training.evaluation.schemas import EvaluationSettings, Report

CLASSES = ("normal", "benign", "cancer")
SVG = "{http://www.w3.org/2000/svg}"


def predictions(labels: list[int], classes: int = 3, seed: int = 0, patients: int = 12) -> Predictions:
    """Random probabilities that depend on the labels, for patches of several patients."""
    rng = np.random.default_rng(seed)
    truth = np.array(labels)
    powers = np.exp(rng.normal(size=(len(truth), classes)) + 1.5 * np.eye(classes)[truth])
    names = [f"p{number % patients:02d}" for number in range(len(truth))]
    return Predictions(np.arange(len(truth)), truth, names, powers / powers.sum(axis=1, keepdims=True))


def report(found: Predictions, classes: tuple[str, ...] = CLASSES, **settings: object) -> Report:
    """The report of predictions."""
    subject = Subject("evaluation-1", "run-1", "checkpoint-1", "dataset-1", "val")
    return measure(found, classes, EvaluationSettings.model_validate({"replicates": 100} | settings), subject)


def test_figures_equal_scikit_learns() -> None:
    """AUC by class, macro and micro, average precision and Brier score equal those of scikit-learn."""
    found = predictions([0, 1, 2] * 40)
    measured, truth, scores = report(found), found.labels, found.probabilities
    assert measured.macro_auc.value == pytest.approx(roc_auc_score(truth, scores, multi_class="ovr", average="macro"))
    assert measured.micro_auc.value == pytest.approx(roc_auc_score(np.eye(3)[truth], scores, average="micro"))
    for class_, one in enumerate(measured.classes):
        assert one.auc.value == pytest.approx(roc_auc_score(truth == class_, scores[:, class_]))
        assert one.average_precision == pytest.approx(average_precision_score(truth == class_, scores[:, class_]))
        assert one.brier == pytest.approx(((scores[:, class_] - (truth == class_)) ** 2).mean())
        assert (one.patches, one.patients) == (40, 4)
    assert measured.accuracy == (scores.argmax(axis=1) == truth).mean()
    assert measured.brier == pytest.approx(((scores - np.eye(3)[truth]) ** 2).sum(axis=1).mean() / 2)
    assert [row.counts[class_] for class_, row in enumerate(measured.confusion)] == [
        int(((truth == class_) & (scores.argmax(axis=1) == class_)).sum()) for class_ in range(3)
    ]
    assert [sum(row.counts) for row in measured.confusion] == [40, 40, 40]


def test_intervals_contain_their_value_and_depend_on_the_seed_only() -> None:
    """Every interval contains its value. The same seed has the same interval; another seed has another one."""
    found = predictions([0, 1, 2] * 40, patients=7)
    first, again, other = report(found), report(found), report(found, seed=8)
    for estimate in (first.macro_auc, first.micro_auc, *(one.auc for one in first.classes)):
        assert estimate.low is not None and estimate.value is not None and estimate.high is not None
        assert estimate.low < estimate.value < estimate.high
    assert first == again
    assert first.macro_auc.low != other.macro_auc.low


def test_two_classes_mirror_each_other() -> None:
    """With two classes, both have the same AUC, and the Brier score is the usual one."""
    found = predictions([0, 1] * 30, classes=2, patients=7)
    measured = report(found, ("not cancer", "cancer"))
    assert measured.classes[0].auc.value == pytest.approx(measured.classes[1].auc.value)
    assert measured.macro_auc.value == pytest.approx(measured.classes[1].auc.value)
    assert measured.brier == pytest.approx(measured.classes[1].brier)


@pytest.mark.parametrize(
    ("labels", "absent", "reason"),
    [
        ([0, 1] * 20, "cancer", "the split has no patch of class cancer"),
        ([1] * 20, "benign", "all patches of the split are of class benign"),
    ],
)
def test_an_absent_class_has_a_reason(labels: list[int], absent: str, reason: str) -> None:
    """Its figures and the macro AUC are null, with a reason. Everything else is present, also JSON and figures."""
    measured = report(predictions(labels))
    one = next(one for one in measured.classes if one.name == absent)
    assert (one.auc.value, one.auc.reason, one.average_precision, one.calibration) == (None, reason, None, None)
    assert measured.macro_auc.value is None and measured.macro_auc.reason
    assert measured.micro_auc.value is not None
    json.loads(measured.model_dump_json())
    assert f"{absent}: absent" in draw_figures(measured)["roc"]


def test_one_patient_gives_values_without_intervals() -> None:
    """A split of a single patient, such as the sample's val, has values but no intervals."""
    measured = report(predictions([0, 1, 2] * 5, patients=1))
    assert measured.macro_auc.value is not None
    assert (measured.macro_auc.low, measured.macro_auc.replicates) == (None, 0)
    assert "one patient" in measured.macro_auc.reason


def test_sensitivity_is_the_best_that_the_specificity_allows() -> None:
    """Computed by hand: of ten negatives, two may be above the threshold at 0.8, one at 0.9, none at 0.95."""
    negatives = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.62, 0.85]
    positives = [0.3, 0.6, 0.65, 0.7, 0.9]
    scores = np.array(negatives + positives)
    found = Predictions(
        np.arange(15), np.array([0] * 10 + [1] * 5), list("abcdefghijklmno"), np.stack([1 - scores, scores], axis=1)
    )
    points = report(found, ("not cancer", "cancer")).classes[1].sensitivities
    assert [(p.specificity, p.sensitivity) for p in points] == [(0.8, 0.8), (0.9, 0.6), (0.95, 0.2)]
    assert [p.threshold for p in points] == pytest.approx([0.6, 0.65, 0.9])
    sure = found.probabilities.copy()
    sure[0] = (0.0, 1.0)
    [point] = (
        report(
            Predictions(found.ids, found.labels, found.patients, sure), ("not cancer", "cancer"), specificities=[0.99]
        )
        .classes[1]
        .sensitivities
    )
    assert (point.sensitivity, point.threshold) == (0.0, None), "nothing counts as positive, so there is no threshold"


def test_calibration_error_by_hand() -> None:
    """There are two bins: 1 of 4 patches at 0.2 is positive, and 1 of 2 patches at 0.9."""
    measured = calibration(np.array([1, 0, 0, 0, 1, 0], dtype=bool), np.array([0.2] * 4 + [0.9] * 2), 2)
    assert measured.predicted == pytest.approx([0.2, 0.9])
    assert measured.observed == pytest.approx([0.25, 0.5])
    assert measured.counts == [4, 2]
    assert measured.error == pytest.approx((4 * 0.05 + 2 * 0.4) / 6)


def test_a_long_curve_is_reduced_evenly() -> None:
    """Both ends remain, no step is much longer than the others, and short curves do not change."""
    x = np.concatenate([np.linspace(0, 0.001, 9000), np.linspace(0.001, 1, 1000)])
    curve = thin(x, np.sqrt(x))
    assert len(curve.x) <= CURVE_POINTS
    assert (curve.x[0], curve.y[0], curve.x[-1], curve.y[-1]) == (0, 0, 1, 1)
    longest = max(abs(b[0] - a[0]) + abs(b[1] - a[1]) for a, b in pairwise(zip(curve.x, curve.y, strict=True)))
    assert longest < 0.02
    assert thin(np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0])).x == [0, 0, 1]


def test_figures_are_svg_with_titles_and_a_legend() -> None:
    """Each figure is well-formed SVG. It names both axes, has a legend entry and a line within the axes for each class,
    and colours for light and dark themes."""
    figures = draw_figures(report(predictions([0, 1, 2] * 40)))
    assert set(figures) == {"roc", "precision-recall", "reliability", "confusion"}
    for name, svg in figures.items():
        root = ElementTree.fromstring(svg)
        texts = [text.text or "" for text in root.iter(f"{SVG}text")]
        assert "prefers-color-scheme:dark" in svg
        assert all(any(class_ in text for text in texts) for class_ in CLASSES), name
        if name != "confusion":
            lines = [line for line in root.iter(f"{SVG}polyline") if line.get("class") == "line"]
            assert len(lines) == 3
            points = [tuple(map(float, p.split(","))) for line in lines for p in (line.get("points") or "").split()]
            assert all(64 <= x <= 424 and 40 <= y <= 400 for x, y in points)
    texts = [text.text for text in ElementTree.fromstring(figures["roc"]).iter(f"{SVG}text")]
    assert "1 - specificity" in texts and "sensitivity" in texts


def test_names_cannot_break_a_figure() -> None:
    """The name of a class is always text, whatever it contains."""
    svg = line_chart("a < b", "<x>", "&", [Line("</text><script>alert(1)</script>\x00", [0, 1], [0, 1])])
    root = ElementTree.fromstring(svg)
    assert root.find(f".//{SVG}script") is None
    assert "a < b" in [text.text for text in root.iter(f"{SVG}text")]


def test_predictions_are_stored_exactly() -> None:
    """The table has a row for each patch, with the same bits of the probabilities."""
    found = predictions([0, 1, 2] * 4)
    table = pq.read_table(io.BytesIO(found.to_parquet()))
    assert table.column_names == ["patch_id", "label", "patient", "probabilities"]
    assert table["patient"].to_pylist() == list(found.patients)
    assert np.array_equal(np.array(table["probabilities"].to_pylist()), found.probabilities)
