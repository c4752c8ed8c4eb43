"""`primitives dataset import --layout`: raw mammograms of a folder or a DICOMweb server become a data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from services.cli.progress import progress_bar
from services.common.errors import InvalidInput, describe_faults
from services.common.machine.cores import usable_cores
from services.common.machine.reading import read_at_most
from services.training.raw.cutting.recipe import CutRecipe
from services.training.raw.importing import assemble, plan_import
from services.training.raw.local import cut_all
from services.training.raw.plan import Source, discard
from services.training.raw.source.dicomweb.search import Selection
from services.training.raw.source.dicomweb.source import DicomwebSource
from services.training.settings import TrainingSettings
from services.training.workflow.datasets import Datasets

LARGEST_RECIPE = 1 << 20


@dataclass(frozen=True)
class DicomwebOptions:
    """The server to import from, empty for none, and which of its studies."""

    server: str = ""
    studies: Path | None = None
    since: date | None = None
    until: date | None = None

    def source(self, settings: TrainingSettings) -> DicomwebSource | None:
        """The server as part of a source. InvalidInput for options of a server without one."""
        if not self.server:
            if self != DicomwebOptions():
                raise InvalidInput("--studies, --since and --until select studies of a server; pass --dicomweb")
            return None
        return DicomwebSource(
            server=self.server,
            servers_file=settings.dicomweb_file,
            selection=Selection(since=self.since, until=self.until, studies_file=self.studies),
            pseudonym_key=settings.pseudonym_key_file,
            home=settings.shared.folder("keys"),
        )


def import_raw(
    datasets: Datasets,
    folder: Path,
    layout: str,
    name: str,
    recipe: CutRecipe,
    settings: TrainingSettings,
    workers: int,
    dicomweb: DicomwebOptions = DicomwebOptions(),
) -> dict[str, Any]:
    """Import a folder of raw mammograms with several processes, register the data set, and return it with the
    report. With `dicomweb`, the mammograms come from that server, and the folder has their table of labels."""
    blobs = datasets.ports.blobs
    source = Source(layout=layout, folder=folder.resolve(), dicomweb=dicomweb.source(settings))
    pseudonyms = source.pseudonyms(settings.pseudonym_key_file, settings.shared.folder("keys"))
    plan = plan_import(blobs, name or folder.resolve().name, source, recipe, pseudonyms=pseudonyms)
    with progress_bar("parts") as update:
        cut_all(blobs.url, plan, workers or usable_cores(), update)
    manifest, ref, report = assemble(blobs, plan)
    view = datasets.register(manifest, ref)
    discard(blobs, plan)
    return view.model_dump() | {"report": report.model_dump()}


def read_recipe(file: Path | None, options: Sequence[str]) -> CutRecipe:
    """The recipe of a JSON file, with options such as `classes=two` or `fractions=0.5,0.25` over it. InvalidInput names
    what is wrong."""
    try:
        content = CutRecipe.model_validate_json(read_at_most(file, LARGEST_RECIPE)) if file is not None else CutRecipe()
        changed: dict[str, Any] = content.model_dump(exclude_unset=True)
        for option in options:
            field, sign, value = option.partition("=")
            if not sign:
                raise InvalidInput(f"--cut {option}; expected NAME=VALUE, such as classes=two")
            changed[field] = value.split(",") if field in ("fractions", "splits") else value
        return CutRecipe.model_validate(changed)
    except ValidationError as error:
        raise InvalidInput(f"the recipe is not valid: {describe_faults(error.errors())}") from error
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}") from error
