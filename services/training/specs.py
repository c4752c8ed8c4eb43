"""What the jobs of data sets and runs receive and return: shared by the workflow, the child process and the benches."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from services.common.blobs import ObjectRef
from services.common.work.jobs import JobFunction
from services.imaging.dataset import DatasetManifest
from services.training.schemas import EpochMetrics, RunSettings


class BuildSpec(BaseModel):
    """Where to store the sample data set. `build_id` names the objects of its import."""

    model_config = ConfigDict(frozen=True)

    blobs_url: str
    build_id: str


class ImportSpec(BaseModel):
    """A folder to import and where to store the data set; see `ImportSource`."""

    model_config = ConfigDict(frozen=True)

    blobs_url: str
    directory: Path
    classes: int
    mammograms: Path | None


class BuiltDataset(BaseModel):
    """A stored data set: its manifest, and the reference of the manifest."""

    model_config = ConfigDict(frozen=True)

    manifest: DatasetManifest
    ref: ObjectRef


class SliceSpec(BaseModel):
    """A slice of a run: train for at most `slice_s` seconds from `checkpoint`, or from the beginning without one.

    `processes` processes on each of `nodes` machines train together; `rendezvous` is the HOST:PORT where they meet.
    """

    model_config = ConfigDict(frozen=True)

    blobs_url: str
    scratch: str
    run_id: str
    dataset: ObjectRef
    settings: RunSettings
    checkpoint: ObjectRef | None
    slice_s: float
    cache_mb: int
    device: str
    processes: int = 1
    nodes: int = 1
    rendezvous: str = "127.0.0.1:29400"


class SavedCheckpoint(BaseModel):
    """A checkpoint that a slice has stored, with the metrics so far.

    `checkpoint` is the one that later stages use, and `last_checkpoint` the one just stored. `kept` is the number of
    epochs done where the settings keep the checkpoint after them.
    """

    model_config = ConfigDict(frozen=True)

    checkpoint: ObjectRef
    best_checkpoint: ObjectRef
    last_checkpoint: ObjectRef
    kept: int | None
    epochs: list[EpochMetrics]


BUILD_SAMPLE: JobFunction[BuildSpec, BuiltDataset] = JobFunction("services.training.job:build_sample")
IMPORT_FOLDER: JobFunction[ImportSpec, BuiltDataset] = JobFunction("services.training.job:import_folder")
TRAIN_SLICE: JobFunction[SliceSpec, bool, SavedCheckpoint] = JobFunction("services.training.job:train_slice")
"""Returns whether the run is complete. Each stored checkpoint is a milestone."""
