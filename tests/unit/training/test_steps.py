"""A step of the optimizer: its gradient, its weights, its precision."""

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load as load_tensors
from timm.layers.norm_act import BatchNormAct2d
from torch import nn
from torch.nn import functional

from services.common.blobs import FolderBlobs
from services.common.blobs.port import read_verified
from services.common.errors import InvalidInput
from services.imaging.architectures import build_network
from services.imaging.dataset import Dataset, LocalPatches
from services.imaging.preprocessing import Preprocessing
from services.training import learner as learner_module
from services.training.batches import Batches, Batching, Part
from services.training.distributed import Team, synchronise_norms
from services.training.learner import Learner, start_learner
from services.training.loop import step
from services.training.schemas import RunSettings
from tests.fakes.data import store_dataset
from tests.unit.training.test_loop import Run

CPU = torch.device("cpu")
SETTINGS = RunSettings(
    architecture="test_convnext", weights="none", image_size=64, batch_size=8, optimizer="sgd", flips=False
)


@pytest.fixture
def stored(tmp_path: Path) -> tuple[FolderBlobs, Dataset]:
    blobs = FolderBlobs(tmp_path / "blobs")
    return blobs, store_dataset(blobs, tmp_path / "ddsm", {"train": 16})[0]


def batches(stored: tuple[FolderBlobs, Dataset], tmp_path: Path, size: int, accumulate: int, team: Team) -> Batches:
    blobs, data = stored
    patches = LocalPatches(data, blobs, "train", tmp_path)
    return Batches(data, patches, Preprocessing(size=64), Batching(size, accumulate, 1 << 20), team)


def gradient(learner: Learner, parts: list[Part]) -> torch.Tensor:
    """The gradient of a step of the optimizer at rate 0."""
    step(learner, parts, rate=0.0)
    return torch.cat([value.grad.flatten() for value in learner.network.parameters() if value.grad is not None])


@pytest.mark.parametrize("balance", ["none", "weights"])
def test_passes_accumulate_to_the_gradient_of_one(
    stored: tuple[FolderBlobs, Dataset], tmp_path: Path, balance: str
) -> None:
    """Four passes of four patches, each shared by two processes, have the gradient of one pass of sixteen patches."""
    settings = SETTINGS.model_copy(update={"balance": balance})
    [whole] = batches(stored, tmp_path, 16, 1, Team()).shuffled(settings, 0)
    [parts] = batches(stored, tmp_path, 4, 4, Team()).shuffled(settings, 0)
    assert [len(part.labels) for part in parts] == [4] * 4
    expected = gradient(start_learner(settings, 3, CPU), whole)
    assert torch.allclose(gradient(start_learner(settings, 3, CPU), parts), expected, atol=1e-7)
    shares = [next(batches(stored, tmp_path, 4, 4, Team(rank, 2)).shuffled(settings, 0)) for rank in (0, 1)]
    together = [part for pair in zip(*shares, strict=True) for part in pair]
    assert torch.equal(torch.cat([part.ids for part in together]), whole[0].ids)
    assert torch.allclose(gradient(start_learner(settings, 3, CPU), together), expected, atol=1e-7)


def test_class_weights_are_torchs(stored: tuple[FolderBlobs, Dataset], tmp_path: Path) -> None:
    """The loss of a step is torch's cross entropy with the weight n / (classes * patches of the class)."""
    settings = SETTINGS.model_copy(update={"balance": "weights"})
    learner = start_learner(settings, 3, CPU)
    [[part]] = batches(stored, tmp_path, 16, 1, Team()).shuffled(settings, 0)
    with torch.no_grad():
        logits = learner.network(learner.preprocessing.normalise(part.pixels))
    weights = 16 / (3 * torch.bincount(part.labels, minlength=3))
    expected = functional.cross_entropy(logits, part.labels, weights)
    losses = functional.cross_entropy(logits, part.labels, reduction="none")
    assert (losses * part.weights).sum().item() == pytest.approx(expected.item(), abs=1e-6)


