"""Tests that need a CUDA device; `make test-gpu` runs them, and fails without a device."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load

from services.common.blobs.port import read_verified
from services.common.errors import InvalidInput
from services.imaging.batch_decode import BatchDecoder, device_decoder, resize_as_pil
from services.imaging.manifests import ExtractionManifest
from services.imaging.prefetch import work_ahead
from services.patch_rendering.gpu import decode_on_gpu
from services.training.schemas import RunSettings
from tests.unit.activation_extraction.test_extract import Stored, pass_maps
from tests.unit.imaging.test_batch_decode import encoded, one_by_one, tissue
from tests.unit.patch_rendering.test_render import pictures_of, render
from tests.unit.training.test_loop import Run

pytestmark = pytest.mark.gpu

CUDA = torch.device("cuda")
LAYERS = ["layer2", "layer4"]


@pytest.fixture(scope="module", autouse=True)
def _in_fp32() -> None:
    """Compute convolutions in full float32, so that results can be compared with a CPU's."""
    torch.backends.cudnn.allow_tf32 = False


@pytest.mark.parametrize("quality", [50, 75, 85, 90, 95, 100])
@pytest.mark.parametrize("side", [1, 8, 33, 227, 320, 630, 1024])
def test_its_decoder_gives_pils_pixels(side: int, quality: int) -> None:
    """The pixels are equal to the bit, also resized, for smooth and noisy patches."""
    images = [encoded(tissue(side, seed), quality=quality) for seed in range(4)]
    noise = np.random.default_rng(0).integers(0, 256, (side, side), dtype=np.uint8)
    images.append(encoded(noise, quality=quality))
    decoder = BatchDecoder(224, CUDA)
    found = decoder.as_array(images)
    assert found is not None
    assert np.array_equal(found, one_by_one(images, 224))


@pytest.mark.parametrize("threads", [1, 4])
def test_what_is_decoded_while_a_network_computes_is_right(threads: int) -> None:
    """Thousands of different patches, decoded by several threads while forwards wait in a queue and let go of memory of
    every size: no patch has another's pixels."""
    rng = np.random.default_rng(0)
    images = [encoded(rng.integers(0, 256, (64, 64), dtype=np.uint8)) for _ in range(3000)]
    expected = torch.from_numpy(one_by_one(images, 48))
    decoder, numbers = BatchDecoder(48, CUDA), [list(range(first, first + 60)) for first in range(0, 3000, 60)]
    network = torch.nn.Sequential(*(torch.nn.Conv2d(64, 64, 3, padding=1) for _ in range(20))).to(CUDA).eval()
    heavy = torch.randn(64, 64, 96, 96, device=CUDA)
    wrong = 0

    def decode(chunk: list[int]) -> tuple[list[int], torch.Tensor]:
        found = decoder.decode([images[number] for number in chunk])
        assert found is not None
        return chunk, found

    with torch.inference_mode(), ThreadPoolExecutor(threads) as pool:
        for chunk, found in work_ahead(pool, decode, numbers, 2 * threads):
            network(heavy)
            kept = (found.float() * 1).to(torch.uint8)  # waits behind the forward; what was decoded is let go of now
            del found
            wrong += int((kept.cpu() != expected[chunk]).flatten(1).any(1).sum())
    assert wrong == 0


def test_it_resizes_as_pil() -> None:
    """Enlarging and shrinking give PIL's pixels."""
    grey = np.random.default_rng(1).integers(0, 256, (3, 301, 301), dtype=np.uint8)
    for size in (1, 64, 227, 300, 301, 640):
        expected = np.stack([np.asarray(Image.fromarray(one).resize((size, size), 2)) for one in grey])
        assert np.array_equal(resize_as_pil(torch.from_numpy(grey).to(CUDA), size).cpu().numpy(), expected)


def test_a_damaged_patch_leaves_its_batch_to_pil() -> None:
    """A damaged patch neither ends the process nor affects later patches."""
    plain = encoded(tissue(48))
    table = plain.index(b"\xff\xc4")
    damaged = plain[: table + 5] + b"\xff" * 30 + plain[table + 35 :]
    decoder = BatchDecoder(32, CUDA)
    assert decoder.decode([plain] * 3) is not None
    assert decoder.decode([plain, damaged]) is None
    again = decoder.as_array([plain])
    assert again is not None
    assert np.array_equal(again, one_by_one([plain], 32))


