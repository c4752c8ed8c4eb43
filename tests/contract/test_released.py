"""The code keeps what the last release promised: its protos, and the OpenAPI of each service."""

import json
import shutil
from pathlib import Path

import pytest

from deploy.release import contracts
from services.cli.migrations import SERVICES

PLAN = Path("primitives/common/v1/plan.proto")


def test_no_proto_breaks_the_last_release() -> None:
    """`buf breaking` finds nothing: messages and calls of the last release are still understood."""
    assert contracts.proto_breaks() == []


def test_a_proto_that_breaks_is_found(tmp_path: Path) -> None:
    """A field that is taken away, and one that gets another type, are named."""
    protos = tmp_path / "proto"
    shutil.copytree(contracts.PROTOS, protos, ignore=shutil.ignore_patterns("*.py", "*.pyi", "__pycache__"))
    text = (protos / PLAN).read_text()
    assert "string plan_id = 1;" in text and "int32 top_k = 3;" in text
    (protos / PLAN).write_text(text.replace("string plan_id = 1;", "").replace("int32 top_k = 3;", "string top_k = 3;"))
    told = "\n".join(contracts.proto_breaks(protos))
    assert "plan_id" in told and "top_k" in told


def test_no_api_breaks_the_last_release() -> None:
    """Whatever a caller of the last release sends is still taken, and whatever it reads is still answered."""
    assert contracts.openapi_breaks() == []


@pytest.mark.parametrize("service", SERVICES)
def test_a_document_of_the_release_says_what_it_promises(service: str) -> None:
    """Each service has one, with more than its health."""
    document = json.loads((contracts.DOCUMENTS / f"{service}.json").read_text())
    assert len(document["paths"]) > 2
