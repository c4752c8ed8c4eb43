"""What the jobs of imports receive and return: shared by the workflow and the child process."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from services.common.blobs import ObjectRef
from services.common.work.jobs import JobFunction
from services.training.raw.cutting.recipe import CutRecipe
from services.training.raw.plan import Source
from services.training.specs import BuiltDataset


class PlanSpec(BaseModel):
    """A source to read. `owner` is the task, so that tasks share no objects but those of data sets."""

    model_config = ConfigDict(frozen=True)

    blobs_url: str
    owner: str
    name: str
    source: Source
    recipe: CutRecipe
    pseudonym_key: Path | None
    home: Path


class PlannedImport(BaseModel):
    """The reference of an ImportPlan, and its size."""

    model_config = ConfigDict(frozen=True)

    plan: ObjectRef
    parts: int
    mammograms: int


class PartSpec(BaseModel):
    """A part, from 0, of a planned import. `source` is the source as this process finds it: workers of other machines
    may have mounted the folder elsewhere."""

    model_config = ConfigDict(frozen=True)

    blobs_url: str
    plan: ObjectRef
    source: Source
    part: int


class AssembleSpec(BaseModel):
    """A planned import whose parts are all cut."""

    model_config = ConfigDict(frozen=True)

    blobs_url: str
    plan: ObjectRef


PLAN_IMPORT: JobFunction[PlanSpec, PlannedImport] = JobFunction("services.training.imports.job:plan_source")
CUT_PART: JobFunction[PartSpec, ObjectRef] = JobFunction("services.training.imports.job:cut_mammograms")
"""Returns the reference of the part's result."""
ASSEMBLE: JobFunction[AssembleSpec, BuiltDataset] = JobFunction("services.training.imports.job:assemble_dataset")
