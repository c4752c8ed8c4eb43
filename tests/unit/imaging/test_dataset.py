"""Stored data sets."""

import os
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from services.common.blobs import FolderBlobs, ObjectRef
from services.common.errors import InvalidInput, JobStopped, NotFound, PrimitivesError, Unavailable
from services.imaging import dataset_writer
from services.imaging.dataset import Dataset, DatasetManifest, LocalPatches, fetch_object
from services.imaging.dataset_writer import DatasetWriter
from services.imaging.patches import Box, Lesion, Mammogram, Patch
from tests.fakes.data import store_dataset
from tests.fakes.ddsm import class_pattern, jpeg

CLASSES = ("normal", "cancer")


def image(value: int) -> bytes:
    import numpy as np

    return jpeg(np.full((8, 8), value, dtype=np.uint8))


def patch(name: str, split: str = "train", label: int = 0, patient: str = "") -> Patch:
    return Patch(name, split, label, patient or split, "m", Box(1, 2, 8, 8), image(label))


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path / "blobs")


def test_every_patch_comes_back_whole(blobs: FolderBlobs, tmp_path: Path) -> None:
    """A streamed shard, a ranged read and a memory-mapped copy all return the bytes that were added, by patch id."""
    data, ref = store_dataset(blobs, tmp_path / "ddsm", {"train": 10, "val": 7}, shard_patches=4)
    assert Dataset.open(blobs, ref).manifest == data.manifest
    assert data.manifest.splits == {"train": 10, "val": 7}
    assert [(shard.split, shard.first, shard.last) for shard in data.manifest.shards] == [
        ("train", 0, 3), ("train", 4, 7), ("train", 8, 9), ("val", 10, 13), ("val", 14, 16),
    ]  # fmt: skip
    local = LocalPatches(data, blobs, "val", tmp_path)
    assert local.ids.tolist() == list(range(10, 17))
    streamed = {i: content for shard in data.manifest.shards for i, content in data.stream(shard)}
    source = sorted((tmp_path / "ddsm").glob("images/1/*"))
    assert sorted(streamed.values()) == sorted(path.read_bytes() for path in source)
    assert all(data.read(i) == content for i, content in streamed.items())
    assert all(local.read(i) == streamed[i] for i in local.ids.tolist())


def test_a_local_copy_is_made_once_and_verified(blobs: FolderBlobs, tmp_path: Path) -> None:
    """A second call returns the same copy and renews its time stamp. A changed object leaves no copy."""
    ref = blobs.put("training", "some", b"patches")
    path = fetch_object(blobs, ref, tmp_path)
    os.utime(path, (0, 0))
    blobs.put("training", "some", b"altered")
    assert fetch_object(blobs, ref, tmp_path) == path
    assert path.read_bytes() == b"patches"
    assert path.stat().st_mtime > 0
    path.unlink()
    with pytest.raises(InvalidInput, match="training/some has sha256"):
        fetch_object(blobs, ref, tmp_path)
    assert [left.name for left in tmp_path.iterdir()] == ["blobs"]


def test_threads_that_fetch_the_same_bytes_get_them(blobs: FolderBlobs, tmp_path: Path) -> None:
    """Two threads that fetch one object at the same time do not remove each other's file; one copy remains."""
    both_fetched = threading.Barrier(2)

    class Slow(FolderBlobs):
        def get_file(self, bucket: str, key: str, path: Path) -> None:
            super().get_file(bucket, key, path)
            both_fetched.wait(10)

    (tmp_path / "scratch").mkdir()
    ref, store = blobs.put("training", "some", b"patches"), Slow(tmp_path / "blobs")
    with ThreadPoolExecutor(2) as pool:
        paths = set(pool.map(lambda _: fetch_object(store, ref, tmp_path / "scratch"), range(2)))
    assert paths == {*(tmp_path / "scratch").iterdir()}
    assert paths.pop().read_bytes() == b"patches"


def test_a_shard_is_a_plain_tar(blobs: FolderBlobs, tmp_path: Path) -> None:
    """Any tar reader reads a shard, and its members are the patches in order."""
    data, _ = store_dataset(blobs, tmp_path / "ddsm", {"train": 3})
    shard = data.manifest.shards[0].object
    blobs.get_file(shard.bucket, shard.key, tmp_path / "shard.tar")
    with tarfile.open(tmp_path / "shard.tar") as tar:
        members = [tar.extractfile(member).read() for member in tar]  # type: ignore[union-attr]
    assert members == [data.read(i) for i in range(3)]


