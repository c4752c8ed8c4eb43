"""What a checkpoint says of every patch of a split, and its table."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import nn

from services.common.blobs import Blobs, ObjectRef
from services.common.errors import InvalidInput
from services.imaging.dataset import Dataset
from services.imaging.manifests import read_table
from services.imaging.prefetch import prefetch
from services.imaging.preprocessing import Batch, Preprocessing

PREDICTION_SCHEMA = pa.schema(
    [
        ("patch_id", pa.int64()),
        ("label", pa.int32()),
        ("patient", pa.string()),
        ("probabilities", pa.list_(pa.float64())),
    ]
)
"""A row a patch, in the order of patch ids; one probability a class, in the order of the data set's classes."""


@dataclass(frozen=True)
class Predictions:
    """Patch ids (n,), labels (n,), patients (n,) by name, and probabilities (n, classes) in float64: in float32 the
    surest ones are all 1, and no longer ranked."""

    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    patients: Sequence[str]
    probabilities: NDArray[np.float64]

    @cached_property
    def patient_numbers(self) -> NDArray[np.int64]:
        """The patient of each patch as a number from 0, in the order of names."""
        numbers: NDArray[np.int64] = np.unique(np.asarray(self.patients), return_inverse=True)[1].astype(np.int64)
        return numbers

    def to_parquet(self) -> bytes:
        """See PREDICTION_SCHEMA."""
        columns = [self.ids, self.labels.astype(np.int32), list(self.patients), list(self.probabilities)]
        buffer = io.BytesIO()
        pq.write_table(pa.table(columns, schema=PREDICTION_SCHEMA), buffer, compression="zstd")
        return buffer.getvalue()


def read_predictions(blobs: Blobs, ref: ObjectRef) -> Predictions:
    """The predictions of a reference, verified."""
    table = read_table(blobs, ref)
    return Predictions(
        table["patch_id"].to_numpy(),
        table["label"].to_numpy().astype(np.int64),
        table["patient"].to_pylist(),
        np.array(table["probabilities"].to_pylist()),
    )


@torch.inference_mode()
def predict(
    network: nn.Module,
    data: Dataset,
    split: str,
    preprocessing: Preprocessing,
    batch_size: int,
    device: torch.device,
    on_patches: Callable[[int], None] = lambda _done: None,
) -> Predictions:
    """One forward a patch. InvalidInput names a patch for which the network gives no numbers."""
    ids: list[int] = []
    found: list[NDArray[np.float64]] = []
    for batch in _read(data, split, preprocessing, batch_size):
        logits = network(preprocessing.normalise(batch.pixels.to(device, non_blocking=True)))
        probabilities = logits.double().softmax(1).cpu().numpy()
        broken = batch.ids[~np.isfinite(probabilities).all(axis=1)].tolist()
        if broken:
            raise InvalidInput(f"the network gives no numbers for patch {broken[0]} of {data.manifest.name}")
        ids += batch.ids.tolist()
        found.append(probabilities)
        on_patches(len(ids))
    rows = data.index.take(ids)
    labels = rows["label"].to_numpy().astype(np.int64)
    return Predictions(np.array(ids), labels, rows["patient"].to_pylist(), np.concatenate(found))


def _read(data: Dataset, split: str, preprocessing: Preprocessing, batch_size: int) -> Iterator[Batch]:
    """The patches of a split by patch id, decoded ahead, each shard read once."""

    def decode(chunk: list[tuple[int, bytes]]) -> Batch:
        ids = np.array([patch_id for patch_id, _ in chunk])
        pixels = preprocessing.stack([preprocessing.pixels(image, f"patch {patch_id}") for patch_id, image in chunk])
        return Batch(torch.from_numpy(ids), torch.from_numpy(data.labels[ids]), torch.from_numpy(pixels))

    patches = (patch for shard in data.shards(split) for patch in data.stream(shard))
    return prefetch(decode, iter(lambda: list(islice(patches, batch_size)), []))
