"""`primitives audit`: the chain of the audit log, in the records of the annotation service."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.tokens import command_audit, operator
from services.common.errors import InvalidInput
from services.common.records import Records, open_records
from services.common.settings import Shared

if TYPE_CHECKING:
    from services.annotation.audit_verification import Head

_HEAD = re.compile(r"([0-9]{1,9}):([0-9a-f]{64})")

audit_app = typer.Typer(no_args_is_help=True, help="The chain of the annotation service's audit log: verify, export.")


@audit_app.command("verify")
def verify(
    kept: Annotated[
        str, typer.Option(help="POSITION:SHA256 of an entry that an earlier verification has printed.")
    ] = "",
    file: Annotated[Path | None, typer.Option(help="Verify an exported chain instead, without the answers.")] = None,
) -> None:
    """Verify the chain, and that every saved answer has its entry and its digest. Print the end of the chain as
    POSITION:SHA256: keep it where nobody who can write to the records can change it."""
    from services.annotation.audit_verification import read_exported, verify_entries, verify_records

    head = _head(kept)
    if file is not None:
        found = verify_entries(read_exported(file), head)
    else:
        with _annotation_records() as records:
            found = verify_records(records, head)
    typer.echo(f"{found.head.position} entries, {found.answers} of them about answers, are intact")
    typer.echo(f"{found.head.position}:{found.head.sha256}")


@audit_app.command("export")
def export(out: Annotated[Path, typer.Option(help="The file to write, with a line of JSON for each entry.")]) -> None:
    """Write the chain to a file."""
    from services.annotation.audit_verification import entry_json, read_entries, require_chain

    audit = command_audit(Shared())
    with _annotation_records() as records, out.open("w") as lines:
        require_chain(records)
        entries = 0
        with records.reading() as session:
            for entry in read_entries(session):
                lines.write(f"{entry_json(entry)}\n")
                entries += 1
    audit.record("export", "audit chain", outcome=f"{entries} entries to {out}", actor=operator())
    typer.echo(f"{entries} entries")


@audit_app.command("adopt")
def adopt() -> None:
    """Append an entry for each answer that has none, because an earlier version of the service has saved it."""
    from services.annotation.audit_verification import adopt_answers

    with _annotation_records() as records:
        typer.echo(f"{adopt_answers(records)} answers")


@contextmanager
def _annotation_records() -> Iterator[Records]:
    records = open_records(Shared().records("annotation"))
    try:
        yield records
    finally:
        records.close()


def _head(text: str) -> "Head | None":
    from services.annotation.audit_verification import Head

    if not text:
        return None
    found = _HEAD.fullmatch(text)
    if found is None:
        raise InvalidInput(f"{text!r} is not POSITION:SHA256, as `primitives audit verify` prints it")
    return Head(int(found[1]), found[2])
