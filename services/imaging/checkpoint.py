"""A checkpoint: weights as safetensors, and a manifest that describes them. Nothing is pickled.

In the bucket of the training service, below `checkpoints/<run>/`, lie the weights, the state that resuming needs, and
the manifest, which is written last. Each key contains the hash of its content.
"""

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from services.common.blobs import Blobs, ObjectRef
from services.common.blobs.port import read_verified
from services.common.errors import InvalidInput
from services.common.machine.reading import too_large
from services.imaging.architectures import build_network
from services.imaging.licence import Term
from services.imaging.outputs import Outputs
from services.imaging.preprocessing import Preprocessing
from services.imaging.semantics import Semantics

NAMES_SHOWN = 6
_RECONSTRUCT, _SCALAR = np.empty(0).__reduce__()[0], np.float64(0).__reduce__()[0]
ARRAYS: list[Any] = [
    *((_RECONSTRUCT, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    np.ndarray,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?")),
]
"""What NumPy arrays of numbers are pickled with. Some checkpoints contain predictions next to their weights."""
WHOLE_MODULE = re.compile(r"GLOBAL ([\w.]+) was not an allowed global|Unsupported (?:global|class)")
"""How PyTorch says that a file contains objects of classes that are not data."""
LARGEST_FILE = 16 << 30
"""Bytes of a weights file: enough for a network of four billion weights."""


class CheckpointManifest(BaseModel):
    """What a checkpoint is and where it came from.

    `semantics` and `transform_input` complete the architecture's name (see `build_network`). `resume` refers to the
    states of optimizer and random generators, if training can resume from this checkpoint.
    """

    model_config = ConfigDict(frozen=True)

    format: int = 1
    checkpoint_id: str
    run_id: str
    architecture: str
    semantics: Semantics = "current"
    transform_input: bool = False
    classes: tuple[str, ...]
    outputs: Outputs = "softmax"
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
    """The manifest of the run's best checkpoint, unless this one is the best."""
    events: ObjectRef | None = None
    """TensorBoard's event file for all epochs so far."""
    terms: tuple[Term, ...] = ()
    """Terms of the licences of all data that the weights were trained on."""

    @property
    def objects(self) -> list[ObjectRef]:
        """The objects of this checkpoint, apart from the manifest."""
        return [ref for ref in (self.weights, self.resume, self.events) if ref is not None]


def open_checkpoint(blobs: Blobs, manifest: ObjectRef) -> CheckpointManifest:
    """Read and verify the manifest of a checkpoint."""
    return CheckpointManifest.model_validate_json(read_verified(blobs, manifest))


def new_network(checkpoint: CheckpointManifest) -> nn.Module:
    """Build the network of a checkpoint with new random weights, on the CPU."""
    return build_network(
        checkpoint.architecture,
        len(checkpoint.classes),
        semantics=checkpoint.semantics,
        transform_input=checkpoint.transform_input,
        channels=checkpoint.preprocessing.channels,
    )


def load_network(blobs: Blobs, checkpoint: CheckpointManifest) -> nn.Module:
    """Build the network of a checkpoint, in evaluation mode, on the CPU, in channels-last memory format."""
    network = new_network(checkpoint)
    load_weights(
        network, load_tensors(read_verified(blobs, checkpoint.weights)), f"checkpoint {checkpoint.checkpoint_id}"
    )
    return network.eval().to(memory_format=torch.channels_last)


def load_weights(network: nn.Module, weights: dict[str, Tensor], source: str, check_only: bool = False) -> None:
    """Load weights strictly, or only check that they fit.

    InvalidInput names missing and unexpected keys, keys of another shape, and keys that hold NaN or infinity; then
    nothing is loaded.
    """
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
    message = "; ".join(fault for fault in faults if fault)
    if message:
        raise InvalidInput(f"{source} does not fit a {type(network).__name__}: it {message}")
    broken = [name for name, value in weights.items() if not _is_finite(value)]
    if broken:
        raise InvalidInput(f"{source} {_fault('has NaN or infinity in', broken)}")
    if not check_only:
        network.load_state_dict(weights)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the state dict in a .safetensors or PyTorch file; see `read_file` and `state_dict_of`."""
    return state_dict_of(read_file(path), path)


def read_file(path: Path) -> Any:
    """Read the content of a .safetensors or PyTorch file onto the CPU, without running any pickled code. InvalidInput
    if the file does not exist, is too large, or unpacks to more bytes than it has."""
    try:
        _refuse_bomb(path)
        if path.suffix == ".safetensors":
            return load_tensors(path.read_bytes())
        with torch.serialization.safe_globals(ARRAYS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except InvalidInput:
        raise
    except pickle.UnpicklingError as error:
        if WHOLE_MODULE.search(str(error)) is not None:
            raise InvalidInput(
                f"{path} contains a whole pickled module, which cannot be read without running its code. "
                'docs/networks.md says under "Whole modules" how to convert it apart from this product.'
            ) from error
        raise InvalidInput(f"{path} is not a weights file: {error}") from error
    except Exception as error:  # torch and safetensors raise many kinds of errors; the file is the user's
        raise InvalidInput(f"{path} is not a weights file: {error}") from error


def _refuse_bomb(path: Path) -> None:
    """Refuse a decompression bomb. PyTorch does not compress its ZIP archives, so the parts together are smaller than
    the file. The compressed or overlapping parts of a bomb are not."""
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise too_large(path, size, LARGEST_FILE)
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(part.file_size for part in archive.infolist())
    if unpacked > size:
        raise InvalidInput(f"{path} has {size} bytes and declares that it unpacks to {unpacked}; expected fewer")


def state_dict_of(content: Any, path: Path) -> dict[str, Tensor]:
    """Return the state dict in a file's content, in its order.

    The state dict may be wrapped (`state_dict` or `model`). DataParallel's `module.` prefix is removed. InvalidInput if
    there is no state dict, or if a name comes with the prefix and without.
    """
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise InvalidInput(f"{path} contains no state dict (names to tensors)")
    weights: dict[str, Tensor] = {}
    for name, value in content.items():
        bare = name.removeprefix("module.").replace(".module.", ".")
        if bare in weights:
            raise InvalidInput(f"{path} contains {bare} twice, with DataParallel's prefix and without")
        weights[bare] = value
    return weights


def pack(tensors: dict[str, Tensor]) -> bytes:
    """Encode tensors as safetensors. Each is copied to the CPU, so tensors may share storage."""
    return save_tensors({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()})


def _is_finite(weight: Tensor) -> bool:
    return weight.is_meta or not weight.is_floating_point() or bool(weight.isfinite().all())


def _fault(what: str, names: list[str]) -> str:
    if not names:
        return ""
    rest = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return f"{what} {', '.join(names[:NAMES_SHOWN])}{rest}"
