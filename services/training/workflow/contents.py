"""The contents of data sets, for people who look at them: balance, patches and their pictures."""

import io
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from services.common.blobs import ObjectRef
from services.common.blobs.port import read_verified
from services.common.errors import NotFound
from services.common.paging import next_offset
from services.common.work.ports import Ports
from services.imaging.dataset import Dataset
from services.imaging.decode import decode_grey
from services.imaging.licence import DataCard
from services.training.raw.report import ImportReport
from services.training.schemas import BalanceRow, BalanceView, PatchList, PatchQuery, PatchView
from services.training.workflow.datasets import dataset_row

OPEN_DATASETS = 2
"""Data sets whose index stays in memory: a million patches take some 150 MB."""
LARGEST_SIDE = 512
"""The largest side in pixels of a patch's picture. The patch itself may be larger."""
QUALITY = 90
"""The JPEG quality of a patch's picture."""


@dataclass
class DatasetContents:
    """The use cases of what data sets contain. Data sets never change, so the newest ones stay open."""

    ports: Ports
    _open: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._open = lru_cache(maxsize=OPEN_DATASETS)(self._read)

    def balance(self, dataset_id: str) -> BalanceView:
        """The patients and patches of each class in each split. NotFound if there is no such data set."""
        dataset = self._dataset(dataset_id)
        counted = dataset.index.group_by(["split", "label"]).aggregate(
            [("patient", "count_distinct"), ("patch_id", "count")]
        )
        found = {(row["split"], row["label"]): row for row in counted.to_pylist()}
        manifest = dataset.manifest
        rows = []
        for split in manifest.splits:
            for label, name in enumerate(manifest.classes):
                row = found.get((split, label), {"patient_count_distinct": 0, "patch_id_count": 0})
                patients, patches = row["patient_count_distinct"], row["patch_id_count"]
                rows.append(BalanceRow(split=split, label=label, class_name=name, patients=patients, patches=patches))
        return BalanceView(
            dataset_id=dataset_id, notice=manifest.notice, patients=_patients_of(dataset.index), classes=rows
        )

    def patches(self, dataset_id: str, query: PatchQuery) -> PatchList:
        """A page of the patches of a split and a class, or of all, in the order of their ids."""
        dataset = self._dataset(dataset_id)
        table = dataset.index
        if query.split:
            table = table.filter(pc.equal(table["split"], query.split))
        if query.label is not None:
            table = table.filter(pc.equal(table["label"], query.label))
        classes = dataset.manifest.classes
        part = table.slice(query.offset, query.limit).to_pylist()
        return PatchList(
            patches=[PatchView(class_name=classes[row["label"]], **_shown(row)) for row in part],
            total=table.num_rows,
            next_offset=next_offset(query, table.num_rows),
        )

    def picture(self, dataset_id: str, patch_id: int) -> bytes:
        """A patch as a JPEG of 8 bits, reduced to LARGEST_SIDE. NotFound if there is no such patch."""
        dataset = self._dataset(dataset_id)
        if not 0 <= patch_id < dataset.index.num_rows:
            raise NotFound(f"data set {dataset_id} has no patch {patch_id}")
        picture = decode_grey(dataset.read(patch_id), f"patch {patch_id} of {dataset_id}")
        picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.BILINEAR)
        encoded = io.BytesIO()
        picture.save(encoded, "jpeg", quality=QUALITY)
        return encoded.getvalue()

    def card(self, dataset_id: str) -> DataCard:
        """The data card of a data set. NotFound if it was not cut from raw mammograms."""
        return DataCard.model_validate_json(self._provenance(dataset_id, "card"))

    def report(self, dataset_id: str) -> ImportReport:
        """The report of the import of a data set. NotFound if it was not cut from raw mammograms."""
        return ImportReport.model_validate_json(self._provenance(dataset_id, "report"))

    def _provenance(self, dataset_id: str, name: Literal["card", "report"]) -> bytes:
        ref: ObjectRef | None = getattr(self._dataset(dataset_id).manifest, name)
        if ref is None:
            raise NotFound(f"data set {dataset_id} has no {name}: it was not cut from raw mammograms")
        return read_verified(self.ports.blobs, ref)

    def _dataset(self, dataset_id: str) -> Dataset:
        dataset: Dataset = self._open(dataset_id)
        return dataset

    def _read(self, dataset_id: str) -> Dataset:
        with self.ports.records.reading() as session:
            manifest = dataset_row(session, dataset_id).manifest
        return Dataset.open(self.ports.blobs, manifest)


def _patients_of(index: pa.Table) -> dict[str, int]:
    """The number of patients of each split."""
    counted = index.group_by(["split"]).aggregate([("patient", "count_distinct")])
    return {row["split"]: row["patient_count_distinct"] for row in counted.to_pylist()}


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """The fields of an index row that a view of the patch has."""
    return {name: row[name] for name in PatchView.model_fields if name in row}
