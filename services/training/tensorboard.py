"""Writes TensorBoard's event file of a run.

The file is written again from the metrics at each checkpoint, so no file stays open between slices, and an interrupted
run has the same events as an uninterrupted one.
"""

import io
from collections.abc import Sequence

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from services.training.schemas import EpochMetrics

TAGS = {
    "loss/train": "train_loss",
    "loss/val": "val_loss",
    "accuracy/train": "train_accuracy",
    "accuracy/val": "val_accuracy",
    "auc/train": "train_auc",
    "auc/val": "val_auc",
    "learning_rate": "learning_rate",
    "seconds": "seconds",
}
"""The scalars of an epoch, by tag. There are also `auc/val_class_0` and so on."""

VERSION = "brain.Event:2"


def event_bytes(metrics: Sequence[EpochMetrics], finished: float) -> bytes:
    """Return an event file with the scalars of each epoch, whose number is the step. Scalars without a value are left
    out.

    `finished` is the time at which the last epoch ended, in seconds since 1970. The times of the others follow from the
    seconds that each epoch took.
    """
    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    moment = finished - sum(epoch.seconds for epoch in metrics)
    writer.write(Event(wall_time=moment, file_version=VERSION).SerializeToString())
    for epoch in metrics:
        moment += epoch.seconds
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in _scalars(epoch)])
        writer.write(Event(wall_time=moment, step=epoch.epoch, summary=summary).SerializeToString())
    return buffer.getvalue()


def _scalars(epoch: EpochMetrics) -> list[tuple[str, float]]:
    values = {tag: getattr(epoch, name) for tag, name in TAGS.items()}
    values |= {f"auc/val_class_{label}": auc for label, auc in enumerate(epoch.val_auc_by_class)}
    return [(tag, value) for tag, value in values.items() if value is not None]
