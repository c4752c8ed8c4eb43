"""Fixtures of the tests of explanations."""

from pathlib import Path

import pytest

from tests.unit.activation_extraction.analyses.extracted import Extracted
from tests.unit.activation_extraction.explanations.explained import Explained


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Extracted:
    return Extracted.make(tmp_path_factory.mktemp("outlined"), outlined=True)


@pytest.fixture
def explained(tmp_path: Path, extracted: Extracted) -> Explained:
    return Explained(tmp_path, extracted)
