"""An import of raw mammograms in three steps: plan it, cut its parts, and assemble the data set.

Parts are cut in any order, by any number of processes and machines, and each stores its own result, so that an import
that was interrupted continues with the parts that are missing. Planning reads tables and headers only. The same source,
layout and recipe give the same import, and the same data set to the byte, however many workers there are.

Everything lies below `imports/<id>/` in the bucket of the training service: `plan.json` of imports that the service
performs, `part-00001.json` with the mammograms of a part, `result-00001.json` with what was stored of it,
`journal-00001.json` while it is cut, and `files.sealed` with the instances of a DICOMweb server, encrypted.
"""

import hashlib
import json
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from services import __version__
from services.common.blobs import Blobs, ObjectRef
from services.common.blobs.port import read_verified
from services.common.errors import InvalidInput, PrimitivesError
from services.common.identity import derived_id
from services.common.observability.logs import get_logger
from services.imaging.dataset import DatasetManifest, Shard
from services.imaging.dataset_writer import DatasetWriter, Provenance, StoredContent
from services.imaging.licence import DataCard, SplitCard
from services.imaging.manifests import encode_table, put_content, read_table
from services.imaging.patches import SPLITS
from services.training.names import BUCKET
from services.training.raw.case import RawMammogram
from services.training.raw.cutting.cutter import Cut
from services.training.raw.cutting.labelling import class_names, counts
from services.training.raw.cutting.prepare import Preparer
from services.training.raw.cutting.recipe import CutRecipe
from services.training.raw.cutting.splits import assign_splits, leaks
from services.training.raw.journal import PartJournal
from services.training.raw.layout import Layout
from services.training.raw.layouts import layout_named
from services.training.raw.layouts.dicom import PlainDicom
from services.training.raw.pseudonyms import Pseudonyms, find_files, open_pseudonyms
from services.training.raw.report import ImportReport
from services.training.raw.source.dicomweb.source import DicomwebSource, closed_after, count_received
from services.training.raw.source.files import BucketFiles, FolderFiles, SourceFiles

MAMMOGRAMS: TypeAdapter[list[RawMammogram]] = TypeAdapter(list[RawMammogram])
FORMAT = 1
"""A higher number cuts all parts again: results of older code are not used."""
SEALED_FILES = "files.sealed"
NO_MAMMOGRAMS = "the source has no mammogram that can be imported"
CRASHED = "the decoder crashed or hung on this file"
FAILED = "the reader failed on this file"

log = get_logger("import")

OnProgress = Callable[[int, int], None]
"""Receives how much is done, and of how much; 0 if that is unknown. What it raises ends the work."""


def _ignore(_done: int, _total: int) -> None:
    """Receive progress that nobody follows."""


class Source(BaseModel):
    """Where raw mammograms lie: a folder on this machine, or objects of a bucket below a prefix. With `dicomweb` they
    lie on that server, and the folder or bucket, if there is one, has their table of labels and list of studies."""

    model_config = ConfigDict(frozen=True)

    layout: str
    folder: Path | None = None
    bucket: str = ""
    prefix: str = ""
    dicomweb: DicomwebSource | None = None

    def check(self) -> None:
        """InvalidInput for an unknown layout, and for one that cannot be read from a DICOMweb server."""
        layout_named(self.layout)
        if self.dicomweb is not None and self.layout != PlainDicom.name:
            raise InvalidInput(
                f"layout {self.layout} cannot be read from a DICOMweb server; expected {PlainDicom.name}"
            )

    def open(self, blobs: Blobs) -> SourceFiles:
        """The files of the source. InvalidInput if there are none. A DICOMweb server is searched for them."""
        stored = self._stored_files(blobs)
        if self.dicomweb is not None:
            return self.dicomweb.search(stored)
        if stored is None:
            raise InvalidInput("the source has neither a folder nor a bucket")
        return stored

    def reopen(self, blobs: Blobs, plan: "ImportPlan") -> SourceFiles:
        """The files that a plan was made from. InvalidInput if the source has others now."""
        files: SourceFiles
        if self.dicomweb is not None:
            files = self.dicomweb.reopen(blobs.get(BUCKET, plan.key(SEALED_FILES)))
        else:
            files = self.open(blobs)
        if _sha256_of_names(files) != plan.files_sha256:
            raise InvalidInput("the source has other files than when its import was planned; start the import again")
        return files

    def _stored_files(self, blobs: Blobs) -> SourceFiles | None:
        if self.folder is not None:
            return FolderFiles(self.folder)
        return BucketFiles(blobs, self.bucket, self.prefix) if self.bucket else None

    def pseudonyms(self, key_file: Path | None, home: Path) -> Pseudonyms | None:
        """The pseudonyms for identifiers that are not public (see `open_pseudonyms`); None if the layout's are."""
        return None if layout_named(self.layout).public_identifiers else open_pseudonyms(key_file, home)


