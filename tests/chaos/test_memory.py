"""What an extraction of large layers takes of memory, shard and merge, in a process of its own."""

from pathlib import Path
from typing import Any

import pytest

from bench.extraction import PASSES, SIDE, Place
from bench.passes import peak_mb
from bench.tissue import SPLIT, store_tissue
from services.activation_extraction.job import extract_shard, merge_extraction
from services.activation_extraction.specs import MergeSpec, ShardSpec
from services.common.blobs import FolderBlobs
from services.common.settings import Shared
from services.common.work.jobs import Job
from services.imaging.manifests import ExtractionManifest

PATCHES = 160
PROMISED_MB = 3e9 / 2**20
"""3 GB, of which the network and torch themselves are a part."""


def extracted(job: Job, **common: Any) -> dict[str, Any]:
    """The jobs of the service, one after the other in this process; the manifest's reference and the peak."""
    shard = extract_shard(job, ShardSpec(shard=0, batch_size=32, device=common.pop("device"), **common)).state
    manifest = merge_extraction(job, MergeSpec(shards=[shard], **common))
    return {"manifest": manifest.model_dump(), "peak_mb": peak_mb()}


@pytest.mark.long
@pytest.mark.parametrize(("architecture", "layer", "units"), [("resnet50", "layer4", 2048), ("vgg16", "conv1_2", 64)])
def test_a_large_layer_stays_within_3_gb(tmp_path: Path, architecture: str, layer: str, units: int) -> None:
    """A layer of 2,048 units, and one of the largest maps there are."""
    place = Place(store_tissue(tmp_path / "tissue", SIDE, PATCHES, PATCHES), Shared(home=tmp_path))
    checkpoint = place.run(f"{PASSES}:store_network", blobs_url=place.blobs_url, architecture=architecture)
    found = place.run(
        f"{__name__}:extracted",
        blobs_url=place.blobs_url,
        scratch=place.scratch,
        extraction_id="large",
        dataset=place.dataset.model_dump(),
        checkpoint=checkpoint,
        split=SPLIT,
        layers=[layer],
        top_k=64,
        device="cpu",
    )
    ref = found["manifest"]
    manifest = ExtractionManifest.model_validate_json(
        FolderBlobs(place.folder / "store").get(ref["bucket"], ref["key"])
    )
    assert [(one.name, one.units) for one in manifest.layers] == [(layer, units)]
    print(
        f"{architecture} {layer}, {manifest.layers[0].height} x {manifest.layers[0].width} maps: {found['peak_mb']} MiB"
    )
    assert found["peak_mb"] <= PROMISED_MB