def test_the_same_patches_are_the_same_data_set(tmp_path: Path) -> None:
    """The id is a hash of the content: it is equal for the same patches in another store, and differs for another
    label."""
    ids = []
    for number, label in enumerate((0, 0, 1)):
        with DatasetWriter(FolderBlobs(tmp_path / str(number)), "training", "x", CLASSES) as writer:
            writer.add_patch(patch("a.jpg"))
            writer.add_patch(Patch("b.jpg", "train", label, "p", "m", Box(1, 2, 8, 8), image(5)))
            ids.append(writer.finish()[0].dataset_id)
    assert ids[0] == ids[1] != ids[2]


def test_a_later_version_leaves_the_manifest_that_records_name(
    blobs: FolderBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code whose manifests have more fields writes the same data set for the same content, and the earlier manifest
    stays where records refer to it."""

    class Wider(DatasetManifest):
        more: str = "more"

    refs = []
    for manifest in (DatasetManifest, Wider):
        monkeypatch.setattr(dataset_writer, "DatasetManifest", manifest)
        with DatasetWriter(blobs, "training", "x", CLASSES) as writer:
            writer.add_patch(patch("a.jpg"))
            refs.append(writer.finish()[1])
    before, after = (Dataset.open(blobs, ref).manifest for ref in refs)
    assert before == after


def test_mammograms_and_outlines_are_stored(blobs: FolderBlobs) -> None:
    """A mammogram is stored with a preview and its lesions' outlines. Its size must match its description."""
    import numpy as np

    full = jpeg(class_pattern(np.random.default_rng(0), 0))
    with DatasetWriter(blobs, "training", "x", CLASSES) as writer:
        writer.add_mammogram(
            Mammogram("m", "p", "LEFT", "CC", 64, 64, full), [Lesion("m", "mass", ((1.0, 2.0), (3.0, 4.0), (1.0, 4.0)))]
        )
        writer.add_patch(patch("a.jpg"))
        with pytest.raises(InvalidInput, match="64 x 64 pixels; expected 65 x 64"):
            writer.add_mammogram(Mammogram("n", "p", "LEFT", "CC", 65, 64, full))
        manifest, ref = writer.finish()
    data = Dataset.open(blobs, ref)
    assert manifest.mammogram_count == 1
    row = data.mammograms["m"]
    assert blobs.get("training", str(row["key"])) == full
    assert blobs.get("training", str(row["preview_key"])).startswith(b"\xff\xd8")
    assert data.lesions == [{"mammogram": "m", "phenomenon": "mass", "outline": [[1.0, 2.0], [3.0, 4.0], [1.0, 4.0]]}]


def test_words_are_stored_only_where_there_are_any(blobs: FolderBlobs) -> None:
    """Without words the table has the columns of earlier versions. Parts of earlier versions, which lack the column,
    can be added to others."""
    outline = ((1.0, 2.0), (3.0, 4.0), (1.0, 4.0))

    def write(words: tuple[str, ...]) -> DatasetWriter:
        writer = DatasetWriter(blobs, "training", "x", CLASSES)
        writer.add_outlines([Lesion("m", "mass", outline, words), Lesion("n", "vessel", outline)])
        writer.add_patch(patch("a.jpg"))
        return writer

    plain = Dataset.open(blobs, write(()).finish()[1])
    assert "words" not in plain.lesions[0]
    described = Dataset.open(blobs, write(("spiculated", "irregular")).finish()[1])
    assert [row["words"] for row in described.lesions] == [["spiculated", "irregular"], []]
    older = write(()).content()
    joined = write(("spiculated",))
    joined.add_content(replace(older, lesions=older.lesions.drop_columns(["words"])))
    found = Dataset.open(blobs, joined.finish()[1]).lesions
    assert [row["words"] for row in found] == [["spiculated"], [], [], []]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (patch("b.jpg", label=2), r"b\.jpg has label 2; expected 0 to 1 \(normal, cancer\)"),
        (patch("b.jpg", split="dev"), "split 'dev'; expected one of train, val, test"),
        (patch("a.jpg"), "was added twice"),
        (patch("b.jpg", split="val", patient="train"), "patient train is in the splits train and val"),
    ],
)
def test_a_patch_that_does_not_fit_is_named(blobs: FolderBlobs, bad: Patch, message: str) -> None:
    """InvalidInput names the patch and the fault, and the failed data set leaves no objects."""
    with pytest.raises(InvalidInput, match=message), DatasetWriter(blobs, "training", "x", CLASSES) as writer:
        writer.add_patch(patch("a.jpg"))
        writer.add_patch(bad)
    assert list(blobs.list("training")) == []


