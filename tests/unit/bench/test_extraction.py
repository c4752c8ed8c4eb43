"""The bench of extraction: the work of its contenders, and its arithmetic. Durations are not tested."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench import original, passes
from bench.extraction import Place, summarise
from bench.specs import FullPass, NetworkSpec, Pass, Pictures, PicturesSpec, TwoPass, TwoPassSpec
from bench.tissue import open_tissue, store_tissue
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
    return Place(store_tissue(folder, 64, PATCHES, PATCHES // 2), Shared(device="cpu"))


def test_the_contenders_do_the_same_work(place: Place, tmp_path: Path) -> None:
    """Every contender processes all patches, and the service renders a picture of each top patch of the units that are
    not silent."""
    network_spec = NetworkSpec(blobs_url=place.blobs_url, architecture="test_resnet")
    checkpoint = passes.store_network(SilentJob(), network_spec)
    spec = place.pass_spec(checkpoint, ("layer4",), TOP_K)
    floor, tallied, ours = (run(SilentJob(), spec) for run in (passes.floor, passes.tally, passes.ours))
    assert floor.seconds > 0 and tallied.seconds > 0 and ours.peak_mb > 0
    assert ours.seconds > ours.merge_s > 0
    ref = ours.manifest
    manifest = ExtractionManifest.model_validate_json(open_blobs(place.blobs_url).get(ref.bucket, ref.key))
    assert (manifest.patches, len(manifest.layers[0].maxima)) == (PATCHES, 2)
    rendered = passes.pictures(
        SilentJob(), PicturesSpec(blobs_url=place.blobs_url, scratch=place.scratch, extraction=ref, size=64)
    )
    assert rendered.pictures % TOP_K == 0 and rendered.pictures > 0
    two_pass_spec = TwoPassSpec(
        blobs_url=place.blobs_url, tissue=str(place.folder), checkpoint=checkpoint, layers=["layer4"], top_k=TOP_K,
        units_timed=3, folder=str(tmp_path),
    )  # fmt: skip
    two = passes.two_pass(SilentJob(), two_pass_spec)
    assert (two.units_timed, two.units, two.saved) == (3, manifest.layers[0].units, 3 * TOP_K)
    saved = sorted((tmp_path / "layer4" / "0").iterdir())
    assert [path.name[:4] for path in saved] == ["0001", "0002", "0003", "0004"]


def test_the_original_makes_the_same_pictures(tmp_path: Path) -> None:
    """Before encoding, save_pictures shows and dims the same pixels as the product's overlay."""
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
        assert np.abs(saved.astype(int) - picture.astype(int)).mean() < 12  # the loss of JPEG


def test_the_second_pass_reads_the_maps_of_the_unit(place: Place) -> None:
    """forward_again returns the maps of one unit on its files."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3, stride=2)).eval()
    files = [path for path, _ in open_tissue(place.folder).files[:4]]
    maps = original.forward_again(network, {"conv": "0"}, 3, files, Preprocessing(size=32))
    ranked = original.largest_first(network, {"conv": "0"}, files, Preprocessing(size=32))["conv"]
    assert maps.shape == (4, 15, 15)
    assert maps.max((1, 2)).argsort()[::-1].tolist() == ranked[:, 3].tolist()


def test_the_summary() -> None:
    """summarise returns medians over the rounds, ratios within a round, and the original's second pass with its
    pictures against ours with pictures."""
    floors = [Pass(seconds=seconds, peak_mb=peak) for seconds, peak in ((10.0, 50.0), (20.0, 52.0), (12.0, 51.0))]
    ours = [full_pass(seconds, peak) for seconds, peak in ((11.0, 100.0), (21.0, 102.0), (15.0, 101.0))]
    two_pass = TwoPass(first_s=40.0, second_s=360.0, units_timed=2, units=10, saved=8)
    figures = summarise(floors, ours, Pictures(seconds=5.0, pictures=64), two_pass, full_pass(60.0, 104.0))
    assert (figures["floor_s"], figures["ours_s"], figures["two_pass_s"]) == (12.0, 15.0, 400.0)
    assert figures["over_floor"] == 1.1 and figures["over_floor_rounds"] == [1.1, 1.05, 1.25]
    assert figures["over_two_pass"] == 20.0
    assert (figures["rss_mb_n"], figures["rss_mb_4n"], figures["memory_growth"]) == (102.0, 104.0, round(104 / 102, 3))
    assert "2 of 10 units" in figures["two_pass_scaled"]


def full_pass(seconds: float, peak_mb: float) -> FullPass:
    """The figures of an extraction whose merge took a second."""
    manifest = ObjectRef(bucket="bench", key="manifest.json", sha256="0" * 64, size=1)
    return FullPass(seconds=seconds, merge_s=1.0, peak_mb=peak_mb, manifest=manifest)
