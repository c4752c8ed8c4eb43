"""Exports a data set in the layout of ddsm-visual-primitives: the files of its patches, unchanged, and `train.txt`,
`val.txt` and `test.txt` with their labels. What these cannot hold is written next to them (see `exported_facts`)."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

import pyarrow.compute as pc

from services.common.blobs import Blobs
from services.common.blobs.port import read_verified
from services.common.errors import InvalidInput
from services.imaging.dataset import Dataset, Shard
from services.imaging.decode import PNG
from services.imaging.licence import DataCard
from services.imaging.patches import Box, parse_patch_name
from services.training.exported_facts import (
    FILE,
    PREVIEWS,
    ExportedFacts,
    ExportedMammogram,
    ExportedOutline,
    ExportedShard,
    hash_of_file,
)
from services.training.raw.report import ImportReport

FOLDER_PATCHES = 1000
"""Patches of a folder below `images`."""
LONGEST_STEM = 160
"""Characters of the part of a file's name that stands for the mammogram: file systems allow 255 in all."""


@dataclass(frozen=True)
class ExportTarget:
    """Where to write: `folder` receives lists and patches, and `mammograms`, if it is not None, the full images. Both
    are empty, or do not exist."""

    folder: Path
    mammograms: Path | None = None


def export_dataset(
    blobs: Blobs,
    dataset: Dataset,
    target: ExportTarget,
    on_patch: Callable[[int, int], None] = lambda _done, _total: None,
) -> None:
    """Write a data set. One shard or mammogram is in memory at a time. The lists appear when everything else is
    written, so an export that was interrupted cannot be imported.

    InvalidInput if a folder is not empty or cannot be written, or if a patch has a name that does not state its box.
    `on_patch` receives the number of patches that are written, and of all patches.
    """
    for folder in filter(None, (target.folder, target.mammograms)):
        _require_empty(folder)
    stored = dataset.mammograms
    if target.mammograms is not None and not stored:
        raise InvalidInput(f"data set {dataset.manifest.dataset_id} has no full mammograms to write")
    mammograms = list(_mammograms(dataset))
    with _write_errors():
        target.folder.mkdir(parents=True, exist_ok=True)
        shards = _write_patches(dataset, {one.name: one.stem for one in mammograms}, target.folder, on_patch)
        if target.mammograms is not None:
            _write_mammograms(dataset, mammograms, target.mammograms)
        _write_facts(blobs, dataset, mammograms, shards, target.folder)
        for split in dataset.manifest.splits:
            _unfinished(target.folder, split).replace(target.folder / f"{split}.txt")


def file_stem(mammogram: str) -> str:
    """The beginning of the names of a mammogram's files: its name, if that consists of plain letters, digits and
    `_.-~` as DDSM's do. Other characters become %XX, and a name that is too long its hash."""
    escaped = quote(mammogram, safe="")
    if escaped.startswith("."):
        escaped = f"%2E{escaped[1:]}"  # a hidden file, or a way out of the folder
    return escaped if len(escaped) <= LONGEST_STEM else _hashed(mammogram)


def _hashed(mammogram: str) -> str:
    return f"mammogram-{hashlib.sha256(mammogram.encode()).hexdigest()[:32]}"


def _mammograms(dataset: Dataset) -> Iterator[ExportedMammogram]:
    """Yield the mammograms with full images in their order, then the others that have patches. Names that differ only
    in case have files whose names differ in more, since some file systems do not distinguish cases."""
    patients = _patients(dataset)
    rows = dataset.mammograms
    names = [*rows, *sorted(patients.keys() - rows.keys())]
    folded = Counter(file_stem(name).casefold() for name in names)
    for name in names:
        stem = file_stem(name)
        row = rows.get(name, {})
        yield ExportedMammogram(
            name=name,
            stem=stem if folded[stem.casefold()] == 1 else _hashed(name),
            patient=str(row.get("patient", patients.get(name))),
            full=bool(row),
            side=str(row.get("side", "")),
            view=str(row.get("view", "")),
        )


def _patients(dataset: Dataset) -> dict[str, str]:
    """The patients of all mammograms with patches. InvalidInput if a mammogram belongs to several."""
    pairs = dataset.index.select(["mammogram", "patient"]).group_by(["mammogram", "patient"]).aggregate([]).to_pylist()
    patients: dict[str, str] = {}
    for pair in [*pairs, *({"mammogram": name, "patient": row["patient"]} for name, row in dataset.mammograms.items())]:
        if patients.setdefault(pair["mammogram"], pair["patient"]) != pair["patient"]:
            raise InvalidInput(f"mammogram {pair['mammogram']} has patches of several patients; expected one")
    return patients


