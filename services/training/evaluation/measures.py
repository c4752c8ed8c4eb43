"""Computes a report from predictions. The figures are scikit-learn's where it has them; intervals are from
`resampling`."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    brier_score_loss,
    confusion_matrix,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from services.training.evaluation.predictions import Predictions
from services.training.evaluation.resampling import draw_patients, drawn_aucs, estimate
from services.training.evaluation.schemas import (
    Calibration,
    ClassReport,
    ConfusionRow,
    Curve,
    Estimate,
    EvaluationSettings,
    OperatingPoint,
    Report,
)

CURVE_POINTS = 400


@dataclass(frozen=True)
class Subject:
    """Names what an evaluation evaluates, and on which patches."""

    evaluation_id: str
    run_id: str
    checkpoint_id: str
    dataset_id: str
    split: str


def measure(predictions: Predictions, classes: Sequence[str], settings: EvaluationSettings, subject: Subject) -> Report:
    """Compute all figures of an evaluation."""
    labels, probabilities, numbers = predictions.labels, predictions.probabilities, predictions.patient_numbers
    patients = int(numbers.max()) + 1
    draws = draw_patients(numbers, settings.replicates, settings.seed)
    by_class = [drawn_auc(predictions, class_, draws) for class_ in range(len(classes))]
    predicted = probabilities.argmax(axis=1)
    return Report(
        **asdict(subject),
        patches=len(labels),
        patients=patients,
        settings=settings,
        macro_auc=_macro_auc(classes, labels, probabilities, by_class, patients),
        micro_auc=estimate(micro_auc(predictions), drawn_micro_auc(predictions, draws), patients),
        accuracy=float(accuracy_score(labels, predicted)),
        brier=float(brier_score_loss(labels, probabilities, labels=np.arange(len(classes)), scale_by_half=True)),
        calibration=calibration(predicted == labels, probabilities.max(axis=1), settings.calibration_bins),
        classes=[
            class_report(predictions, class_, name, drawn, settings)
            for class_, (name, drawn) in enumerate(zip(classes, by_class, strict=True))
        ],
        confusion=[
            ConfusionRow(name=name, counts=row.tolist())
            for name, row in zip(
                classes, confusion_matrix(labels, predicted, labels=np.arange(len(classes))), strict=True
            )
        ],
    )


def class_report(
    predictions: Predictions, class_: int, name: str, drawn: NDArray[np.float64], settings: EvaluationSettings
) -> ClassReport:
    """Compute the figures of one class against the rest."""
    positive, scores = predictions.labels == class_, predictions.probabilities[:, class_]
    patients = len(np.unique(predictions.patient_numbers[positive]))
    report = ClassReport(name=name, patches=int(positive.sum()), patients=patients, auc=Estimate())
    reason = one_sided(positive, name)
    if reason:
        return report.model_copy(update={"reason": reason, "auc": Estimate(reason=reason)})
    false_alarms, hits, thresholds = roc_curve(positive, scores, drop_intermediate=False)
    precision, recall, _ = precision_recall_curve(positive, scores)
    all_patients = int(predictions.patient_numbers.max()) + 1
    return report.model_copy(
        update={
            "auc": estimate(float(roc_auc_score(positive, scores)), drawn, all_patients),
            "average_precision": float(average_precision_score(positive, scores)),
            "brier": float(brier_score_loss(positive, scores)),
            "sensitivities": [
                sensitivity_at(specificity, false_alarms, hits, thresholds) for specificity in settings.specificities
            ],
            "roc": thin(false_alarms, hits),
            "precision_recall": thin(recall[::-1], precision[::-1]),
            "calibration": calibration(positive, scores, settings.calibration_bins),
        }
    )


def one_sided(positive: NDArray[np.bool_], name: str) -> str:
    """Return why a class cannot be compared with the rest in these patches; empty if it can."""
    if not positive.any():
        return f"the split has no patch of class {name}"
    return "" if not positive.all() else f"all patches of the split are of class {name}"


def drawn_auc(predictions: Predictions, class_: int, draws: NDArray[np.int64]) -> NDArray[np.float64]:
    """Compute the AUC of a class in each draw, (replicates,); NaN in a draw without an AUC."""
    positive, scores = predictions.labels == class_, predictions.probabilities[:, class_]
    return drawn_aucs(positive, scores, predictions.patient_numbers, draws)


def micro_auc(predictions: Predictions) -> float:
    """Compute the AUC over all pairs of a patch and a class."""
    positive, scores, _ = _patch_class_pairs(predictions)
    return float(roc_auc_score(positive, scores))


def drawn_micro_auc(predictions: Predictions, draws: NDArray[np.int64]) -> NDArray[np.float64]:
    """Compute the micro AUC in each draw, (replicates,)."""
    return drawn_aucs(*_patch_class_pairs(predictions), draws)


def sensitivity_at(
    specificity: float, false_alarms: NDArray[np.float64], hits: NDArray[np.float64], thresholds: NDArray[np.float64]
) -> OperatingPoint:
    """Return the point of a ROC curve with the largest sensitivity at or above a specificity."""
    allowed = np.flatnonzero(1 - false_alarms >= specificity - 1e-12)  # 1 - 0.2 is a little less than 0.8
    best = allowed[np.argmax(hits[allowed])]
    threshold = float(thresholds[best])
    return OperatingPoint(
        specificity=specificity,
        sensitivity=float(hits[best]),
        threshold=threshold if math.isfinite(threshold) else None,
    )


def calibration(positive: NDArray[np.bool_], scores: NDArray[np.float64], bins: int) -> Calibration:
    """Compare the predicted probability with the observed share, in equal bins of probability."""
    observed, predicted = calibration_curve(positive, scores, n_bins=bins, strategy="uniform", pos_label=True)
    edges = np.linspace(0, 1, bins + 1)
    counts = np.bincount(np.searchsorted(edges[1:-1], scores), minlength=bins)
    counts = counts[counts > 0]
    return Calibration(
        error=float(np.abs(observed - predicted) @ counts / counts.sum()),
        predicted=predicted.tolist(),
        observed=observed.tolist(),
        counts=counts.tolist(),
    )


def thin(x: NDArray[np.float64], y: NDArray[np.float64]) -> Curve:
    """Reduce a curve to at most CURVE_POINTS points, spaced evenly along its length, with both ends."""
    if len(x) > CURVE_POINTS:
        lengths = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
        indices = np.searchsorted(lengths, np.linspace(0, lengths[-1], CURVE_POINTS))
        indices = np.unique(np.clip(indices, 0, len(x) - 1))
        indices[-1] = len(x) - 1
        x, y = x[indices], y[indices]
    return Curve(x=x.tolist(), y=y.tolist())


def _macro_auc(
    classes: Sequence[str],
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    drawn: list[NDArray[np.float64]],
    patients: int,
) -> Estimate:
    for class_, name in enumerate(classes):
        reason = one_sided(labels == class_, name)
        if reason:
            return Estimate(reason=reason)
    value = np.mean([roc_auc_score(labels == class_, probabilities[:, class_]) for class_ in range(len(classes))])
    return estimate(float(value), np.mean(drawn, axis=0), patients)


def _patch_class_pairs(predictions: Predictions) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.int64]]:
    """Return, for each pair of a patch and a class, whether the patch has the class, the probability, and the patient's
    number."""
    classes = predictions.probabilities.shape[1]
    positive = predictions.labels[:, None] == np.arange(classes)
    return positive.ravel(), predictions.probabilities.ravel(), np.repeat(predictions.patient_numbers, classes)