def test_a_gradient_is_clipped_to_its_norm(stored: tuple[FolderBlobs, Dataset], tmp_path: Path) -> None:
    """Clipping keeps the direction and reduces the norm to the limit. With 0 the gradient is unchanged."""
    [parts] = batches(stored, tmp_path, 16, 1, Team()).shuffled(SETTINGS, 0)
    free = gradient(start_learner(SETTINGS, 3, CPU), parts)
    clipped = gradient(start_learner(SETTINGS.model_copy(update={"clip_norm": 0.01}), 3, CPU), parts)
    assert free.norm() > 0.02
    assert clipped.norm().item() == pytest.approx(0.01, rel=1e-3)
    assert functional.cosine_similarity(free, clipped, dim=0).item() == pytest.approx(1.0, abs=1e-5)


def test_bf16_computes_in_bfloat16_and_stores_float32(stored: tuple[FolderBlobs, Dataset], tmp_path: Path) -> None:
    """Gradients are close to those of fp32 but not equal. Weights and the optimizer's state stay float32."""
    settings = SETTINGS.model_copy(update={"precision": "bf16"})
    learner = start_learner(settings, 3, CPU)
    [parts] = batches(stored, tmp_path, 16, 1, Team()).shuffled(settings, 0)
    found, expected = gradient(learner, parts), gradient(start_learner(SETTINGS, 3, CPU), parts)
    assert functional.cosine_similarity(found, expected, dim=0).item() > 0.98
    assert not torch.allclose(found, expected, atol=1e-7)
    assert {value.dtype for value in learner.network.state_dict().values()} == {torch.float32}
    states = learner.optimizer.state_dict()["state"].values()
    assert {state["momentum_buffer"].dtype for state in states} == {torch.float32}


def test_a_compiled_network_saves_the_networks_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The forward pass is compiled. The checkpoint has the names of the plain network, and the run resumes from it."""
    compiled: list[nn.Module] = []

    def compile_(module: nn.Module) -> Any:
        compiled.append(module)
        return compile_eagerly(module)

    compile_eagerly = functools.partial(torch.compile, backend="eager")  # the default one calls a C++ compiler
    monkeypatch.setattr(learner_module.torch, "compile", compile_)
    settings = SETTINGS.model_copy(update={"compile": True, "epochs": 2})
    run = Run(tmp_path, settings)
    assert run.slice(slice_s=0.0) is False
    assert run.slice() is True
    assert len(compiled) == 2
    weights = load_tensors(read_verified(run.blobs, run.manifest().weights))
    assert weights.keys() == build_network("test_convnext", 3).state_dict().keys()


def test_more_processes_than_patches_are_refused(stored: tuple[FolderBlobs, Dataset], tmp_path: Path) -> None:
    """Each process needs a patch of every batch. A last batch with too few patches joins the one before."""
    with pytest.raises(InvalidInput, match="9 processes share batches of 8 patches"):
        list(batches(stored, tmp_path, 8, 1, Team(0, 9)).shuffled(SETTINGS, 0))
    sizes = [
        [len(part.ids) for part in parts] for parts in batches(stored, tmp_path, 7, 1, Team(2, 3)).shuffled(SETTINGS, 0)
    ]
    assert sizes == [[3], [3]]


def test_synchronised_norms_keep_names_and_activations() -> None:
    """Batch norm over all processes has the same names of weights, and keeps an activation that belongs to it."""
    network = build_network("efficientnet_lite0", 3)
    names = network.state_dict().keys()
    assert any(isinstance(module, BatchNormAct2d) for module in network.modules())
    synchronised = synchronise_norms(network, Team(0, 2), torch.device("cuda"))
    assert synchronised.state_dict().keys() == names
    kinds = {type(module).__name__ for module in synchronised.modules()}
    assert "SyncBatchNormAct" in kinds and not kinds & {"BatchNormAct2d", "BatchNorm2d"}
    assert synchronise_norms(network, Team(), torch.device("cuda")) is network
