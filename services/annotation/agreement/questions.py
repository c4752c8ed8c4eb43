"""Agreement on every question of a study."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from services.annotation.agreement.bootstrap import Resampling
from services.annotation.agreement.cohen import cohen_kappa
from services.annotation.agreement.fleiss import fleiss_kappa
from services.annotation.agreement.gwet import gwet_ac
from services.annotation.agreement.krippendorff import krippendorff_alpha
from services.annotation.agreement.percent import percent_agreement
from services.annotation.agreement.ratings import MISSING, Ratings
from services.annotation.agreement.result import Agreement, agreement, agreements, intervals
from services.annotation.agreement.statistic import Statistic
from services.common.errors import InvalidInput

Scale = Literal["nominal", "ordinal"]


@dataclass(frozen=True, eq=False)
class ChoiceQuestion:
    """A question with one answer out of several. Ordinal ones also get the weighted statistics."""

    name: str
    ratings: Ratings
    scale: Scale = "nominal"


@dataclass(frozen=True, eq=False)
class TermsQuestion:
    """A question whose answer is a set of terms. `chosen` has shape (units, readers, terms): 1, 0 or MISSING."""

    name: str
    terms: Sequence[str]
    chosen: NDArray[np.integer]

    def __post_init__(self) -> None:
        if self.chosen.ndim != 3 or self.chosen.shape[2] != len(self.terms):
            raise InvalidInput(
                f"Question {self.name} has answers of shape {self.chosen.shape}; expected units, readers and "
                f"{len(self.terms)} terms"
            )
        missing = self.chosen == MISSING
        if (missing.any(axis=2) != missing.all(axis=2)).any():
            raise InvalidInput(f"Question {self.name} has an answer with missing terms; expected all or none missing")


@dataclass(frozen=True)
class QuestionAgreement:
    """The statistics of a question, or of a term. `question` is the name of either."""

    question: str
    results: tuple[Agreement, ...]


@dataclass(frozen=True)
class TermAgreement(QuestionAgreement):
    """The statistics of a term as a yes-or-no question, and the share of readings that chose it."""

    chosen: float | None


@dataclass(frozen=True)
class TermsSummary:
    """A statistic over all terms of a question for which it is defined."""

    statistic: str
    median: float | None
    lowest: float | None
    highest: float | None
    defined: int
    undefined: int


@dataclass(frozen=True)
class TermsAgreement:
    """The agreement on each term of a question, and a summary of each statistic over the terms."""

    question: str
    terms: tuple[TermAgreement, ...]
    summary: tuple[TermsSummary, ...]


@dataclass(frozen=True)
class PairAgreement:
    """Cohen's kappa of two readers, given by their columns."""

    first: int
    second: int
    kappa: Agreement


def study_agreement(
    questions: Sequence[ChoiceQuestion | TermsQuestion], resampling: Resampling | None
) -> list[QuestionAgreement | TermsAgreement]:
    """Return the agreement on every question of a study, in their order."""
    return [
        choice_agreement(question, resampling)
        if isinstance(question, ChoiceQuestion)
        else terms_agreement(question, resampling)
        for question in questions
    ]


def choice_agreement(question: ChoiceQuestion, resampling: Resampling | None) -> QuestionAgreement:
    """Return all statistics of a question with one answer."""
    ratings = question.ratings.read()
    return QuestionAgreement(question.name, agreements(ratings, statistics_of(ratings, question.scale), resampling))


def statistics_of(ratings: Ratings, scale: Scale) -> list[Statistic]:
    """Return the statistics that are defined for a scale, and for the number of readers."""
    two = ratings.readers == 2
    nominal = [percent_agreement(ratings), fleiss_kappa(ratings), krippendorff_alpha(ratings), gwet_ac(ratings)]
    if two:
        nominal.append(cohen_kappa(ratings))
    if scale == "nominal":
        return nominal
    ordinal = [krippendorff_alpha(ratings, "ordinal"), gwet_ac(ratings, "ordinal")]
    if two:
        ordinal += [cohen_kappa(ratings, "linear"), cohen_kappa(ratings, "quadratic")]
    return nominal + ordinal


def terms_agreement(question: TermsQuestion, resampling: Resampling | None) -> TermsAgreement:
    """Return the agreement on each term as a yes-or-no question, and the summary over terms.

    A reader who answers decides on every term, so all terms have the same units and share their resamples.
    """
    tables = [Ratings.of(question.chosen[:, :, place], 2).read() for place in range(len(question.terms))]
    statistics = [statistics_of(ratings, "nominal") for ratings in tables]
    ends = iter(intervals([one for term in statistics for one in term], resampling))
    terms = tuple(
        TermAgreement(name, tuple(agreement(ratings, one, next(ends)) for one in found), _share(ratings))
        for name, ratings, found in zip(question.terms, tables, statistics, strict=True)
    )
    return TermsAgreement(question.name, terms, _summaries(terms))


def _share(ratings: Ratings) -> float | None:
    """Return the share of readings that chose a term."""
    given = ratings.codes[ratings.codes != MISSING]
    return float(given.mean()) if given.size else None


def _summaries(terms: Sequence[TermAgreement]) -> tuple[TermsSummary, ...]:
    by_statistic: dict[str, list[float | None]] = {}
    for result in (result for term in terms for result in term.results):
        by_statistic.setdefault(result.statistic, []).append(result.value)
    return tuple(_summary(name, values) for name, values in by_statistic.items())


def _summary(name: str, values: Sequence[float | None]) -> TermsSummary:
    defined = [value for value in values if value is not None]
    missing = len(values) - len(defined)
    if not defined:
        return TermsSummary(name, None, None, None, 0, missing)
    return TermsSummary(name, float(np.median(defined)), min(defined), max(defined), len(defined), missing)


def pairs_of_readers(ratings: Ratings, resampling: Resampling | None) -> list[PairAgreement]:
    """Return Cohen's kappa of every two readers who have read a unit in common."""
    found = []
    for first, second in combinations(range(ratings.readers), 2):
        both = Ratings(ratings.codes[:, [first, second]], ratings.categories).read()
        if both.pairable.any():
            (kappa,) = agreements(both, [cohen_kappa(both)], resampling)
            found.append(PairAgreement(first, second, kappa))
    return found
