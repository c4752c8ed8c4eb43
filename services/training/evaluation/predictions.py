"""The predictions of a checkpoint for every patch of a split, and the table that stores them."""

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
from services.imaging.checkpoint import CheckpointManifest
from services.imaging.dataset import Dataset
from services.imaging.manifests import read_table
from services.imaging.outputs import Outputs
from services.imaging.outputs import probabilities as probabilities_of
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
"""One row for each patch, in the order of patch ids. The probabilities are in the order of the data set's classes."""


@dataclass(frozen=True)
class Predictions:
    """Patch ids (n,), labels (n,), names of patients (n,), and probabilities (n, classes).

    The probabilities are float64: in float32 the highest ones would all be 1 and lose their order.
    """

    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    patients: Sequence[str]
    probabilities: NDArray[np.float64]

    @cached_property
    def patient_numbers(self) -> NDArray[np.int64]:
        """The number of each patch's patient (n,), from 0 in the order of names."""
        numbers: NDArray[np.int64] = np.unique(np.asarray(self.patients), return_inverse=True)[1].astype(np.int64)
        return numbers

    def to_parquet(self) -> bytes:
        """Write the table; see PREDICTION_SCHEMA."""
        columns = [self.ids, self.labels.astype(np.int32), list(self.patients), list(self.probabilities)]
        buffer = io.BytesIO()
        pq.write_table(pa.table(columns, schema=PREDICTION_SCHEMA), buffer, compression="zstd")
        return buffer.getvalue()


def read_predictions(blobs: Blobs, ref: ObjectRef) -> Predictions:
    """Read and verify stored predictions."""
    table = read_table(blobs, ref)
    return Predictions(
        table["patch_id"].to_numpy(),
        table["label"].to_numpy().astype(np.int64),
        table["patient"].to_pylist(),
        np.array(table["probabilities"].to_pylist()),
    )


def require_same_classes(checkpoint: CheckpointManifest, data: Dataset) -> None:
    """InvalidInput unless a checkpoint predicts the classes of a data set, in the same order."""
    if checkpoint.classes != data.manifest.classes:
        raise InvalidInput(
            f"checkpoint {checkpoint.checkpoint_id} predicts {', '.join(checkpoint.classes)}; data set "
            f"{data.manifest.name} has {', '.join(data.manifest.classes)}"
        )


@torch.inference_mode()
def predict(
    network: nn.Module,
    data: Dataset,
    split: str,
    preprocessing: Preprocessing,
    batch_size: int,
    on_patches: Callable[[int], None] = lambda _done: None,
    outputs: Outputs = "softmax",
) -> Predictions:
    """Run the network once on each patch, on the device of its weights. InvalidInput names the first patch with a
    prediction that is not finite. `on_patches` receives the number of patches that are done."""
    device = next(network.parameters()).device
    ids: list[int] = []
    probabilities: list[NDArray[np.float64]] = []
    for batch in read_batches(data, split, preprocessing, batch_size):
        logits = network(preprocessing.normalise(batch.pixels.to(device, non_blocking=True)))
        batch_probabilities = probabilities_of(logits.double(), outputs).cpu().numpy()
        broken = batch.ids[~np.isfinite(batch_probabilities).all(axis=1)].tolist()
        if broken:
            raise InvalidInput(f"the prediction for patch {broken[0]} of {data.manifest.name} is not finite")
        ids += batch.ids.tolist()
        probabilities.append(batch_probabilities)
        on_patches(len(ids))
    rows = data.index.take(ids)
    labels = rows["label"].to_numpy().astype(np.int64)
    return Predictions(np.array(ids), labels, rows["patient"].to_pylist(), np.concatenate(probabilities))


def read_batches(data: Dataset, split: str, preprocessing: Preprocessing, batch_size: int) -> Iterator[Batch]:
    """Decode the patches of a split ahead of the network, in the order of patch ids. Each shard is read once."""

    def decode(chunk: list[tuple[int, bytes]]) -> Batch:
        ids = np.array([patch_id for patch_id, _ in chunk])
        pixels = preprocessing.stack([preprocessing.pixels(image, f"patch {patch_id}") for patch_id, image in chunk])
        return Batch(torch.from_numpy(ids), torch.from_numpy(data.labels[ids]), torch.from_numpy(pixels))

    patches = (patch for shard in data.shards(split) for patch in data.stream(shard))
    return prefetch(decode, iter(lambda: list(islice(patches, batch_size)), []))
