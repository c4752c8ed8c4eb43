"""What `primitives gallery` accepts and refuses. tests/e2e/test_gallery.py opens its pages in a browser."""

from pathlib import Path
from typing import Any

import pytest

from services.cli.gallery import build, command
from services.cli.gallery.build import GalleryOptions, build_gallery
from services.cli.gallery.command import gallery, parse_units
from services.common.blobs import FolderBlobs, ObjectRef
from services.common.errors import Conflict, InvalidInput, NotFound
from services.imaging.dataset import Dataset, LocalPatches
from tests.fakes.extraction import store_extraction


def test_channels_are_parsed() -> None:
    """parse_units returns single channels and ranges, in any order; an empty text stands for all."""
    assert parse_units("") is None
    assert parse_units("3") == {3}
    assert parse_units("0-2, 40,1") == {0, 1, 2, 40}


@pytest.mark.parametrize("text", ["x", "1,", "-3", "4-", "5-2", "1-2-3", "0-99999999999"])
def test_a_wrong_channel_is_named(text: str) -> None:
    """The error names the option when a part is not a channel."""
    with pytest.raises(InvalidInput, match="--units"):
        parse_units(text)


def test_a_folder_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    """gallery refuses a folder with files before it calls a service, and overwrites nothing."""
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(InvalidInput, match="already exists and is not an empty folder"):
        gallery("extraction-1", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_an_unfinished_extraction_has_no_gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the state of the extraction."""

    def running(_base: str, _path: str) -> dict[str, Any]:
        return {"manifest": None, "state": "running"}

    monkeypatch.setattr(command, "get", running)
    with pytest.raises(Conflict, match="extraction-1 is running"):
        gallery("extraction-1", tmp_path / "new")


@pytest.mark.parametrize("exists", [True, False])
def test_a_failed_gallery_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exists: bool) -> None:
    """The next gallery can be written into the same folder, also after one that was killed."""
    blobs, pages = FolderBlobs(tmp_path / "blobs"), tmp_path / "pages"
    if exists:
        pages.mkdir()
    _, ref = store_extraction(blobs, tmp_path, "layer4")
    options = GalleryOptions((), frozenset({1}), "heat_map", "jpeg", 2, 40)

    def full(*_: Any) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="no space left"):
        patched.setattr(build.LayerFolder, "write_page", full)
        build_gallery(blobs, tmp_path, ref, pages, options, lambda *_: None)
    assert pages.exists() is exists and (not exists or not any(pages.iterdir()))
    (pages / ".unfinished-abc" / "01-layer4").mkdir(parents=True)
    assert build.is_free(pages)
    build_gallery(blobs, tmp_path, ref, pages, options, lambda *_: None)
    assert {path.name for path in pages.iterdir()} == {"index.html", "gallery.css", "gallery.js", "01-layer4"}
    assert not build.is_free(pages)


@pytest.mark.parametrize(("patches", "copied"), [(9, True), (1000, False)])
def test_few_patches_are_read_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patches: int, copied: bool
) -> None:
    """A gallery of three units copies the shards of a small split, but not those of a large one."""
    blobs = FolderBlobs(tmp_path / "blobs")
    _, ref = store_extraction(blobs, tmp_path, "layer4")
    made: list[str] = []

    def copies(dataset: Dataset, blobs: FolderBlobs, split: str, folder: Path) -> LocalPatches:
        made.append(split)
        return LocalPatches(dataset, blobs, split, folder)

    monkeypatch.setattr(build, "LocalPatches", copies)
    splits = {"train": 3, "val": patches}
    opened = Dataset.open

    def of_size(blobs: FolderBlobs, manifest: ObjectRef) -> Dataset:
        found = opened(blobs, manifest)
        found.manifest = found.manifest.model_copy(update={"splits": splits})
        return found

    monkeypatch.setattr(Dataset, "open", of_size)
    options = GalleryOptions((), frozenset({1, 2, 3}), "heat_map", "jpeg", 2, 40)
    index = build_gallery(blobs, tmp_path, ref, tmp_path / "pages", options, lambda *_: None)
    assert made == (["val"] if copied else [])
    assert len(list(index.parent.glob("01-layer4/*/0001.jpeg"))) == 3


def test_layers_and_units_are_chosen(tmp_path: Path) -> None:
    """Only the chosen layers and units are written. An unknown one is named before anything is written."""
    blobs = FolderBlobs(tmp_path / "blobs")
    _, ref = store_extraction(blobs, tmp_path, "layer4")

    def built(layers: tuple[str, ...], units: frozenset[int] | None) -> Path:
        options = GalleryOptions(layers, units, "heat_map", "jpeg", 2, 40)
        return build_gallery(blobs, tmp_path, ref, tmp_path / "pages", options, lambda *_: None)

    with pytest.raises(NotFound, match="has no layer 'conv1'; it has layer4"):
        built(("layer4", "conv1"), None)
    with pytest.raises(InvalidInput, match="layer4 has units 0 to 5"):
        built((), frozenset({6}))
    assert not (tmp_path / "pages").exists()
    index = built(("layer4",), frozenset({1, 2}))
    written = {path.relative_to(index.parent).as_posix() for path in index.parent.rglob("*") if path.is_file()}
    units = {
        f"01-layer4/unit_{unit:04d}{rest}"
        for unit in (2, 3)
        for rest in (".html", "/0001.jpeg", "/0002.jpeg", "/sheet.jpeg")
    }
    assert written == units | {"index.html", "gallery.css", "gallery.js", "01-layer4/index.html"}
    assert "unit_0001.html" not in (index.parent / "01-layer4" / "unit_0003.html").read_text()
