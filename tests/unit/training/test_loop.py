"""The training loop: it learns, and it stops and goes on as if it had not."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from services.common.blobs import FolderBlobs, ObjectRef
from services.common.errors import InvalidInput
from services.imaging.checkpoint import CheckpointManifest, load_network, open_checkpoint
from services.training import loop
from services.training.job import train_slice
from services.training.learner import Learner, start_learner
from services.training.metrics import auc_by_class, mean_auc
from services.training.schedule import learning_rate
from services.training.schemas import RunSettings
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
        self.checkpoint: dict[str, Any] | None = None
        self.epochs: list[dict[str, Any]] = []

    def slice(self, slice_s: float = 600.0, job: SilentJob | None = None) -> bool:
        """One slice; True if the run is complete."""
        job = job or SilentJob()
        complete = train_slice(
            job,  # type: ignore[arg-type]
            blobs_url=self.blobs.url,
            scratch=str(self.folder),
            run_id="run-1",
            dataset=self.dataset.model_dump(),
            settings=self.settings.model_dump(),
            checkpoint=self.checkpoint,
            slice_s=slice_s,
            cache_mb=16,
            device=self.device,
        )
        if job.milestones:
            self.checkpoint, self.epochs = job.milestones[-1]["last_checkpoint"], job.milestones[-1]["epochs"]  # type: ignore
        return complete

    def weights(self) -> dict[str, torch.Tensor]:
        """The weights of the newest checkpoint."""
        manifest = open_checkpoint(self.blobs, ObjectRef.model_validate(self.checkpoint))
        return load_network(self.blobs, manifest).state_dict()


class PausedJob(SilentJob):
    """A job that is paused when it has looked so many times."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._left = looks

    def paused(self) -> bool:
        self._left -= 1
        return self._left < 0


def clock_that_stops_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `fit` see its deadline after so many steps, instead of waiting for it."""
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


def comparable(epochs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in epochs]


@pytest.mark.parametrize(
    ("changes", "cut"),
    [
        *(({"optimizer": optimizer}, cut) for optimizer in ("sgd", "adamw") for cut in (1, 5, 7, 9)),
        *((EVERYTHING, cut) for cut in (2, 3, 4)),
    ],
)
def test_an_interrupted_run_equals_the_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], cut: int
) -> None:
    """Stopped in mid-epoch or between epochs and resumed, weights and metrics are the same bits, the flips
    included."""
    settings = SETTINGS.model_copy(update={"epochs": 2} | changes)
    whole, cut_up = Run(tmp_path / "whole", settings), Run(tmp_path / "cut", settings)
    assert whole.slice() is True
    with monkeypatch.context() as patch:
        clock_that_stops_after(cut, patch)
        assert cut_up.slice() is False
    assert cut_up.slice() is True
    for name, value in whole.weights().items():
        assert torch.equal(value, cut_up.weights()[name]), name
    assert comparable(whole.epochs) == comparable(cut_up.epochs)


@pytest.mark.parametrize("looks", [(0,), (3,), (5,), (6,), (9, 0, 1, 1, 1), (2, 2, 2, 1, 1, 1, 2)])
def test_a_paused_run_equals_the_one_never_paused(tmp_path: Path, looks: tuple[int, ...]) -> None:
    """Paused before its first step, in mid-epoch, before and in the middle of validation, and many times over: weights
    and metrics are the same bits, and no step is done twice."""
    settings = SETTINGS.model_copy(update={"optimizer": "adamw", "epochs": 2})
    whole, paused = Run(tmp_path / "whole", settings), Run(tmp_path / "paused", settings)
    assert whole.slice() is True
    for count in looks:
        job = PausedJob(count)
        assert paused.slice(job=job) is False
        assert len(job.milestones) <= 1 + (count > 6), "saved where it stopped, and after an epoch"
    assert paused.slice() is True
    for name, value in whole.weights().items():
        assert torch.equal(value, paused.weights()[name]), name
    assert comparable(whole.epochs) == comparable(paused.epochs)


def test_a_pause_before_the_first_step_saves_nothing(tmp_path: Path) -> None:
    """There is nothing to keep, and whatever was kept before stands."""
    run = Run(tmp_path, SETTINGS)
    job = PausedJob(0)
    assert run.slice(job=job) is False
    assert job.milestones == []


def test_dropout_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network with dropout draws after the interruption what it would have drawn without it."""
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
    """Discs, stripes and noise are told apart after a few epochs, from random weights."""
    run = Run(tmp_path, SETTINGS.model_copy(update={"epochs": 8}))
    run.slice()
    assert [epoch["epoch"] for epoch in run.epochs] == list(range(1, 9))
    assert run.epochs[-1]["val_auc"] > 0.9
    assert run.epochs[-1]["train_loss"] < run.epochs[0]["train_loss"]
    assert len(run.epochs[-1]["val_auc_by_class"]) == 3


