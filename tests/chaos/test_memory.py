"""The memory of an extraction of large layers, shard and merge, in a child process."""

from pathlib import Path

import pytest

from bench.extraction import SIDE, Place
from bench.passes import peak_mb
from bench.specs import FullPass, PassSpec
from bench.tissue import store_tissue
from services.activation_extraction.job import extract_shard, merge_extraction
from services.activation_extraction.specs import MergeSpec, ShardSpec
from services.common.blobs import FolderBlobs
from services.common.settings import Shared
from services.common.work.jobs import Job, JobFunction
from services.imaging.manifests import ExtractionManifest

PATCHES = 160
LIMIT_MB = 3e9 / 2**20
"""3 GB, which include the network and torch."""

EXTRACTED: JobFunction[PassSpec, FullPass] = JobFunction(f"{__name__}:extracted")


@EXTRACTED.implements
def extracted(job: Job, spec: PassSpec) -> FullPass:
    """Run the jobs of the service, one after the other in this process."""
    fields = {name: getattr(spec, name) for name in PassSpec.model_fields}
    shard = extract_shard(job, ShardSpec(shard=0, batch_size=32, **fields)).state
    del fields["device"]
    manifest = merge_extraction(job, MergeSpec(shards=[shard], **fields))
    return FullPass(seconds=0.0, merge_s=0.0, peak_mb=peak_mb(), manifest=manifest)


@pytest.mark.long
@pytest.mark.parametrize(("architecture", "layer", "units"), [("resnet50", "layer4", 2048), ("vgg16", "conv1_2", 64)])
def test_a_large_layer_stays_within_3_gb(tmp_path: Path, architecture: str, layer: str, units: int) -> None:
    """Extraction of a layer of 2,048 units, and of one with the largest maps, stays within the limit."""
    place = Place(store_tissue(tmp_path / "tissue", SIDE, PATCHES, PATCHES), Shared(home=tmp_path, device="cpu"))
    found = place.run(EXTRACTED, place.pass_spec(place.store_network(architecture), (layer,), top_k=64))
    stored = FolderBlobs(place.folder / "store").get(found.manifest.bucket, found.manifest.key)
    (extracted_layer,) = ExtractionManifest.model_validate_json(stored).layers
    assert (extracted_layer.name, extracted_layer.units) == (layer, units)
    print(f"{architecture} {layer}, {extracted_layer.height} x {extracted_layer.width} maps: {found.peak_mb} MiB")
    assert found.peak_mb <= LIMIT_MB
