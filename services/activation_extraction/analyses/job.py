"""What the child process does for analyses: compute a piece, and merge all pieces."""

import io
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from services.activation_extraction.analyses.context import Context
from services.activation_extraction.analyses.kinds import KINDS
from services.activation_extraction.analyses.specs import (
    ANALYSE_PIECE,
    MERGE_ANALYSIS,
    AnalysisSpec,
    MergeSpec,
    PieceSpec,
)
from services.activation_extraction.merge_progress import MergeProgress
from services.activation_extraction.names import BUCKET
from services.common.blobs import ObjectRef, open_blobs
from services.common.blobs.port import read_verified
from services.common.work.jobs import Job
from services.imaging.devices import choose_device
from services.imaging.manifests import AnalysedLayer, AnalysisManifest, ExtractionManifest, put_content


@ANALYSE_PIECE.implements
def analyse_piece(job: Job, spec: PieceSpec) -> ObjectRef:
    """Compute a piece, and store its state."""

    def on_progress(done: int, total: int) -> None:
        job.report(done, total)
        job.stop_if_requested()

    context = _open_context(_of_analysis(spec))
    state = save_tensors(KINDS[spec.settings.kind].run_piece(context, spec.piece, on_progress))
    key = f"analyses/{spec.analysis_id}/pieces/{spec.piece:05d}.safetensors"
    return put_content(context.blobs, BUCKET, key, state)


@MERGE_ANALYSIS.implements
def merge_analysis(job: Job, spec: MergeSpec) -> ObjectRef:
    """Merge the states of all pieces, store a table for each layer, and write the manifest."""
    context, kind = _open_context(_of_analysis(spec)), KINDS[spec.settings.kind]
    blobs, progress = context.blobs, MergeProgress(job)
    states = []
    for piece in spec.pieces:
        states.append(load_tensors(read_verified(blobs, piece)))
        progress.heartbeat()
    layers = []
    for name, table in kind.merge(context, states, progress.heartbeat):
        stored = put_content(blobs, BUCKET, f"analyses/{spec.analysis_id}/{name}.parquet", _parquet(table))
        layers.append(AnalysedLayer(name=name, table=stored))
        progress.layer_done()
        job.stop_if_requested()
    manifest = AnalysisManifest(
        analysis_id=spec.analysis_id,
        extraction_id=context.manifest.extraction_id,
        extraction=spec.extraction,
        kind=kind.name,
        settings=spec.settings.model_dump(mode="json"),
        layers=tuple(layers),
    )
    body = manifest.model_dump_json(indent=1).encode()
    return put_content(blobs, BUCKET, f"analyses/{spec.analysis_id}/manifest.json", body)


def _of_analysis(spec: AnalysisSpec) -> AnalysisSpec:
    """The fields of a spec that all jobs of an analysis share."""
    return AnalysisSpec(**{name: getattr(spec, name) for name in AnalysisSpec.model_fields})


@lru_cache(maxsize=1)
def _open_context(spec: AnalysisSpec) -> Context[Any]:
    """The context of an analysis. It stays open for the next job, because all pieces share the network."""
    blobs = open_blobs(spec.blobs_url)
    manifest = ExtractionManifest.model_validate_json(read_verified(blobs, spec.extraction))
    return Context(blobs, manifest, choose_device(spec.device), spec.batch_size, spec.settings)


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
