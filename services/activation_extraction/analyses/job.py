"""What the child process does of an analysis: one piece, and the merge of all."""

import io
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from services.activation_extraction.analyses.context import Context
from services.activation_extraction.analyses.kinds import KINDS
from services.activation_extraction.layer_results import BUCKET
from services.activation_extraction.merge_progress import MergeProgress
from services.common.blobs import ObjectRef, open_blobs
from services.common.blobs.port import read_verified
from services.common.work.jobs import Job
from services.imaging.devices import choose_device
from services.imaging.manifests import AnalysedLayer, AnalysisManifest, ExtractionManifest, put_content


def analyse_piece(
    job: Job,
    *,
    blobs_url: str,
    analysis_id: str,
    extraction: dict[str, Any],
    kind: str,
    settings: dict[str, Any],
    batch_size: int,
    device: str,
    piece: int,
) -> dict[str, Any]:
    """Store the state of one piece and return a reference to it."""

    def on_progress(done: int, total: int) -> None:
        job.report(done=done, total=total)
        job.stop_if_requested()

    context = _context(blobs_url, extraction, kind, settings, batch_size, device)
    state = save_tensors(KINDS[kind].run_piece(context, piece, on_progress))
    key = f"analyses/{analysis_id}/pieces/{piece:05d}.safetensors"
    return put_content(context.blobs, BUCKET, key, state).model_dump()


def merge_analysis(
    job: Job,
    *,
    blobs_url: str,
    analysis_id: str,
    extraction: dict[str, Any],
    kind: str,
    settings: dict[str, Any],
    batch_size: int,
    device: str,
    pieces: list[dict[str, Any]],
) -> dict[str, Any]:
    """Merge the states of all pieces, store a table a layer, write the manifest and return a reference to it."""
    context = _context(blobs_url, extraction, kind, settings, batch_size, device)
    blobs, told = context.blobs, MergeProgress(job)
    states = []
    for piece in pieces:
        states.append(load_tensors(read_verified(blobs, ObjectRef.model_validate(piece))))
        told.alive()
    layers = []
    for name, table in KINDS[kind].merge(context, states, told.alive):
        stored = put_content(blobs, BUCKET, f"analyses/{analysis_id}/{name}.parquet", _parquet(table))
        layers.append(AnalysedLayer(name=name, table=stored))
        told.layer_done()
        job.stop_if_requested()
    manifest = AnalysisManifest(
        analysis_id=analysis_id,
        extraction_id=context.manifest.extraction_id,
        extraction=ObjectRef.model_validate(extraction),
        kind=kind,
        settings=settings,
        layers=tuple(layers),
    )
    body = manifest.model_dump_json(indent=1).encode()
    return put_content(blobs, BUCKET, f"analyses/{analysis_id}/manifest.json", body).model_dump()


def _context(
    blobs_url: str, extraction: dict[str, Any], kind: str, settings: dict[str, Any], batch_size: int, device: str
) -> Context[Any]:
    options = KINDS[kind].settings.model_validate(settings)
    return _open_context(blobs_url, ObjectRef.model_validate(extraction), options, batch_size, device)


@lru_cache(maxsize=1)
def _open_context(
    blobs_url: str, extraction: ObjectRef, settings: BaseModel, batch_size: int, device: str
) -> Context[Any]:
    """The context of an analysis, kept from one job to the next: its pieces share the network."""
    blobs = open_blobs(blobs_url)
    manifest = ExtractionManifest.model_validate_json(read_verified(blobs, extraction))
    return Context(blobs, manifest, settings, choose_device(device), batch_size)


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
