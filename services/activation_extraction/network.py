"""The network of a checkpoint, kept in the child process from one job to the next."""

import torch
from torch import nn

from services.common.blobs import Blobs, ObjectRef
from services.imaging.checkpoint import CheckpointManifest, load_network, open_checkpoint

_kept: dict[tuple[ObjectRef, str], tuple[CheckpointManifest, nn.Module]] = {}
"""The last one, by what it was made of: a reference holds the hash of all of it."""


def open_network(blobs: Blobs, checkpoint: ObjectRef, device: str) -> tuple[CheckpointManifest, nn.Module]:
    """The manifest of a checkpoint and its network in evaluation mode: shards and analyses of one network share it, so
    whoever takes it leaves it as it was. A child does one job at a time."""
    key = (checkpoint, device)
    if key not in _kept:
        _kept.clear()
        manifest = open_checkpoint(blobs, checkpoint)
        with torch.inference_mode(False):  # weights made in inference mode would serve no gradient afterwards
            _kept[key] = manifest, load_network(blobs, manifest).to(torch.device(device))
    return _kept[key]