def _write_patches(
    dataset: Dataset, stems: dict[str, str], folder: Path, on_patch: Callable[[int, int], None]
) -> list[ExportedShard]:
    """Write all patches and the unfinished lists, and return the shards."""
    shards = []
    total = dataset.index.num_rows
    with ExitStack() as stack:
        lists = {
            split: stack.enter_context(_unfinished(folder, split).open("x", newline="\n", encoding="utf-8"))
            for split in dataset.manifest.splits
        }
        for shard in dataset.manifest.shards:
            for patch_id in _write_shard(dataset, shard, stems, folder, lists[shard.split]):
                on_patch(patch_id + 1, total)
            patches = shard.last - shard.first + 1
            shards.append(ExportedShard(split=shard.split, patches=patches, numbered_from=dataset.numbered_from(shard)))
    return shards


def _write_shard(dataset: Dataset, shard: Shard, stems: dict[str, str], folder: Path, listed: TextIO) -> Iterator[int]:
    """Write the patches of a shard and their lines, and yield their ids."""
    rows = dataset.index.slice(shard.first, shard.last - shard.first + 1).to_pylist()
    for row, (patch_id, image) in zip(rows, dataset.stream(shard), strict=True):
        path = f"images/{patch_id // FOLDER_PATCHES}/{_patch_file(row, stems[row['mammogram']])}"
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        _write_new(file, image)
        listed.write(f"{path} {row['label']}\n")
        yield patch_id


def _patch_file(row: dict[str, Any], stem: str) -> str:
    """The name of a patch's file: its own, if its mammogram has a plain name."""
    own: str = row["name"]
    name, box = parse_patch_name(own), Box(row["row"], row["column"], row["height"], row["width"])
    if (name.mammogram, name.box) != (row["mammogram"], box):
        raise InvalidInput(f"patch {own} has a name that does not state its mammogram and box")
    return stem + own[len(name.mammogram) :]


def _write_mammograms(dataset: Dataset, mammograms: list[ExportedMammogram], folder: Path) -> None:
    """Write the full images, and their previews: a preview may have the window of a DICOM file, which the image does
    not state."""
    (folder / PREVIEWS).mkdir(parents=True)
    for one in mammograms:
        if one.full:
            image = dataset.full(one.name)
            _write_new(folder / f"{one.stem}.{'png' if image.startswith(PNG) else 'jpg'}", image)
            _write_new(folder / PREVIEWS / f"{one.stem}.jpg", dataset.preview(one.name))


def _write_new(file: Path, content: bytes) -> None:
    with file.open("xb") as out:
        out.write(content)


def _write_facts(
    blobs: Blobs, dataset: Dataset, mammograms: list[ExportedMammogram], shards: list[ExportedShard], folder: Path
) -> None:
    manifest = dataset.manifest
    card = DataCard.model_validate_json(read_verified(blobs, manifest.card)) if manifest.card else None
    report = ImportReport.model_validate_json(read_verified(blobs, manifest.report)) if manifest.report else None
    facts = ExportedFacts(
        dataset_id=manifest.dataset_id,
        name=manifest.name,
        notice=manifest.notice,
        classes=manifest.classes,
        lists={split: hash_of_file(_unfinished(folder, split)) for split in manifest.splits},
        shards=shards,
        mammograms=mammograms,
        phenomena=_phenomena(dataset),
        outlines=[ExportedOutline.model_validate(lesion) for lesion in dataset.lesions],
        terms=manifest.terms,
        card=card,
        report=report,
    )
    (folder / FILE).write_text(facts.model_dump_json(indent=1), encoding="utf-8")


def _phenomena(dataset: Dataset) -> dict[str, list[int]]:
    """The ids of the patches of each phenomenon."""
    index = dataset.index
    names = sorted(name for name in pc.unique(index["phenomenon"]).to_pylist() if name)
    return {name: index["patch_id"].filter(pc.equal(index["phenomenon"], name)).to_pylist() for name in names}


def _unfinished(folder: Path, split: str) -> Path:
    return folder / f".{split}.txt.part"


def _require_empty(folder: Path) -> None:
    try:
        empty = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be read: {error.strerror}") from error
    if not empty:
        raise InvalidInput(f"{folder} already exists and is not an empty folder")


@contextmanager
def _write_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"{error.filename or 'the export'} cannot be written: {error.strerror}") from error
