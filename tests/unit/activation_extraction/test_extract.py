"""Extraction of whole networks against a slow, obvious reference in float64, with planted ties."""

import io
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load
from torch import nn

from services.activation_extraction import extract as module
from services.activation_extraction import merge_progress as told
from services.activation_extraction.extract import BatchSizing, TallyOptions, extract, read_batches
from services.activation_extraction.job import extract_shard, merge_extraction
from services.activation_extraction.layer_results import head_weights
from services.activation_extraction.tally import LayerTally
from services.common.blobs import FolderBlobs, ObjectRef
from services.common.blobs.port import read_verified
from services.common.errors import InvalidInput, JobStopped
from services.imaging.architectures import build_network, head_path, resolve_layers
from services.imaging.batch_decode import BatchDecoder
from services.imaging.checkpoint import load_network, open_checkpoint
from services.imaging.dataset import Dataset
from services.imaging.decode import decode_grey
from services.imaging.manifests import ExtractionManifest, ReceptiveField, read_table
from services.imaging.preprocessing import Batch, Preprocessing
from tests.fakes.data import RecordingJob, SilentJob, store_checkpoint, store_dataset

CPU = torch.device("cpu")
K = 8
PATCHES, COPIES = 26, 6
NETWORKS = [
    ("alexnet", 96, ["conv1", "conv5"]),
    ("resnet18", 64, ["layer2", "layer4"]),
    ("test_vit", 160, ["blocks.0", "block1"]),
]


class Stored:
    """A data set with planted ties and a network on it."""

    def __init__(self, folder: Path, architecture: str, size: int, shard_patches: int = 4096) -> None:
        self.blobs = FolderBlobs(folder / "blobs")
        counts = {"train": 3, "val": PATCHES}
        self.data, self.dataset = store_dataset(self.blobs, folder / "ddsm", counts, shard_patches, COPIES)
        self.checkpoint, _ = store_checkpoint(self.blobs, self.data.manifest, architecture, size)
        self.manifest = open_checkpoint(self.blobs, self.checkpoint)
        self.network = load_network(self.blobs, self.manifest)
        self.scratch = folder / "scratch"
        self.scratch.mkdir()

    def extract(
        self, layers: list[str], batch_size: int, split: str = "val", top_k: int = K, at_once: int = 1
    ) -> dict[str, torch.Tensor]:
        """One pass over a split in this process: by `<layer>/<name>` the state and the maxima, and the `ids`."""
        shards = self.data.shards(split)
        patches = (pair for shard in shards for pair in self.data.stream(shard))
        preprocessing = self.manifest.preprocessing
        tallies = extract(
            self.network,
            resolve_layers(self.manifest.architecture, self.network, layers),
            read_batches(patches, preprocessing, batch_size),
            TallyOptions.of(top_k, self.data.ids(split)),
            torch.device("cpu"),
            preprocessing,
            at_once=at_once,
        )
        kept: dict[str, torch.Tensor] = {}
        for name, tally in tallies.items():
            matrix = tally.matrix()
            kept |= {f"{name}/{part}": value for part, value in tally.state_dict().items()}
            kept |= {f"{name}/maxima": matrix["maxima"].float(), "ids": matrix["ids"]}
        return kept

    def run(
        self, layers: list[str], order: list[int] | None = None, job: SilentJob | None = None, device: str = "cpu"
    ) -> ExtractionManifest:
        """Extract shard by shard, as the service does, and merge, with reports to `job`."""
        common = {
            "blobs_url": self.blobs.url,
            "scratch": str(self.scratch),
            "extraction_id": "extraction-1",
            "dataset": self.dataset.model_dump(),
            "checkpoint": self.checkpoint.model_dump(),
            "split": "val",
            "layers": layers,
            "top_k": K,
        }
        numbers = order or list(range(len(self.data.shards("val"))))
        shards = [extract_shard(SilentJob(), shard=n, batch_size=8, device=device, **common) for n in numbers]
        ref = merge_extraction(job or SilentJob(), shards=shards, **common)
        return ExtractionManifest.model_validate_json(read_verified(self.blobs, ObjectRef.model_validate(ref)))


