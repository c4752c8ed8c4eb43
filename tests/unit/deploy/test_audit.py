"""The pins that `make audit` checks, as far as they can be tested without the network."""

import re
from pathlib import Path
from typing import Any

import pytest

from deploy.lock import FOLDER, pinned_line

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