def test_a_failure_removes_nothing_from_an_older_data_set(blobs: FolderBlobs) -> None:
    """Objects that existed before stay when a later data set that shares them fails."""
    with DatasetWriter(blobs, "training", "x", CLASSES, shard_patches=1) as writer:
        writer.add_patch(patch("a.jpg"))
        writer.finish()
    before = list(blobs.list("training"))
    with pytest.raises(InvalidInput), DatasetWriter(blobs, "training", "y", CLASSES, shard_patches=1) as writer:
        writer.add_patch(patch("a.jpg"))
        writer.add_patch(patch("b.jpg"))
        writer.add_patch(patch("c.jpg", label=9))
    assert list(blobs.list("training")) == before


def test_an_empty_data_set_is_refused(blobs: FolderBlobs) -> None:
    """A data set without patches raises InvalidInput."""
    with pytest.raises(InvalidInput, match="has no patches"), DatasetWriter(blobs, "training", "x", CLASSES) as writer:
        writer.finish()


def test_missing_and_changed_parts_are_errors(blobs: FolderBlobs, tmp_path: Path) -> None:
    """The error for a missing split lists the existing ones, a missing patch id is NotFound, and a changed shard is
    InvalidInput."""
    data, _ = store_dataset(blobs, tmp_path / "ddsm", {"train": 3})
    with pytest.raises(InvalidInput, match="has no split 'val'; it has train"):
        data.shards("val")
    with pytest.raises(InvalidInput, match="has no split 'test'"):
        LocalPatches(data, blobs, "test", tmp_path)
    with pytest.raises(NotFound, match="no patch 99"):
        data.read(99)
    shard = data.manifest.shards[0]
    blobs.put(shard.object.bucket, shard.object.key, b"something else")
    with pytest.raises(InvalidInput, match="sha256"):
        list(data.stream(shard))


def test_a_failure_removes_nothing_from_a_data_set_finished_meanwhile(blobs: FolderBlobs) -> None:
    """A failed writer keeps the shards that another writer has used in a finished data set in the meantime."""
    with pytest.raises(ZeroDivisionError), DatasetWriter(blobs, "training", "x", CLASSES, shard_patches=1) as failing:
        failing.add_patch(patch("a.jpg"))
        failing.add_patch(patch("b.jpg"))
        with DatasetWriter(blobs, "training", "y", CLASSES, shard_patches=1) as other:
            other.add_patch(patch("a.jpg"))
            _, ref = other.finish()
        _ = 1 / 0
    assert Dataset.open(blobs, ref).read(0) == image(0)


@pytest.mark.parametrize("error", [InvalidInput, JobStopped])
def test_a_failure_removes_nothing_from_an_unfinished_data_set(
    blobs: FolderBlobs, error: type[PrimitivesError]
) -> None:
    """Nor what another writer has found, put again and not yet named in a manifest: the same sample built for two plans
    of which one is cancelled, two imports with the same mammograms of which one is faulty."""
    with DatasetWriter(blobs, "training", "x", CLASSES, shard_patches=1) as other:
        with pytest.raises(error), DatasetWriter(blobs, "training", "x", CLASSES, shard_patches=1) as failing:
            failing.add_patch(patch("a.jpg"))
            failing.add_patch(patch("b.jpg", label=1))
            other.add_patch(patch("a.jpg"))
            other.add_patch(patch("b.jpg", label=1))
            raise error("the end of it")
        _, ref = other.finish()
    assert Dataset.open(blobs, ref).read(0) == image(0)


class FullStore(FolderBlobs):
    """A store that accepts only shards."""

    def put(self, bucket: str, key: str, content: bytes) -> ObjectRef:
        raise Unavailable(f"no space for {key}")


def test_an_upload_that_fails_ends_the_writer(tmp_path: Path) -> None:
    """Uploads run in the background. The error of a failed upload is raised before the manifest is written, and stored
    objects stay for the next attempt."""
    store = FullStore(tmp_path / "blobs")
    with pytest.raises(Unavailable, match="no space"), DatasetWriter(store, "training", "x", CLASSES) as writer:
        writer.add_patch(patch("a.jpg"))
        writer.finish()
    assert [key.rpartition(".")[2] for key in store.list("training")] == ["tar"]


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "F"])
def test_an_image_of_more_than_eight_bits_must_be_a_png(mode: str) -> None:
    """Another format raises InvalidInput, because its values would be clipped silently."""
    import io

    from PIL import Image

    from services.imaging.decode import decode_grey

    buffer = io.BytesIO()
    Image.new(mode, (8, 8)).save(buffer, "TIFF")
    with pytest.raises(InvalidInput, match=r"x\.png"):
        decode_grey(buffer.getvalue(), "x.png")
