"""Extraction with real networks, compared with a slow and obvious reference in float64, with planted ties."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load
from torch import nn

from services.activation_extraction.batch_runner import BatchRunner
from services.activation_extraction.batches import read_batches
from services.activation_extraction.extract import extract
from services.activation_extraction.job import extract_shard, merge_extraction
from services.activation_extraction.specs import ExtractionSpec, MergeSpec, ShardSpec
from services.activation_extraction.tally import LayerTally, TallyOptions
from services.common.blobs import FolderBlobs
from services.common.blobs.port import read_verified
from services.common.errors import InvalidInput, JobStopped
from services.imaging.architectures import resolve_layers
from services.imaging.checkpoint import load_network, open_checkpoint
from services.imaging.dataset import Dataset
from services.imaging.decode import decode_grey
from services.imaging.manifests import ExtractionManifest, ReceptiveField, read_table
from services.imaging.preprocessing import Batch, Preprocessing
from tests.fakes.data import SilentJob, store_checkpoint, store_dataset

CPU = torch.device("cpu")
K = 8
PATCHES, COPIES = 26, 6
NETWORKS = [
    ("alexnet", 96, ["conv1", "conv5"]),
    ("resnet18", 64, ["layer2", "layer4"]),
    ("test_vit", 160, ["blocks.0", "block1"]),
]


class Stored:
    """A stored data set with planted ties, and a stored network."""

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
        """Extract a split in this process. The result has the states and the maxima by `<layer>/<name>`, and the
        `ids`."""
        shards = self.data.shards(split)
        patches = (pair for shard in shards for pair in self.data.stream(shard))
        preprocessing = self.manifest.preprocessing
        modules = resolve_layers(self.manifest.architecture, self.network, layers)
        tallies = extract(
            BatchRunner(self.network, modules, preprocessing, CPU),
            read_batches(patches, preprocessing, batch_size),
            TallyOptions.of(top_k, self.data.ids(split)),
            at_once=at_once,
        )
        found: dict[str, torch.Tensor] = {}
        for name, tally in tallies.items():
            matrix = tally.matrix()
            found |= {f"{name}/{part}": value for part, value in tally.state_dict().items()}
            found |= {f"{name}/maxima": matrix["maxima"].float(), "ids": matrix["ids"]}
        return found

    def run(
        self, layers: list[str], order: list[int] | None = None, job: SilentJob | None = None, device: str = "cpu"
    ) -> ExtractionManifest:
        """Extract shard by shard and merge, as the service does. `job` receives the reports of the merge."""
        common = dict(
            ExtractionSpec(
                blobs_url=self.blobs.url,
                scratch=str(self.scratch),
                extraction_id="extraction-1",
                dataset=self.dataset,
                checkpoint=self.checkpoint,
                split="val",
                layers=layers,
                top_k=K,
            )
        )
        numbers = order or list(range(len(self.data.shards("val"))))
        specs = [ShardSpec(**common, shard=number, batch_size=8, device=device) for number in numbers]
        shards = [extract_shard(SilentJob(), spec).state for spec in specs]
        ref = merge_extraction(job or SilentJob(), MergeSpec(**common, shards=shards))
        return ExtractionManifest.model_validate_json(read_verified(self.blobs, ref))


def reference(stored: Stored, layer: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute (patches, units) maxima in float64, patch ids, and (patches, units, height, width) maps, one patch at a
    time."""
    network = stored.network.double()
    module = network.get_submodule(resolve_layers(stored.manifest.architecture, network, [layer])[layer])
    preprocessing, data = stored.manifest.preprocessing, stored.data
    ids = [i for shard in data.shards("val") for i in range(shard.first, shard.last + 1)]
    maps = []
    outputs: list[torch.Tensor] = []
    handle = module.register_forward_hook(lambda _m, _i, out: outputs.append(out.clone()))
    for patch_id in ids:
        grey = decode_grey(data.read(patch_id), "x").resize((preprocessing.size,) * 2, 2)
        image = torch.from_numpy(np.array(grey)).double()[None, None] / 255
        mean = torch.tensor(preprocessing.mean).double().view(1, 3, 1, 1)
        std = torch.tensor(preprocessing.std).double().view(1, 3, 1, 1)
        outputs.clear()
        with torch.inference_mode():
            network((image - mean) / std)
        out = outputs[0][0]
        maps.append((out if out.dim() == 3 else out[1:].T.reshape(-1, 10, 10)).numpy())  # tokens of test_vit
    handle.remove()
    stored.network.float()
    stacked = np.stack(maps)
    return stacked.max((2, 3)), np.array(ids), stacked


