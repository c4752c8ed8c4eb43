"""Compares two evaluations of the same patches, class by class."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from services.common.errors import Conflict
from services.training.evaluation.delong import paired_test
from services.training.evaluation.measures import drawn_auc, drawn_micro_auc, micro_auc, one_sided
from services.training.evaluation.predictions import Predictions
from services.training.evaluation.resampling import draw_patients, estimate
from services.training.evaluation.schemas import BootstrapSettings, ComparedAuc, Difference, Estimate

ONE_AUC = Difference(reason="the test compares single AUCs; the interval of the difference comes from drawn patients")
"""The result of the paired tests for macro and micro AUC, for which they are not defined."""


def compare(
    a: Predictions, b: Predictions, classes: Sequence[str], settings: BootstrapSettings
) -> tuple[list[ComparedAuc], ComparedAuc, ComparedAuc]:
    """Compare the AUC of each class, their mean (macro), and the AUC over all pairs of patch and class (micro). Both
    sides use the same draws of patients. Conflict if the two do not cover the same patches."""
    if not (np.array_equal(a.ids, b.ids) and np.array_equal(a.labels, b.labels)):
        raise Conflict("the two evaluations do not cover the same patches")
    draws = draw_patients(a.patient_numbers, settings.replicates, settings.seed)
    patients = draws.shape[1]
    by_class, drawn = [], []
    for class_, name in enumerate(classes):
        drawn.append(drawn_auc(a, class_, draws) - drawn_auc(b, class_, draws))
        by_class.append(_compare_class(a, b, class_, name, drawn[-1]))
    micro_drawn = drawn_micro_auc(a, draws) - drawn_micro_auc(b, draws)
    micro = _compared("micro", micro_auc(a), micro_auc(b), micro_drawn, patients)
    return by_class, _compare_macro(by_class, np.mean(drawn, axis=0), patients), micro


def _compare_class(a: Predictions, b: Predictions, class_: int, name: str, drawn: NDArray[np.float64]) -> ComparedAuc:
    positive, patients = a.labels == class_, a.patient_numbers
    reason = one_sided(positive, name)
    if reason:
        return _without_auc(name, reason)
    scores_a, scores_b = a.probabilities[:, class_], b.probabilities[:, class_]
    auc_a, auc_b = float(roc_auc_score(positive, scores_a)), float(roc_auc_score(positive, scores_b))
    compared = _compared(name, auc_a, auc_b, drawn, int(patients.max()) + 1)
    tests = {
        "delong": paired_test(positive, scores_a, scores_b, np.arange(len(positive))),
        "clustered": paired_test(positive, scores_a, scores_b, patients),
    }
    return compared.model_copy(update=tests)


def _compare_macro(by_class: list[ComparedAuc], drawn: NDArray[np.float64], patients: int) -> ComparedAuc:
    reason = next((one.reason for one in by_class if one.reason), "")
    if reason:
        return _without_auc("macro", reason)
    auc_a, auc_b = (float(np.mean([getattr(one, side) for one in by_class])) for side in ("a", "b"))
    return _compared("macro", auc_a, auc_b, drawn, patients)


def _compared(name: str, a: float, b: float, drawn: NDArray[np.float64], patients: int) -> ComparedAuc:
    difference = estimate(a - b, drawn, patients)
    return ComparedAuc(name=name, a=a, b=b, difference=difference, delong=ONE_AUC, clustered=ONE_AUC)


def _without_auc(name: str, reason: str) -> ComparedAuc:
    missing = Difference(reason=reason)
    return ComparedAuc(name=name, difference=Estimate(reason=reason), delong=missing, clustered=missing, reason=reason)
