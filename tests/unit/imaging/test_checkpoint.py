"""Checkpoints and weights."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from services.common.blobs import FolderBlobs
from services.common.errors import InvalidInput
from services.imaging.architectures import build_network
from services.imaging.checkpoint import load_network, load_weights, open_checkpoint, read_weights
from tests.fakes.data import store_checkpoint, store_dataset


def test_a_stored_network_gives_the_same_outputs(tmp_path: Path) -> None:
    """The loaded network returns the same logits as the stored one."""
    blobs = FolderBlobs(tmp_path / "blobs")
    data, _ = store_dataset(blobs, tmp_path / "ddsm", {"train": 3})
    ref, network = store_checkpoint(blobs, data.manifest, "test_resnet", 64)
    images = torch.randn(2, 3, 64, 64)
    checkpoint = open_checkpoint(blobs, ref)
    with torch.inference_mode():
        assert torch.equal(
            load_network(blobs, checkpoint)(images), network.to(memory_format=torch.channels_last)(images)
        )


def test_weights_of_another_architecture_name_the_keys() -> None:
    """InvalidInput lists missing and unexpected keys and keys of another shape; the network keeps its weights."""
    network, other = build_network("resnet18", 2), build_network("alexnet", 2)
    before = network.fc.weight.clone()
    with pytest.raises(InvalidInput, match=r"lacks bn1\.bias.*unexpected classifier\.1\.bias"):
        load_weights(network, other.state_dict(), "checkpoint 7")
    with pytest.raises(InvalidInput, match=r"of another shape fc\.bias \[5\], expected \[2\]"):
        load_weights(network, build_network("resnet18", 5).state_dict(), "checkpoint 7")
    assert torch.equal(network.fc.weight, before)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused(value: float) -> None:
    """InvalidInput names the tensors, and nothing is loaded, so no extraction begins on such a checkpoint."""
    network = build_network("test_resnet", 2)
    weights = {name: weight.clone() for name, weight in network.state_dict().items()}
    weights["fc.bias"][1] = value
    with pytest.raises(InvalidInput, match=r"checkpoint 7 has NaN or infinity in fc\.bias$"):
        load_weights(network, weights, "checkpoint 7")
    assert network.fc.bias.isfinite().all()


@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_are_read_from_common_files(tmp_path: Path, prefix: str) -> None:
    """A .safetensors file, a state dict and a wrapped state dict are read, and DataParallel's prefix is removed."""
    weights = {f"{prefix}fc.weight": torch.randn(2, 3)}
    save_file(weights, tmp_path / "a.safetensors")
    torch.save(weights, tmp_path / "b.pth")
    torch.save({"epoch": 5, "state_dict": weights}, tmp_path / "c.pth.tar")
    for name in ("a.safetensors", "b.pth", "c.pth.tar"):
        assert list(read_weights(tmp_path / name)) == ["fc.weight"]


def test_a_file_that_runs_code_is_refused_and_not_run(tmp_path: Path) -> None:
    """A pickle that contains a call raises InvalidInput, and the call does not run."""
    mark = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> object:
            return Path.touch, (mark,)

    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"state_dict": Evil()}))
    with pytest.raises(InvalidInput, match=r"evil\.pth"):
        read_weights(tmp_path / "evil.pth")
    assert not mark.exists()


def test_a_file_without_weights_is_refused(tmp_path: Path) -> None:
    """InvalidInput names a file of random bytes, a dict without weights and a missing file."""
    (tmp_path / "a.pth").write_bytes(b"nonsense")
    torch.save({"epoch": 5}, tmp_path / "b.pth")
    (tmp_path / "c.safetensors").write_bytes(b"\x00" * 20)
    for name in ("a.pth", "b.pth", "c.safetensors", "missing.pth"):
        with pytest.raises(InvalidInput, match=name):
            read_weights(tmp_path / name)
