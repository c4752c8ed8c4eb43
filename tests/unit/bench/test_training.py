"""The bench of training: the work of its contenders, its arithmetic, and the shape of its figures. Durations are not
tested."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from bench import machine, training
from bench.commands import bench_app
from bench.contenders import Epoch, PatchFiles, bare_steps, our_loop, our_loop_cached, plain_loop
from bench.loading import LoadedEpoch, resident_mb, summarise_loading
from bench.tissue import open_tissue, store_tissue
from bench.training import Sizes, run_settings, summarise_rounds
from bench.turns import Lane
from services.common.errors import JobCrashed
from services.imaging.preprocessing import Preprocessing

TINY = Sizes(side=40, steps=2, rounds=1, loading_sides=(32, 40), patches=12, epochs=4, batch_size=2, image_size=64)


@pytest.fixture(scope="module")
def tissue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four patches below a folder."""
    return store_tissue(tmp_path_factory.mktemp("tissue") / "stored", TINY.side, 4)


@pytest.fixture
def epoch(tissue: Path) -> Epoch:
    """An epoch of the smallest network."""
    return Epoch(run_settings("test_resnet", TINY), tissue, torch.device("cpu"))


def test_the_data_set_and_the_files_are_the_same_patches(tissue: Path) -> None:
    """The data set and the files have the same bytes and both classes. Each patch is a square that is not blank."""
    stored = open_tissue(tissue)
    assert [label for _, label in stored.files] == [0, 1, 0, 1]
    for patch_id, (path, _) in enumerate(stored.files):
        assert stored.local.read(patch_id) == path.read_bytes()
        grey = np.asarray(Image.open(path))
        assert grey.shape == (TINY.side, TINY.side)
        assert grey.std() > 0


def test_the_plain_loop_sees_what_the_service_sees(tissue: Path) -> None:
    """PatchFiles returns the images of the service's preprocessing, except for rounding."""
    stored, preprocessing = open_tissue(tissue), Preprocessing(size=64)
    for number, (path, label) in enumerate(stored.files):
        image, found = PatchFiles(stored.files, preprocessing)[number]
        grey = torch.from_numpy(preprocessing.pixels(path.read_bytes(), path.name).copy())
        assert torch.allclose(image, preprocessing.normalise(grey[None])[0], atol=1e-5)
        assert found == label


@pytest.mark.parametrize("build", [our_loop, our_loop_cached, bare_steps, plain_loop])
def test_each_contender_makes_the_same_number_of_steps(
    epoch: Epoch, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every contender makes four steps of the optimizer in two epochs of two batches."""
    steps = 0
    real = torch.optim.SGD.step

    def counting(*arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        return real(*arguments)

    monkeypatch.setattr(torch.optim.SGD, "step", counting)
    train = build(epoch)
    train()
    train()
    assert steps == 4


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that is half as fast in one round changes no ratio. Medians and ranges are reported."""
    rates = {"ours": [90.0, 45.0, 99.0], "floor": [100.0, 50.0, 100.0], "plain": [60.0, 30.0, 60.0]}
    found = summarise_rounds(rates)
    assert (found["ours"], found["floor"], found["plain"]) == (90.0, 100.0, 60.0)
    assert (found["over_floor"], found["over_plain"]) == (0.9, 1.5)
    assert found["ranges"]["ours"] == [45.0, 99.0]
    assert found["ranges"]["over_floor"] == [0.9, 0.99]


def test_memory_growth_counts_from_the_third_epoch() -> None:
    """Memory that the first epochs allocate does not count as growth, and the first epoch's rate is separate."""
    decoded = [LoadedEpoch(*values) for values in ((1.0, 100.0), (30.0, 180.0), (20.0, 200.0), (10.0, 203.5))]
    cached = [LoadedEpoch(*values) for values in ((1.0, 0.0), (500.0, 0.0), (700.0, 0.0))]
    assert summarise_loading(decoded, cached) == {
        "first_epoch": 1,
        "later_epochs": 20,
        "later_epochs_cached": 600,
        "epochs": 4,
        "resident_mb": 203.5,
        "growth_mb": 3.5,
    }


def test_held_memory_is_measured() -> None:
    """resident_mb grows by 200 when 200 megabytes are allocated."""
    before = resident_mb()
    held = np.ones(200 << 20, dtype=np.uint8)
    assert resident_mb() - before == pytest.approx(held.nbytes / 2**20, rel=0.1)


def test_a_contender_works_in_its_own_process(epoch: Epoch) -> None:
    """turn returns the seconds of each epoch. JobCrashed names a contender whose process has ended."""
    with Lane("floor", bare_steps, epoch, as_job=True) as lane:
        assert 0 < lane.turn() < math.inf
        assert 0 < lane.turn() < math.inf
        lane._process.kill()
        with pytest.raises(JobCrashed, match="the process of floor has ended"):
            lane.turn()


def test_the_last_line_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """`primitives bench training --quick --json` prints figures of each network, and of loading for each patch size."""

    def in_this_process(builds: Any, _epoch: Epoch, _images: int, rounds: int) -> dict[str, list[float]]:
        return {name: [10.0 + place] * rounds for place, name in enumerate(builds)}

    monkeypatch.setattr(training, "take_turns", in_this_process)
    monkeypatch.setattr(training, "QUICK", {"cpu": TINY})
    monkeypatch.setattr(machine, "QUIET_LIMIT_S", 0.0)
    monkeypatch.setattr(machine, "WATCH_S", 0.0)
    monkeypatch.setenv("PRIMITIVES_DEVICE", "cpu")
    done = CliRunner().invoke(bench_app, ["training", "--quick", "--json"])
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout.splitlines()[-1])
    for network in ("alexnet", "resnet18"):
        assert {name: figures[network][name] for name in ("ours", "ours_cached", "floor", "plain")} == {
            "ours": 10.0,
            "ours_cached": 11.0,
            "floor": 12.0,
            "plain": 13.0,
        }
    assert figures["targets"] == {"over_floor": 0.95, "over_plain": 1.3}
    for side in ("32", "40"):
        assert figures["loading"][side]["epochs"] == 4
        assert figures["loading"][side]["first_epoch"] > 0
    assert {"torch", "threads", "device", "busy_before"} < set(figures["machine"])
