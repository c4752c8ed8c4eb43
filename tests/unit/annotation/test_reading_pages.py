"""The pages of a reading list: forms, errors, ended sessions, and what they withhold."""

import html
import re
from typing import Any

import pytest

from services.annotation.pages import reading
from tests.fakes.annotation import Annotation, Browser
from tests.fakes.reading import ReaderStudy
from tests.fakes.rendering import MAMMOGRAMS, PHENOMENA

READERS = ["Ana", "Ben", "Cleo"]
ANSWERS = {
    "answer.recognizable": "yes",
    "answer.multiplicity": "single",
    "answer.phenomena.terms": ["mass-oval", "margin-obscured"],
    "answer.phenomena.other": "a star\nrays",
    "answer.associated": "no",
    "answer.confidence": "2",
}


@pytest.fixture
def study(annotation: Annotation) -> ReaderStudy:
    return ReaderStudy(annotation, READERS, patches=4, reveal="after_answer", units={"choose": "subset"})


def hidden(browser: Browser, path: str) -> dict[str, str]:
    """The hidden fields of the page's form of answers."""
    page = browser.get(path)
    assert page.status_code == 200, page.text
    form = page.text[page.text.index('<form class="answer"') :]
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form))


def path_of(study: ReaderStudy, name: str, number: int = 0) -> str:
    """The address of a reading of a reader."""
    return f"/readings/{study.ids(name)[number]}"


def send(browser: Browser, path: str, **fields: Any) -> Any:
    """Fill in the form of a reading and send it."""
    return browser.post(path, data=hidden(browser, path) | ANSWERS | fields)


def test_a_form_is_saved_and_the_next_reading_opens(annotation: Annotation) -> None:
    """All parts of a form are saved as one answer, and the browser is led through the whole list."""
    study = ReaderStudy(annotation, READERS, patches=4, units={"choose": "subset"})
    ana, ids = annotation.browser("Ana"), study.ids("Ana")
    for at, reading_id in enumerate(ids):
        shown = send(ana, f"/readings/{reading_id}", misfit=["2"], active_s="12.5", first_action_s="1.25")
        following = f"/readings/{ids[at + 1]}" if at + 1 < len(ids) else f"/reading/{study.key[0]}/1"
        assert shown.status_code == 200 and shown.url.path == following
    assert f"{len(ids)} of {len(ids)} answered" in shown.text
    view = study.readings.get(study.reader("Ana"), ids[0])
    assert view.answer is not None and view.answer.misfits == [2]
    assert view.answer.answers["phenomena"] == ["mass-oval", "margin-obscured", "other:a star", "other:rays"]


