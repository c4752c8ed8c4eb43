"""TensorBoard's event file of a run."""

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from services.training.schemas import EpochMetrics
from services.training.tensorboard import event_bytes


def epoch(number: int, **more: object) -> EpochMetrics:
    """Metrics of an epoch of two seconds."""
    values = {"learning_rate": 0.1 / number, "train_loss": 1.0 / number, "train_accuracy": 0.5, "train_auc": None}
    return EpochMetrics.model_validate({"epoch": number, "seconds": 2.0} | values | more)


def read(content: bytes, folder: Path) -> EventAccumulator:
    """Read a file as TensorBoard does."""
    (folder / "events.out.tfevents.run").write_bytes(content)
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


def test_tensorboard_reads_the_metrics_of_epochs(tmp_path: Path) -> None:
    """Each scalar is at its epoch and time. Scalars without a value are left out."""
    metrics = [epoch(1, val_auc=0.7, val_auc_by_class=[0.6, None, 0.8]), epoch(2, val_auc=0.75)]
    found = read(event_bytes(metrics, finished=1000.0), tmp_path)
    assert [(one.step, one.wall_time) for one in found.Scalars("loss/train")] == [(1, 998.0), (2, 1000.0)]
    assert [one.value for one in found.Scalars("auc/val")] == pytest.approx([0.7, 0.75])
    assert [one.step for one in found.Scalars("auc/val_class_2")] == [1]
    assert not {"auc/train", "auc/val_class_1", "loss/val"} & set(found.Tags()["scalars"])


def test_a_longer_file_begins_like_the_shorter(tmp_path: Path) -> None:
    """TensorBoard continues at the position that it has read to, and finds the next event there."""
    metrics = [epoch(1), epoch(2)]
    shorter, longer = event_bytes(metrics[:1], 998.0), event_bytes(metrics, 1000.0)
    assert longer.startswith(shorter)


def test_a_run_without_an_epoch_has_an_empty_file(tmp_path: Path) -> None:
    """Before the end of the first epoch there is a file without scalars."""
    assert read(event_bytes([], 1.0), tmp_path).Tags()["scalars"] == []
