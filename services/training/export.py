"""Exports checkpoints for other programs: as safetensors with metadata, or as ONNX, which is checked before it is
written."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from services.common.blobs import Blobs
from services.common.blobs.port import read_verified
from services.common.errors import InvalidInput
from services.imaging.checkpoint import CheckpointManifest, load_network

INPUT, OUTPUT = "images", "logits"
TOLERANCE = 1e-4
"""Largest allowed difference of a logit from PyTorch's, as a share of the largest logit, or of 1 if it is more."""
CHECKED_BATCHES = (1, 3)
NEEDED = ("onnx", "onnxscript", "onnxruntime")


def export_safetensors(blobs: Blobs, checkpoint: CheckpointManifest, out: Path) -> None:
    """Write the weights under their PyTorch names, with `describe` as metadata."""
    weights = load_tensors(read_verified(blobs, checkpoint.weights))
    _replace(out, save_tensors(weights, metadata=describe(checkpoint)))


def export_onnx(blobs: Blobs, checkpoint: CheckpointManifest, out: Path) -> float:
    """Write an ONNX network with `describe` as its metadata. Its input `images` (batch, channels, size, size) is
    normalised; its output is `logits` (batch, classes). Batches may have any size.

    Return the largest difference of a logit between onnxruntime and PyTorch. InvalidInput if it exceeds TOLERANCE; then
    nothing is written.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InvalidInput(f"ONNX needs {', '.join(missing)}: pip install 'visual-primitives[export]'")
    network = load_network(blobs, checkpoint)
    content = _as_onnx(network, checkpoint)
    difference, largest = _compare(network, content, checkpoint)
    if not difference <= TOLERANCE * max(1.0, largest):
        raise InvalidInput(
            f"the ONNX network of checkpoint {checkpoint.checkpoint_id} differs from PyTorch by {difference:g} in a "
            f"logit; the largest logit is {largest:g}, and at most {TOLERANCE:g} of it or of 1 is allowed"
        )
    _replace(out, content)
    return difference


def describe(checkpoint: CheckpointManifest) -> dict[str, str]:
    """Return the metadata that another program needs. Values that are not plain text are JSON."""
    return {
        "architecture": checkpoint.architecture,
        "semantics": checkpoint.semantics,
        "transform_input": json.dumps(checkpoint.transform_input),
        "classes": json.dumps(checkpoint.classes),
        "outputs": checkpoint.outputs,
        "preprocessing": checkpoint.preprocessing.model_dump_json(),
        "run_id": checkpoint.run_id,
        "checkpoint_id": checkpoint.checkpoint_id,
        "dataset_id": checkpoint.dataset_id,
        "code_version": checkpoint.code_version,
        "terms": json.dumps(checkpoint.terms),
    }


def _as_onnx(network: nn.Module, checkpoint: CheckpointManifest) -> bytes:
    program = torch.onnx.export(
        network,
        (_images(checkpoint, 2),),
        dynamo=True,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    assert program is not None
    proto = program.model_proto
    for key, value in describe(checkpoint).items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    content: bytes = proto.SerializeToString()
    return content


def _compare(network: nn.Module, content: bytes, checkpoint: CheckpointManifest) -> tuple[float, float]:
    """Return the largest difference of a logit, and PyTorch's largest logit."""
    import onnxruntime  # from the extra `export`, which the services do not install

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    difference = largest = 0.0
    for batch in CHECKED_BATCHES:
        images = _images(checkpoint, batch)
        with torch.inference_mode():
            expected = network(images).numpy()
        [found] = session.run([OUTPUT], {INPUT: images.contiguous().numpy()})
        difference = max(difference, float(np.abs(found - expected).max()))
        largest = max(largest, float(np.abs(expected).max()))
    return difference, largest


def _images(checkpoint: CheckpointManifest, batch: int) -> torch.Tensor:
    """Return a batch of noise, preprocessed for the network and the same every time."""
    size = checkpoint.preprocessing.size
    grey = torch.randint(0, 256, (batch, size, size), generator=torch.Generator().manual_seed(batch))
    return checkpoint.preprocessing.normalise(grey)


def _replace(out: Path, content: bytes) -> None:
    """Write a file completely or not at all. InvalidInput if it cannot be written."""
    part = out.with_name(f".{out.name}.part")
    try:
        part.write_bytes(content)
        part.replace(out)
    except OSError as error:
        raise InvalidInput(f"{out} cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
