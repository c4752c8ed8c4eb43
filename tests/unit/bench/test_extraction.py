"""The bench of extraction: what its contenders do, and its arithmetic. Times are not looked at."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bench import original, passes
from bench.extraction import Place, summarise
from bench.tissue import REFERENCE, open_tissue, store_tissue
from services.common.blobs import ObjectRef, open_blobs
from services.common.settings import Shared
from services.imaging.manifests import ExtractionManifest
from services.imaging.preprocessing import Preprocessing
from services.patch_rendering.overlay import overlay
from tests.fakes.data import SilentJob

PATCHES, TOP_K = 12, 4


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Patches in two shards."""
    folder = tmp_path_factory.mktemp("tissue") / "n"
    return Place(store_tissue(folder, 64, PATCHES, PATCHES // 2), Shared())


def test_the_contenders_do_the_same_work(place: Place, tmp_path: Path) -> None:
    """All of them go over all patches; the service keeps the same patches of a unit as the original's first pass finds,
    and renders as many pictures of the units that are not silent."""
    dataset = ObjectRef.model_validate_json((place.folder / REFERENCE).read_text()).model_dump()
    common: dict[str, Any] = {"blobs_url": place.blobs_url}
    checkpoint = passes.store_network(SilentJob(), **common, architecture="test_resnet")
    floor = passes.floor(SilentJob(), **common, dataset=dataset, checkpoint=checkpoint, device="cpu")
    asked = {"scratch": place.scratch, "layers": ["layer4"], "top_k": TOP_K, "device": "cpu"}
    ours = passes.ours(SilentJob(), **common, dataset=dataset, checkpoint=checkpoint, **asked)
    assert floor["seconds"] > 0 and ours["seconds"] > ours["merge_s"] > 0 and ours["peak_mb"] > 0
    ref = ObjectRef.model_validate(ours["manifest"])
    manifest = ExtractionManifest.model_validate_json(open_blobs(place.blobs_url).get(ref.bucket, ref.key))
    assert (manifest.patches, len(manifest.layers[0].maxima)) == (PATCHES, 2)
    rendered = passes.pictures(SilentJob(), **common, scratch=place.scratch, extraction=ours["manifest"], size=64)
    assert rendered["pictures"] % TOP_K == 0 and rendered["pictures"] > 0
    two = passes.two_pass(
        SilentJob(), **common, tissue=str(place.folder), checkpoint=checkpoint, layers=["layer4"], top_k=TOP_K,
        units_timed=3, folder=str(tmp_path),
    )  # fmt: skip
    assert (two["units_timed"], two["units"], two["saved"]) == (3, manifest.layers[0].units, 3 * TOP_K)
    saved = sorted((tmp_path / "layer4" / "0").iterdir())
    assert [path.name[:4] for path in saved] == ["0001", "0002", "0003", "0004"]


def test_the_originals_pictures_are_those_of_the_product(tmp_path: Path) -> None:
    """Before their encoding: the same pixels are kept and the same are dimmed."""
    rng = np.random.default_rng(0)
    maps = rng.random((3, 5, 5)).astype(np.float16).astype(np.float32)
    maps = maps[maps.max((1, 2)).argsort()[::-1]]
    patches = rng.integers(0, 256, (3, 40, 40)).astype(np.uint8)
    files = []
    for number, patch in enumerate(patches):
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(patch).save(files[-1])
    assert original.save_pictures(files, maps, 40, tmp_path / "out") == 3
    expected = overlay(patches, maps.astype(np.float16), float(maps[0].max()))
    for number, picture in enumerate(expected):
        saved = np.asarray(Image.open(tmp_path / "out" / f"{number + 1:04d}_{number}.jpg").convert("L"))
        assert np.abs(saved.astype(int) - picture.astype(int)).mean() < 12  # of JPEG


def test_the_second_pass_reads_the_maps_of_the_unit(place: Place) -> None:
    """One batch of the unit's files, and of their maps those of the unit alone."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3, stride=2)).eval()
    files = [path for path, _ in open_tissue(place.folder).files[:4]]
    maps = original.forward_again(network, {"conv": "0"}, 3, files, Preprocessing(size=32))
    ranked = original.largest_first(network, {"conv": "0"}, files, Preprocessing(size=32))["conv"]
    assert maps.shape == (4, 15, 15)
    assert maps.max((1, 2)).argsort()[::-1].tolist() == ranked[:, 3].tolist()


def test_the_summary() -> None:
    """Medians over the rounds, ratios within a round, the second pass and its pictures against ours with ours."""
    floors = [
        {"seconds": 10.0, "peak_mb": 50.0},
        {"seconds": 20.0, "peak_mb": 52.0},
        {"seconds": 12.0, "peak_mb": 51.0},
    ]
    ours = [
        {"seconds": seconds, "merge_s": 1.0, "peak_mb": peak}
        for seconds, peak in ((11.0, 100.0), (21.0, 102.0), (15.0, 101.0))
    ]
    figures = summarise(
        floors, ours, {"seconds": 5.0, "pictures": 64},
        {"first_s": 40.0, "second_s": 360.0, "units_timed": 2, "units": 10, "saved": 8}, {"peak_mb": 104.0},
    )  # fmt: skip
    assert (figures["floor_s"], figures["ours_s"], figures["two_pass_s"]) == (12.0, 15.0, 400.0)
    assert figures["over_floor"] == 1.1 and figures["over_floor_rounds"] == [1.1, 1.05, 1.25]
    assert figures["over_two_pass"] == 20.0
    assert (figures["rss_mb_n"], figures["rss_mb_4n"], figures["memory_growth"]) == (102.0, 104.0, round(104 / 102, 3))
    assert "2 of 10 units" in figures["two_pass_scaled"]
