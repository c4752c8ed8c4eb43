"""The training loop learns, and a run that stops and resumes ends like one that never stopped."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from services.common.blobs import FolderBlobs, ObjectRef
from services.common.errors import InvalidInput
from services.imaging.checkpoint import CheckpointManifest, load_network, open_checkpoint
from services.training import loop
from services.training.job import train_slice
from services.training.learner import Learner, start_learner
from services.training.metrics import auc_by_class, mean_auc
from services.training.schedule import learning_rate
from services.training.schemas import EpochMetrics, RunSettings
from services.training.specs import SavedCheckpoint, SliceSpec
from tests.fakes.data import SilentJob, store_dataset

SETTINGS = RunSettings(
    architecture="test_resnet", weights="none", image_size=64, epochs=3, batch_size=8, learning_rate=0.02, seed=5
)


EVERYTHING = {
    "optimizer": "adamw",
    "accumulate_steps": 2,
    "clip_norm": 1.0,
    "precision": "bf16",
    "balance": "sampling",
    "rotation": 15.0,
    "contrast": 0.2,
    "brightness": 0.1,
    "patience": 1,
}


class Run:
    """A run over a small data set, trained slice by slice as the service does."""

    def __init__(self, folder: Path, settings: RunSettings, device: str = "cpu") -> None:
        self.device = device
        self.blobs = FolderBlobs(folder / "blobs")
        self.data, self.dataset = store_dataset(self.blobs, folder / "ddsm", {"train": 41, "val": 12})
        self.folder, self.settings = folder, settings
        self.checkpoint: ObjectRef | None = None
        self.epochs: list[EpochMetrics] = []

    def slice(self, slice_s: float = 600.0, job: SilentJob | None = None) -> bool:
        """Train one slice. Return whether the run is complete."""
        job = job or SilentJob()
        spec = SliceSpec(
            blobs_url=self.blobs.url,
            scratch=str(self.folder),
            run_id="run-1",
            dataset=self.dataset,
            settings=self.settings,
            checkpoint=self.checkpoint,
            slice_s=slice_s,
            cache_mb=16,
            device=self.device,
        )
        complete = train_slice(job, spec)  # type: ignore[arg-type]
        if job.milestones:
            saved: SavedCheckpoint = job.milestones[-1]
            self.checkpoint, self.epochs = saved.last_checkpoint, saved.epochs
        return complete

    def manifest(self) -> CheckpointManifest:
        """The newest checkpoint."""
        assert self.checkpoint is not None
        return open_checkpoint(self.blobs, self.checkpoint)

    def weights(self) -> dict[str, torch.Tensor]:
        """The weights of the newest checkpoint."""
        return load_network(self.blobs, self.manifest()).state_dict()


class PausedJob(SilentJob):
    """A job that is paused after a number of checks."""

    def __init__(self, checks: int) -> None:
        super().__init__()
        self._left = checks

    def paused(self) -> bool:
        """Return True once no checks are left."""
        self._left -= 1
        return self._left < 0


def clock_that_stops_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the deadline of `fit` pass after a number of steps, without waiting for it."""
    taken = 0

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return time.monotonic() + (10_000 if taken >= steps else 0)

    def counting(*arguments: Any) -> Any:
        nonlocal taken
        taken += 1
        return real(*arguments)

    real = loop.step
    monkeypatch.setattr(loop, "step", counting)
    monkeypatch.setattr(loop, "time", Clock)


def comparable(epochs: list[EpochMetrics]) -> list[EpochMetrics]:
    """The metrics without the seconds, which differ between runs."""
    return [epoch.model_copy(update={"seconds": 0.0}) for epoch in epochs]


Uninterrupted = Callable[[RunSettings], Run]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Uninterrupted:
    """Trains a run in one slice, once for all tests with the same settings."""
    trained: dict[str, Run] = {}

    def train(settings: RunSettings) -> Run:
        key = settings.model_dump_json()
        if key not in trained:
            trained[key] = Run(tmp_path_factory.mktemp("whole"), settings)
            assert trained[key].slice() is True
        return trained[key]

    return train


