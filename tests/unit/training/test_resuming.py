"""Runs that resume from the checkpoints of a run."""

from pathlib import Path

import pytest
import torch

from services.common.errors import InvalidInput
from services.imaging.checkpoint import open_checkpoint
from services.training.schemas import StartRunRequest
from services.training.workflow.runs import check_resumable
from tests.fakes.data import SilentJob
from tests.unit.training.test_loop import EVERYTHING, SETTINGS, Run, comparable

SHORT = SETTINGS.model_copy(update=EVERYTHING | {"epochs": 2, "schedule": "step", "patience": 0})


def test_any_checkpoint_leads_to_the_same_end(tmp_path: Path) -> None:
    """A run has the same bits of weights and metrics if it resumes from a checkpoint within an epoch, at the end of an
    epoch, or of a shorter run."""
    whole, cut = Run(tmp_path / "whole", SHORT), Run(tmp_path / "cut", SHORT)
    assert whole.slice() is True
    job = SilentJob()
    for _ in range(5):
        cut.slice(slice_s=0.0, job=job)
    cut.slice(job=job)
    places = []
    shorter, short = SilentJob(), Run(tmp_path / "short", SHORT.model_copy(update={"epochs": 1}))
    short.slice(job=shorter)
    for run, saved in [*((cut, one) for one in job.milestones), (short, shorter.milestones[-1])]:
        manifest = open_checkpoint(run.blobs, saved.last_checkpoint)
        places.append((manifest.epoch, manifest.step))
        run.settings, run.checkpoint = SHORT, saved.last_checkpoint
        if manifest.epoch < SHORT.epochs:
            assert run.slice() is True
        assert comparable(run.epochs) == comparable(whole.epochs)
        assert [name for name, value in whole.weights().items() if not torch.equal(value, run.weights()[name])] == []
    assert places == [(0, 1), (0, 2), (1, 0), (1, 0), (1, 1), (1, 2), (2, 0), (1, 0)]


def test_within_an_epoch_its_order_must_not_change(tmp_path: Path) -> None:
    """Between epochs a run may resume with another seed or batch size. Within an epoch it would skip patches."""
    run = Run(tmp_path, SHORT)
    run.slice(slice_s=0.0)
    manifest = run.manifest()
    request = StartRunRequest(dataset_id=manifest.dataset_id, settings=SHORT)
    check_resumable(manifest, request)
    check_resumable(manifest, request.model_copy(update={"settings": SHORT.model_copy(update={"learning_rate": 1.0})}))
    changed = SHORT.model_copy(update={"seed": 9, "batch_size": 4, "accumulate_steps": 1, "balance": "none"})
    message = (
        "seed 9, expected 5; batch_size 4, expected 8; accumulate_steps 1, expected 2; balance 'none', expected 's"
    )
    with pytest.raises(InvalidInput, match=message):
        check_resumable(manifest, request.model_copy(update={"settings": changed}))
    between = manifest.model_copy(update={"epoch": 1, "step": 0})
    check_resumable(between, request.model_copy(update={"settings": changed}))