class ImportPlan(BaseModel):
    """An import before its parts are cut. `parts` are the splits of its parts, in order."""

    model_config = ConfigDict(frozen=True)

    import_id: str
    name: str
    source: Source
    recipe: CutRecipe
    classes: tuple[str, ...]
    kinds: tuple[str, ...]
    notice: str
    leaks: tuple[str, ...]
    parts: tuple[str, ...]
    label_units: dict[str, int]
    source_sha256: str
    files_sha256: str
    """The SHA-256 of the names of the source's files, which must be the same while its parts are cut."""
    scan: ImportReport

    @property
    def mammograms(self) -> int:
        """The number of mammograms of the source."""
        return sum(self.label_units.values())

    def key(self, name: str) -> str:
        """The key of an object of the import."""
        return f"imports/{self.import_id}/{name}"

    def part_key(self, name: str, number: int, suffix: str = "json") -> str:
        """The key of an object of a part, such as `imports/<id>/result-00001.json`."""
        return self.key(f"{name}-{number:05d}.{suffix}")


class PartResult(BaseModel):
    """What was stored of a part."""

    model_config = ConfigDict(frozen=True)

    patches: ObjectRef
    mammograms: ObjectRef
    lesions: ObjectRef
    shards: Annotated[tuple[Shard, ...], Field(default=())]
    report: ImportReport


@dataclass(frozen=True)
class _Scanned:
    """The mammograms of a source with their splits, and the report of reading them."""

    mammograms: list[RawMammogram]
    splits: list[str]
    report: ImportReport


def plan_import(
    blobs: Blobs,
    name: str,
    source: Source,
    recipe: CutRecipe,
    owner: str = "",
    on_progress: OnProgress = _ignore,
    pseudonyms: Pseudonyms | None = None,
) -> ImportPlan:
    """Read the tables and headers of a source, and store the parts of its import. InvalidInput if the source does not
    have the layout, or has no mammogram, or if its identifiers are not public and there are no `pseudonyms` for them.

    Imports of different `owner`s share no objects but those of the data set. `on_progress` receives the number of
    mammograms that are found.
    """
    source.check()
    layout = layout_named(source.layout)
    files = source.open(blobs)
    with closed_after(files):
        scanned = _scan(files, layout, pseudonyms, recipe, on_progress)
    counted = {finding.kind for one in scanned.mammograms for finding in one.findings if counts(finding, recipe)}
    kinds = tuple(sorted(counted))
    content = MAMMOGRAMS.dump_json(scanned.mammograms)
    digest = hashlib.sha256(content).hexdigest()
    found_leaks = tuple(leaks(scanned.mammograms, scanned.splits))
    parts = list(_parts(scanned, recipe.part_mammograms))
    plan = ImportPlan(
        import_id=derived_id(
            "import", owner, json.dumps([FORMAT, name, source.layout, digest, recipe.model_dump(mode="json")])
        ),
        name=name,
        source=source,
        recipe=recipe,
        classes=class_names(recipe, kinds),
        kinds=kinds,
        notice=_notice(layout, found_leaks),
        leaks=found_leaks,
        parts=tuple(split for split, _ in parts),
        label_units=dict(Counter(map(_label_unit, scanned.mammograms))),
        source_sha256=digest,
        files_sha256=_sha256_of_names(files),
        scan=scanned.report,
    )
    for number, (_, mammograms) in enumerate(parts):
        blobs.put(BUCKET, plan.part_key("part", number), MAMMOGRAMS.dump_json(mammograms))
    if source.dicomweb is not None:
        blobs.put(BUCKET, plan.key(SEALED_FILES), source.dicomweb.seal(files.names))
    return plan