def test_a_long_list_has_pages(annotation: Annotation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page shows some readings, and first the page of the next one to do. All pages together have all readings."""
    monkeypatch.setattr(reading, "READINGS_A_PAGE", 3)
    study = ReaderStudy(annotation, READERS, patches=4, units={"choose": "subset"})
    ana, ids, path = annotation.browser("Ana"), study.ids("Ana"), f"/reading/{study.key[0]}/1"
    pages = -(-len(ids) // 3)
    assert pages > 2

    def shown(query: str) -> list[str]:
        text = ana.get(f"{path}{query}").text
        return re.findall(r'href="/readings/([^"]+)"', text[text.index('id="readings"') :])

    assert [one for page in range(1, pages + 1) for one in shown(f"?page={page}")] == ids
    assert shown("") == ids[:3] and shown("?page=99") == []
    for reading_id in ids[:4]:
        study.answer("Ana", reading_id)
    assert shown("") == ids[3:6]
    for reading_id in ids[4:]:
        study.answer("Ana", reading_id)
    assert shown("") == ids[:3]


def test_faults_are_shown_with_their_questions(study: ReaderStudy) -> None:
    """Nothing typed is lost, and each question that needs attention says so."""
    ana = study.annotation.browser("Ana")
    shown = send(ana, path_of(study, "Ana"), **{"answer.confidence": "", "answer.phenomena.terms": []})
    assert shown.status_code == 422
    assert 'id="fault-confidence"' in shown.text and "Not saved yet: 1 question needs" in shown.text
    assert "a star\nrays</textarea>" in shown.text


def test_parallel_changes_show_both_answers(study: ReaderStudy) -> None:
    """A form that is based on an older version shows the saved answer and the typed one, and can be saved then."""
    ana, path = study.annotation.browser("Ana"), path_of(study, "Ana")
    fields = hidden(ana, path) | ANSWERS
    send(ana, path)
    shown = ana.post(path, data=fields | {"answer.associated": "yes", "idempotency_key": "another"})
    assert shown.status_code == 409 and "Keep the saved one" in shown.text
    again = dict(
        re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', shown.text.split('class="answer"')[1])
    )
    assert again["base_version"] == "1"
    assert ana.post(path, data=fields | again | {"answer.associated": "yes"}).status_code == 200


def test_an_ended_session_loses_no_word(study: ReaderStudy) -> None:
    """The form of an ended session is kept in the page to sign in again, with all its fields, and then saved."""
    annotation, path = study.annotation, path_of(study, "Ana")
    ana = annotation.browser("Ana")
    fields = hidden(ana, path) | ANSWERS | {"misfit": ["3"]}
    ana.cookies.clear()
    page = ana.post(path, data=fields)
    assert page.status_code == 401 and "Nothing is lost" in page.text
    kept: dict[str, list[str]] = {}
    for name, value in re.findall(r'<input type="hidden" name="([\w.-]+)" value="([^"]*)">', page.text):
        kept.setdefault(name, []).append(html.unescape(value))
    shown = ana.post(path, data=kept | {"sign_in_name": "Ana"})
    assert shown.status_code == 200 and "not yet saved" in shown.text
    form = shown.text.split('class="answer"')[1]
    csrf = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form))
    saved = ana.post(path, data=kept | csrf)
    assert saved.status_code == 200
    view = study.readings.get(study.reader("Ana"), study.ids("Ana")[0])
    assert view.answer is not None and view.answer.misfits == [3]
    assert view.answer.answers["phenomena"][-2:] == ["other:a star", "other:rays"]


def test_another_reader_who_signs_in_again_does_not_get_the_reading(study: ReaderStudy) -> None:
    """The reading of Ana does not exist for Ben, also with a form that Ana has typed."""
    annotation, path = study.annotation, path_of(study, "Ana")
    ana = annotation.browser("Ana")
    fields = hidden(ana, path) | ANSWERS
    ana.cookies.clear()
    assert ana.post(path, data=fields | {"sign_in_name": "Ben"}).status_code == 404


def test_drafts_skips_and_reveals_need_the_token_of_the_form(study: ReaderStudy) -> None:
    """Without the CSRF token nothing happens; with it a draft is kept, a reading skipped, and labels revealed."""
    ana, path = study.annotation.browser("Ana"), path_of(study, "Ana")
    csrf = hidden(ana, path)["csrf"]
    for action in ("draft", "skip", "reveal"):
        assert ana.post(f"{path}/{action}", data={"answer.description": "x"}).status_code == 403
    draft = {"csrf": csrf, "base_version": "0", "answer.description": "half a th"}
    assert ana.post(f"{path}/draft", data=draft).status_code == 204
    assert "half a th</textarea>" in ana.get(path).text
    assert ana.post(f"{path}/skip", data={"csrf": csrf}).url.path == path_of(study, "Ana", 1)
    assert ana.post(f"{path}/reveal", data={"csrf": csrf}).status_code == 409
    send(ana, path)
    assert "Your second answer" in ana.post(f"{path}/reveal", data={"csrf": csrf}).text
    assert ana.post(f"{path}/draft", data=draft).status_code == 409


def test_labels_are_on_the_page_only_after_the_reveal(study: ReaderStudy) -> None:
    """No phenomenon, class or name is in the page before; afterwards a second answer is possible."""
    ana, path = study.annotation.browser("Ana"), path_of(study, "Ana")
    secrets = (*PHENOMENA[1:], *(name for name, *_ in MAMMOGRAMS), "data-class", 'class="sign ')
    before = html.unescape(ana.get(path).text)
    after_saving = html.unescape(send(ana, path).text)
    assert [secret for secret in secrets if secret in before + after_saving] == []
    assert "Lock my answer and show the classes" in after_saving
    revealed = ana.post(f"{path}/reveal", data={"csrf": hidden(ana, path)["csrf"]}).text
    assert "data-class" in revealed and "Your second answer" in revealed and "locked" in revealed
    send(ana, path, **{"answer.associated": "yes"})
    view = study.readings.get(study.reader("Ana"), study.ids("Ana")[0])
    assert view.answer is not None and view.answer.answers["associated"] == "no"
    assert view.second_answer is not None and view.second_answer.answers["associated"] == "yes"


def test_pictures_belong_to_the_reader(study: ReaderStudy) -> None:
    """Pictures of a reading are shown to its reader only, and kept by that browser only."""
    annotation, path = study.annotation, path_of(study, "Ana")
    ana, ben = annotation.browser("Ana"), annotation.browser("Ben")
    picture = ana.get(f"{path}/pictures/1.jpg")
    assert picture.status_code == 200 and picture.headers["cache-control"].startswith("private")
    number = study.readings.get(study.reader("Ana"), study.ids("Ana")[0]).mammograms[0].number
    assert ana.get(f"{path}/mammograms/{number}.jpg").status_code == 200
    for address in (path, f"{path}/pictures/1.jpg", f"{path}/mammograms/{number}.jpg"):
        assert ben.get(address).status_code == 404
        assert annotation.browser().get(address).url.path in ("/sign-in", address)


def test_owners_open_a_protocol_from_a_page(annotation: Annotation) -> None:
    """The form gives a preview, the preview opens exactly that protocol, and the page closes it."""
    ana = annotation.browser("Ana")
    path = f"/studies/{annotation.study_id}/protocol"
    csrf = re.findall(r'name="csrf" value="([^"]*)"', ana.get(path).text)[0]
    form = {"csrf": csrf, "title": "By page", "choose": "all", "readers": "Ana\nBen\n\n", "readers_per_unit": "2",
            "shams": "2", "repeats": "1", "patches": "8", "questionnaire": "four-questions 1"}  # fmt: skip
    page = ana.post(f"{path}/preview", data=form)
    assert page.status_code == 200
    [sha256] = re.findall(r"<code class=\"text\">([0-9a-f]{64})</code>", page.text)
    document = html.unescape(
        re.findall(r"<textarea name=\"document\" rows=\"16\"[^>]*>\n(.*?)</textarea>", page.text, re.S)[0]
    )
    opened = ana.post(path, data={"csrf": csrf, "readers": "Ana\nBen", "document": document})
    assert opened.status_code == 200 and sha256 in opened.text and "Close version 1" in opened.text
    assert "By page" in ana.get("/").text
    closed = ana.post(f"{path}/1/close", data={"csrf": csrf})
    assert "Close version" not in closed.text and "closed" in closed.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"readers": ""}, "at least 1 item"),
        ({"readers_per_unit": "x"}, "valid integer"),
        ({"document": "{"}, "Invalid JSON"),
        ({"document": '{"title": "A", "colour": 1}'}, "colour"),
        ({"questionnaire": "nine 9"}, "no questionnaire 'nine'"),
        ({"readers_per_unit": "9"}, "the study has 2"),
    ],
)
def test_a_form_with_faults_is_shown_again(annotation: Annotation, changes: dict[str, str], words: str) -> None:
    """The page names what is wrong and keeps what was typed."""
    ana = annotation.browser("Ana")
    path = f"/studies/{annotation.study_id}/protocol"
    csrf = re.findall(r'name="csrf" value="([^"]*)"', ana.get(path).text)[0]
    form = {"csrf": csrf, "title": "Typed title", "readers": "Ana\nBen", "readers_per_unit": "2"} | changes
    page = ana.post(f"{path}/preview", data=form)
    assert page.status_code == 422
    assert words in html.unescape(page.text) and "Typed title" in page.text
