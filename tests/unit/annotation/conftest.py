"""A study, open for every test."""

from pathlib import Path

import pytest

from tests.fakes.annotation import Annotation


@pytest.fixture
def annotation(tmp_path: Path) -> Annotation:
    return Annotation(tmp_path)
