"""A checkpoint: weights as safetensors and a manifest that explains itself. Nothing is pickled.

In the bucket of the training service, below `checkpoints/<run>/`: weights, what resuming needs, and the manifest, which
is written last; each key holds the hash of its content.
"""

import zipfile
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from services.common.blobs import Blobs, ObjectRef
from services.common.blobs.port import read_verified
from services.common.errors import InvalidInput
from services.common.machine.reading import too_large
from services.imaging.architectures import Semantics, build_network
from services.imaging.preprocessing import Preprocessing

NAMES_SHOWN = 6
LARGEST_FILE = 16 << 30
"""Bytes of a file of weights: a network of four thousand million weights."""


class CheckpointManifest(BaseModel):
    """What a checkpoint is and where it came from.

    `semantics` and `transform_input` say what the architecture's name leaves open (see `build_network`). `resume` holds
    optimizer and RNG states, where there is something to go on from.
    """

    model_config = ConfigDict(frozen=True)

    format: int = 1
    checkpoint_id: str
    run_id: str
    architecture: str
    semantics: Semantics = "current"
    transform_input: bool = False
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    dataset_id: str
    epoch: int
    step: int
    settings: dict[str, Any]
    code_version: str
    weights: ObjectRef
    resume: ObjectRef | None = None
    resume_state: dict[str, Any] = {}
    metrics: list[dict[str, Any]] = []
    best: ObjectRef | None = None
    """The manifest of the run's best checkpoint, unless this is it."""
    events: ObjectRef | None = None
    """TensorBoard's event file of all epochs so far."""


def open_checkpoint(blobs: Blobs, manifest: ObjectRef) -> CheckpointManifest:
    """The manifest of a checkpoint, verified."""
    return CheckpointManifest.model_validate_json(read_verified(blobs, manifest))


def load_network(blobs: Blobs, checkpoint: CheckpointManifest) -> nn.Module:
    """The network of a checkpoint in evaluation mode, on the CPU, channels last."""
    network = build_network(
        checkpoint.architecture,
        len(checkpoint.classes),
        semantics=checkpoint.semantics,
        transform_input=checkpoint.transform_input,
        channels=checkpoint.preprocessing.channels,
    )
    load_weights(
        network, load_tensors(read_verified(blobs, checkpoint.weights)), f"checkpoint {checkpoint.checkpoint_id}"
    )
    return network.eval().to(memory_format=torch.channels_last)


def load_weights(network: nn.Module, weights: dict[str, Tensor], source: str, check_only: bool = False) -> None:
    """Load weights strictly, or only check that they fit. InvalidInput names missing, unexpected and misshapen keys,
    and those that hold NaN or infinity; nothing is loaded then."""
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    faults = [
        _fault("lacks", sorted(expected.keys() - found.keys())),
        _fault("has the unexpected", sorted(found.keys() - expected.keys())),
        _fault(
            "has of another shape",
            [
                f"{name} {list(found[name])}, expected {list(expected[name])}"
                for name in sorted(expected.keys() & found.keys())
                if expected[name] != found[name]
            ],
        ),
    ]
    told = "; ".join(fault for fault in faults if fault)
    if told:
        raise InvalidInput(f"{source} does not fit a {type(network).__name__}: it {told}")
    broken = [name for name, value in weights.items() if not _is_finite(value)]
    if broken:
        raise InvalidInput(f"{source} {_fault('has NaN or infinity in', broken)}")
    if not check_only:
        network.load_state_dict(weights)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict in a .safetensors or PyTorch file; see `read_file` and `state_dict_of`."""
    return state_dict_of(read_file(path), path)


def read_file(path: Path) -> Any:
    """What a .safetensors or PyTorch file holds, on the CPU, read without unpickling code. InvalidInput for no such
    file, one that is too large, and one that unpacks to more than it has."""
    try:
        _require_no_bomb(path)
        if path.suffix == ".safetensors":
            return load_tensors(path.read_bytes())
        return torch.load(path, map_location="cpu", weights_only=True)
    except InvalidInput:
        raise
    except Exception as error:  # torch and safetensors raise many kinds; the file is the user's
        raise InvalidInput(f"{path} is no file of weights: {error}") from error


def _require_no_bomb(path: Path) -> None:
    """PyTorch packs its ZIP archives uncompressed, so that the parts together are smaller than the file; compressed
    ones and ones that overlap, as bombs are made, are not."""
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise too_large(path, size, LARGEST_FILE)
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(part.file_size for part in archive.infolist())
    if unpacked > size:
        raise InvalidInput(
            f"{path} has {size} bytes and says that it unpacks to {unpacked}; PyTorch's files are smaller"
        )


def state_dict_of(content: Any, path: Path) -> dict[str, Tensor]:
    """The state dict in a file's content, in its order.

    Content that wraps it (`state_dict` or `model`) is unwrapped, and DataParallel's `module.` prefix is taken off.
    """
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise InvalidInput(f"{path} holds no state dict (names to tensors)")
    weights: dict[str, Tensor] = {}
    for name, value in content.items():
        bare = name.removeprefix("module.").replace(".module.", ".")
        if bare in weights:
            raise InvalidInput(f"{path} holds {bare} twice, with DataParallel's prefix and without")
        weights[bare] = value
    return weights


def pack(tensors: dict[str, Tensor]) -> bytes:
    """Tensors as safetensors bytes; each is copied to the CPU, so that shared storage does not matter."""
    return save_tensors({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()})


def _is_finite(weight: Tensor) -> bool:
    return weight.is_meta or not weight.is_floating_point() or bool(weight.isfinite().all())


def _fault(what: str, names: list[str]) -> str:
    if not names:
        return ""
    rest = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return f"{what} {', '.join(names[:NAMES_SHOWN])}{rest}"
