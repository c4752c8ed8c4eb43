"""Rendering an extraction from its stored maps alone."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load, save

from services.common.blobs import ObjectRef
from services.common.blobs.port import read_verified
from services.imaging.decode import decode_grey
from services.imaging.manifests import ExtractionManifest, RenderedGroup, read_table
from services.patch_rendering import source
from services.patch_rendering.encoding import Encoding
from services.patch_rendering.job import render_units
from services.patch_rendering.specs import RenderSpec
from tests.fakes.data import SilentJob
from tests.unit.activation_extraction.test_extract import NETWORKS, K, Stored, reference

SIZE = 120


def render(
    stored: Stored, manifest: ExtractionManifest, folder: Path, layer: str, first: int, last: int, device: str = "cpu"
) -> RenderedGroup:
    ref = stored.blobs.put("activation-extraction", "manifest.json", manifest.model_dump_json().encode())
    folder.mkdir(exist_ok=True)
    spec = RenderSpec(
        blobs_url=stored.blobs.url, scratch=str(folder), rendering_id="rendering-1", extraction=ref, layer=layer,
        first=first, last=last, size=SIZE, device=device,
    )  # fmt: skip
    return render_units(SilentJob(), spec).group  # type: ignore[arg-type]


def pictures_of(stored: Stored, group: RenderedGroup) -> dict[tuple[int, int], bytes]:
    return {
        (row["unit"], row["rank"]): stored.blobs.get_range(
            group.pack.bucket, group.pack.key, row["offset"], row["size"]
        )
        for row in read_table(stored.blobs, group.pictures).to_pylist()
    }


@pytest.mark.parametrize(("architecture", "size", "layers"), NETWORKS)
def test_pictures_equal_a_forward_in_float64(tmp_path: Path, architecture: str, size: int, layers: list[str]) -> None:
    """Each picture equals the original's, made from the float64 maps of a second forward, which the product does not
    need. At most 0.5% of the pixels differ: pixels on the threshold, since the stored maps are in fp16."""
    stored = Stored(tmp_path, architecture, size)
    manifest = stored.run(layers)
    for layer in manifest.layers:
        maxima, ids, maps = reference(stored, layer.name)
        last = min(layer.units, 12) - 1
        group = render(stored, manifest, tmp_path / "scratch", layer.name, 0, last)
        top = load(read_verified(stored.blobs, layer.top))
        rendered = pictures_of(stored, group)
        silent = {row["unit"] for row in read_table(stored.blobs, group.units).to_pylist() if row["silent"]}
        assert silent == {unit for unit in range(last + 1) if maxima[:, unit].max() <= 0}
        for unit in set(range(last + 1)) - silent:
            best = maxima[:, unit].max()
            for rank in range(1, K + 1):
                row = int(top["ids"][unit, rank - 1]) - ids[0]
                patch = decode_grey(stored.data.read(int(ids[row])), "x").resize(
                    (SIZE, SIZE), Image.Resampling.BILINEAR
                )
                map_ = Image.fromarray((maps[row, unit] / best).astype(np.float32))
                mask = np.array(map_.resize((SIZE, SIZE), Image.Resampling.BILINEAR)) > 0.2
                expected = np.where(mask, np.asarray(patch), np.uint8(np.float32(0.2) * np.asarray(patch, np.float32)))
                decoded = np.asarray(Image.open(io.BytesIO(rendered[unit, rank])))
                original = np.asarray(Image.open(io.BytesIO(Encoding().encode([expected])[0])))
                # Compared after the same encoding, since one changed pixel changes a full block.
                differ = np.abs(decoded.astype(int) - original) > 24
                assert differ.mean() <= 0.005, (layer.name, unit, rank, differ.mean())


def test_a_group_describes_each_picture(tmp_path: Path) -> None:
    """One row per picture contains patch, label, mammogram and box; the sheet and the pictures are JPEGs of the right
    size. No network runs: its weights may be deleted."""
    stored = Stored(tmp_path, "resnet18", 64)
    manifest = stored.run(["layer4"])
    stored.blobs.delete("training", "weights.safetensors")
    group = render(stored, manifest, tmp_path / "scratch", "layer4", 4, 9)
    assert (group.first, group.last) == (4, 9)
    rows = read_table(stored.blobs, group.pictures).to_pylist()
    assert [(row["unit"], row["rank"]) for row in rows] == [(u, r) for u in range(4, 10) for r in range(1, K + 1)]
    index = stored.data.index.to_pylist()
    for row in rows:
        patch = index[row["patch_id"]]
        assert (row["patch"], row["label"], row["mammogram"]) == (patch["name"], patch["label"], patch["mammogram"])
        assert [row[n] for n in ("row", "column", "height", "width")] == [
            patch[n] for n in ("row", "column", "height", "width")
        ]
    assert all(Image.open(io.BytesIO(p)).size == (SIZE, SIZE) for p in pictures_of(stored, group).values())
    for row in read_table(stored.blobs, group.units).to_pylist():
        sheet = stored.blobs.get_range(group.pack.bucket, group.pack.key, row["sheet_offset"], row["sheet_size"])
        assert Image.open(io.BytesIO(sheet)).size == (8 * SIZE // 2, SIZE // 2)


def test_a_silent_unit_has_no_pictures(tmp_path: Path) -> None:
    """A unit whose best activation is not positive is marked silent and has no bytes; its neighbours are rendered."""
    stored = Stored(tmp_path, "resnet18", 64)
    manifest = stored.run(["layer4"])
    layer = manifest.layers[0]
    top = load(read_verified(stored.blobs, layer.top))
    top["values"][1], top["maps"][1] = -1.0, -1.0
    changed = layer.model_copy(update={"top": stored.blobs.put("activation-extraction", "t", save(top))})
    group = render(stored, manifest.model_copy(update={"layers": (changed,)}), tmp_path / "s", "layer4", 0, 2)
    units = read_table(stored.blobs, group.units).to_pylist()
    assert [unit["silent"] for unit in units] == [False, True, False]
    assert units[1]["sheet_size"] == 0
    assert {row["unit"] for row in read_table(stored.blobs, group.pictures).to_pylist()} == {0, 2}


def test_each_source_patch_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A patch that many units share is decoded once."""
    stored = Stored(tmp_path, "resnet18", 64)
    manifest = stored.run(["layer4"])
    decoded: list[str] = []

    def counting(image: bytes, name: str) -> Image.Image:
        decoded.append(name)
        return decode_grey(image, name)

    monkeypatch.setattr(source, "decode_grey", counting)
    render(stored, manifest, tmp_path / "scratch", "layer4", 0, 63)
    used = torch.unique(load(read_verified(stored.blobs, manifest.layers[0].top))["ids"][:64])
    assert sorted(decoded) == sorted(f"patch {int(i)} of test" for i in used)


def test_references_are_checked(tmp_path: Path) -> None:
    """A job refuses an extraction manifest that differs from its reference."""
    stored = Stored(tmp_path, "resnet18", 64)
    manifest = stored.run(["layer4"])
    ref = stored.blobs.put("activation-extraction", "manifest.json", manifest.model_dump_json().encode())
    wrong = ObjectRef(bucket=ref.bucket, key=ref.key, sha256="0" * 64, size=ref.size)
    with pytest.raises(Exception, match="sha256"):
        spec = RenderSpec(
            blobs_url=stored.blobs.url, scratch=str(tmp_path), rendering_id="r", extraction=wrong, layer="layer4",
            first=0, last=1, size=SIZE,
        )  # fmt: skip
        render_units(SilentJob(), spec)  # type: ignore[arg-type]