def open_plan(blobs: Blobs, ref: ObjectRef) -> ImportPlan:
    """Read the stored plan of an import."""
    return ImportPlan.model_validate_json(read_verified(blobs, ref))


def is_cut(blobs: Blobs, plan: ImportPlan, number: int) -> bool:
    """Whether a part, from 0, is cut."""
    return blobs.size(BUCKET, plan.part_key("result", number)) is not None


def cut_part(blobs: Blobs, plan: ImportPlan, number: int, on_mammogram: OnProgress = _ignore) -> ObjectRef:
    """Cut the mammograms of a part, from 0, and return the reference of its PartResult. `on_mammogram` is called after
    each mammogram."""
    report = ImportReport()
    mammograms = MAMMOGRAMS.validate_json(blobs.get(BUCKET, plan.part_key("part", number)))
    files = plan.source.reopen(blobs, plan)
    layout = layout_named(plan.source.layout)
    preparer = Preparer(layout, files, plan.recipe, plan.kinds, report)
    with closed_after(files), _writer(blobs, plan) as writer, part_journal(blobs, plan, number) as journal:
        for done, planned in enumerate(mammograms, 1):
            mammogram = planned if layout.public_identifiers else find_files(planned, files)
            if journal.begin(mammogram.name):
                place = layout.place(files, mammogram.file)
                _add(writer, _prepared(preparer, mammogram, plan.parts[number], place, report))
            else:
                report.drop(CRASHED, layout.place(files, mammogram.file))
            on_mammogram(done, len(mammograms))
        content = writer.content()
    count_received(files, report, "instances")
    result = PartResult(
        shards=tuple(content.shards),
        report=report,
        **{
            table: put_content(blobs, BUCKET, plan.part_key(table, number, "parquet"), encode_table(rows))
            for table, rows in _tables(content).items()
        },
    )
    return blobs.put(BUCKET, plan.part_key("result", number), result.model_dump_json().encode())


def part_journal(blobs: Blobs, plan: ImportPlan, number: int) -> PartJournal:
    """The journal of a part that is being cut."""
    return PartJournal(blobs, BUCKET, plan.part_key("journal", number))


def assemble(
    blobs: Blobs, plan: ImportPlan, on_part: OnProgress = _ignore
) -> tuple[DatasetManifest, ObjectRef, ImportReport]:
    """Make the data set of an import whose parts are all cut, and return it with the report of the whole import.
    NotFound if a part is missing; InvalidInput if no patch has a label. `on_part` is called after each part."""
    report = plan.scan.model_copy(deep=True)
    cards = _SplitCards(plan.classes)
    with _writer(blobs, plan) as writer:
        for number, split in enumerate(plan.parts):
            result = PartResult.model_validate_json(blobs.get(BUCKET, plan.part_key("result", number)))
            tables = {name: read_table(blobs, getattr(result, name)) for name in ("patches", "mammograms", "lesions")}
            content = StoredContent(shards=list(result.shards), **tables)
            writer.add_content(content)
            cards.add(split, content)
            report.add(result.report)
            on_part(number + 1, len(plan.parts))
        card = _card(plan, cards)
        licence = layout_named(plan.source.layout).licence
        provenance = Provenance(
            card.model_dump_json(indent=1).encode(), report.model_dump_json(indent=1).encode(), licence.terms
        )
        manifest, ref = writer.finish(provenance)
    return manifest, ref, report


def discard(blobs: Blobs, plan: ImportPlan) -> None:
    """Remove the objects of an import. The data set keeps its own."""
    for key in list(blobs.list(BUCKET, plan.key(""))):
        blobs.delete(BUCKET, key)


def _add(writer: DatasetWriter, cut: Cut | None) -> None:
    if cut is not None:
        writer.add_mammogram(cut.mammogram, cut.lesions)
        for patch in cut.patches:
            writer.add_patch(patch)


def _prepared(preparer: Preparer, mammogram: RawMammogram, split: str, place: str, report: ImportReport) -> Cut | None:
    """Prepare a mammogram. A fault of its layout costs this mammogram, not the import of all others; it is logged
    without its message, which may quote the file."""
    try:
        return preparer.prepare(mammogram, split)
    except (PrimitivesError, OSError, MemoryError):  # of the store or the machine: a later attempt may succeed
        raise
    except Exception as error:
        kind = type(error).__name__
        log.error("reader failed", file=place, error=kind, stack="".join(traceback.format_tb(error.__traceback__)))
        report.drop(FAILED, f"{place}: {kind}")
        return None


