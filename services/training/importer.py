"""Imports data sets in the layout of ddsm-visual-primitives: `train.txt`, `val.txt`, `test.txt`, and the patches that
they list. A folder that was exported (see `dataset_export`) becomes the same data set again."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from services.common.blobs import Blobs, ObjectRef
from services.common.errors import InvalidInput
from services.common.machine.reading import read_at_most
from services.common.redaction import quoted
from services.imaging.dataset import DatasetManifest
from services.imaging.dataset_writer import DatasetWriter
from services.imaging.decode import LARGEST_IMAGE, decode_grey
from services.imaging.patches import SPLITS, Mammogram, Patch, exam_of, parse_patch_name
from services.training.exported_facts import FILE, PREVIEWS, ExportedFacts, ExportedMammogram, read_facts
from services.training.outlines import read_outlines

CLASSES = {2: ("not cancer", "cancer"), 3: ("normal", "benign", "cancer")}

LONGEST_PATH = 4096
LARGEST_PREVIEW = 16 << 20
LARGEST_LIST = 1 << 30
"""Bytes of a list: about ten million lines."""

_SIDE_VIEW = re.compile(r"\.(?P<side>LEFT|RIGHT)_(?P<view>CC|MLO)")


@dataclass(frozen=True)
class Entry:
    """One line of a list: a patch file, its label, and the position of the line, such as `val.txt:17`."""

    path: Path
    label: int
    where: str


@dataclass(frozen=True)
class ImportSource:
    """The files of a data set.

    `directory` has the lists and patches of `classes` classes. `mammograms` is a folder with the full images as
    `<stem>.jpg`, or else `<stem>.png`, if they are available. `outlines` is a file of known outlines in them (see
    `read_outlines`).
    """

    directory: Path
    classes: int
    mammograms: Path | None = None
    outlines: Path | None = None


def import_directory(
    blobs: Blobs,
    bucket: str,
    source: ImportSource,
    on_patch: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[DatasetManifest, ObjectRef]:
    """Store a data set. InvalidInput names file and line of the first fault; then nothing remains stored.

    An exam in two splits is a leak of the lists; the published lists have five. It is imported as listed, and the
    notice of the data set names it. `on_patch` receives the number of patches that are done, and of all patches.
    """
    facts = read_facts(source.directory)
    classes = _class_names(source, facts)
    lists = read_lists(source.directory, classes)
    if facts is not None:
        facts.require_lists(source.directory, {split: len(entries) for split, entries in lists.items()})
    name_of = facts.mammogram_of if facts is not None else _ddsm_mammogram
    patches = {split: [_parse_patch(entry, split, name_of) for entry in entries] for split, entries in lists.items()}
    total = sum(map(len, patches.values()))
    names = {patch.mammogram for listed in patches.values() for patch in listed}
    lesions = facts.lesions() if facts is not None else []
    lesions += read_outlines(source.outlines, names) if source.outlines is not None else []
    with DatasetWriter(
        blobs,
        bucket,
        name=facts.name if facts is not None else source.directory.resolve().name,
        classes=classes,
        notice=facts.notice if facts is not None else leak_notice(patches),
        shared_patients=True,
    ) as writer:
        writer.add_outlines(lesions)
        if source.mammograms is not None:
            for mammogram in facts.mammograms if facts is not None else _mammograms_of(patches):
                if mammogram.full:
                    full = _read_mammogram(source.mammograms, mammogram)
                    preview = _read_preview(source.mammograms, mammogram) if facts is not None else b""
                    writer.add_mammogram(replace(full, preview=preview))
        phenomena = facts.phenomenon_of if facts is not None else {}
        for number, (entry, patch) in enumerate(_in_order(lists, patches, facts, writer)):
            try:
                writer.add_patch(_with_image(entry, replace(patch, phenomenon=phenomena.get(number, ""))))
            except InvalidInput as error:
                raise InvalidInput(f"{entry.where}: {error}") from error
            on_patch(number + 1, total)
        return writer.finish(facts.provenance() if facts is not None else None)


def read_lists(directory: Path, classes: Sequence[str]) -> dict[str, list[Entry]]:
    """Read the entries of each split that has a list. InvalidInput if there is no list, or a list is empty or has a
    line that does not fit."""
    if not directory.is_dir():
        raise InvalidInput(f"{directory} is not a folder; expected one with train.txt, val.txt or test.txt")
    lists = {
        split: list(_read_list(directory, split, classes)) for split in SPLITS if (directory / f"{split}.txt").is_file()
    }
    if not lists:
        raise InvalidInput(f"{directory} has none of train.txt, val.txt and test.txt")
    for split, entries in lists.items():
        if not entries:
            raise InvalidInput(f"{directory / split}.txt is empty; expected lines of '<path of a patch> <label>'")
    return lists


def _class_names(source: ImportSource, facts: ExportedFacts | None) -> tuple[str, ...]:
    """The names of the classes. InvalidInput if their number is not that of the source."""
    if facts is not None:
        if source.classes != len(facts.classes):
            raise InvalidInput(
                f"{source.classes} classes; {source.directory / FILE} has {len(facts.classes)}: "
                f"{', '.join(facts.classes)}"
            )
        return facts.classes
    if source.classes not in CLASSES:
        raise InvalidInput(f"{source.classes} classes; expected 2 (1 = cancer) or 3 (0 normal, 1 benign, 2 cancer)")
    return CLASSES[source.classes]


def leak_notice(patches: dict[str, list[Patch]]) -> str:
    """Return a sentence that names the exams in more than one split; empty if there are none."""
    splits_of: defaultdict[str, set[str]] = defaultdict(set)
    for split, listed in patches.items():
        for patch in listed:
            splits_of[patch.patient].add(split)
    leaks = {exam: splits for exam, splits in sorted(splits_of.items()) if len(splits) > 1}
    if not leaks:
        return ""
    listing = "; ".join(f"{exam} in {' and '.join(s for s in SPLITS if s in splits)}" for exam, splits in leaks.items())
    return f"The lists put the same exam into more than one split: {listing}."


def _read_list(directory: Path, split: str, classes: Sequence[str]) -> Iterator[Entry]:
    file = directory / f"{split}.txt"
    try:
        lines = read_at_most(file, LARGEST_LIST).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file}: byte {error.start} is not UTF-8") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _read_line(directory, line, f"{file}:{number}", classes)


def _read_line(directory: Path, line: str, where: str, classes: Sequence[str]) -> Entry:
    name, _, label = line.strip().rpartition(" ")
    if not name or not (label.isascii() and label.isdecimal()) or len(name) > LONGEST_PATH or len(label) > 9:
        raise InvalidInput(f"{where}: {quoted(line)}; expected '<path of a patch> <label>'")
    if int(label) >= len(classes):
        raise InvalidInput(f"{where}: label {label}; expected 0 to {len(classes) - 1} ({', '.join(classes)})")
    path = directory / name
    try:
        inside, exists = path.resolve().is_relative_to(directory.resolve()), path.is_file()
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{where}: {quoted(name)} is not a path: {error}") from error
    if not inside:
        raise InvalidInput(f"{where}: {name} leads out of {directory}")
    if not exists:
        raise InvalidInput(f"{where}: the file {name} does not exist in {directory}")
    return Entry(path, int(label), where)


def _ddsm_mammogram(stem: str) -> tuple[str, str]:
    return stem, exam_of(stem)


def _parse_patch(entry: Entry, split: str, mammogram_of: Callable[[str], tuple[str, str]]) -> Patch:
    """Return the patch of a line, without its image. `mammogram_of` returns name and patient of the mammogram that the
    beginning of a file's name stands for."""
    file = entry.path.name
    try:
        parsed = parse_patch_name(file)
        mammogram, patient = mammogram_of(parsed.mammogram)
    except InvalidInput as error:
        raise InvalidInput(f"{entry.where}: {error}") from error
    name = mammogram + file[len(parsed.mammogram) :]
    return Patch(name, split, entry.label, patient, mammogram, parsed.box, b"")


