"""The network of a checkpoint, kept in the child process from one job to the next."""

from functools import lru_cache

import torch
from torch import nn

from services.common.blobs import ObjectRef, open_blobs
from services.imaging.checkpoint import CheckpointManifest, load_network, open_checkpoint


@lru_cache(maxsize=1)
def open_network(blobs_url: str, checkpoint: ObjectRef, device: str) -> tuple[CheckpointManifest, nn.Module]:
    """The manifest of a checkpoint and its network in evaluation mode: shards and analyses of one network share it, so
    whoever takes it leaves it as it was."""
    blobs = open_blobs(blobs_url)
    manifest = open_checkpoint(blobs, checkpoint)
    with torch.inference_mode(False):  # weights made in inference mode would serve no gradient afterwards
        return manifest, load_network(blobs, manifest).to(torch.device(device))
