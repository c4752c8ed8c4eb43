"""Agreement on all questions of a study."""

import numpy as np
import pytest

from services.annotation.agreement.bootstrap import Resampling
from services.annotation.agreement.questions import (
    ChoiceQuestion,
    QuestionAgreement,
    TermsAgreement,
    TermsQuestion,
    pairs_of_readers,
    study_agreement,
)
from services.annotation.agreement.ratings import MISSING, Ratings
from services.common.errors import InvalidInput
from tests.unit.annotation.agreement import slow
from tests.unit.annotation.agreement.published import ABSTRACTORS, KRIPPENDORFF

RESAMPLING = Resampling(1, replicates=200)
MANY = ["percent_agreement", "fleiss_kappa", "krippendorff_alpha", "gwet_ac1"]
ORDINAL = ["krippendorff_alpha_ordinal", "gwet_ac2_ordinal"]
WEIGHTED = ["cohen_kappa_linear", "cohen_kappa_quadratic"]


def names(found: QuestionAgreement | TermsAgreement) -> list[str]:
    """Return the statistics of a question."""
    assert isinstance(found, QuestionAgreement)
    return [result.statistic for result in found.results]


def test_the_statistics_of_a_question() -> None:
    """Cohen's kappa needs exactly two readers; ordinal questions have the weighted statistics as well."""
    questions = [
        ChoiceQuestion("many", KRIPPENDORFF),
        ChoiceQuestion("many, ordinal", KRIPPENDORFF, "ordinal"),
        ChoiceQuestion("two", ABSTRACTORS),
        ChoiceQuestion("two, ordinal", ABSTRACTORS, "ordinal"),
    ]
    assert [names(found) for found in study_agreement(questions, RESAMPLING)] == [
        MANY,
        MANY + ORDINAL,
        [*MANY, "cohen_kappa"],
        [*MANY, "cohen_kappa", *ORDINAL, *WEIGHTED],
    ]


def test_terms_are_yes_or_no_questions() -> None:
    """Each term has its share and its statistics; the summary has the median and extremes of those with a value."""
    random = np.random.default_rng(4)
    chosen = random.integers(0, 2, (30, 3, 3))
    chosen[:, :, 2] = 0
    chosen[:5, 0] = MISSING
    (found,) = study_agreement([TermsQuestion("phenomena", ["mass", "nipple", "marker"], chosen)], RESAMPLING)
    assert isinstance(found, TermsAgreement)
    assert [term.question for term in found.terms] == ["mass", "nipple", "marker"]
    fleiss = [term.results[1].value for term in found.terms]
    assert fleiss[0] == pytest.approx(slow.fleiss(Ratings.of(chosen[:, :, 0], 2)))
    assert (fleiss[2], found.terms[2].chosen) == (None, 0)
    assert found.terms[0].chosen == pytest.approx(chosen[:, :, 0][chosen[:, :, 0] >= 0].mean())
    summary = {one.statistic: one for one in found.summary}
    assert list(summary) == MANY
    kappa = summary["fleiss_kappa"]
    assert (kappa.defined, kappa.undefined) == (2, 1)
    lowest, highest = sorted(value for value in fleiss if value is not None)
    assert (kappa.lowest, kappa.highest, kappa.median) == (lowest, highest, pytest.approx((lowest + highest) / 2))
    assert summary["gwet_ac1"].undefined == 0


def test_terms_that_nobody_read() -> None:
    """Nothing has a value."""
    question = TermsQuestion("phenomena", ["mass"], np.full((4, 2, 1), MISSING))
    (found,) = study_agreement([question], RESAMPLING)
    assert isinstance(found, TermsAgreement)
    assert found.terms[0].chosen is None
    assert {one.median for one in found.summary} == {None}


def test_wrong_terms_are_refused() -> None:
    """The error names the question and the shape."""
    with pytest.raises(InvalidInput, match=r"Question phenomena has answers of shape \(4, 2, 1\)"):
        TermsQuestion("phenomena", ["mass", "nipple"], np.zeros((4, 2, 1), dtype=int))
    with pytest.raises(InvalidInput, match="an answer with missing terms"):
        TermsQuestion("phenomena", ["mass", "nipple"], np.array([[[0, MISSING]]]))


def test_terms_and_questions_have_the_same_intervals() -> None:
    """A term has the results that it would have as a question of its own."""
    chosen = np.random.default_rng(5).integers(0, 2, (30, 3, 2))
    chosen[:4] = MISSING
    (found,) = study_agreement([TermsQuestion("phenomena", ["mass", "nipple"], chosen)], RESAMPLING)
    assert isinstance(found, TermsAgreement)
    alone = study_agreement([ChoiceQuestion("nipple", Ratings.of(chosen[:, :, 1], 2))], RESAMPLING)
    assert [QuestionAgreement("nipple", found.terms[1].results)] == alone


def test_pairs_of_readers() -> None:
    """Cohen's kappa of every two readers with a unit in common."""
    codes = KRIPPENDORFF.codes.copy()
    codes[:, 3] = MISSING
    found = pairs_of_readers(Ratings.of(codes, 5), None)
    assert [(pair.first, pair.second) for pair in found] == [(0, 1), (0, 2), (1, 2)]
    for pair in found:
        expected = slow.cohen(Ratings.of(codes[:, [pair.first, pair.second]], 5))
        assert pair.kappa.value == pytest.approx(expected)
