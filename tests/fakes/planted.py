"""A network whose units are known by construction, and a data set of what they detect: spots, edges and rings."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from timm.models import register_model
from torch import Tensor, nn

from services.activation_extraction.job import extract_shard, merge_extraction
from services.activation_extraction.specs import MergeSpec, ShardSpec
from services.common.blobs import Blobs, ObjectRef
from services.common.blobs.port import read_verified
from services.imaging.checkpoint import CheckpointManifest, pack
from services.imaging.dataset_writer import DatasetWriter
from services.imaging.manifests import ExtractionManifest
from services.imaging.patches import Box, Lesion, Mammogram, Patch
from services.imaging.preprocessing import Preprocessing
from tests.fakes.data import SilentJob
from tests.fakes.ddsm import jpeg

SIDE = 64
SHAPES = ("edge", "ring", "spot")
KERNEL = 21
FILTERS = 32
"""Filters of the network; the planted one uses one for each shape."""
SINGLES, SUMS = 12, 8
"""Units of each shape, and of each sum of two shapes."""
MEANINGS = [(shape,) for shape in SHAPES for _ in range(SINGLES)] + [
    pair for pair in (("edge", "ring"), ("edge", "spot"), ("ring", "spot")) for _ in range(SUMS)
]
"""What each unit detects, by channel."""
NOISE, ENERGY, THRESHOLD = 8.0, 160.0, 0.6
"""Deviation of the noise in grey values, the norm of a shape in grey values, and the share of a filter's answer to its
own shape below which a unit is silent. A filter with random weights hardly answers to a shape of this energy."""


@cache
def template(shape: str) -> NDArray[np.float64]:
    """(KERNEL, KERNEL): a shape with mean 0 and norm 1."""
    rows, columns = np.mgrid[:KERNEL, :KERNEL] - KERNEL // 2
    distance = np.hypot(rows, columns)
    if shape == "edge":
        drawn = np.sign(columns) * np.exp(-((columns / 5) ** 2) - (rows / 7) ** 2)
    elif shape == "ring":
        drawn = np.exp(-(((distance - 8) / 1.2) ** 2))
    else:
        drawn = np.exp(-((distance / 2.5) ** 2))
    zero_mean = drawn - drawn.mean()
    return zero_mean / np.linalg.norm(zero_mean)


class PlantedDetectors(nn.Module):
    """Matched filters of the shapes, mixed into units, and a linear head over the averages of the units."""

    def __init__(self, num_classes: int = 2, in_chans: int = 3) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.filters = nn.Conv2d(in_chans, FILTERS, KERNEL, stride=2, padding=KERNEL // 2)
        self.units = nn.Sequential(nn.ReLU(), nn.Conv2d(FILTERS, len(MEANINGS), 1), nn.ReLU())
        self.fc = nn.Linear(len(MEANINGS), num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.units(self.filters(images)).mean((2, 3)))

    @torch.no_grad()
    def plant(self, seed: int = 0) -> "PlantedDetectors":
        """Set the weights: a filter answers 1 to its own shape, and units have random gains."""
        rng = np.random.default_rng(seed)
        for number, shape in enumerate(SHAPES):
            self.filters.weight[number] = torch.from_numpy(template(shape) * 255 / ENERGY / 3)
            self.filters.bias[number] = -THRESHOLD
        mixing = np.zeros((len(MEANINGS), FILTERS))
        for unit, meaning in enumerate(MEANINGS):
            mixing[unit, [SHAPES.index(shape) for shape in meaning]] = rng.uniform(0.5, 2)
        self.units[1].weight.copy_(torch.from_numpy(mixing)[:, :, None, None])
        self.units[1].bias.zero_()
        return self


@register_model
def planted_detectors(pretrained: bool = False, **options: object) -> PlantedDetectors:
    """The architecture under the name that checkpoints give; without planted weights its units are random."""
    return PlantedDetectors(num_classes=int(str(options.get("num_classes", 2))))


def store_shapes(blobs: Blobs, patients: int = 24, patches: int = 12, seed: int = 0) -> ObjectRef:
    """Store a data set with patches of noise that show each shape with probability 0.2, with outlines: half of the
    patients in val, half in test."""
    rng = np.random.default_rng(seed)
    with DatasetWriter(blobs, "training", "shapes", ("no", "yes")) as writer:
        cases = []
        for number in range(patients * patches):
            image, lesions = _draw(rng, f"m{number}")
            patient = f"p{number // patches}"
            writer.add_mammogram(Mammogram(f"m{number}", patient, "LEFT", "CC", SIDE, SIDE, jpeg(image)), lesions)
            cases.append((number, patient, image, lesions))
        for split, even in (("val", 0), ("test", 1)):
            for number, patient, image, lesions in cases:
                if (number // patches) % 2 == even:
                    box = Box(0, 0, SIDE, SIDE)
                    label = int(any(lesion.phenomenon == "ring" for lesion in lesions))
                    writer.add_patch(Patch(f"patch-{number}", split, label, patient, f"m{number}", box, jpeg(image)))
        return writer.finish()[1]


def _draw(rng: np.random.Generator, mammogram: str) -> tuple[NDArray[np.uint8], list[Lesion]]:
    image = rng.normal(80, NOISE, (SIDE, SIDE))
    lesions = []
    for corner, shape in zip(rng.permutation(4)[: len(SHAPES)], SHAPES, strict=True):
        if rng.random() < 0.2:
            row, column = (int(one) * 32 + 2 * int(rng.integers(0, 6)) for one in divmod(corner, 2))
            image[row : row + KERNEL, column : column + KERNEL] += ENERGY * template(shape)
            ends = [(row, column), (row, column + KERNEL), (row + KERNEL, column + KERNEL), (row + KERNEL, column)]
            lesions.append(Lesion(mammogram, shape, tuple((float(a), float(b)) for a, b in ends)))
    return np.clip(image, 0, 255).astype(np.uint8), lesions


def extract_shapes(
    blobs: Blobs, folder: Path, dataset: ObjectRef, planted: bool = True, seed: int = 0
) -> ExtractionManifest:
    """Extract split val of a data set of `store_shapes` through the planted network, or one with random weights."""
    torch.manual_seed(seed)
    network = PlantedDetectors()
    if planted:
        network.plant(seed)
    checkpoint = CheckpointManifest(
        checkpoint_id="checkpoint-1",
        run_id="run-1",
        architecture="planted_detectors",
        classes=("no", "yes"),
        preprocessing=Preprocessing(size=SIDE, mean=(0.314,) * 3, std=(1.0,) * 3),
        dataset_id="shapes",
        epoch=1,
        step=0,
        settings={},
        code_version="0",
        weights=blobs.put("training", f"planted-{planted}-{seed}", pack(network.state_dict())),
    )
    stored = blobs.put("training", f"planted-{planted}-{seed}.json", checkpoint.model_dump_json().encode())
    shared = {
        "blobs_url": blobs.url, "scratch": str(folder), "extraction_id": "extraction-1", "dataset": dataset,
        "checkpoint": stored, "split": "val", "layers": ["units"], "top_k": 8,
    }  # fmt: skip
    shard = extract_shard(SilentJob(), ShardSpec(shard=0, batch_size=64, device="cpu", **shared)).state  # type: ignore[arg-type]
    ref = merge_extraction(SilentJob(), MergeSpec(shards=[shard], **shared))  # type: ignore[arg-type]
    return ExtractionManifest.model_validate_json(read_verified(blobs, ref))