def _scan(
    files: SourceFiles, layout: Layout, pseudonyms: Pseudonyms | None, recipe: CutRecipe, on_progress: OnProgress
) -> _Scanned:
    if pseudonyms is None and not layout.public_identifiers:
        raise InvalidInput(f"the layout {layout.name} needs a key for pseudonyms of patients")
    hidden = None if layout.public_identifiers else pseudonyms
    report = ImportReport()
    mammograms = []
    for found in layout.scan(files, report):
        mammograms.append(found if hidden is None else hidden.hide(found, files))
        on_progress(len(mammograms), 0)
    count_received(files, report, "headers")
    if not mammograms:
        reasons = "; ".join(f"{reason.count} x {name}" for name, reason in report.dropped.items())
        raise InvalidInput(f"{NO_MAMMOGRAMS}{f': {reasons}' if reasons else ''}")
    repeated = [name for name, count in Counter(one.name for one in mammograms).items() if count > 1]
    if repeated:
        raise InvalidInput(f"the source has {len(repeated)} mammogram names twice, such as {repeated[0]}")
    return _Scanned(mammograms, assign_splits(mammograms, recipe), report)


def _sha256_of_names(files: SourceFiles) -> str:
    return hashlib.sha256("\0".join(files.names).encode("utf-8", "surrogatepass")).hexdigest()


def _parts(scanned: _Scanned, size: int) -> Iterator[tuple[str, list[RawMammogram]]]:
    """Yield the parts: mammograms of one split, split by split, in the order of the source."""
    by_split: defaultdict[str, list[RawMammogram]] = defaultdict(list)
    for mammogram, split in zip(scanned.mammograms, scanned.splits, strict=True):
        by_split[split].append(mammogram)
    for split in SPLITS:
        rest = iter(by_split[split])
        while part := list(islice(rest, size)):
            yield split, part


def _writer(blobs: Blobs, plan: ImportPlan) -> DatasetWriter:
    return DatasetWriter(blobs, BUCKET, plan.name, plan.classes, notice=plan.notice, shared_patients=bool(plan.leaks))


def _tables(content: StoredContent) -> dict[str, pa.Table]:
    return {"patches": content.patches, "mammograms": content.mammograms, "lesions": content.lesions}


def _notice(layout: Layout, found: Sequence[str]) -> str:
    leaking = f"The source puts the same patient into more than one split: {'; '.join(found)}." if found else ""
    return " ".join(filter(None, (layout.notice, leaking)))


def _label_unit(mammogram: RawMammogram) -> str:
    label = mammogram.label
    return f"{label.unit}, {label.source}" if label is not None else "unlabelled"


class _SplitCards:
    """Counts patients, mammograms and patches of each split."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = classes
        self._patients: defaultdict[str, set[str]] = defaultdict(set)
        self._mammograms: Counter[str] = Counter()
        self._patches: Counter[tuple[str, int]] = Counter()

    def add(self, split: str, content: StoredContent) -> None:
        """Count a part."""
        self._patients[split].update(content.mammograms["patient"].to_pylist())
        self._mammograms[split] += content.mammograms.num_rows
        self._patches.update((split, label) for label in content.patches["label"].to_pylist())

    def cards(self) -> dict[str, SplitCard]:
        """The counts by split."""
        return {
            split: SplitCard(
                patients=len(patients),
                mammograms=self._mammograms[split],
                patches={name: self._patches[split, label] for label, name in enumerate(self._classes)},
            )
            for split, patients in self._patients.items()
        }


def _card(plan: ImportPlan, cards: _SplitCards) -> DataCard:
    layout = layout_named(plan.source.layout)
    recipe: dict[str, Any] = plan.recipe.model_dump(mode="json")
    return DataCard(
        source=layout.title,
        layout=layout.name,
        licence=layout.licence,
        splits=cards.cards(),
        split_rule=plan.recipe.split_rule,
        leaks=list(plan.leaks),
        label_units=plan.label_units,
        recipe=recipe,
        source_sha256=plan.source_sha256,
        code_version=__version__,
    )
