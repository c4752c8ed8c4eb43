"""Decodes patches into batches, ahead of the network."""

from collections.abc import Iterator
from itertools import islice

import torch
from torch import nn

from services.imaging.batch_decode import BatchDecoder
from services.imaging.prefetch import prefetch
from services.imaging.preprocessing import Batch, Preprocessing


def read_batches(
    patches: Iterator[tuple[int, bytes]],
    preprocessing: Preprocessing,
    batch_size: int,
    decoder: BatchDecoder | None = None,
) -> Iterator[Batch]:
    """Decode patches, given as (patch id, encoded bytes), into batches without labels.

    `decoder` decodes all patches of a batch together where it can. The last batch is filled with black images up to
    `batch_size`, beyond its ids: convolutions choose their kernels by the shape of the batch, and a patch must produce
    the same bits in whatever shard it is.
    """

    def decode(chunk: list[tuple[int, bytes]]) -> Batch:
        ids = torch.tensor([patch_id for patch_id, _ in chunk])
        pixels = decoder.decode([image for _, image in chunk]) if decoder is not None else None
        if pixels is not None:
            filled = nn.functional.pad(pixels, (0, 0, 0, 0, 0, batch_size - len(chunk)))
        else:
            single = [preprocessing.pixels(image, f"patch {patch_id}") for patch_id, image in chunk]
            filled = torch.from_numpy(preprocessing.stack(single, batch_size))
        return Batch(ids, torch.empty(0, dtype=torch.int64), filled)

    chunks = iter(lambda: list(islice(patches, batch_size)), [])
    return prefetch(decode, chunks)
