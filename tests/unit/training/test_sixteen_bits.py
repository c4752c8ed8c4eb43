"""Training on 16-bit patches with a network of one channel."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from services.common.blobs import FolderBlobs
from services.imaging.checkpoint import load_network
from services.imaging.dataset import Dataset
from services.imaging.decode import decode_grey
from services.training.augmentation import change
from services.training.importer import ImportSource, import_directory
from services.training.schemas import RunSettings
from tests.fakes.ddsm import make_ddsm
from tests.unit.training.test_loop import Run, clock_that_stops_after

SETTINGS = RunSettings(
    architecture="test_resnet", weights="none", image_size=48, channels=1, epochs=1, batch_size=8, rotation=10.0
)


def deepen(folder: Path) -> Path:
    """Replace every patch of a folder by a 16-bit PNG whose upper bits are the old grey values."""
    rng = np.random.default_rng(3)
    for path in sorted(folder.glob("images/*/*.jpg")):
        grey = np.asarray(Image.open(path)).astype(np.uint16)
        buffer = io.BytesIO()
        Image.fromarray((grey * 256 + rng.integers(0, 256, grey.shape)).astype(np.uint16)).save(buffer, "PNG")
        path.with_suffix(".png").write_bytes(buffer.getvalue())
        path.unlink()
    for listed in folder.glob("*.txt"):
        listed.write_text(listed.read_text().replace(".jpg ", ".png "))
    return folder


class DeepRun(Run):
    """A run on imported 16-bit patches."""

    def __init__(self, folder: Path, settings: RunSettings) -> None:
        self.blobs = FolderBlobs(folder / "blobs")
        patches = deepen(make_ddsm(folder / "ddsm", {"train": 26, "val": 9}))
        manifest, self.dataset = import_directory(self.blobs, "training", ImportSource(patches, 3))
        self.data = Dataset(self.blobs, manifest)
        self.folder, self.settings, self.device = folder, settings, "cpu"
        self.checkpoint, self.epochs = None, []


def test_a_network_of_one_channel_learns_from_sixteen_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its input keeps all bits, also when resized. An interrupted run has the bits of an uninterrupted one. The
    checkpoint describes the channel."""
    whole, cut_up = DeepRun(tmp_path / "whole", SETTINGS), DeepRun(tmp_path / "cut", SETTINGS)
    assert whole.slice()
    with monkeypatch.context() as patch:
        clock_that_stops_after(2, patch)
        assert not cut_up.slice()
    assert cut_up.slice()
    for name, value in whole.weights().items():
        assert torch.equal(value, cut_up.weights()[name]), name
    checkpoint = whole.manifest()
    preprocessing = checkpoint.preprocessing
    assert (preprocessing.channels, preprocessing.size, len(preprocessing.mean)) == (1, 48, 1)
    pixels = preprocessing.pixels(whole.data.read(0), "patch")
    assert pixels.dtype == np.uint16
    assert len(np.unique(pixels & 0xFF)) > 100
    with torch.inference_mode():
        images = preprocessing.normalise(torch.from_numpy(preprocessing.stack([pixels])))
        assert load_network(whole.blobs, checkpoint)(images).isfinite().all()
    shown = np.asarray(decode_grey(whole.data.read(0), "patch"))
    assert shown.std() > 5


def test_sixteen_bits_are_changed_as_eight() -> None:
    """Rotation, contrast and brightness change a picture in the same way at both depths."""
    plain = torch.randint(0, 256, (2, 24, 24), dtype=torch.uint8)
    deep = torch.from_numpy(plain.numpy().astype(np.uint16) * 257)
    changes = torch.tensor([[0.2, 1.1, -8.0], [-0.1, 0.8, 12.0]])
    assert torch.allclose(change(deep, changes), change(plain, changes), atol=1e-3)
