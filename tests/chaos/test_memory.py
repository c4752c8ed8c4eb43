"""What an extraction of large layers takes of memory, shard and merge, in a process of its own."""

from pathlib import Path

import pytest

from services.cli.bench.extraction import PASSES, SIDE, Place
from services.cli.bench.tissue import store_tissue
from services.common.blobs import FolderBlobs
from services.common.settings import Shared
from services.imaging.manifests import ExtractionManifest

PATCHES = 160
TOP = 64
PROMISED_MB = 3e9 / 2**20
"""3 GB, of which the network and torch themselves are a part."""


@pytest.mark.long
@pytest.mark.parametrize(("architecture", "layer", "units"), [("resnet50", "layer4", 2048), ("vgg16", "conv1_2", 64)])
def test_a_large_layer_stays_within_3_gb(tmp_path: Path, architecture: str, layer: str, units: int) -> None:
    """A layer of 2,048 units, and one of the largest maps there are."""
    place = Place(store_tissue(tmp_path / "tissue", SIDE, PATCHES, PATCHES), Shared(home=tmp_path))
    checkpoint = place.run(f"{PASSES}:store_network", blobs_url=place.blobs_url, architecture=architecture)
    asked = {"checkpoint": checkpoint, "device": "cpu", "layers": [layer], "top_k": TOP}
    found = place.run_pass("ours", scratch=place.scratch, **asked)
    manifest = ExtractionManifest.model_validate_json(
        FolderBlobs(place.folder / "store").get(found["manifest"]["bucket"], found["manifest"]["key"])
    )
    assert [(one.name, one.units) for one in manifest.layers] == [(layer, units)]
    print(f"{architecture} {layer}: {manifest.layers[0].height} x {manifest.layers[0].width} maps")
    print(f"at most {found['peak_mb']:.0f} MiB")
    assert found["peak_mb"] <= PROMISED_MB