@pytest.mark.parametrize(("architecture", "size", "layers"), NETWORKS)
def test_top_patches_equal_the_reference(tmp_path: Path, architecture: str, size: int, layers: list[str]) -> None:
    """Order, values, positions and maps of every unit equal the float64 reference, up to float32 rounding. If two
    patches have the same image, the lower id comes first."""
    stored = Stored(tmp_path, architecture, size)
    state = stored.extract(layers, batch_size=8)
    for layer in layers:
        maxima, ids, maps = reference(stored, layer)
        scale = np.abs(maxima).max()
        np.testing.assert_allclose(state[f"{layer}/maxima"].numpy(), maxima, rtol=1e-3, atol=1e-5 * scale)
        for unit in range(maxima.shape[1]):
            order = sorted(range(len(ids)), key=lambda row: (-maxima[row, unit], ids[row]))
            found = [int(i) - ids[0] for i in state[f"{layer}/ids"][unit]]
            # Rounding may swap two patches with nearly equal maxima; nothing else may differ.
            gaps = np.abs(maxima[found, unit] - maxima[order[:K], unit])
            assert (gaps <= 2e-5 * scale).all(), (layer, unit, found, order[:K])
            for rank, row in enumerate(found):
                stored_map = state[f"{layer}/maps"][unit, rank].numpy().astype(np.float64)
                np.testing.assert_allclose(stored_map, maps[row, unit], atol=2e-3 * max(scale, 1e-6))
                position = state[f"{layer}/positions"][unit, rank].numpy()
                assert maps[row, unit][tuple(position)] >= maxima[row, unit] - 2e-5 * scale


@pytest.mark.parametrize(("architecture", "size", "layers"), NETWORKS)
def test_planted_ties_go_to_the_lower_patch(tmp_path: Path, architecture: str, size: int, layers: list[str]) -> None:
    """A patch that the data set contains twice produces the same bits twice, and its lower id always ranks higher."""
    stored = Stored(tmp_path, architecture, size)
    state = stored.extract(layers, batch_size=8)
    first = int(state["ids"][0])
    for layer in layers:
        maxima = state[f"{layer}/maxima"]
        assert torch.equal(maxima[:COPIES], maxima[PATCHES : PATCHES + COPIES])
        ties = 0
        for unit, ranked in enumerate((state[f"{layer}/ids"] - first).tolist()):
            for original in range(COPIES):
                copy = original + PATCHES
                if copy in ranked:
                    assert original in ranked, (layer, unit)
                    assert ranked.index(original) < ranked.index(copy), (layer, unit)
                    ties += 1
        assert ties > 0, "no tie is among the top patches: plant more"


@pytest.mark.parametrize(("architecture", "size", "layers"), NETWORKS)
def test_batch_size_changes_nothing_beyond_rounding(
    tmp_path: Path, architecture: str, size: int, layers: list[str]
) -> None:
    """Batches of 5 and of 32 patches lead to maxima that are equal up to the rounding of the convolutions."""
    stored = Stored(tmp_path, architecture, size)
    small, large = stored.extract(layers, 5), stored.extract(layers, 32)
    for layer in layers:
        scale = small[f"{layer}/maxima"].abs().max()
        assert torch.allclose(small[f"{layer}/maxima"], large[f"{layer}/maxima"], rtol=1e-3, atol=1e-5 * float(scale))


@pytest.mark.parametrize("shard_patches", [7, 10])
def test_shards_in_any_order_lead_to_the_same_bytes(tmp_path: Path, shard_patches: int) -> None:
    """All results have the same bytes, however the split is cut into shards and in whatever order they are
    extracted."""
    layers = ["layer2", "layer4"]
    uncut = Stored(tmp_path / "uncut", "resnet18", 64).run(layers)
    cut = Stored(tmp_path / "cut", "resnet18", 64, shard_patches)
    count = len(cut.data.shards("val"))
    assert count > 2
    forwards, backwards = cut.run(layers), cut.run(layers, list(reversed(range(count))))
    for one, two, three in zip(uncut.layers, forwards.layers, backwards.layers, strict=True):
        for part in ("top", "sample", "correlation", "statistics", "ranking"):
            assert len({getattr(layer, part).sha256 for layer in (one, two, three)}) == 1, (one.name, part)
        assert [ref.sha256 for ref in two.maxima] == [ref.sha256 for ref in three.maxima]


def test_the_manifest_describes_the_results(tmp_path: Path) -> None:
    """The manifest names network, data set and layers. The last layer is ranked by influence, others by selectivity."""
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


def test_fewer_patches_than_k_are_all_ranked(tmp_path: Path) -> None:
    """Every patch is ranked once if k is larger than the number of patches."""
    stored = Stored(tmp_path, "test_resnet", 64)
    layers = resolve_layers("test_resnet", stored.network, [])
    state = stored.extract(list(layers), 8, "train", 64)
    total = 3 + 3  # store_dataset copies at most all patches of a split
    for layer in layers:
        assert state[f"{layer}/ids"].shape[1] == total
        assert state[f"{layer}/ids"].sort(1).values.unique(dim=0).tolist() == [list(range(total))]


