"""The network of a checkpoint, which stays in the child process from one job to the next."""

import torch
from torch import nn

from services.common.blobs import Blobs, ObjectRef
from services.imaging.checkpoint import CheckpointManifest, load_network, open_checkpoint

_cached: dict[tuple[ObjectRef, str], tuple[CheckpointManifest, nn.Module]] = {}
"""The network of the last job, by checkpoint and device. The reference includes the hash of the whole checkpoint."""


def open_network(blobs: Blobs, checkpoint: ObjectRef, device: str) -> tuple[CheckpointManifest, nn.Module]:
    """The manifest of a checkpoint and its network, in evaluation mode. Shards and analyses of the same network share
    it, so callers must leave it unchanged. A child runs one job at a time."""
    key = (checkpoint, device)
    if key not in _cached:
        _cached.clear()
        manifest = open_checkpoint(blobs, checkpoint)
        with torch.inference_mode(False):  # weights that are made in inference mode can never compute gradients
            _cached[key] = manifest, load_network(blobs, manifest).to(torch.device(device))
    return _cached[key]
