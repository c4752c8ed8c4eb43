"""`primitives dataset import --layout`: raw mammograms of a folder become a data set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from services.cli.progress import progress_bar
from services.common.errors import InvalidInput, describe_faults
from services.common.machine.cores import usable_cores
from services.common.machine.reading import read_at_most
from services.training.raw.cutting.recipe import CutRecipe
from services.training.raw.importing import Source, assemble, discard, plan_import
from services.training.raw.local import cut_all
from services.training.settings import TrainingSettings
from services.training.workflow.datasets import Datasets

LARGEST_RECIPE = 1 << 20


def import_raw(
    datasets: Datasets,
    folder: Path,
    layout: str,
    name: str,
    recipe: CutRecipe,
    settings: TrainingSettings,
    workers: int,
) -> dict[str, Any]:
    """Import a folder of raw mammograms with several processes, register the data set, and return it with the
    report."""
    blobs = datasets.ports.blobs
    source = Source(layout=layout, folder=folder.resolve())
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
