"""An import of raw mammograms in three steps: plan it, cut its parts, and assemble the data set.

Parts are cut in any order, by any number of processes and machines, and each stores its own result, so that an import
that was interrupted continues with the parts that are missing. Planning reads tables and headers only. The same source,
layout and recipe give the same import, and the same data set to the byte, however many workers there are.
"""

import hashlib
import json
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa

from services.common.blobs import Blobs, ObjectRef
from services.common.errors import InvalidInput, PrimitivesError
from services.common.identity import derived_id
from services.common.observability.logs import get_logger
from services.imaging.dataset import DatasetManifest
from services.imaging.dataset_writer import DatasetWriter, Provenance, StoredContent
from services.imaging.manifests import encode_table, put_content, read_table
from services.imaging.patches import SPLITS
from services.training.names import BUCKET
from services.training.raw.cards import SplitCards, card_of
from services.training.raw.case import RawMammogram
from services.training.raw.cutting.cutter import Cut
from services.training.raw.cutting.labelling import class_names, counts
from services.training.raw.cutting.prepare import Preparer
from services.training.raw.cutting.recipe import CutRecipe
from services.training.raw.cutting.splits import assign_splits, leaks
from services.training.raw.layout import Layout
from services.training.raw.layouts import layout_named
from services.training.raw.plan import (
    MAMMOGRAMS,
    SEALED_FILES,
    ImportPlan,
    PartResult,
    Source,
    part_journal,
    sha256_of_names,
)
from services.training.raw.pseudonyms import Pseudonyms, find_files
from services.training.raw.report import ImportReport
from services.training.raw.source.dicomweb.source import closed_after, count_received
from services.training.raw.source.files import SourceFiles
from services.training.raw.split_lists import SplitLists

FORMAT = 1
"""A higher number cuts all parts again: results of older code are not used."""
NO_MAMMOGRAMS = "the source has no mammogram that can be imported"
CRASHED = "the decoder crashed or hung on this file"
FAILED = "the reader failed on this file"

log = get_logger("import")

OnProgress = Callable[[int, int], None]
"""Receives how much is done, and of how much; 0 if that is unknown. What it raises ends the work."""


def _ignore(_done: int, _total: int) -> None:
    """Receive progress that nobody follows."""


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
        files_sha256=sha256_of_names(files),
        scan=scanned.report,
    )
    for number, (_, mammograms) in enumerate(parts):
        blobs.put(BUCKET, plan.part_key("part", number), MAMMOGRAMS.dump_json(mammograms))
    if source.dicomweb is not None:
        blobs.put(BUCKET, plan.key(SEALED_FILES), source.dicomweb.seal(files.names))
    return plan


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


def assemble(
    blobs: Blobs, plan: ImportPlan, on_part: OnProgress = _ignore
) -> tuple[DatasetManifest, ObjectRef, ImportReport]:
    """Make the data set of an import whose parts are all cut, and return it with the report of the whole import.
    NotFound if a part is missing; InvalidInput if no patch has a label. `on_part` is called after each part."""
    report = plan.scan.model_copy(deep=True)
    cards = SplitCards(plan.classes)
    with _writer(blobs, plan) as writer:
        for number, split in enumerate(plan.parts):
            result = PartResult.model_validate_json(blobs.get(BUCKET, plan.part_key("result", number)))
            tables = {name: read_table(blobs, getattr(result, name)) for name in ("patches", "mammograms", "lesions")}
            content = StoredContent(shards=list(result.shards), **tables)
            writer.add_content(content)
            cards.add(split, content)
            report.add(result.report)
            on_part(number + 1, len(plan.parts))
        card = card_of(plan, cards)
        licence = layout_named(plan.source.layout).licence
        provenance = Provenance(
            card.model_dump_json(indent=1).encode(), report.model_dump_json(indent=1).encode(), licence.terms
        )
        manifest, ref = writer.finish(provenance)
    return manifest, ref, report


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
    lists = SplitLists(files, report) if recipe.split_rule == "lists" else None
    for found in layout.scan(files, report):
        listed = found if lists is None else lists.assign(found, layout.place(files, found.file))
        mammograms.append(listed if hidden is None else hidden.hide(listed, files))
        on_progress(len(mammograms), 0)
    if lists is not None:
        lists.report_unused()
    count_received(files, report, "headers")
    if not mammograms:
        reasons = "; ".join(f"{reason.count} x {name}" for name, reason in report.dropped.items())
        raise InvalidInput(f"{NO_MAMMOGRAMS}{f': {reasons}' if reasons else ''}")
    repeated = [name for name, count in Counter(one.name for one in mammograms).items() if count > 1]
    if repeated:
        raise InvalidInput(f"the source has {len(repeated)} mammogram names twice, such as {repeated[0]}")
    return _Scanned(mammograms, assign_splits(mammograms, recipe), report)


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
