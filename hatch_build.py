"""Generates the Python modules of `proto/` whenever the distribution is built or installed, also in place."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROTO = Path(__file__).parent / "proto"


class GenerateProtos(BuildHookInterface):
    """Runs protoc on every .proto file. The generated modules are written next to these files and are not committed."""

    PLUGIN_NAME = "custom"

    def initialize(
        self,
        version: str,  # noqa: ARG002 - hatchling passes it by name
        build_data: dict[str, Any],
    ) -> None:
        from grpc_tools import protoc

        sources = sorted(str(path) for path in PROTO.rglob("*.proto"))
        outputs = [f"--{kind}_out={PROTO}" for kind in ("python", "pyi", "grpc_python")]
        include = Path(protoc.__file__).parent / "_proto"
        if protoc.main(["protoc", f"-I{PROTO}", f"-I{include}", *outputs, *sources]) != 0:
            raise RuntimeError("protoc failed; see its messages above")
        build_data["artifacts"] += ["proto/primitives/**/*_pb2*.py", "proto/primitives/**/*.pyi"]
