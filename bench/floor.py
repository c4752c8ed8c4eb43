"""What a plan costs without its services: the very functions that their jobs call, one after the other in one process.

No broker, no records, no other process, and a plain folder for a store. It runs in a child of a JobRunner, as the jobs
of the services do, so that torch finds the same surroundings.
"""

import math
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from services.activation_extraction.job import extract_shard, merge_extraction
from services.activation_extraction.specs import MergeSpec, ShardSpec
from services.annotation.opening import read_study
from services.common.blobs import ObjectRef, open_blobs
from services.common.blobs.port import read_verified
from services.common.errors import JobFailed
from services.common.work.jobs import Job, JobReport, M
from services.imaging.dataset import Dataset, DatasetManifest
from services.imaging.devices import choose_device
from services.imaging.manifests import (
    ExtractedLayer,
    ExtractionManifest,
    RenderedLayer,
    RenderingManifest,
    put_content,
)
from services.patch_rendering.job import render_units
from services.patch_rendering.names import BUCKET as RENDERING_BUCKET
from services.patch_rendering.specs import RenderedUnits, RenderSpec
from services.training.batches import Part
from services.training.job import build_sample, train_slice
from services.training.learner import start_learner
from services.training.loop import step
from services.training.schemas import RunSettings, StartPlanRequest
from services.training.specs import BuildSpec, SavedCheckpoint, SliceSpec

NAME = "floor"


class UnwatchedJob(Job[M]):
    """A job that nobody watches or stops. It holds the newest milestone."""

    def __init__(self) -> None:
        self.newest: M | None = None
        self._other_end, mine = multiprocessing.Pipe()
        super().__init__(mine)

    def forward(self, report: JobReport) -> None:
        """Drop the report."""

    def milestone(self, content: M) -> None:
        """Hold the milestone."""
        self.newest = content


def warm_up(_job: Job, *, device: str) -> dict[str, Any]:
    """Have this process load what is loaded at first use; returns what torch computes with."""
    where = choose_device(device)
    learner = start_learner(RunSettings(architecture="test_resnet", weights="none", image_size=64), 2, where)
    labels = torch.tensor([0, 1])
    step(
        learner, [Part(labels, labels, torch.zeros((2, 64, 64), dtype=torch.uint8), torch.full((2,), 0.5), None)], 1e-3
    )
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else "cpu"
    return {"torch": torch.__version__, "threads": torch.get_num_threads(), "device": name}


def compute_plan(
    _job: Job,
    *,
    folder: str,
    scratch: str,
    request: dict[str, Any],
    source: str,
    dataset: dict[str, Any] | None,
    group_units: int,
    cache_mb: int,
    device: str,
) -> dict[str, Any]:
    """Do all that a plan computes, below `folder`; returns the seconds of each stage, and what they came to.

    A `dataset` that is given is copied from the store `source` beforehand, which is not counted; else the sample is
    built. Training is not cut into slices.
    """
    plan = StartPlanRequest.model_validate(request)
    url = f"folder://{folder}"
    seconds: dict[str, float] = {}
    if dataset is None:
        with _timed(seconds, "dataset"):
            data = build_sample(UnwatchedJob(), BuildSpec(blobs_url=url)).ref
    else:
        data = ObjectRef.model_validate(dataset)
        copy_dataset(source, url, data)
    with _timed(seconds, "training"):
        trained = _train(plan, url, scratch, data, cache_mb, device)
    with _timed(seconds, "extraction"):
        extraction = _extract(plan, url, scratch, data, trained.checkpoint, device)
    with _timed(seconds, "rendering"):
        rendering, pictures = _render(plan, url, scratch, extraction, group_units)
    with _timed(seconds, "study"):
        study = read_study(open_blobs(url), rendering, NAME, plan.study.units_per_class)
    return {
        "seconds": seconds,
        "results": {
            "val_loss": [epoch.val_loss for epoch in trained.epochs],
            "pictures": pictures,
            "units": sum(len(layer.units) for layer in study.layers),
        },
    }