@pytest.mark.parametrize(
    ("changes", "cut"),
    [
        *(({"optimizer": optimizer}, cut) for optimizer in ("sgd", "adamw") for cut in (1, 5, 7, 9)),
        *((EVERYTHING, cut) for cut in (2, 3, 4)),
    ],
)
def test_an_interrupted_run_equals_the_uninterrupted_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    uninterrupted: Uninterrupted,
    changes: dict[str, Any],
    cut: int,
) -> None:
    """A run that stops within or between epochs and resumes has the same bits of weights and metrics, with flips
    too."""
    settings = SETTINGS.model_copy(update={"epochs": 2} | changes)
    whole, cut_up = uninterrupted(settings), Run(tmp_path / "cut", settings)
    with monkeypatch.context() as patch:
        clock_that_stops_after(cut, patch)
        assert cut_up.slice() is False
    assert cut_up.slice() is True
    for name, value in whole.weights().items():
        assert torch.equal(value, cut_up.weights()[name]), name
    assert comparable(whole.epochs) == comparable(cut_up.epochs)


@pytest.mark.parametrize("checks", [(0,), (3,), (5,), (6,), (9, 0, 1, 1, 1), (2, 2, 2, 1, 1, 1, 2)])
def test_a_paused_run_equals_the_one_never_paused(
    tmp_path: Path, uninterrupted: Uninterrupted, checks: tuple[int, ...]
) -> None:
    """A run has the same bits of weights and metrics if it is paused before its first step, within an epoch, before or
    during validation, or many times. No step is done twice."""
    settings = SETTINGS.model_copy(update={"optimizer": "adamw", "epochs": 2})
    whole, paused = uninterrupted(settings), Run(tmp_path / "paused", settings)
    for count in checks:
        job = PausedJob(count)
        assert paused.slice(job=job) is False
        assert len(job.milestones) <= 1 + (count > 6), "it saves where it stops, and after an epoch"
    assert paused.slice() is True
    for name, value in whole.weights().items():
        assert torch.equal(value, paused.weights()[name]), name
    assert comparable(whole.epochs) == comparable(paused.epochs)


def test_a_pause_before_the_first_step_saves_nothing(tmp_path: Path) -> None:
    """There is nothing to save, and an earlier checkpoint stays the newest."""
    run = Run(tmp_path, SETTINGS)
    job = PausedJob(0)
    assert run.slice(job=job) is False
    assert job.milestones == []


def test_dropout_resumes_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an interruption, a network with dropout draws the same numbers as without the interruption."""
    settings = RunSettings(
        architecture="squeezenet1_1", weights="none", image_size=64, epochs=1, batch_size=8, learning_rate=0.01
    )
    whole, cut_up = Run(tmp_path / "whole", settings), Run(tmp_path / "cut", settings)
    whole.slice()
    with monkeypatch.context() as patch:
        clock_that_stops_after(2, patch)
        assert cut_up.slice() is False
    cut_up.slice()
    for name, value in whole.weights().items():
        assert torch.equal(value, cut_up.weights()[name]), name


def test_a_network_learns_what_can_be_seen(tmp_path: Path) -> None:
    """From random weights, the network can distinguish discs, stripes and noise after a few epochs."""
    run = Run(tmp_path, SETTINGS.model_copy(update={"epochs": 8}))
    run.slice()
    assert [epoch.epoch for epoch in run.epochs] == list(range(1, 9))
    assert (run.epochs[-1].val_auc or 0) > 0.9
    assert run.epochs[-1].train_loss < run.epochs[0].train_loss
    assert len(run.epochs[-1].val_auc_by_class) == 3


def opened(run: Run, job: SilentJob) -> list[list[CheckpointManifest]]:
    """For each milestone, the checkpoint that later stages use, the best one and the last one."""
    return [
        [open_checkpoint(run.blobs, ref) for ref in (saved.checkpoint, saved.best_checkpoint, saved.last_checkpoint)]
        for saved in job.milestones
    ]


@pytest.mark.parametrize("keep", ["best", "last"])
def test_a_run_records_its_best_and_its_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str
) -> None:
    """The best checkpoint has the best validation AUC, also after the run was resumed. Before the end of the first
    epoch it is the last checkpoint. The manifest of the last one names the best one. The settings choose which of the
    two later stages use."""
    aucs = iter([0.6, 0.6, 0.9, 0.9, 0.8, 0.8, 0.9, 0.9])  # train and val, for each epoch
    monkeypatch.setattr("services.training.metrics.mean_auc", lambda _: next(aucs))
    run, job = Run(tmp_path, SETTINGS.model_copy(update={"epochs": 4, "keep": keep})), SilentJob()
    for _ in range(2):
        assert run.slice(slice_s=0.0, job=job) is False
    assert run.slice(job=job) is True
    found = opened(run, job)
    assert [(last.epoch, last.step) for _, _, last in found] == [(0, 1), (0, 2), (1, 0), (2, 0), (3, 0), (4, 0)]
    assert [(best.epoch, best.step) for _, best, _ in found] == [(0, 1), (0, 2), (1, 0), (2, 0), (2, 0), (2, 0)]
    for used, best, last in found:
        assert used == (best if keep == "best" else last)
        assert best == (last if last.best is None else open_checkpoint(run.blobs, last.best))


def test_a_run_that_does_not_improve_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stops after as many epochs as its patience. It is complete and stays complete."""
    monkeypatch.setattr("services.training.metrics.mean_auc", lambda _: 0.7)
    run = Run(tmp_path, SETTINGS.model_copy(update={"epochs": 9, "patience": 2}))
    for _ in range(2):
        assert run.slice() is True
        assert len(run.epochs) == 3


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    """If the weights diverge, InvalidInput names epoch, step and learning rate."""
    run = Run(tmp_path, SETTINGS.model_copy(update={"learning_rate": 1e6, "optimizer": "sgd"}))
    with pytest.raises(InvalidInput, match=r"the loss is (nan|inf) at epoch \d, step \d+, with learning rate"):
        run.slice()


