"""Readers do not see classes before they answer, and never see the answers of other readers."""

import html
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.annotation import LAYER, Annotation
from tests.fakes.rendering import MAMMOGRAMS, PHENOMENA

SECRETS = [*PHENOMENA, *(name for name, *_ in MAMMOGRAMS), "data-class", "data-patch", "_w227_h227_"]
WITHHELD = ("label", "class_name", "patch", "mammogram_name", "phenomenon")


def assert_blind(text: str) -> None:
    """Check that a page has no class, name or phenomenon of a patch. (Legends and tabs may contain class names.)"""
    found = [secret for secret in SECRETS if secret in html.unescape(text)]
    assert found == []


def shown_signs(text: str) -> int:
    """The number of pictures on a page that show + or -."""
    return sum(part.count('class="sign ') for part in text.split("<img ")[1:])


def test_the_survey_withholds_classes_until_this_reader_has_answered(annotation: Annotation) -> None:
    """Before the answer nothing is shown, after it the class and name of every picture; another reader sees nothing."""
    ana, ben = annotation.browser("Ana"), annotation.browser("Ben")
    page = ana.get(annotation.unit_path()).text
    assert_blind(page)
    assert shown_signs(page) == 0
    ana.answer(annotation.unit_path())
    page = ana.get(annotation.unit_path()).text
    assert shown_signs(page) == 64
    assert all(name in page for name in PHENOMENA)
    assert_blind(ben.get(annotation.unit_path()).text)
    assert_blind(ana.get(annotation.unit_path(1)).text)


def test_the_overview_shows_classes_only_of_answered_units(annotation: Annotation) -> None:
    """In every list, an answered unit has eight signs and the others have none."""
    ana = annotation.browser("Ana")
    ana.answer(annotation.unit_path(7))
    for query in ("list=all", "list=subset", "list=ranked&label=0"):
        page = ana.get(annotation.overview_path(query)).text
        assert_blind(page)
        assert shown_signs(page) == (8 if 'id="unit_0008"' in page else 0)
    assert shown_signs(ana.get("/answers").text) == 8


def test_the_api_withholds_fields(annotation: Annotation) -> None:
    """The JSON of units and of lists has null for the withheld fields."""
    api = annotation.browser()
    for path in (annotation.api_path(), f"/v1/studies/{annotation.study_id}/layers/{LAYER}/units?limit=200"):
        answer = api.get(path, headers={"x-reader": "Ana"})
        assert answer.status_code == 200
        assert_blind(answer.text)
        pictures = _pictures(answer.json())
        assert len(pictures) >= 64
        assert all(picture[name] is None for picture in pictures for name in WITHHELD)
    assert api.get(annotation.api_path(), headers={"x-reader": "Ana"}).json()["ranks"] == []


def test_faults_and_stale_forms_reveal_nothing(annotation: Annotation) -> None:
    """A form that is shown again with errors reveals no classes."""
    ana = annotation.browser("Ana")
    answer = ana.answer(annotation.unit_path(), recognizable="")
    assert answer.status_code == 422
    assert_blind(answer.text)
    assert shown_signs(answer.text) == 0


def test_a_study_may_show_classes_always(tmp_path: Path) -> None:
    """Such a study shows classes at once and sorts rows by class. Other studies refuse that order."""
    shown = Annotation(tmp_path / "shown", labels_shown="always")
    ana = shown.browser("Ana")
    assert shown_signs(ana.get(shown.unit_path()).text) == 64
    page = ana.get(shown.overview_path("list=all&sort=class")).text
    assert "Most cancer first" in page
    counts = [row.split("</ol>")[0].count("sign plus") for row in page.split('<li id="unit_')[1:]]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]
    withheld = Annotation(tmp_path / "withheld")
    answer = withheld.browser("Ana").get(withheld.overview_path("list=all&sort=class"))
    assert answer.status_code == 422
    assert "withholds classes" in answer.text


@pytest.mark.parametrize("labels_shown", ["after_answer", "always"])
def test_no_page_shows_the_answers_of_another_reader(tmp_path: Path, labels_shown: str) -> None:
    """After Ben answers, none of Ana's pages and calls contains his text; the summary has his name and his unit."""
    annotation = Annotation(tmp_path, labels_shown=labels_shown)
    ana, ben = annotation.browser("Ana"), annotation.browser("Ben")
    ben.answer(annotation.unit_path(), description="BENS SECRET")
    ana.answer(annotation.unit_path(1))
    for path in ("/", "/answers", "/summary", annotation.unit_path(), annotation.overview_path(), "/v1/responses",
                 "/v1/summary", "/v1/studies", annotation.api_path()):  # fmt: skip
        page = ana.get(path)
        assert page.status_code == 200
        assert "BENS SECRET" not in page.text
    summary = ana.get("/summary").text
    assert "Ben" in summary
    assert "unit_0001" in summary
    assert "[response recorded]" not in ana.get(annotation.overview_path("list=all&filter=unanswered")).text
    assert "BENS SECRET" in ben.get(annotation.unit_path()).text


def test_numbers_of_mammograms_reveal_nothing_about_their_names(annotation: Annotation) -> None:
    """A mammogram's number is drawn for each opening, so it follows neither from names nor from the id of the study."""
    from services.annotation.opening import Mammograms
    from services.imaging.dataset import Dataset

    dataset = Dataset.open(annotation.blobs, annotation.rendering.manifest.dataset)
    openings = [Mammograms(dataset) for _ in range(60)]
    numbers = {tuple(opening.number(name) for name, *_ in MAMMOGRAMS) for opening in openings}
    assert len(numbers) == 2


def _pictures(body: Any) -> list[dict[str, Any]]:
    if isinstance(body, list):
        return [found for item in body for found in _pictures(item)]
    if isinstance(body, dict):
        return body["pictures"] if "pictures" in body else [f for item in body.values() for f in _pictures(item)]
    return []
