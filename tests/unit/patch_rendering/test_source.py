"""Where pictures come from: patches decoded one by one, and many together."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from services.common.blobs import FolderBlobs
from services.common.errors import InvalidInput
from services.imaging import batch_decode, devices
from services.imaging.batch_decode import BatchDecoder
from services.imaging.dataset import Dataset
from services.patch_rendering import gpu
from services.patch_rendering.gpu import decode_on_gpu
from services.patch_rendering.source import DecodeTogether, SourcePatches
from tests.fakes.data import store_dataset

SIZE = 48
PATCHES = 12


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Twelve patches and more."""
    data, _ = store_dataset(FolderBlobs(tmp_path / "blobs"), tmp_path / "ddsm", {"val": PATCHES})
    return data


def counted(decoder: Callable[[Sequence[bytes]], NDArray[np.uint8] | None]) -> tuple[DecodeTogether, list[int]]:
    """A decoder, and how many images came at each of its calls."""
    calls: list[int] = []

    def decode(images: Sequence[bytes]) -> NDArray[np.uint8] | None:
        calls.append(len(images))
        return decoder(images)

    return decode, calls


def test_patches_decoded_together_are_those_decoded_alone(dataset: Dataset) -> None:
    """Each comes once to the decoder, however often and in whatever order it is asked for."""
    together, calls = counted(BatchDecoder(SIZE, torch.device("cpu")).as_array)
    source, alone = (SourcePatches(dataset, dataset.read, SIZE, together=one) for one in (together, None))
    for ids in ([0, 3, 3, 1], [1, 0], [5, 1, 4]):
        assert np.array_equal(source.stack(np.array(ids)), alone.stack(np.array(ids)))
    assert calls == [3, 2]


def test_threads_that_want_the_same_patches_have_them_decoded_once(dataset: Dataset) -> None:
    """Whoever comes second finds them, whether it waited or came later."""
    decoder, both = BatchDecoder(SIZE, torch.device("cpu")), threading.Barrier(2, timeout=30)
    together, calls = counted(decoder.as_array)
    source = SourcePatches(dataset, dataset.read, SIZE, together=together)
    ids = np.arange(PATCHES)

    def ask(_number: int) -> NDArray[np.uint8]:
        both.wait()
        return source.stack(ids)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(ask, range(2))
    assert np.array_equal(first, second)
    assert calls == [PATCHES]


def test_what_cannot_be_decoded_together_is_decoded_alone(dataset: Dataset) -> None:
    """The same pixels; and of what is no image the patch is named."""
    together, calls = counted(lambda _images: None)
    source = SourcePatches(dataset, dataset.read, SIZE, together=together)
    alone = SourcePatches(dataset, dataset.read, SIZE)
    assert np.array_equal(source.stack(np.arange(3)), alone.stack(np.arange(3)))
    assert calls == [3]
    broken = SourcePatches(dataset, lambda _id: b"no image", SIZE, together=together)
    with pytest.raises(InvalidInput, match=r"patch 2 of .* is not a complete image"):
        broken.stack(np.array([2]))


def test_a_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A CPU decodes with PIL; so does a machine without torch, or where no driver shows: there torch is not asked."""
    driver = tmp_path / "nvidiactl"
    monkeypatch.setattr(gpu, "NVIDIA", (driver,))
    monkeypatch.setattr(devices, "choose_device", lambda _wish: pytest.fail("torch was asked"))
    assert decode_on_gpu("cpu", SIZE) is None
    assert decode_on_gpu("auto", SIZE) is None
    driver.touch()
    on_cpu = BatchDecoder(SIZE, torch.device("cpu"))
    monkeypatch.setattr(batch_decode, "device_decoder", lambda _size, device: on_cpu if device.type == "cuda" else None)
    monkeypatch.setattr(devices, "choose_device", lambda options: torch.device("cuda" if options == "auto" else "cpu"))
    assert decode_on_gpu("auto", SIZE) is not None
    assert decode_on_gpu("cuda:9", SIZE) is None
    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda _name: None)
    assert decode_on_gpu("auto", SIZE) is None
    assert decode_on_gpu("cuda", SIZE) is None


def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for every other service."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InvalidInput, match="'cuda' was requested, but this machine has no CUDA device"):
        decode_on_gpu("cuda", SIZE)