def test_a_data_set_without_train_is_refused(tmp_path: Path) -> None:
    """A run needs a split to train on."""
    run = Run(tmp_path, SETTINGS)
    run.data, run.dataset = store_dataset(run.blobs, tmp_path / "val-only", {"val": 6})
    with pytest.raises(InvalidInput, match="has no split train"):
        run.slice()


def test_the_step_schedule_is_the_originals() -> None:
    """The rate is 1e-4 and falls to a tenth after epoch 4, as in the runs of resnet152."""
    settings = RunSettings(learning_rate=1e-4, schedule="step", decay_epochs=[4], epochs=5, warmup_steps=0)
    rates = [learning_rate(settings, epoch * 10, 10) for epoch in range(5)]
    assert rates == pytest.approx([1e-4] * 4 + [1e-5])


def test_the_cosine_schedule_warms_up_and_ends_at_zero() -> None:
    """The rate rises linearly, then falls along half a cosine."""
    settings = RunSettings(learning_rate=1.0, schedule="cosine", warmup_steps=4, epochs=2)
    rates = [learning_rate(settings, step, 10) for step in range(20)]
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert rates[4] == pytest.approx(1.0)
    assert rates[12] == pytest.approx(0.5)
    assert 0 < rates[19] < 0.02


def test_auc_is_one_against_the_rest() -> None:
    """A missing class has no AUC. The mean exists only if all AUCs exist; for two classes it is the AUC of class 1."""
    scores = np.array([[0.8, 0.2], [0.4, 0.6], [0.3, 0.7], [0.6, 0.4]], dtype=np.float32)
    assert auc_by_class(scores, np.array([0, 1, 1, 0])) == [1.0, 1.0]
    assert auc_by_class(scores, np.array([1, 1, 1, 1])) == [None, None]
    assert mean_auc([0.1, 0.9]) == 0.9
    assert mean_auc([0.5, 0.7, 0.9]) == pytest.approx(0.7)
    assert mean_auc([0.5, None, 0.9]) is None


def test_auc_equals_that_of_sklearn() -> None:
    """Also with ties. Scores that are not finite are refused."""
    rng = np.random.default_rng(0)
    for count in (2, 3, 17, 200):
        labels = np.arange(count) % 2
        scores = rng.integers(0, count, (count, 2)).astype(np.float32) / count
        expected = [roc_auc_score(labels == class_, scores[:, class_]) for class_ in range(2)]
        assert auc_by_class(scores, labels) == pytest.approx(expected, abs=1e-12)
    with pytest.raises(ValueError, match="NaN"):
        auc_by_class(np.array([[0.1], [np.nan]], dtype=np.float32), np.array([0, 1]))


def test_a_learner_starts_at_the_beginning(tmp_path: Path) -> None:
    """A new learner has done no epoch and no step, and has no metrics."""
    learner = start_learner(SETTINGS, 3, torch.device("cpu"))
    assert isinstance(learner, Learner)
    assert (learner.epoch, learner.step, learner.metrics) == (0, 0, [])