def _with_image(entry: Entry, patch: Patch) -> Patch:
    image = read_at_most(entry.path, LARGEST_IMAGE)
    decode_grey(image, str(entry.path))
    return replace(patch, image=image)


def _in_order(
    lists: dict[str, list[Entry]],
    patches: dict[str, list[Patch]],
    facts: ExportedFacts | None,
    writer: DatasetWriter,
) -> Iterator[tuple[Entry, Patch]]:
    """Yield all lines with their patches: split by split, or in the order of an exported data set. Its shards are begun
    where they began."""
    lines = {split: zip(entries, patches[split], strict=True) for split, entries in lists.items()}
    if facts is None:
        for pairs in lines.values():
            yield from pairs
        return
    for shard in facts.shards:
        writer.begin_shard(shard.split, shard.numbered_from)
        yield from islice(lines[shard.split], shard.patches)


def _mammograms_of(patches: dict[str, list[Patch]]) -> Iterator[ExportedMammogram]:
    """Yield the mammograms of DDSM's patches by name. Their names state side and view."""
    for name, patient in sorted({(patch.mammogram, patch.patient) for listed in patches.values() for patch in listed}):
        match = _SIDE_VIEW.search(name)
        assert match is not None  # patches of mammograms without an exam, side and view have been refused
        yield ExportedMammogram(
            name=name, stem=name, patient=patient, full=True, side=match["side"], view=match["view"]
        )


def _read_mammogram(folder: Path, mammogram: ExportedMammogram) -> Mammogram:
    stem = mammogram.stem
    found = [path for path in (folder / f"{stem}.jpg", folder / f"{stem}.png") if path.is_file()]
    if not found:
        raise InvalidInput(
            f"the full mammogram {folder / stem}.jpg does not exist, nor as .png; expected one for every patch"
        )
    path = found[0]
    image = read_at_most(path, LARGEST_IMAGE)
    width, height = decode_grey(image, str(path)).size
    return Mammogram(mammogram.name, mammogram.patient, mammogram.side, mammogram.view, height, width, image)


def _read_preview(folder: Path, mammogram: ExportedMammogram) -> bytes:
    """The exported preview of a mammogram; empty if there is none, so that the data set makes one of the image."""
    path = folder / PREVIEWS / f"{mammogram.stem}.jpg"
    if not path.is_file():
        return b""
    preview = read_at_most(path, LARGEST_PREVIEW)
    decode_grey(preview, str(path))
    return preview
