"""The objects that the records of the training service refer to: data sets, imports, checkpoints and evaluations."""

from sqlalchemy import select

from services.common.blobs import ObjectRef
from services.common.objects.references import Owner, References
from services.common.records import Records
from services.imaging.checkpoint import CheckpointManifest
from services.imaging.dataset import DatasetManifest
from services.training.evaluation.manifest import EvaluationManifest
from services.training.evaluation.tables import EvaluationRow
from services.training.imports.references import add_import, add_mammograms
from services.training.imports.tables import ImportPartRow, ImportRow
from services.training.names import BUCKET
from services.training.tables import WITHOUT_CHECKPOINT, DatasetRow, PlanRow, RunRow


def collect_references(records: Records, found: References) -> None:
    """Collect all data sets; the plan and the finished parts of imports until they end; the recorded checkpoints of
    runs, except failed and cancelled ones; and what evaluations have stored. An evaluation also refers to its
    checkpoint until it ends."""
    with records.reading() as session:
        datasets = {row.dataset_id: row.manifest for row in session.scalars(select(DatasetRow))}
        runs = {row.run_id: row for row in session.scalars(select(RunRow))}
        plans = {row.plan_id: row.request for row in session.scalars(select(PlanRow))}
        evaluations = list(session.scalars(select(EvaluationRow)))
        imports = [row for row in session.scalars(select(ImportRow)) if not row.ended]
        ids = [row.import_id for row in imports]
        parts = list(session.scalars(select(ImportPartRow).where(ImportPartRow.import_id.in_(ids))))
    for dataset_id, manifest in datasets.items():
        _add_dataset(found, manifest, f"data set {dataset_id}")
    for run_id, run in runs.items():
        if run.state not in WITHOUT_CHECKPOINT:
            for checkpoint in run.stored_checkpoints:
                _add_checkpoint(found, checkpoint, f"run {run_id}")
    for row in imports:
        results = [part.result for part in parts if part.import_id == row.import_id]
        add_import(found, row.planned, results, f"import {row.import_id}")
    for evaluation in evaluations:
        _add_evaluation(found, evaluation)
    for plan_id, request in plans.items():
        for kind, name, known in (
            ("run", request.network.run_id, runs),
            ("data set", request.dataset.dataset_id, datasets),
        ):
            if name and name not in known:
                found.dangling(f"{kind} {name}", f"plan {plan_id}")


def _add_dataset(found: References, ref: ObjectRef, by: str) -> None:
    content = found.read(ref, by)
    if content is None:
        return
    manifest = DatasetManifest.model_validate_json(content)
    for shard in manifest.shards:
        found.add(shard.object, by)
    found.add(manifest.index, by)
    found.add(manifest.lesions, by)
    for provenance in (manifest.card, manifest.report):
        if provenance is not None:
            found.add(provenance, by)
    add_mammograms(found, manifest.mammograms, by)


def _add_checkpoint(found: References, ref: ObjectRef, by: str) -> None:
    content = found.read(ref, by)
    if content is None:
        return
    manifest = CheckpointManifest.model_validate_json(content)
    for part in manifest.objects:
        found.add(part, by)


def _add_evaluation(found: References, evaluation: EvaluationRow) -> None:
    by = f"evaluation {evaluation.evaluation_id}"
    if not evaluation.ended:
        _add_checkpoint(found, evaluation.checkpoint, by)
    if evaluation.manifest is None:
        return
    content = found.read(evaluation.manifest, by)
    if content is None:
        return
    manifest = EvaluationManifest.model_validate_json(content)
    for ref in (manifest.predictions, manifest.report, *manifest.figures.values()):
        found.add(ref, by)


OWNER = Owner("training", BUCKET, collect_references)
