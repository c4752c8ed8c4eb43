"""Patches decoded into batches."""

import io
from pathlib import Path

import pytest
import torch
from PIL import Image

from services.activation_extraction.batches import read_batches
from services.imaging.batch_decode import BatchDecoder
from tests.unit.activation_extraction.test_extract import Stored


@pytest.mark.parametrize("batch_size", [3, 7, 32])
def test_patches_decoded_together_equal_patches_decoded_one_by_one(tmp_path: Path, batch_size: int) -> None:
    """Every batch has the same ids and bits, also the filled last one, and also a batch with a patch that cannot be
    decoded together with others."""
    stored = Stored(tmp_path, "test_resnet", 64)
    patches = [pair for shard in stored.data.shards("val") for pair in stored.data.stream(shard)]
    colours = io.BytesIO()
    Image.open(io.BytesIO(patches[4][1])).convert("RGB").save(colours, "JPEG")
    patches[4] = (patches[4][0], colours.getvalue())
    preprocessing = stored.manifest.preprocessing
    decoder = BatchDecoder(preprocessing.size, torch.device("cpu"))
    together = list(read_batches(iter(patches), preprocessing, batch_size, decoder))
    one_by_one = list(read_batches(iter(patches), preprocessing, batch_size))
    assert len(together) == len(one_by_one) == -(-len(patches) // batch_size)
    for one, other in zip(together, one_by_one, strict=True):
        assert torch.equal(one.ids, other.ids)
        assert torch.equal(one.pixels, other.pixels)
