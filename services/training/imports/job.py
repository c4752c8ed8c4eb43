"""The jobs of imports: read a source, cut a part, assemble the data set. None of them needs torch."""

from collections.abc import Iterator
from contextlib import contextmanager

from services.common.blobs import ObjectRef, open_blobs
from services.common.errors import JobFailed
from services.common.machine.memory import retain_freed_memory
from services.common.work.jobs import Job
from services.imaging.manifests import put_content
from services.training.imports.specs import (
    ASSEMBLE,
    CUT_PART,
    PLAN_IMPORT,
    AssembleSpec,
    PartSpec,
    PlannedImport,
    PlanSpec,
)
from services.training.names import BUCKET
from services.training.raw.importing import OnProgress, assemble, cut_part, plan_import
from services.training.raw.plan import open_plan
from services.training.raw.source.dicomweb.client import ServerAway
from services.training.specs import BuiltDataset

REPORT_MAMMOGRAMS = 100
"""Mammograms that are read from tables between two reports."""


@PLAN_IMPORT.implements
def plan_source(job: Job, spec: PlanSpec) -> PlannedImport:
    """Read the tables and headers of a source, and store the plan of its import."""

    def on_progress(done: int, _total: int) -> None:
        if done % REPORT_MAMMOGRAMS == 0:
            job.report(done, phase="reading the source", unit="mammograms")
        job.stop_if_requested()

    blobs = open_blobs(spec.blobs_url)
    job.report(0, phase="reading the source", unit="mammograms")
    pseudonyms = spec.source.pseudonyms(spec.pseudonym_key, spec.home)
    with _failing_without_server():
        planned = plan_import(blobs, spec.name, spec.source, spec.recipe, spec.owner, on_progress, pseudonyms)
    ref = put_content(blobs, BUCKET, planned.key("plan.json"), planned.model_dump_json(indent=1).encode())
    return PlannedImport(plan=ref, parts=len(planned.parts), mammograms=planned.mammograms)


@CUT_PART.implements
def cut_mammograms(job: Job, spec: PartSpec) -> ObjectRef:
    """Cut the mammograms of a part. Return the reference of its result."""
    blobs = open_blobs(spec.blobs_url)
    planned = open_plan(blobs, spec.plan).model_copy(update={"source": spec.source})
    with _failing_without_server(), retain_freed_memory():
        return cut_part(blobs, planned, spec.part, _reporting(job, "cutting patches", "mammograms"))


@ASSEMBLE.implements
def assemble_dataset(job: Job, spec: AssembleSpec) -> BuiltDataset:
    """Make the data set of an import whose parts are all cut."""
    blobs = open_blobs(spec.blobs_url)
    on_part = _reporting(job, "assembling the data set", "parts")
    manifest, ref, _ = assemble(blobs, open_plan(blobs, spec.plan), on_part)
    return BuiltDataset(manifest=manifest, ref=ref)


@contextmanager
def _failing_without_server() -> Iterator[None]:
    """Fail the job if a DICOMweb server stays away. Unavailable would have the queue wait for it, with the jobs of all
    other tasks; a failed import can be replayed, and continues with the parts that are missing."""
    try:
        yield
    except ServerAway as error:
        raise JobFailed(str(error)) from error


def _reporting(job: Job, phase: str, unit: str) -> OnProgress:
    """Report progress, and stop when that is requested."""

    def on_progress(done: int, total: int) -> None:
        job.report(done, total, phase=phase, unit=unit)
        job.stop_if_requested()

    return on_progress
