"""The code is compatible with the last release: with its protos, and with the OpenAPI of each service."""

import json
import shutil
from pathlib import Path

import pytest

from deploy.release import contracts
from services.cli.migrations import SERVICES

PLAN = Path("primitives/common/v1/plan.proto")


def test_no_proto_breaks_the_last_release() -> None:
    """`buf breaking` finds nothing: messages and calls of the last release are still valid."""
    assert contracts.proto_breaks() == []


def test_a_proto_that_breaks_is_found(tmp_path: Path) -> None:
    """A removed field, and a field with another type, are named."""
    protos = tmp_path / "proto"
    shutil.copytree(contracts.PROTOS, protos, ignore=shutil.ignore_patterns("*.py", "*.pyi", "__pycache__"))
    text = (protos / PLAN).read_text()
    assert "string plan_id = 1;" in text and "int32 top_k = 3;" in text
    (protos / PLAN).write_text(text.replace("string plan_id = 1;", "").replace("int32 top_k = 3;", "string top_k = 3;"))
    breaks = "\n".join(contracts.proto_breaks(protos))
    assert "plan_id" in breaks and "top_k" in breaks


def test_no_api_breaks_the_last_release() -> None:
    """The services accept every request of a caller of the last release, and answer with every field that it reads."""
    assert contracts.openapi_breaks() == []


@pytest.mark.parametrize("service", SERVICES)
def test_the_release_has_a_document_of_each_service(service: str) -> None:
    """It has more paths than those of health."""
    document = json.loads((contracts.DOCUMENTS / f"{service}.json").read_text())
    assert len(document["paths"]) > 2
