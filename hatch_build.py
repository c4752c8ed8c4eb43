"""Generates the Python side of `proto/` whenever the distribution is built or installed, also in place."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROTO = Path(__file__).parent / "proto"


class GenerateProtos(BuildHookInterface):
    """Runs protoc over every .proto; the generated modules lie beside them and are not committed."""

    PLUGIN_NAME = "custom"

    def initialize(
        self,
        version: str,  # noqa: ARG002 - hatchling calls it so
        build_data: dict[str, Any],
    ) -> None:
        from grpc_tools import protoc

        sources = sorted(str(path) for path in PROTO.rglob("*.proto"))
        outputs = [f"--{kind}_out={PROTO}" for kind in ("python", "pyi", "grpc_python")]
        include = Path(protoc.__file__).parent / "_proto"
        if protoc.main(["protoc", f"-I{PROTO}", f"-I{include}", *outputs, *sources]) != 0:
            raise RuntimeError("protoc failed; its messages stand above")
        build_data["artifacts"] += ["proto/primitives/**/*_pb2*.py", "proto/primitives/**/*.pyi"]