def opened(run: Run, job: SilentJob) -> list[list[CheckpointManifest]]:
    """The checkpoint that later stages use, the best and the last one, as each milestone told them."""
    names = ("checkpoint", "best_checkpoint", "last_checkpoint")
    return [
        [open_checkpoint(run.blobs, ObjectRef.model_validate(told[name])) for name in names] for told in job.milestones
    ]


@pytest.mark.parametrize("keep", ["best", "last"])
def test_a_run_knows_its_best_and_its_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str
) -> None:
    """The best is that of the best validation AUC, also after it was resumed, and before the first epoch has ended it
    is the last. The manifest of the last names the best. Later stages use which of the two the settings say."""
    aucs = iter([0.6, 0.6, 0.9, 0.9, 0.8, 0.8, 0.9, 0.9])  # of train and of val, epoch after epoch
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


def test_a_run_that_gets_no_better_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After as many epochs as its patience; it is complete, and stays so."""
    monkeypatch.setattr("services.training.metrics.mean_auc", lambda _: 0.7)
    run = Run(tmp_path, SETTINGS.model_copy(update={"epochs": 9, "patience": 2}))
    for _ in range(2):
        assert run.slice() is True
        assert len(run.epochs) == 3


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    """A learning rate that blows the weights up raises InvalidInput that names epoch, step and rate."""
    run = Run(tmp_path, SETTINGS.model_copy(update={"learning_rate": 1e6, "optimizer": "sgd"}))
    with pytest.raises(InvalidInput, match=r"the loss is (nan|inf) at epoch \d, step \d+, with learning rate"):
        run.slice()


def test_a_data_set_without_train_is_refused(tmp_path: Path) -> None:
    """There must be something to train on."""
    run = Run(tmp_path, SETTINGS)
    run.data, run.dataset = store_dataset(run.blobs, tmp_path / "val-only", {"val": 6})
    with pytest.raises(InvalidInput, match="has no split train"):
        run.slice()


def test_the_step_schedule_is_the_originals() -> None:
    """Rate 1e-4, times 0.1 after epoch 4, as resnet152's runs have it."""
    settings = RunSettings(learning_rate=1e-4, schedule="step", decay_epochs=[4], epochs=5, warmup_steps=0)
    rates = [learning_rate(settings, epoch * 10, 10) for epoch in range(5)]
    assert rates == pytest.approx([1e-4] * 4 + [1e-5])


def test_the_cosine_schedule_warms_up_and_ends_at_zero() -> None:
    """Linear to the full rate, then half a cosine down."""
    settings = RunSettings(learning_rate=1.0, schedule="cosine", warmup_steps=4, epochs=2)
    rates = [learning_rate(settings, step, 10) for step in range(20)]
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert rates[4] == pytest.approx(1.0)
    assert rates[12] == pytest.approx(0.5)
    assert 0 < rates[19] < 0.02


def test_auc_is_one_against_the_rest() -> None:
    """AUC by class, with none for a class that is missing; the mean only where all are known, class 1's for two."""
    import numpy as np

    scores = np.array([[0.8, 0.2], [0.4, 0.6], [0.3, 0.7], [0.6, 0.4]], dtype=np.float32)
    assert auc_by_class(scores, np.array([0, 1, 1, 0])) == [1.0, 1.0]
    assert auc_by_class(scores, np.array([1, 1, 1, 1])) == [None, None]
    assert mean_auc([0.1, 0.9]) == 0.9
    assert mean_auc([0.5, 0.7, 0.9]) == pytest.approx(0.7)
    assert mean_auc([0.5, None, 0.9]) is None


def test_a_learner_starts_at_the_beginning(tmp_path: Path) -> None:
    """No epoch done, no step done, nothing measured."""
    learner = start_learner(SETTINGS, 3, torch.device("cpu"))
    assert isinstance(learner, Learner)
    assert (learner.epoch, learner.step, learner.metrics) == (0, 0, [])
