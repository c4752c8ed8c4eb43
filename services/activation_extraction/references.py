"""The objects that the records of the extraction service refer to."""

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import select

from services.activation_extraction.names import BUCKET
from services.activation_extraction.tables import (
    AnalysisRow,
    ExplanationRow,
    ExtractionRow,
    NetworkRow,
    PieceRow,
    ShardRow,
)
from services.common.blobs import ObjectRef
from services.common.objects.references import Owner, References
from services.common.records import Records
from services.imaging.manifests import AnalysisManifest


def collect_references(records: Records, found: References) -> None:
    """Collect the data set and checkpoint of every network, the results of completed extractions, analyses and
    explanations, the mammograms of explanations, and the results of finished parts of unfinished tasks. Failed and
    cancelled ones refer to nothing."""
    with records.reading() as session:
        networks = {row.run_id: row for row in session.scalars(select(NetworkRow))}
        extractions = session.scalars(select(ExtractionRow)).all()
        shards = session.scalars(select(ShardRow)).all()
        analyses = session.scalars(select(AnalysisRow)).all()
        pieces = session.scalars(select(PieceRow)).all()
        explanations = session.scalars(select(ExplanationRow)).all()
    for run_id, network in networks.items():
        found.add(network.dataset, f"network {run_id}")
        found.add(network.checkpoint, f"network {run_id}")
    unfinished = {row.extraction_id for row in extractions if not row.ended}
    for shard in shards:
        if shard.extraction_id in unfinished:
            for ref in (shard.state.state, *shard.state.maxima.values()):
                found.add(ref, f"extraction {shard.extraction_id}")
    for extraction in extractions:
        if extraction.state == "completed" or not extraction.ended:
            _add_extraction(found, extraction, known=extraction.run_id in networks)
    for analysis in analyses:
        if analysis.state == "completed" or not analysis.ended:
            _add_analysis(found, analysis)
    unfinished_analyses = {row.analysis_id for row in analyses if not row.ended}
    for piece in pieces:
        if piece.analysis_id in unfinished_analyses:
            found.add(piece.state, f"analysis {piece.analysis_id}")
    for explanation in explanations:
        if explanation.state == "completed" or not explanation.ended:
            _add_explanation(found, explanation)


def _add_extraction(found: References, extraction: ExtractionRow, known: bool) -> None:
    by = f"extraction {extraction.extraction_id}"
    for ref in (extraction.dataset, extraction.checkpoint):
        if ref is not None:
            found.add(ref, by)
    if not known:
        found.dangling(f"network {extraction.run_id}", by)
    content = found.read(extraction.manifest, by) if extraction.manifest is not None else None
    if content is None:
        return
    for layer in json.loads(content)["layers"]:
        for ref in _references(layer):
            found.add(ref, by)


def _references(content: Any) -> Iterator[ObjectRef]:
    """The references in a manifest of any format, so that results of earlier versions are kept too."""
    if isinstance(content, dict) and content.keys() >= {"bucket", "key", "sha256", "size"}:
        yield ObjectRef.model_validate(content)
    elif isinstance(content, dict | list):
        for part in content.values() if isinstance(content, dict) else content:
            yield from _references(part)


def _add_analysis(found: References, analysis: AnalysisRow) -> None:
    by = f"analysis {analysis.analysis_id}"
    found.add(analysis.extraction, by)
    content = found.read(analysis.manifest, by) if analysis.manifest is not None else None
    if content is not None:
        for layer in AnalysisManifest.model_validate_json(content).layers:
            found.add(layer.table, by)


def _add_explanation(found: References, explanation: ExplanationRow) -> None:
    by = f"explanation {explanation.explanation_id}"
    found.add(explanation.extraction, by)
    found.add(explanation.mammogram, by)
    content = found.read(explanation.manifest, by) if explanation.manifest is not None else None
    if content is not None:
        for ref in _references(json.loads(content)):
            found.add(ref, by)


OWNER = Owner("activation_extraction", BUCKET, collect_references)
