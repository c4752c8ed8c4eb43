"""The table of complaints names tests that exist."""

import re

from tests.unit.test_docs import ROOT, has_symbol

TABLE = (ROOT / "docs" / "complaints.md").read_text()
ROWS = re.findall(r"^\| (?!complaint|---)(.+?) \| (.+?) \| (.+) \|$", TABLE, flags=re.MULTILINE)


def test_every_complaint_has_tests() -> None:
    """Each line has the numbers of public issues and at least one test, and no issue is in two lines."""
    issues = [(project, number) for _, where, _ in ROWS for project, number in issues_of(where)]
    assert len(ROWS) >= 16
    assert len(issues) == len(set(issues)) >= 20
    for complaint, where, tests in ROWS:
        assert issues_of(where), complaint
        assert re.findall(r"`[^`]+`", tests), complaint


def issues_of(text: str) -> list[tuple[str, str]]:
    """Project and number of the issues in a text such as "cvat 191; label-studio 564, 4090"."""
    found = []
    for part in re.findall(r"([a-z-]+) (\d+(?:, \d+)*)", text):
        found += [(part[0], number) for number in part[1].split(", ")]
    return found


def test_the_tests_of_complaints_exist() -> None:
    """Every `tests/file.py:test_name` is a test in that file."""
    named = {tuple(one.split(":")) for _, _, tests in ROWS for one in re.findall(r"`([^`]+)`", tests)}
    missing = [
        (file, name)
        for file, name in sorted(named)
        if not name.startswith("test_") or not (ROOT / file).is_file() or not has_symbol(ROOT / file, name)
    ]
    assert missing == []
