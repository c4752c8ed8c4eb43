"""The objects to which the records of the training service refer."""

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
from services.training.references import collect_references
from services.training.schemas import KeptCheckpoint, StartPlanRequest
from services.training.tables import Base, DatasetRow, PlanRow, RunRow
from tests.fakes.ddsm import class_pattern, jpeg
from tests.fakes.ports import World


class Training(World):
    """A data set with a mammogram, and runs with one checkpoint each."""

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
                manifest=self.ref,
            )
            session.add(row)
        self.dataset_id = manifest.dataset_id

    def add_run(self, run_id: str, state: str) -> set[str]:
        """Record a run and return the keys of its checkpoint's objects."""
        ref, keys = self.put_checkpoint(run_id)
        with self.ports.records.transaction() as session:
            values: dict[str, Any] = {"run_id": run_id, "dataset_id": self.dataset_id, "settings": {}, "state": state}
            session.add(RunRow(**values, checkpoint=ref))
        return keys

    def put_checkpoint(self, run_id: str) -> tuple[ObjectRef, set[str]]:
        """Store a checkpoint. Return its reference and the keys of its objects."""
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

    def collected(self) -> References:
        """All references of the records."""
        found = References(self.blobs)
        collect_references(self.ports.records, found)
        return found


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return Training(tmp_path)


def test_all_objects_of_a_data_set_are_referenced(training: Training) -> None:
    """The records refer to manifest, shards, tables, mammograms and previews: to every object in the bucket."""
    found = training.collected()
    assert {one.key for one in found.objects} == training.data
    assert (found.faults, found.incomplete) == ([], False)


@pytest.mark.parametrize("state", ["queued", "running", "paused", "completed"])
def test_the_checkpoint_of_an_active_or_completed_run_is_referenced(training: Training, state: str) -> None:
    """The records refer to manifest, weights and the state for resuming."""
    keys = training.add_run("run-1", state)
    assert {one.key for one in training.collected().objects} == training.data | keys


def test_retained_checkpoints_are_referenced(training: Training) -> None:
    """The records refer to the retained checkpoints and to the last one."""
    keys = training.add_run("run-1", "completed")
    ref, kept = training.put_checkpoint("earlier")
    with training.ports.records.transaction() as session:
        run = session.get(RunRow, "run-1")
        assert run is not None
        run.checkpoints = [KeptCheckpoint(epoch=5, checkpoint=ref)]
    assert {one.key for one in training.collected().objects} == training.data | keys | kept


def test_the_best_and_the_last_checkpoint_are_referenced(training: Training) -> None:
    """The records refer to both, whichever of them later stages use."""
    keys = training.add_run("run-1", "completed") | training.add_run("run-2", "failed")
    with training.ports.records.transaction() as session:
        run, other = (session.get(RunRow, run_id) for run_id in ("run-1", "run-2"))
        assert run is not None and other is not None
        run.best_checkpoint, run.last_checkpoint = run.checkpoint, other.checkpoint
    assert {one.key for one in training.collected().objects} == training.data | keys


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_the_checkpoints_of_a_failed_or_cancelled_run_are_not_referenced(training: Training, state: str) -> None:
    """No stage can use them, so they are garbage."""
    training.add_run("run-1", state)
    assert {one.key for one in training.collected().objects} == training.data


def test_references_are_incomplete_without_a_manifest(training: Training) -> None:
    """If the data set's manifest is missing, its references are unknown, and a fault says so."""
    training.blobs.delete("training", training.ref.key)
    found = training.collected()
    assert found.incomplete
    assert [(fault.kind, fault.what) for fault in found.faults] == [("missing", f"training/{training.ref.key}")]


def test_a_plan_with_an_unknown_run_or_data_set_is_a_fault(training: Training) -> None:
    """The run and the data set that a plan uses must be recorded."""
    variants = {
        "plan-1": {"network": {"run_id": "run-1"}, "dataset": {"dataset_id": training.dataset_id}},
        "plan-2": {"network": {"run_id": "run-2"}, "dataset": {"dataset_id": "dataset-2"}},
    }
    training.add_run("run-1", "completed")
    with training.ports.records.transaction() as session:
        for plan_id, options in variants.items():
            session.add(PlanRow(plan_id=plan_id, request=StartPlanRequest.model_validate(options)))
    assert [(fault.kind, fault.what, fault.referenced_by) for fault in training.collected().faults] == [
        ("dangling", "run run-2", "plan plan-2"),
        ("dangling", "data set dataset-2", "plan plan-2"),
    ]
