"""A client of the services of Visual Primitives over HTTP.

from primitives_client import Primitives

p = Primitives()
plan = p.plans.start(dataset=p.datasets.list().first(), train={"epochs": 4}).wait(progress=True)
plan.extraction.units("layer4").to_pandas()
"""

from primitives_client.annotation import Response, StaleVersion, Study, StudyUnit, StudyUnitDetails
from primitives_client.client import Primitives
from primitives_client.connection import Retries
from primitives_client.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    MissingPackage,
    NotFound,
    NotSignedIn,
    PrimitivesError,
    ServiceError,
    TaskFailed,
    TimedOut,
    TooMany,
    Unavailable,
    UnexpectedAnswer,
    Untrusted,
)
from primitives_client.extraction import Analysis, Extraction, Unit, UnitDetails
from primitives_client.games import Game, GameResults, OwnGame, Trial
from primitives_client.image_text import ImageTextModel, SuggestedName, suggest_names
from primitives_client.models.training import PlanExtraction, PlanRendering, PlanStudy, RunSettings
from primitives_client.pages import Pages
from primitives_client.plans import Plan
from primitives_client.reading import Protocol, Reading, ReadingList, ReadingPlace, Results, StaleAnswer, UnitLabel
from primitives_client.rendering import Rendering
from primitives_client.tables import Table
from primitives_client.training import Comparison, Dataset, Evaluation, Run
from primitives_client.version import __version__

__all__ = [
    "Analysis",
    "Comparison",
    "Conflict",
    "Dataset",
    "Evaluation",
    "Extraction",
    "Forbidden",
    "Game",
    "GameResults",
    "ImageTextModel",
    "InvalidInput",
    "MissingPackage",
    "NotFound",
    "NotSignedIn",
    "OwnGame",
    "Pages",
    "Plan",
    "PlanExtraction",
    "PlanRendering",
    "PlanStudy",
    "Primitives",
    "PrimitivesError",
    "Protocol",
    "Reading",
    "ReadingList",
    "ReadingPlace",
    "Rendering",
    "Response",
    "Results",
    "Retries",
    "Run",
    "RunSettings",
    "ServiceError",
    "StaleAnswer",
    "StaleVersion",
    "Study",
    "StudyUnit",
    "StudyUnitDetails",
    "SuggestedName",
    "Table",
    "TaskFailed",
    "TimedOut",
    "TooMany",
    "Trial",
    "Unavailable",
    "UnexpectedAnswer",
    "Unit",
    "UnitDetails",
    "UnitLabel",
    "Untrusted",
    "__version__",
    "suggest_names",
]
