"""Fixtures of the tests of analyses."""

from pathlib import Path

import pytest

from tests.unit.activation_extraction.analyses.extracted import Analysis, Extracted


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Extracted:
    return Extracted.make(tmp_path_factory.mktemp("outlined"), outlined=True)


@pytest.fixture(scope="module")
def without_outlines(tmp_path_factory: pytest.TempPathFactory) -> Extracted:
    return Extracted.make(tmp_path_factory.mktemp("bare"), outlined=False)


@pytest.fixture
def analysis(tmp_path: Path, extracted: Extracted) -> Analysis:
    return Analysis(tmp_path, extracted)
