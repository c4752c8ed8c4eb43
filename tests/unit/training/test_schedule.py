"""The end of a run, and its best epoch."""

import pytest

from services.training.schedule import best_epoch, is_over
from services.training.schemas import EpochMetrics, RunSettings


def epochs(*aucs: float | None) -> list[EpochMetrics]:
    """Epochs with these validation AUCs."""
    return [
        EpochMetrics(epoch=n, learning_rate=1, train_loss=1, train_accuracy=1, train_auc=None, val_auc=auc, seconds=1)
        for n, auc in enumerate(aucs, 1)
    ]


@pytest.mark.parametrize(
    ("aucs", "min_delta", "best"),
    [
        ((), 0.0, -1),
        ((0.5, 0.8, 0.7), 0.0, 1),
        ((0.8, 0.8), 0.0, 0),
        ((0.5, 0.51, 0.55, 0.6), 0.04, 3),
        ((0.5, 0.51, 0.53), 0.04, 0),
        ((None, None), 0.0, 1),
        ((None, 0.4, None), 0.0, 1),
    ],
)
def test_the_best_epoch_has_the_best_auc(aucs: tuple[float | None, ...], min_delta: float, best: int) -> None:
    """A better epoch gains more than `min_delta`; the first of equals is best. Without an AUC the newest is best."""
    assert best_epoch(epochs(*aucs), min_delta) == best


def test_a_run_ends_when_its_patience_does() -> None:
    """A run ends after two epochs without a better one, or after all epochs. Without patience it does all epochs."""

    def over(*aucs: float | None, patience: int = 2, before: int = 0) -> bool:
        settings = RunSettings(epochs=6, patience=patience)
        return is_over(settings, before + len(aucs), epochs(*aucs))

    assert not over()
    assert not over(0.7, 0.6)
    assert over(0.7, 0.6, 0.7)
    assert not over(0.7, 0.6, 0.8)
    assert not over(None, None, None, None), "without an AUC no epoch is worse"
    assert over(0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    assert over(0.1, 0.2, before=4), "it resumed from a checkpoint of four epochs"
    assert not over(0.7, 0.6, 0.6, 0.6, 0.6, patience=0)
