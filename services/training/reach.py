"""What the records of the training service reach: data sets with all that they hold, and checkpoints that count."""

from typing import Any

from sqlalchemy import select

from services.common.reach import Owner, Reach
from services.common.records import Records
from services.imaging.checkpoint import CheckpointManifest
from services.imaging.dataset import DatasetManifest
from services.imaging.manifests import read_table
from services.training.job import BUCKET
from services.training.tables import DatasetRow, PlanRow, RunRow

WITHOUT_CHECKPOINT = ("failed", "cancelled")
"""States in which a run's checkpoints are of no use any more."""


def reach(records: Records, found: Reach) -> None:
    """Every data set; the checkpoint of every completed run, and the last one of every run that can go on. Earlier
    checkpoints are not reached, nor those of runs that failed or were cancelled."""
    with records.reading() as session:
        datasets = {row.dataset_id: row.manifest for row in session.scalars(select(DatasetRow))}
        runs = {row.run_id: row for row in session.scalars(select(RunRow))}
        plans = {row.plan_id: row.request for row in session.scalars(select(PlanRow))}
    for dataset_id, manifest in datasets.items():
        _reach_dataset(found, manifest, f"data set {dataset_id}")
    for run_id, run in runs.items():
        if run.checkpoint is not None and run.state not in WITHOUT_CHECKPOINT:
            _reach_checkpoint(found, run.checkpoint, f"run {run_id}")
    for plan_id, request in plans.items():
        for kind, name, known in (
            ("run", request["network"]["run_id"], runs),
            ("data set", request["dataset"]["dataset_id"], datasets),
        ):
            if name and name not in known:
                found.dangling(f"{kind} {name}", f"plan {plan_id}")


def _reach_dataset(found: Reach, ref: dict[str, Any], by: str) -> None:
    content = found.read(ref, by)
    if content is None:
        return
    manifest = DatasetManifest.model_validate_json(content)
    for shard in manifest.shards:
        found.add(shard.object, by)
    found.add(manifest.index, by)
    found.add(manifest.lesions, by)
    if found.read(manifest.mammograms, by) is None:
        return
    for row in read_table(found.blobs, manifest.mammograms).to_pylist():
        found.add_key(manifest.mammograms.bucket, row["key"], by, row["sha256"])
        found.add_key(manifest.mammograms.bucket, row["preview_key"], by, row["preview_sha256"])


def _reach_checkpoint(found: Reach, ref: dict[str, Any], by: str) -> None:
    content = found.read(ref, by)
    if content is None:
        return
    manifest = CheckpointManifest.model_validate_json(content)
    found.add(manifest.weights, by)
    if manifest.resume is not None:
        found.add(manifest.resume, by)


OWNER = Owner("training", BUCKET, reach)
