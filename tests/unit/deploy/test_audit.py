"""The pins that `make audit` checks, as far as they can be tested without the network."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from deploy.lock import FOLDER, pinned_line
from deploy.release.audit import Audit, audit

PIN = re.compile(r"[a-z0-9-]+==[A-Za-z0-9.+!-]+( --hash=sha256:[0-9a-f]{64})*")


def pins(file: Path) -> set[str]:
    """Return the pins of a requirements file, without their hashes."""
    return {line.split(" ")[0] for line in file.read_text().splitlines() if line and not line.startswith("#")}


def test_every_requirement_is_one_release() -> None:
    """Each line is an exact version, so that the audited release is the installed one."""
    for file in FOLDER.glob("*.txt"):
        lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
        assert [line for line in lines if not PIN.fullmatch(line)] == [], file.name


def test_the_file_without_audit_repeats_another_one() -> None:
    """torch-cpu.txt names only releases that torch-cuda.txt names too, so auditing the latter is enough."""
    assert pins(FOLDER / "torch-cpu.txt") <= pins(FOLDER / "torch-cuda.txt")


def test_a_yanked_release_is_not_pinned() -> None:
    """pinned_line raises SystemExit for a release that pip reports as yanked."""
    chosen: dict[str, Any] = {
        "metadata": {"name": "Some_Thing", "version": "1.2"},
        "download_info": {"archive_info": {"hashes": {"sha256": "0" * 64}}},
        "is_yanked": False,
    }
    assert pinned_line(chosen) == ("some-thing", f"some-thing==1.2 --hash=sha256:{'0' * 64}")
    with pytest.raises(SystemExit, match=r"some-thing 1\.2 was yanked"):
        pinned_line(chosen | {"is_yanked": True})


FINE = {"name": "h11", "version": "0.16.0", "vulns": []}
VULNERABLE = {"name": "idna", "version": "3.6", "vulns": [{"id": "CVE-1", "fix_versions": ["3.7"], "aliases": []}]}
UNKNOWN = {"name": "ours", "skip_reason": "Dependency not found on PyPI and could not be audited: ours (1)"}


def answering(folder: Path, output: str, status: int) -> Path:
    """A stand-in for pip-audit."""
    (folder / "output").write_text(output)
    program = folder / "pip-audit"
    program.write_text(f"#!/bin/sh\ncat {folder / 'output'}\necho 'ConnectionError: no route' >&2\nexit {status}\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("found", "strict", "lenient"),
    [
        ([FINE], [], []),
        ([FINE, VULNERABLE], ["idna 3.6: CVE-1, fixed in 3.7"], ["idna 3.6: CVE-1, fixed in 3.7"]),
        ([FINE, UNKNOWN], [f"ours: {UNKNOWN['skip_reason']}"], [f"ours: {UNKNOWN['skip_reason']}"]),
        ([UNKNOWN], [f"ours: {UNKNOWN['skip_reason']}"], []),
    ],
)
def test_what_an_audit_refuses(tmp_path: Path, found: list[Any], strict: list[str], lenient: list[str]) -> None:
    """Vulnerabilities are errors, and pins that were not checked. With --allow-unreachable the latter are none if no
    pin at all was checked."""
    program = answering(tmp_path, json.dumps({"dependencies": found, "fixes": []}), 1)
    report = audit(program, [FOLDER / "annotation.txt"])
    assert (report.errors(allow_unreachable=False), report.errors(allow_unreachable=True)) == (strict, lenient)


def test_an_audit_without_a_report_checked_nothing(tmp_path: Path) -> None:
    """The reason is the last line of pip-audit's errors."""
    report = audit(answering(tmp_path, "", 2), [FOLDER / "annotation.txt"])
    assert report == Audit([], ["all pins: pip-audit ended with status 2: ConnectionError: no route"], 0)
    assert report.errors(allow_unreachable=False) and not report.errors(allow_unreachable=True)