def copy_dataset(source: str, target: str, ref: ObjectRef) -> None:
    """Copy what a plan reads of a data set from one store to another: all but the mammograms themselves."""
    blobs, to = open_blobs(source), open_blobs(target)
    manifest = DatasetManifest.model_validate_json(read_verified(blobs, ref))
    shards = [shard.object for shard in manifest.shards]
    for one in (*shards, manifest.index, manifest.mammograms, manifest.lesions, ref):
        to.put(one.bucket, one.key, read_verified(blobs, one))


def _train(
    plan: StartPlanRequest, url: str, scratch: str, dataset: ObjectRef, cache_mb: int, device: str
) -> SavedCheckpoint:
    """The last checkpoint and the metrics of all epochs."""
    job = UnwatchedJob[SavedCheckpoint]()
    spec = SliceSpec(
        blobs_url=url,
        scratch=scratch,
        run_id=NAME,
        dataset=dataset,
        settings=plan.network.train or RunSettings(),
        checkpoint=None,
        slice_s=math.inf,
        cache_mb=cache_mb,
        device=device,
    )
    train_slice(job, spec)
    if job.newest is None:
        raise JobFailed("the training has saved no checkpoint")
    return job.newest


def _extract(
    plan: StartPlanRequest, url: str, scratch: str, dataset: ObjectRef, checkpoint: ObjectRef, device: str
) -> ObjectRef:
    """Every shard, then the merge; a reference to the manifest."""
    options = plan.extraction
    shards = Dataset.open(open_blobs(url), dataset).shards(options.split)
    common: dict[str, Any] = {
        "blobs_url": url,
        "scratch": scratch,
        "extraction_id": NAME,
        "dataset": dataset,
        "checkpoint": checkpoint,
        "split": options.split,
        "layers": options.layers,
        "top_k": options.top_k,
    }
    states = [
        extract_shard(
            UnwatchedJob(), ShardSpec(shard=shard, batch_size=options.batch_size, device=device, **common)
        ).state
        for shard in range(len(shards))
    ]
    return merge_extraction(UnwatchedJob(), MergeSpec(shards=states, **common))


def render_layer(
    url: str, scratch: str, extraction: ObjectRef, layer: ExtractedLayer, size: int, group_units: int
) -> Iterator[RenderedUnits]:
    """What the job gives of each group of units of a layer."""
    for first in range(0, layer.units, group_units):
        spec = RenderSpec(
            blobs_url=url, scratch=scratch, rendering_id=NAME, extraction=extraction, layer=layer.name, first=first,
            last=min(first + group_units, layer.units) - 1, size=size,
        )  # fmt: skip
        yield render_units(UnwatchedJob(), spec)


def _render(plan: StartPlanRequest, url: str, scratch: str, ref: ObjectRef, group_units: int) -> tuple[ObjectRef, int]:
    """Every group of every layer, then the manifest: a reference to it, and how many pictures there are."""
    blobs = open_blobs(url)
    extracted = ExtractionManifest.model_validate_json(read_verified(blobs, ref))
    layers, pictures = [], 0
    for layer in extracted.layers:
        groups = []
        for rendered in render_layer(url, scratch, ref, layer, plan.rendering.size, group_units):
            groups.append(rendered.group)
            pictures += rendered.pictures
        layers.append(
            RenderedLayer(
                name=layer.name,
                units=layer.units,
                statistics=layer.statistics,
                ranking=layer.ranking,
                ranking_method=layer.ranking_method,
                groups=tuple(groups),
            )
        )
    manifest = RenderingManifest(
        rendering_id=NAME,
        extraction_id=extracted.extraction_id,
        extraction=ref,
        network=extracted.network,
        dataset=extracted.dataset,
        split=extracted.split,
        size=plan.rendering.size,
        pictures=pictures,
        layers=tuple(layers),
    )
    body = manifest.model_dump_json(indent=1).encode()
    return put_content(blobs, RENDERING_BUCKET, f"renderings/{NAME}/manifest.json", body), pictures


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    begin = time.monotonic()
    yield
    seconds[stage] = time.monotonic() - begin
