"""Which objects the records of the training service reach."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.common.blobs import ObjectRef
from services.common.objects.references import References
from services.imaging.checkpoint import CheckpointManifest
from services.imaging.dataset_writer import DatasetWriter
from services.imaging.patches import Box, Mammogram, Patch
from services.imaging.preprocessing import Preprocessing
from services.training.references import reach
from services.training.schemas import StartPlanRequest
from services.training.tables import Base, DatasetRow, PlanRow, RunRow
from tests.fakes.ddsm import class_pattern, jpeg
from tests.fakes.ports import World


class Training(World):
    """A data set with a mammogram, and runs in any state with a checkpoint each."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Base.metadata)
        image = jpeg(class_pattern(np.random.default_rng(0), 0))
        with DatasetWriter(self.blobs, "training", "test", ("a", "b")) as writer:
            writer.add_mammogram(Mammogram("m", "p", "LEFT", "CC", 64, 64, image))
            writer.add_patch(Patch("m-1", "train", 0, "p", "m", Box(0, 0, 64, 64), image))
            manifest, self.ref = writer.finish()
        self.data = set(self.blobs.list("training"))
        with self.ports.records.transaction() as session:
            row = DatasetRow(
                dataset_id=manifest.dataset_id,
                name="test",
                classes=["a", "b"],
                splits={"train": 1},
                mammograms=1,
                manifest=self.ref.model_dump(),
            )
            session.add(row)
        self.dataset_id = manifest.dataset_id

    def add_run(self, run_id: str, state: str) -> set[str]:
        """Record a run; returns the keys of its checkpoint's objects."""
        ref, keys = self.put_checkpoint(run_id)
        with self.ports.records.transaction() as session:
            values: dict[str, Any] = {"run_id": run_id, "dataset_id": self.dataset_id, "settings": {}, "state": state}
            session.add(RunRow(**values, checkpoint=ref.model_dump()))
        return keys

    def put_checkpoint(self, run_id: str) -> tuple[ObjectRef, set[str]]:
        folder = f"checkpoints/{run_id}"
        manifest = CheckpointManifest(
            checkpoint_id="c",
            run_id=run_id,
            architecture="test_resnet",
            classes=("a", "b"),
            preprocessing=Preprocessing(size=64),
            dataset_id=self.dataset_id,
            epoch=1,
            step=0,
            settings={},
            code_version="0",
            weights=self.blobs.put("training", f"{folder}/weights.safetensors", b"w"),
            resume=self.blobs.put("training", f"{folder}/resume.safetensors", b"r"),
        )
        ref = self.blobs.put("training", f"{folder}/checkpoint.json", manifest.model_dump_json().encode())
        return ref, set(self.blobs.list("training", f"{folder}/"))

    def reached(self) -> References:
        found = References(self.blobs)
        reach(self.ports.records, found)
        return found


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return Training(tmp_path)


def test_a_data_set_reaches_all_that_was_written_of_it(training: Training) -> None:
    """Manifest, shards, tables, mammograms and previews: every object there is."""
    found = training.reached()
    assert {one.key for one in found.named} == training.data
    assert (found.faults, found.blind) == ([], False)


@pytest.mark.parametrize("state", ["queued", "running", "paused", "completed"])
def test_a_run_that_can_go_on_or_is_completed_reaches_its_checkpoint(training: Training, state: str) -> None:
    """Manifest, weights and what resuming needs."""
    keys = training.add_run("run-1", state)
    assert {one.key for one in training.reached().named} == training.data | keys


def test_a_run_reaches_the_checkpoints_that_it_keeps(training: Training) -> None:
    """Those of every so many epochs, beside its last."""
    keys = training.add_run("run-1", "completed")
    ref, kept = training.put_checkpoint("earlier")
    with training.ports.records.transaction() as session:
        run = session.get(RunRow, "run-1")
        assert run is not None
        run.checkpoints = [{"epoch": 5, "checkpoint": ref.model_dump()}]
    assert {one.key for one in training.reached().named} == training.data | keys | kept


def test_a_run_reaches_its_best_and_its_last_checkpoint(training: Training) -> None:
    """Each is kept, whichever of them later stages use."""
    keys = training.add_run("run-1", "completed") | training.add_run("run-2", "failed")
    with training.ports.records.transaction() as session:
        run, other = (session.get(RunRow, run_id) for run_id in ("run-1", "run-2"))
        assert run is not None and other is not None
        run.best_checkpoint, run.last_checkpoint = run.checkpoint, other.checkpoint
    assert {one.key for one in training.reached().named} == training.data | keys


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_run_that_ended_badly_reaches_nothing(training: Training, state: str) -> None:
    """Nobody can take its checkpoint, so it is garbage."""
    training.add_run("run-1", state)
    assert {one.key for one in training.reached().named} == training.data


def test_a_manifest_that_is_gone_makes_blind(training: Training) -> None:
    """What the data set's manifest named is not known any more, and that is said."""
    training.blobs.delete("training", training.ref.key)
    found = training.reached()
    assert found.blind
    assert [(fault.kind, fault.what) for fault in found.faults] == [("missing", f"training/{training.ref.key}")]


def test_a_plan_that_names_what_is_not_recorded_dangles(training: Training) -> None:
    """The run and the data set that a plan takes have to be there."""
    variants = {
        "plan-1": {"network": {"run_id": "run-1"}, "dataset": {"dataset_id": training.dataset_id}},
        "plan-2": {"network": {"run_id": "run-2"}, "dataset": {"dataset_id": "dataset-2"}},
    }
    training.add_run("run-1", "completed")
    with training.ports.records.transaction() as session:
        for plan_id, options in variants.items():
            session.add(PlanRow(plan_id=plan_id, request=StartPlanRequest.model_validate(options).model_dump()))
    assert [(fault.kind, fault.what, fault.named_by) for fault in training.reached().faults] == [
        ("dangling", "run run-2", "plan plan-2"),
        ("dangling", "data set dataset-2", "plan plan-2"),
    ]