def reference(stored: Stored, layer: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(patches, units) maxima in float64, patch ids, and (patches, units, height, width) maps: one patch at a time."""
    network = stored.network.double()
    module = network.get_submodule(resolve_layers(stored.manifest.architecture, network, [layer])[layer])
    preprocessing, data = stored.manifest.preprocessing, stored.data
    ids = [i for shard in data.shards("val") for i in range(shard.first, shard.last + 1)]
    maps = []
    kept: list[torch.Tensor] = []
    handle = module.register_forward_hook(lambda _m, _i, out: kept.append(out.clone()))
    for patch_id in ids:
        grey = decode_grey(data.read(patch_id), "x").resize((preprocessing.size,) * 2, 2)
        image = torch.from_numpy(np.array(grey)).double()[None, None] / 255
        mean = torch.tensor(preprocessing.mean).double().view(1, 3, 1, 1)
        std = torch.tensor(preprocessing.std).double().view(1, 3, 1, 1)
        kept.clear()
        with torch.inference_mode():
            network((image - mean) / std)
        out = kept[0][0]
        maps.append((out if out.dim() == 3 else out[1:].T.reshape(-1, 10, 10)).numpy())  # tokens of test_vit
    handle.remove()
    stored.network.float()
    stacked = np.stack(maps)
    return stacked.max((2, 3)), np.array(ids), stacked


@pytest.mark.parametrize(("architecture", "size", "layers"), NETWORKS)
def test_top_patches_equal_the_reference(tmp_path: Path, architecture: str, size: int, layers: list[str]) -> None:
    """Order, values, positions and maps of every unit equal the float64 reference, up to float32 rounding; of two
    patches with the same image the lower id comes first."""
    stored = Stored(tmp_path, architecture, size)
    state = stored.extract(layers, batch_size=8)
    for layer in layers:
        maxima, ids, maps = reference(stored, layer)
        scale = np.abs(maxima).max()
        np.testing.assert_allclose(state[f"{layer}/maxima"].numpy(), maxima, rtol=1e-3, atol=1e-5 * scale)
        for unit in range(maxima.shape[1]):
            order = sorted(range(len(ids)), key=lambda row: (-maxima[row, unit], ids[row]))
            found = [int(i) - ids[0] for i in state[f"{layer}/ids"][unit]]
            # Rounding may swap two patches whose maxima are nearer than it; nothing else may differ.
            gaps = np.abs(maxima[found, unit] - maxima[order[:K], unit])
            assert (gaps <= 2e-5 * scale).all(), (layer, unit, found, order[:K])
            for rank, row in enumerate(found):
                kept = state[f"{layer}/maps"][unit, rank].numpy().astype(np.float64)
                np.testing.assert_allclose(kept, maps[row, unit], atol=2e-3 * max(scale, 1e-6))
                place = state[f"{layer}/positions"][unit, rank].numpy()
                assert maps[row, unit][tuple(place)] >= maxima[row, unit] - 2e-5 * scale


@pytest.mark.parametrize(("architecture", "size", "layers"), NETWORKS)
def test_planted_ties_go_to_the_lower_patch(tmp_path: Path, architecture: str, size: int, layers: list[str]) -> None:
    """A patch that stands in the data set twice gives the same bits twice, and its lower id always ranks higher."""
    stored = Stored(tmp_path, architecture, size)
    state = stored.extract(layers, batch_size=8)
    first = int(state["ids"][0])
    for layer in layers:
        maxima = state[f"{layer}/maxima"]
        assert torch.equal(maxima[:COPIES], maxima[PATCHES : PATCHES + COPIES])
        met = 0
        for unit, ranked in enumerate((state[f"{layer}/ids"] - first).tolist()):
            for original in range(COPIES):
                copy = original + PATCHES
                if copy in ranked:
                    assert original in ranked, (layer, unit)
                    assert ranked.index(original) < ranked.index(copy), (layer, unit)
                    met += 1
        assert met > 0, "no tie was among the top: plant more"


@pytest.mark.parametrize(("architecture", "size", "layers"), NETWORKS)
def test_batch_size_changes_nothing_beyond_rounding(
    tmp_path: Path, architecture: str, size: int, layers: list[str]
) -> None:
    """Batches of 5 and of 32 give maxima equal up to the rounding of the convolutions."""
    stored = Stored(tmp_path, architecture, size)
    small, large = stored.extract(layers, 5), stored.extract(layers, 32)
    for layer in layers:
        scale = small[f"{layer}/maxima"].abs().max()
        assert torch.allclose(small[f"{layer}/maxima"], large[f"{layer}/maxima"], rtol=1e-3, atol=1e-5 * float(scale))


@pytest.mark.parametrize("shard_patches", [7, 10])
def test_shards_in_any_order_give_the_same_bytes(tmp_path: Path, shard_patches: int) -> None:
    """However the split is cut into shards, and in whatever order they are done, all results are the same bytes."""
    layers = ["layer2", "layer4"]
    whole = Stored(tmp_path / "whole", "resnet18", 64).run(layers)
    cut = Stored(tmp_path / "cut", "resnet18", 64, shard_patches)
    count = len(cut.data.shards("val"))
    assert count > 2
    forwards, backwards = cut.run(layers), cut.run(layers, list(reversed(range(count))))
    for one, two, three in zip(whole.layers, forwards.layers, backwards.layers, strict=True):
        for part in ("top", "sample", "correlation", "statistics", "ranking"):
            assert len({getattr(layer, part).sha256 for layer in (one, two, three)}) == 1, (one.name, part)
        assert [ref.sha256 for ref in two.maxima] == [ref.sha256 for ref in three.maxima]


def test_a_merge_reports_within_a_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its newest progress again while it fetches, goes through parts, blocks and pieces, and stores; but once at the
    beginning and once a layer where that takes less than ALIVE_S."""
    stored, layers = Stored(tmp_path, "alexnet", 96, shard_patches=10), ["conv1", "conv5"]
    quick, long = RecordingJob(), RecordingJob()
    monkeypatch.setattr(told, "ALIVE_S", 3600.0)
    stored.run(layers, job=quick)
    assert quick.done == [0, 1, 2]
    monkeypatch.setattr(told, "ALIVE_S", 0.0)
    stored.run(layers, job=long)
    shards, kinds = len(stored.data.shards("val")), 5
    assert long.done == sorted(long.done) and long.done[-1] == 2
    assert long.done.count(0) > shards + shards + kinds  # states, parts of maxima, and what is stored of a layer


def test_threads_of_a_merge_report_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one is reporting no other is, for the job's connection would mix what they send."""
    monkeypatch.setattr(told, "ALIVE_S", 0.0)
    gate, met = threading.Barrier(2), []

    class Gated(SilentJob):
        def report(self, **_progress: object) -> None:
            """Wait for another report to begin meanwhile."""
            with suppress(threading.BrokenBarrierError):
                met.append(gate.wait(0.2))

    merge = told.MergeProgress(Gated())  # type: ignore[arg-type]
    threads = [threading.Thread(target=merge.alive) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert met == []


def test_the_manifest_says_what_there_is(tmp_path: Path) -> None:
    """The manifest names network, data and layers; the last layer is ranked by influence, others by selectivity."""
    stored = Stored(tmp_path, "resnet18", 64)
    manifest = stored.run(["layer2", "layer4"])
    assert (manifest.patches, manifest.top_k, manifest.split) == (PATCHES + COPIES, K, "val")
    assert manifest.network.architecture == "resnet18"
    assert [(layer.name, layer.units, layer.ranking_method) for layer in manifest.layers] == [
        ("layer2", 128, "selectivity"),
        ("layer4", 512, "influence"),
    ]
    assert [layer.field for layer in manifest.layers] == [ReceptiveField(size=99, stride=8, start=-49), None]
    ranking = read_table(stored.blobs, manifest.layers[1].ranking).to_pylist()
    assert len(ranking) == 3 * 512
    top = load(read_verified(stored.blobs, manifest.layers[1].top))
    assert top["maps"].shape == (512, K, 2, 2)
    assert top["maps"].dtype == torch.float16
    assert Dataset.open(stored.blobs, manifest.dataset).manifest.name == "test"


def test_fewer_patches_than_k_are_all_kept(tmp_path: Path) -> None:
    """With k above the number of patches every patch is ranked once."""
    stored = Stored(tmp_path, "test_resnet", 64)
    layers = resolve_layers("test_resnet", stored.network, [])
    state = stored.extract(list(layers), 8, "train", 64)
    total = 3 + 3  # store_dataset copies at most what is there
    for layer in layers:
        assert state[f"{layer}/ids"].shape[1] == total
        assert state[f"{layer}/ids"].sort(1).values.unique(dim=0).tolist() == [list(range(total))]


def test_a_network_that_puts_out_nan_is_an_error(tmp_path: Path) -> None:
    """NaN raises InvalidInput that names layer and patch, and nothing is stored."""
    stored = Stored(tmp_path, "resnet18", 64)
    with torch.no_grad():
        stored.network.get_submodule("layer3").get_parameter("0.conv1.weight")[5] = float("nan")
    assert torch.isfinite(stored.extract(["layer2"], 8)["layer2/maxima"]).all()
    with pytest.raises(InvalidInput, match=r"layer layer4, unit \d+: the activation on patch \d+ of .* is nan"):
        stored.extract(["layer2", "layer4"], 8)


def pass_maps(maps: torch.Tensor, device: torch.device = CPU) -> dict[str, LayerTally]:
    """A pass over a network that puts out these maps, (2, 3, 4, 4), whatever it sees."""

    class Given(nn.Module):
        def forward(self, _images: torch.Tensor) -> torch.Tensor:
            return maps

    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.given, self.weight = Given(), nn.Parameter(torch.zeros(1))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.given(images).clamp(min=0)

    batch = Batch(torch.tensor([7, 9]), torch.empty(0), torch.zeros((2, 4, 4), dtype=torch.uint8))
    options = TallyOptions.of(2, np.array([7, 9]))
    return extract(Around().to(device), {"l": "given"}, iter([batch]), options, device, Preprocessing(size=4))


def test_infinity_below_zero_is_an_error_though_a_maximum_hides_it() -> None:
    """What lies below zero is looked at too, and named."""
    maps = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    maps[1, 2, 3, 0] = -torch.inf
    with pytest.raises(InvalidInput, match=r"layer l, unit 2: the activation on patch 9 of the data set is -inf"):
        pass_maps(maps)


@pytest.mark.parametrize(("architecture", "size", "layers"), NETWORKS)
def test_batches_beside_each_other_give_the_same_bits(
    tmp_path: Path, architecture: str, size: int, layers: list[str]
) -> None:
    """However many are forwarded at once, whichever ends first; the network keeps its weights and has no hook left."""
    stored = Stored(tmp_path, architecture, size)
    weights = {name: value.clone() for name, value in stored.network.state_dict().items()}
    threads = torch.get_num_threads()
    alone = stored.extract(layers, 3)
    for at_once in (2, 3, 5):
        beside = stored.extract(layers, 3, at_once=at_once)
        assert beside.keys() == alone.keys()
        assert [name for name in alone if not torch.equal(alone[name], beside[name])] == []
    assert all(torch.equal(value, weights[name]) for name, value in stored.network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in stored.network.modules())
    assert torch.get_num_threads() == threads


def test_a_fault_beside_other_batches_is_named(tmp_path: Path) -> None:
    """As when they come one after the other."""
    stored = Stored(tmp_path, "resnet18", 64)
    with torch.no_grad():
        stored.network.get_submodule("layer3").get_parameter("0.conv1.weight")[5] = float("nan")
    with pytest.raises(InvalidInput, match=r"layer layer4, unit \d+: the activation on patch \d+ of .* is nan"):
        stored.extract(["layer2", "layer4"], 3, at_once=2)


def test_batches_beside_each_other_end_when_one_leaves(tmp_path: Path) -> None:
    """What is told to leave does: batches that are under way stop at their next layer, and no more is begun."""
    stored = Stored(tmp_path, "resnet18", 64)
    preprocessing, begun = stored.manifest.preprocessing, []
    empty = torch.empty(0, dtype=torch.int64)

    def batches() -> Iterator[Batch]:
        for number in range(50):
            begun.append(number)
            yield Batch(torch.tensor([number]), empty, torch.zeros((1, 64, 64), dtype=torch.uint8))

    def leave(_done: int) -> None:
        raise JobStopped("told to")

    options = TallyOptions.of(2, np.arange(50))
    with pytest.raises(JobStopped, match="told to"):
        extract(stored.network, {"l": "layer4"}, batches(), options, CPU, preprocessing, leave, at_once=2)
    assert len(begun) <= 4


def test_a_large_sum_is_no_fault() -> None:
    """Activations whose sum alone leaves the range of float32 are numbers all the same, and are kept once."""
    top = pass_maps(torch.full((2, 3, 4, 4), 3e38))["l"].state_dict()
    assert top["ids"].tolist() == [[7, 9]] * 3
    assert top["histogram"].sum() == 2 * 3 * 16


def test_a_layer_that_a_forward_meets_twice_is_refused(tmp_path: Path) -> None:
    """A ReLU that a block uses twice has no one map a patch."""
    stored = Stored(tmp_path, "resnet18", 64)
    with pytest.raises(InvalidInput, match=r"layer layer4\.0\.relu is a module that one forward calls more than once"):
        stored.extract(["layer4.0.relu"], 8)


def test_influence_follows_the_window_that_the_papers_network_averages() -> None:
    """ResNet's last maps at 227 pixels are 8x8, and it averages 7x7 of them: its layer4 has influence all the same."""
    network = build_network("resnet18", 3, semantics="torchvision-0.1.9").eval()
    weights = head_weights(network, "layer4", 227)
    assert weights is not None and np.array_equal(weights, network.fc.weight.detach().numpy())
    assert head_weights(network, "layer4.0.conv1", 227) is None
    assert head_weights(network, "avgpool", 227) is not None


@pytest.mark.parametrize(
    ("architecture", "module", "follows"),
    [
        ("resnet18", "layer4", True),
        ("resnet18", "layer4.0.conv1", False),
        ("efficientnet_lite0", "bn2", True),
        ("test_vit", "blocks.0", False),
        ("alexnet", "features.10", False),
    ],
)
def test_influence_needs_the_linear_head_to_follow(architecture: str, module: str, follows: bool) -> None:
    """Only the layer whose averaged maps the last layer multiplies has influence; equal width alone proves nothing."""
    network = build_network(architecture, 3).eval()
    weights = head_weights(network, module, 160)
    assert (weights is not None) == follows
    if weights is not None:
        assert np.array_equal(weights, network.get_submodule(head_path(network)).weight.detach().numpy())


MB = 1 << 20


@pytest.mark.parametrize(
    ("step", "asked", "threads", "expected"),
    [
        (6 * MB, 32, 2, (32, 2)),
        (6 * MB, 32, 1, (32, 1)),
        (6 * MB, 5, 2, (5, 2)),
        (26 * MB, 32, 2, (7, 2)),
        (400 * MB, 32, 8, (1, 1)),
        (250 * MB, 32, 8, (1, 2)),
        (MB, 32, 16, (32, 4)),
        (MB, 32, 6, (32, 3)),
        (MB, 32, 7, (32, 3)),
        (MB, 32, 5, (32, 4)),
    ],
)
def test_what_a_cpu_forwards_stays_within_memory(
    step: int, asked: int, threads: int, expected: tuple[int, int]
) -> None:
    """Never more than asked for, one patch at least; threads are left idle only where memory or their number says."""
    pace = BatchSizing.within("cpu", asked, step, threads)
    assert (pace.batch_size, pace.at_once) == expected


@pytest.mark.parametrize(
    ("step", "asked", "expected"),
    [(6 * MB, 32, 256), (6 * MB, 600, 341), (6 * MB, 300, 300), (26 * MB, 4, 78), (4096 * MB, 32, 1)],
)
def test_a_gpu_takes_more_at_a_time(step: int, asked: int, expected: int) -> None:
    """As many as keep it at work, or more if asked for, where its memory holds what they take; one batch at a time."""
    assert BatchSizing.within("cuda", asked, step, 16) == BatchSizing(expected, 1)


def test_memory_is_that_of_the_largest_module(tmp_path: Path) -> None:
    """Of all of a network, whichever layers are asked for: ReLU behind resnet18's first convolution, at 64 pixels."""
    stored = Stored(tmp_path, "resnet18", 64)
    assert module._largest_step(stored.network, CPU, stored.manifest.preprocessing) == 2 * 64 * 32 * 32 * 4
    assert not any(one._forward_hooks for one in stored.network.modules())


@pytest.mark.parametrize("batch_size", [3, 7, 32])
def test_patches_decoded_together_are_those_decoded_alone(tmp_path: Path, batch_size: int) -> None:
    """Every batch has the same ids and bits, the filled last one too; what cannot be decoded together is decoded."""
    stored = Stored(tmp_path, "test_resnet", 64)
    patches = [pair for shard in stored.data.shards("val") for pair in stored.data.stream(shard)]
    colours = io.BytesIO()
    Image.open(io.BytesIO(patches[4][1])).convert("RGB").save(colours, "JPEG")
    patches[4] = (patches[4][0], colours.getvalue())
    preprocessing = stored.manifest.preprocessing
    decoder = BatchDecoder(preprocessing.size, torch.device("cpu"))
    together = list(read_batches(iter(patches), preprocessing, batch_size, decoder))
    alone = list(read_batches(iter(patches), preprocessing, batch_size))
    assert len(together) == len(alone) == -(-len(patches) // batch_size)
    for one, other in zip(together, alone, strict=True):
        assert torch.equal(one.ids, other.ids)
        assert torch.equal(one.pixels, other.pixels)