def test_extraction_equals_that_of_a_cpu(tmp_path: Path) -> None:
    """The same patches in nearly the same order, with the same maps and positions; the same bytes however it is cut."""
    stored = Stored(tmp_path, "resnet18", 64, shard_patches=11)
    on_cpu, on_gpu = (stored.run(LAYERS, device=device) for device in ("cpu", "cuda"))
    again = stored.run(LAYERS, order=list(reversed(range(len(stored.data.shards("val"))))), device="cuda")
    for first, second in zip(on_gpu.layers, again.layers, strict=True):
        assert (first.top.sha256, first.statistics.sha256) == (second.top.sha256, second.statistics.sha256)
    for cpu, gpu in zip(on_cpu.layers, on_gpu.layers, strict=True):
        expected, found = (load(read_verified(stored.blobs, layer.top)) for layer in (cpu, gpu))
        scale = expected["values"].max()
        assert torch.allclose(found["values"], expected["values"], atol=1e-5 * scale, rtol=0)
        same = found["ids"] == expected["ids"]
        assert same.float().mean() > 0.99
        assert torch.allclose(found["maps"][same].float(), expected["maps"][same].float(), atol=2e-3 * scale)
        assert (found["positions"] == expected["positions"])[same].float().mean() > 0.99


def test_an_activation_that_is_not_finite_is_an_error(tmp_path: Path) -> None:
    """The error for NaN or infinity names layer, unit and patch."""
    maps = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).to(CUDA)
    maps[1, 2, 3, 0] = -torch.inf
    with pytest.raises(InvalidInput, match=r"layer l, unit 2: the activation on patch 9 of the data set is -inf"):
        pass_maps(maps, CUDA)


def test_pictures_are_byte_for_byte_those_of_a_cpu(tmp_path: Path) -> None:
    """A GPU only decodes and resizes patches for pictures, with results equal to the bit."""
    stored = Stored(tmp_path, "resnet18", 64)
    manifest: ExtractionManifest = stored.run(["layer4"])
    drawn = {}
    for device in ("cpu", "cuda"):
        group = render(stored, manifest, tmp_path / device, "layer4", 0, 7, device)
        drawn[device] = pictures_of(stored, group)
    assert drawn["cpu"] == drawn["cuda"]
    assert decode_on_gpu("auto", 64) is not None
    assert device_decoder(64, CUDA) is not None


@pytest.mark.parametrize(
    "changes", [{}, {"precision": "bf16"}, {"compile": True}, {"precision": "bf16", "channels": 1}]
)
def test_a_run_learns(tmp_path: Path, changes: dict[str, object]) -> None:
    """A run with each precision comes close to the CPU's."""
    settings = RunSettings(
        architecture="test_resnet", weights="none", image_size=64, epochs=2, batch_size=8, flips=False, **changes
    )  # type: ignore[arg-type]
    plain = settings.model_copy(update={"precision": "fp32", "compile": False})
    on_gpu, on_cpu = Run(tmp_path / "cuda", settings, "cuda"), Run(tmp_path / "cpu", plain)
    assert on_gpu.slice()
    assert on_cpu.slice()
    for found, expected in zip(on_gpu.epochs, on_cpu.epochs, strict=True):
        assert found["train_loss"] == pytest.approx(expected["train_loss"], rel=0.05)
        assert found["val_loss"] == pytest.approx(expected["val_loss"], rel=0.05)


def test_an_image_of_many_pixels_is_decoded(tmp_path: Path) -> None:
    """A few at a time, so that memory stays bounded."""
    grey = tissue(3000)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "JPEG", quality=90)
    images = [file.getvalue()] * 12
    before = torch.cuda.max_memory_allocated()
    found = BatchDecoder(224, CUDA).as_array(images)
    assert found is not None
    assert np.array_equal(found[11], one_by_one(images[:1], 224)[0])
    assert torch.cuda.max_memory_allocated() - before < 2 << 30
