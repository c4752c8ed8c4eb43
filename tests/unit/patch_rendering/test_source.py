"""The sources of pictures: patches decoded one by one, and many together."""

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
    """A data set of twelve patches."""
    data, _ = store_dataset(FolderBlobs(tmp_path / "blobs"), tmp_path / "ddsm", {"val": PATCHES})
    return data


def counted(decoder: Callable[[Sequence[bytes]], NDArray[np.uint8] | None]) -> tuple[DecodeTogether, list[int]]:
    """Return a decoder, and a list of the number of images in each of its calls."""
    calls: list[int] = []

    def decode(images: Sequence[bytes]) -> NDArray[np.uint8] | None:
        calls.append(len(images))
        return decoder(images)

    return decode, calls


def test_patches_decoded_together_are_those_decoded_alone(dataset: Dataset) -> None:
    """Each patch is decoded once, however often and in whatever order it is requested."""
    together, calls = counted(BatchDecoder(SIZE, torch.device("cpu")).as_array)
    source, alone = (SourcePatches(dataset, dataset.read, SIZE, together=one) for one in (together, None))
    for ids in ([0, 3, 3, 1], [1, 0], [5, 1, 4]):
        assert np.array_equal(source.stack(np.array(ids)), alone.stack(np.array(ids)))
    assert calls == [3, 2]


def test_threads_that_request_the_same_patches_decode_them_once(dataset: Dataset) -> None:
    """The second thread finds the patches in the cache, whether it waited or came later."""
    decoder, both = BatchDecoder(SIZE, torch.device("cpu")), threading.Barrier(2, timeout=30)
    together, calls = counted(decoder.as_array)
    source = SourcePatches(dataset, dataset.read, SIZE, together=together)
    ids = np.arange(PATCHES)

    def stack(_number: int) -> NDArray[np.uint8]:
        both.wait()
        return source.stack(ids)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(stack, range(2))
    assert np.array_equal(first, second)
    assert calls == [PATCHES]


def test_patches_that_cannot_be_decoded_together_are_decoded_alone(dataset: Dataset) -> None:
    """They have the same pixels, and an error for something that is not an image names the patch."""
    together, calls = counted(lambda _images: None)
    source = SourcePatches(dataset, dataset.read, SIZE, together=together)
    alone = SourcePatches(dataset, dataset.read, SIZE)
    assert np.array_equal(source.stack(np.arange(3)), alone.stack(np.arange(3)))
    assert calls == [3]
    broken = SourcePatches(dataset, lambda _id: b"no image", SIZE, together=together)
    with pytest.raises(InvalidInput, match=r"patch 2 of .* is not a complete image"):
        broken.stack(np.array([2]))


def test_a_gpu_is_used_if_there_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """PIL decodes on a CPU, on a machine without torch, and without a driver. Without a driver, torch is not loaded."""
    driver = tmp_path / "nvidiactl"
    monkeypatch.setattr(gpu, "NVIDIA", (driver,))
    monkeypatch.setattr(devices, "choose_device", lambda _choice: pytest.fail("torch was used"))
    assert decode_on_gpu("cpu", SIZE) is None
    assert decode_on_gpu("auto", SIZE) is None
    driver.touch()
    on_cpu = BatchDecoder(SIZE, torch.device("cpu"))
    monkeypatch.setattr(batch_decode, "device_decoder", lambda _size, device: on_cpu if device.type == "cuda" else None)
    monkeypatch.setattr(devices, "choose_device", lambda choice: torch.device("cuda" if choice == "auto" else "cpu"))
    assert decode_on_gpu("auto", SIZE) is not None
    assert decode_on_gpu("cuda:9", SIZE) is None
    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda _name: None)
    assert decode_on_gpu("auto", SIZE) is None
    assert decode_on_gpu("cuda", SIZE) is None


def test_a_missing_gpu_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting of CUDA without a CUDA device raises InvalidInput, as in every other service."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InvalidInput, match="'cuda' was requested, but this machine has no CUDA device"):
        decode_on_gpu("cuda", SIZE)