def test_nan_is_an_error(tmp_path: Path) -> None:
    """extract raises InvalidInput that names layer and patch of a NaN in an extracted layer."""
    stored = Stored(tmp_path, "resnet18", 64)
    with torch.no_grad():
        stored.network.get_submodule("layer3").get_parameter("0.conv1.weight")[5] = float("nan")
    assert torch.isfinite(stored.extract(["layer2"], 8)["layer2/maxima"]).all()
    with pytest.raises(InvalidInput, match=r"layer layer4, unit \d+: the activation on patch \d+ of .* is nan"):
        stored.extract(["layer2", "layer4"], 8)


def pass_maps(maps: torch.Tensor, device: torch.device = CPU) -> dict[str, LayerTally]:
    """Extract from a network whose output is always these (2, 3, 4, 4) maps."""

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
    runner = BatchRunner(Around().to(device), {"l": "given"}, Preprocessing(size=4), device)
    return extract(runner, iter([batch]), options)


def test_negative_infinity_is_an_error() -> None:
    """extract raises InvalidInput for negative infinity, although it cannot be seen in a maximum."""
    maps = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    maps[1, 2, 3, 0] = -torch.inf
    with pytest.raises(InvalidInput, match=r"layer l, unit 2: the activation on patch 9 of the data set is -inf"):
        pass_maps(maps)


@pytest.mark.parametrize(("architecture", "size", "layers"), NETWORKS)
def test_batches_in_parallel_lead_to_the_same_bits(
    tmp_path: Path, architecture: str, size: int, layers: list[str]
) -> None:
    """The bits do not depend on the number of batches in parallel. The network keeps its weights and has no hook
    left."""
    stored = Stored(tmp_path, architecture, size)
    weights = {name: value.clone() for name, value in stored.network.state_dict().items()}
    threads = torch.get_num_threads()
    in_turn = stored.extract(layers, 3)
    for at_once in (2, 3, 5):
        parallel = stored.extract(layers, 3, at_once=at_once)
        assert parallel.keys() == in_turn.keys()
        assert [name for name in in_turn if not torch.equal(in_turn[name], parallel[name])] == []
    assert all(torch.equal(value, weights[name]) for name, value in stored.network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in stored.network.modules())
    assert torch.get_num_threads() == threads


def test_nan_in_parallel_batches_is_an_error(tmp_path: Path) -> None:
    """extract raises the same error as for batches that run one after the other."""
    stored = Stored(tmp_path, "resnet18", 64)
    with torch.no_grad():
        stored.network.get_submodule("layer3").get_parameter("0.conv1.weight")[5] = float("nan")
    with pytest.raises(InvalidInput, match=r"layer layer4, unit \d+: the activation on patch \d+ of .* is nan"):
        stored.extract(["layer2", "layer4"], 3, at_once=2)


def test_parallel_batches_end_when_the_job_stops(tmp_path: Path) -> None:
    """When on_patches raises JobStopped, running batches stop at their next layer, and no other batch begins."""
    stored = Stored(tmp_path, "resnet18", 64)
    preprocessing, begun = stored.manifest.preprocessing, []
    empty = torch.empty(0, dtype=torch.int64)

    def batches() -> Iterator[Batch]:
        for number in range(50):
            begun.append(number)
            yield Batch(torch.tensor([number]), empty, torch.zeros((1, 64, 64), dtype=torch.uint8))

    def stop(_done: int) -> None:
        raise JobStopped("requested")

    options = TallyOptions.of(2, np.arange(50))
    runner = BatchRunner(stored.network, {"l": "layer4"}, preprocessing, CPU)
    with pytest.raises(JobStopped, match="requested"):
        extract(runner, batches(), options, stop, at_once=2)
    assert len(begun) <= 4


def test_a_large_sum_is_no_error() -> None:
    """Activations are tallied, and only once, if their sum is out of the range of float32 but they are not."""
    top = pass_maps(torch.full((2, 3, 4, 4), 3e38))["l"].state_dict()
    assert top["ids"].tolist() == [[7, 9]] * 3
    assert top["histogram"].sum() == 2 * 3 * 16


def test_a_layer_that_runs_twice_in_a_forward_is_refused(tmp_path: Path) -> None:
    """A ReLU that a block uses twice has two maps per patch."""
    stored = Stored(tmp_path, "resnet18", 64)
    with pytest.raises(InvalidInput, match=r"layer layer4\.0\.relu is a module that one forward calls more than once"):
        stored.extract(["layer4.0.relu"], 8)
