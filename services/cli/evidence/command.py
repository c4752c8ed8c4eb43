"""`primitives evidence`: everything that a review of a study needs, in one ZIP archive."""

import hashlib
import json
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from services import __version__
from services.cli.client import named_services
from services.cli.evidence.cards import RESEARCH_USE, checklist, data_card, model_card
from services.cli.evidence.checklists import fill_in
from services.cli.evidence.claim import CLAIM_2024
from services.cli.evidence.collect import Documents, collect
from services.cli.evidence.future_ai import FUTURE_AI
from services.common.errors import Conflict

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of every entry: the same documents make the same entries."""


def evidence(
    study: Annotated[str, typer.Argument(help="Id of a study.")],
    out: Annotated[Path, typer.Argument(help="The ZIP archive to write.")],
    audit: Annotated[
        Path | None,
        typer.Option(
            help="A file of `primitives audit export`, from which the study's entries are taken.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
) -> None:
    """Write the evidence pack of a study: model card, data card with the licence's flags, protocols, answers by
    pseudonym, agreement, verdicts on names, hashes and log, and the checklists CLAIM 2024 and FUTURE-AI."""
    if out.exists():
        raise Conflict(f"{out} exists; evidence is not overwritten")
    documents = collect(named_services(), study, audit)
    files = dict(pack_files(documents))
    written = datetime.now(UTC).isoformat(timespec="seconds")
    content = {
        "study_id": study,
        "written": written,
        "software": f"visual-primitives {__version__}",
        "research_use_only": True,
        "files": {place: hashlib.sha256(file).hexdigest() for place, file in files.items()},
        "missing": documents.missing,
    }
    partial = out.with_name(f"{out.name}.partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for place, file in sorted((files | {"manifest.json": json.dumps(content, indent=1).encode()}).items()):
            archive.writestr(zipfile.ZipInfo(place, EPOCH), file, zipfile.ZIP_DEFLATED)
    partial.replace(out)
    typer.echo(f"{len(files) + 1} files in {out}")
    for place, reason in documents.missing.items():
        typer.echo(f"missing: {place}: {reason}")
    typer.echo(RESEARCH_USE)


def pack_files(documents: Documents) -> Iterator[tuple[str, bytes]]:
    """The files of a pack by place, without the manifest."""
    yield from documents.files()
    written = {
        "model-card.md": model_card(documents),
        "data-card.md": data_card(documents),
        "claim-2024.md": checklist("CLAIM 2024", fill_in(CLAIM_2024, documents)),
        "future-ai.md": checklist("FUTURE-AI", fill_in(FUTURE_AI, documents)),
    }
    for place, text in written.items():
        yield place, text.encode()
