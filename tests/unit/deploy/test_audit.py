"""What `make audit` looks up, as far as it can be known without the network."""

import re
from pathlib import Path
from typing import Any

import pytest

from deploy.lock import FOLDER, _line

PIN = re.compile(r"[a-z0-9-]+==[A-Za-z0-9.+!-]+( --hash=sha256:[0-9a-f]{64})*")


def pins(file: Path) -> set[str]:
    """The pins of a file of requirements, without their hashes."""
    return {line.split(" ")[0] for line in file.read_text().splitlines() if line and not line.startswith("#")}


def test_every_requirement_is_one_release() -> None:
    """Each line is an exact version, so that what is looked up is what is installed."""
    for file in FOLDER.glob("*.txt"):
        lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
        assert [line for line in lines if not PIN.fullmatch(line)] == [], file.name


def test_what_the_audit_leaves_out_is_in_another_file() -> None:
    """torch-cpu.txt names releases that torch-cuda.txt has too: looking those up is enough."""
    assert pins(FOLDER / "torch-cpu.txt") <= pins(FOLDER / "torch-cuda.txt")


def test_a_release_that_was_taken_back_is_not_pinned() -> None:
    """pip says of each release whether its authors took it back; `make requirements` ends at one."""
    chosen: dict[str, Any] = {
        "metadata": {"name": "Some_Thing", "version": "1.2"},
        "download_info": {"archive_info": {"hashes": {"sha256": "0" * 64}}},
        "is_yanked": False,
    }
    assert _line(chosen) == ("some-thing", f"some-thing==1.2 --hash=sha256:{'0' * 64}")
    with pytest.raises(SystemExit, match=r"some-thing 1\.2 was taken back"):
        _line(chosen | {"is_yanked": True})
