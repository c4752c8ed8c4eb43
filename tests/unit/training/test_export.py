"""Exported networks, as other programs read them."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors import safe_open

from services.common.blobs import FolderBlobs
from services.common.errors import InvalidInput
from services.imaging.checkpoint import CheckpointManifest, load_network, open_checkpoint
from services.training import export
from services.training.export import export_onnx, export_safetensors
from tests.fakes.data import store_checkpoint, store_dataset

SIZE = 64


def store(folder: Path, architecture: str = "test_resnet") -> tuple[FolderBlobs, CheckpointManifest]:
    """A checkpoint of random weights."""
    blobs = FolderBlobs(folder / "blobs")
    data, _ = store_dataset(blobs, folder / "ddsm", {"train": 3})
    ref, _ = store_checkpoint(blobs, data.manifest, architecture, SIZE)
    return blobs, open_checkpoint(blobs, ref)


def test_safetensors_contain_weights_and_metadata(tmp_path: Path) -> None:
    """The file has the names and bits of all tensors. The metadata have classes, preprocessing and run."""
    blobs, checkpoint = store(tmp_path)
    export_safetensors(blobs, checkpoint, tmp_path / "out.safetensors")
    expected = load_network(blobs, checkpoint).state_dict()
    with safe_open(tmp_path / "out.safetensors", "pt") as file:
        metadata = file.metadata()
        assert set(file.keys()) == set(expected)
        assert all(torch.equal(file.get_tensor(name), value) for name, value in expected.items())
    assert (metadata["architecture"], json.loads(metadata["classes"])) == (
        "test_resnet",
        ["normal", "benign", "cancer"],
    )
    assert json.loads(metadata["preprocessing"])["size"] == SIZE
    assert metadata["run_id"] == "run-1"


@pytest.mark.parametrize("architecture", ["test_resnet", "resnet18"])
def test_onnx_computes_what_pytorch_computes(tmp_path: Path, architecture: str) -> None:
    """The logits are the same for batches of a size that was not checked. The metadata describe the input."""
    blobs, checkpoint = store(tmp_path, architecture)
    difference = export_onnx(blobs, checkpoint, tmp_path / "out.onnx")
    assert 0 <= difference < 1e-4
    model = onnx.load(tmp_path / "out.onnx")
    onnx.checker.check_model(model, full_check=True)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["classes"]) == ["normal", "benign", "cancer"]
    images = torch.randn(5, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    [logits] = onnxruntime.InferenceSession(tmp_path / "out.onnx").run(["logits"], {"images": images.numpy()})
    with torch.inference_mode():
        expected = load_network(blobs, checkpoint)(images).numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-4 * max(1.0, float(np.abs(expected).max())))


def another_network() -> onnx.ModelProto:
    """A network with the input of the exported one. It returns the mean of each channel plus a hundred."""
    tensor, make = onnx.TensorProto.FLOAT, onnx.helper
    nodes = [
        make.make_node("ReduceMean", ["images"], ["means"], axes=[2, 3], keepdims=0),
        make.make_node("Add", ["means", "shift"], ["logits"]),
    ]
    images = make.make_tensor_value_info("images", tensor, ["batch", 3, SIZE, SIZE])
    logits = make.make_tensor_value_info("logits", tensor, ["batch", 3])
    graph = make.make_graph(nodes, "means", [images], [logits], [make.make_tensor("shift", tensor, [1], [100.0])])
    return make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)


def test_onnx_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """InvalidInput has the difference. No file exists, not even a part of one."""
    blobs, checkpoint = store(tmp_path)
    monkeypatch.setattr(export, "_as_onnx", lambda *_: another_network().SerializeToString())
    out = tmp_path / "out" / "network.onnx"
    out.parent.mkdir()
    with pytest.raises(InvalidInput, match=r"differs from PyTorch by 100\.\d+ in a logit"):
        export_onnx(blobs, checkpoint, out)
    assert list(out.parent.iterdir()) == []


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """InvalidInput has the reason of the operating system."""
    blobs, checkpoint = store(tmp_path)
    with pytest.raises(InvalidInput, match=r"none/out\.safetensors cannot be written: No such file"):
        export_safetensors(blobs, checkpoint, tmp_path / "none" / "out.safetensors")


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """InvalidInput says which package to install."""
    blobs, checkpoint = store(tmp_path)
    monkeypatch.setattr(export, "NEEDED", ("onnx", "no_such_package"))
    with pytest.raises(InvalidInput, match=r"ONNX needs no_such_package: pip install 'visual-primitives\[export\]'"):
        export_onnx(blobs, checkpoint, tmp_path / "out.onnx")
