"""The floor of a plan: the functions that the services' jobs call, one after the other in one process.

There is no broker, no records and no other process, and the store is a plain folder. It runs in a child of a JobRunner,
as the services' jobs do, so that torch finds the same environment.
"""

import math
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from bench.machine import device_facts
from bench.specs import COMPUTE_PLAN, WARM_UP, DeviceFacts, PlanFloor, PlanResults, PlanSpec, WarmUpSpec
from services.activation_extraction.job import extract_shard, merge_extraction
from services.activation_extraction.specs import MergeSpec, ShardSpec
from services.annotation.opening import read_study
from services.common.blobs import ObjectRef, open_blobs
from services.common.blobs.port import read_verified
from services.common.errors import JobFailed
from services.common.work.jobs import Job, JobReport, M
from services.imaging.dataset import Dataset, DatasetManifest
from services.imaging.devices import choose_device
from services.imaging.manifests import ExtractionManifest, RenderedLayer, RenderingManifest, put_content
from services.patch_rendering.job import render_units
from services.patch_rendering.names import BUCKET as RENDERING_BUCKET
from services.patch_rendering.specs import RenderedUnits, RenderSpec
from services.training.batches import Part
from services.training.job import build_sample, train_slice
from services.training.learner import start_learner
from services.training.loop import step
from services.training.schemas import RunSettings
from services.training.specs import BuildSpec, SavedCheckpoint, SliceSpec

NAME = "floor"


class UnwatchedJob(Job[M]):
    """A job without a service that watches or stops it. It holds the newest milestone."""

    def __init__(self) -> None:
        self.newest: M | None = None
        self._other_end, mine = multiprocessing.Pipe()
        super().__init__(mine)

    def forward(self, report: JobReport) -> None:
        """Drop the report."""

    def milestone(self, content: M) -> None:
        """Hold the milestone."""
        self.newest = content


@WARM_UP.implements
def warm_up(_job: Job, spec: WarmUpSpec) -> DeviceFacts:
    """Load in this process what is loaded at first use."""
    device = choose_device(spec.device)
    learner = start_learner(RunSettings(architecture="test_resnet", weights="none", image_size=64), 2, device)
    labels = torch.tensor([0, 1])
    pixels = torch.zeros((2, 64, 64), dtype=torch.uint8)
    step(learner, [Part(labels, labels, pixels, torch.full((2,), 0.5), None)], 1e-3)
    return device_facts(device)


@COMPUTE_PLAN.implements
def compute_plan(_job: Job, spec: PlanSpec) -> PlanFloor:
    """Compute a plan. Copying its data set is not counted. Training is not cut into slices."""
    seconds: dict[str, float] = {}
    if spec.dataset is None:
        with timed(seconds, "dataset"):
            data = build_sample(UnwatchedJob(), BuildSpec(blobs_url=spec.blobs_url, build_id="floor")).ref
    else:
        data = spec.dataset
        copy_dataset(spec.source, spec.blobs_url, data)
    with timed(seconds, "training"):
        trained = _train(spec, data)
    with timed(seconds, "extraction"):
        extraction = _extract(spec, data, trained.checkpoint)
    with timed(seconds, "rendering"):
        rendering, pictures = _render(spec, extraction)
    with timed(seconds, "study"):
        study = read_study(open_blobs(spec.blobs_url), rendering, spec.request.study.units_per_class)
    losses = [epoch.val_loss for epoch in trained.epochs]
    units = sum(len(layer.units) for layer in study.layers)
    return PlanFloor(seconds=seconds, results=PlanResults(val_loss=losses, pictures=pictures, units=units))


def copy_dataset(source: str, target: str, ref: ObjectRef) -> None:
    """Copy the part of a data set that a plan reads from one store to another: all but the mammograms."""
    blobs, to = open_blobs(source), open_blobs(target)
    manifest = DatasetManifest.model_validate_json(read_verified(blobs, ref))
    shards = [shard.object for shard in manifest.shards]
    for one in (*shards, manifest.index, manifest.mammograms, manifest.lesions, ref):
        to.put(one.bucket, one.key, read_verified(blobs, one))


def render_groups(layer: RenderSpec, units: int, group_units: int) -> Iterator[RenderedUnits]:
    """Run the rendering job for each group of a layer's units. `layer` is its spec without `first` and `last`."""
    for first in range(0, units, group_units):
        group = {"first": first, "last": min(first + group_units, units) - 1}
        yield render_units(UnwatchedJob(), layer.model_copy(update=group))


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Measure a block and store its seconds under a name."""
    begin = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - begin


def _train(spec: PlanSpec, dataset: ObjectRef) -> SavedCheckpoint:
    job = UnwatchedJob[SavedCheckpoint]()
    part = SliceSpec(
        blobs_url=spec.blobs_url,
        scratch=spec.scratch,
        run_id=NAME,
        dataset=dataset,
        settings=spec.request.network.train or RunSettings(),
        checkpoint=None,
        slice_s=math.inf,
        cache_mb=spec.cache_mb,
        device=spec.device,
    )
    train_slice(job, part)
    if job.newest is None:
        raise JobFailed("the training has saved no checkpoint")
    return job.newest


def _extract(spec: PlanSpec, dataset: ObjectRef, checkpoint: ObjectRef) -> ObjectRef:
    """Extract every shard, merge, and return the reference to the manifest."""
    options = spec.request.extraction
    shards = Dataset.open(open_blobs(spec.blobs_url), dataset).shards(options.split)
    common: dict[str, Any] = {
        "blobs_url": spec.blobs_url,
        "scratch": spec.scratch,
        "extraction_id": NAME,
        "dataset": dataset,
        "checkpoint": checkpoint,
        "split": options.split,
        "layers": options.layers,
        "top_k": options.top_k,
    }
    states = [
        extract_shard(
            UnwatchedJob(), ShardSpec(shard=shard, batch_size=options.batch_size, device=spec.device, **common)
        ).state
        for shard in range(len(shards))
    ]
    return merge_extraction(UnwatchedJob(), MergeSpec(shards=states, **common))


def _render(spec: PlanSpec, ref: ObjectRef) -> tuple[ObjectRef, int]:
    """Render every layer and store the manifest. Return its reference and the number of pictures."""
    blobs, size = open_blobs(spec.blobs_url), spec.request.rendering.size
    extracted = ExtractionManifest.model_validate_json(read_verified(blobs, ref))
    layers, pictures = [], 0
    for layer in extracted.layers:
        render_spec = RenderSpec(
            blobs_url=spec.blobs_url, scratch=spec.scratch, rendering_id=NAME, extraction=ref, layer=layer.name,
            first=0, last=0, size=size,
        )  # fmt: skip
        rendered = list(render_groups(render_spec, layer.units, spec.group_units))
        pictures += sum(one.pictures for one in rendered)
        layers.append(
            RenderedLayer(
                name=layer.name,
                units=layer.units,
                statistics=layer.statistics,
                ranking=layer.ranking,
                ranking_method=layer.ranking_method,
                groups=tuple(one.group for one in rendered),
            )
        )
    manifest = RenderingManifest(
        rendering_id=NAME,
        extraction_id=extracted.extraction_id,
        extraction=ref,
        network=extracted.network,
        dataset=extracted.dataset,
        split=extracted.split,
        size=size,
        pictures=pictures,
        layers=tuple(layers),
    )
    body = manifest.model_dump_json(indent=1).encode()
    return put_content(blobs, RENDERING_BUCKET, f"renderings/{NAME}/manifest.json", body), pictures
