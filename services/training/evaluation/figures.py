"""Draws the figures of a report."""

from services.training.evaluation.charts import Line, count_table, line_chart
from services.training.evaluation.schemas import ClassReport, Estimate, Report

DIAGONAL = ((0.0, 0.0), (1.0, 1.0))


def draw_figures(report: Report) -> dict[str, str]:
    """Draw every figure as SVG, by name. A class that is absent from the split has an entry in the legend, but no
    line."""
    where = f"{report.split} of {report.dataset_id}"
    return {
        "roc": line_chart(
            f"ROC, one class against the rest: {where}",
            "1 - specificity",
            "sensitivity",
            [_line(one, one.roc.x, one.roc.y, f"AUC {_format_auc(one.auc)}") for one in report.classes],
            DIAGONAL,
        ),
        "precision-recall": line_chart(
            f"Precision and recall: {where}",
            "recall",
            "precision",
            [_line(one, one.precision_recall.x, one.precision_recall.y, _format_ap(one)) for one in report.classes],
        ),
        "reliability": line_chart(
            f"Reliability: {where}",
            "predicted probability",
            "observed share",
            [_reliability(one) for one in report.classes],
            DIAGONAL,
        ),
        "confusion": count_table(
            f"Confusion: {where}",
            [row.name for row in report.confusion],
            [row.counts for row in report.confusion],
        ),
    }


def _line(one: ClassReport, x: list[float], y: list[float], figure: str, dots: bool = False) -> Line:
    return Line(f"{one.name}: absent" if one.reason else f"{one.name}: {figure}", x, y, dots)


def _reliability(one: ClassReport) -> Line:
    if one.calibration is None:
        return _line(one, [], [], "")
    figure = f"error {one.calibration.error:.3f}"
    return _line(one, one.calibration.predicted, one.calibration.observed, figure, dots=True)


def _format_ap(one: ClassReport) -> str:
    return f"AP {one.average_precision:.3f}" if one.average_precision is not None else ""


def _format_auc(auc: Estimate) -> str:
    if auc.value is None:
        return ""
    interval = f" ({auc.low:.3f}-{auc.high:.3f})" if auc.low is not None and auc.high is not None else ""
    return f"{auc.value:.3f}{interval}"
