"""The pages for readers: sign-in, home, overview, survey, answers, summary and errors."""

import html
import re
from pathlib import Path
from typing import Any

import pytest

from services.annotation import auth
from services.annotation.guard import HEADERS, MOST_BYTES
from services.common.errors import InvalidInput
from tests.fakes.annotation import FORM, LAYER, SILENT, Annotation, Browser
from tests.fakes.rendering import NOTICE

HOSTILE = "<script>alert('x')</script>\" onload=\"alert(1)"


def test_without_a_session_pages_redirect_to_the_sign_in(annotation: Annotation) -> None:
    """Every page redirects to the sign-in, which returns to the page; pictures and calls are 401."""
    browser = annotation.browser()
    for path in ("/", "/answers", "/summary", annotation.unit_path(), annotation.overview_path()):
        assert browser.get(path).url.path == "/sign-in"
    for path in (f"/pictures/{annotation.study_id}/{LAYER}/unit_0001/1.jpg", annotation.api_path(), "/v1/summary"):
        assert browser.get(path).status_code == 401
    form = browser.get(annotation.unit_path(3, "list=subset")).text
    target = html.unescape(re.findall(r'name="next" value="([^"]*)"', form)[0])
    answer = browser.post("/sign-in", data={"name": "Ana", "next": target})
    assert str(answer.url).endswith(annotation.unit_path(3, "list=subset"))


def test_a_bad_name_is_explained_at_its_field(annotation: Annotation) -> None:
    """The typed name stays, escaped. The page says that there is no password."""
    answer = annotation.browser().post("/sign-in", data={"name": "x" * 90 + HOSTILE})
    assert answer.status_code == 422
    assert "1 to 80 characters" in answer.text
    assert html.escape(HOSTILE, quote=True).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in answer.text
    assert "<script>alert" not in answer.text
    assert "meant for one machine" in answer.text


def test_home_counts_each_list(annotation: Annotation) -> None:
    """An answer counts in every list that contains its unit, and is listed below by layer."""
    browser = annotation.browser("Ana")
    ranked = browser.get(annotation.api_path()[: -len("/0")], params={"list": "subset"}).json()["units"][0]["unit"]
    browser.answer(annotation.unit_path(ranked))
    page = browser.get("/").text
    assert len(re.findall(r"<strong>1</strong> of", page)) == 3
    assert f"unit_{ranked + 1:04d}" in page


def test_saving_opens_the_next_unanswered_unit(annotation: Annotation) -> None:
    """Saving skips answered and silent units of the current list, and the next page names the saved unit."""
    browser = annotation.browser("Ana")
    browser.answer(annotation.unit_path(4))
    answer = browser.answer(annotation.unit_path(3))
    assert answer.url.path.endswith("unit_0007")
    assert answer.url.query == b"list=all&saved=unit_0004"
    assert 'role="status"' in answer.text
    assert re.search(r"Saved: <a [^>]*>unit_0004</a>, at", answer.text)
    assert browser.answer(annotation.unit_path(29)).url.path.endswith("unit_0001")


def test_only_saved_answers_are_called_saved(annotation: Annotation) -> None:
    """A page shows no notice for the unit in `saved` if it has no answer."""
    browser = annotation.browser("Ana")
    for name in ("unit_0002", "unit_9999", "unit_999999999", "nonsense"):
        assert "Saved:" not in browser.get(annotation.unit_path(0, f"list=all&saved={name}")).text


def test_the_last_answer_of_a_list_opens_its_overview(annotation: Annotation) -> None:
    """When all units of a list are answered, saving returns to the list, with the notice."""
    browser = annotation.browser("Ana")
    part = browser.get(annotation.api_path()[: -len("/0")], params={"list": "subset", "limit": 200}).json()
    for unit in part["units"]:
        answer = browser.answer(annotation.unit_path(unit["unit"], "list=subset"))
    assert answer.url.path == f"/studies/{annotation.study_id}/layers/{LAYER}"
    assert "Saved:" in answer.text


def test_errors_are_shown_at_their_questions_and_lose_nothing(annotation: Annotation) -> None:
    """A missing answer is reported at its question; text and choices stay; nothing is saved."""
    browser = annotation.browser("Ana")
    answer = browser.answer(annotation.unit_path(), associated="", description="Typed <b>text</b>")
    assert answer.status_code == 422
    assert 'id="fault-associated"' in answer.text
    assert 'id="fault-description"' not in answer.text
    assert "Typed &lt;b&gt;text&lt;/b&gt;</textarea>" in answer.text
    assert re.search(r'name="recognizable" value="yes" checked', answer.text)
    assert browser.get("/v1/responses").json()["total"] == 0
    long = browser.answer(annotation.unit_path(), description="x" * 4001)
    assert "these are 4001" in long.text
    assert "x" * 4001 in long.text


def test_an_answer_without_phenomena_is_complete(annotation: Annotation) -> None:
    """After "no" to the first question, the others may stay empty."""
    browser = annotation.browser("Ana")
    fields = browser.form(annotation.unit_path()) | {"recognizable": "no"}
    assert browser.post(annotation.unit_path(), data=fields).url.path.endswith("unit_0002")
    assert browser.get("/v1/responses").json()["responses"][0]["associated"] == "not_applicable"


def test_an_answer_that_was_changed_elsewhere_shows_both(annotation: Annotation) -> None:
    """The page is 409 and has both texts. Saving one's own makes the next version; keeping the other is a link."""
    browser = annotation.browser("Ana")
    first, second = browser.form(annotation.unit_path()), browser.form(annotation.unit_path())
    browser.post(annotation.unit_path(), data=first | FORM | {"description": "From the other tab"})
    stale = browser.post(annotation.unit_path(), data=second | FORM | {"description": "From this tab"})
    assert stale.status_code == 409
    assert "From the other tab" in stale.text
    assert "From this tab" in stale.text
    assert 'id="keep-saved"' in stale.text
    form = stale.text[stale.text.index('<form class="answer"') :]
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form))
    browser.post(annotation.unit_path(), data=fields | FORM | {"description": "From this tab"})
    [saved] = browser.get("/v1/responses").json()["responses"]
    assert (saved["version"], saved["description"]) == (2, "From this tab")


def test_a_form_sent_twice_is_saved_once(annotation: Annotation) -> None:
    """The second request redirects like the first; the version stays 1."""
    browser = annotation.browser("Ana")
    fields = browser.form(annotation.unit_path()) | FORM
    assert [browser.post(annotation.unit_path(), data=fields).status_code for _ in range(2)] == [200, 200]
    assert browser.get("/v1/responses").json()["responses"][0]["version"] == 1


def test_a_session_that_ended_loses_nothing(annotation: Annotation) -> None:
    """After signing in again, the reader finds the answer as typed and can save it."""
    browser = annotation.browser("Ana")
    fields = browser.form(annotation.unit_path()) | FORM | {"description": "Long & <hard> work"}
    browser.cookies.clear()
    ended = browser.post(annotation.unit_path(), data=fields)
    assert ended.status_code == 401
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', ended.text))
    sent = {name: html.unescape(value) for name, value in hidden.items()}
    back = browser.post(annotation.unit_path(), data=sent | {"sign_in_name": "Ana"})
    assert "not yet saved" in back.text
    assert "Long &amp; &lt;hard&gt; work</textarea>" in back.text
    assert browser.get("/v1/responses").json()["total"] == 0
    fresh = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', back.text.split("answer", 1)[1]))
    assert browser.post(annotation.unit_path(), data=sent | fresh).url.path.endswith("unit_0002")
    assert browser.get("/v1/responses").json()["responses"][0]["description"] == "Long & <hard> work"


def test_a_form_of_another_session_saves_nothing_and_keeps_the_text(annotation: Annotation) -> None:
    """A wrong CSRF token is refused, and the page still has the typed text."""
    browser = annotation.browser("Ana")
    answer = browser.answer(annotation.unit_path(), csrf="0" * 64, description="Still here")
    assert answer.status_code == 403
    assert "Still here</textarea>" in answer.text
    assert browser.get("/v1/responses").json()["total"] == 0


OTHER_SITES = (
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"origin": "http://testserver.evil.example"},
)


def test_other_sites_change_nothing(annotation: Annotation) -> None:
    """Pages, sign-in and calls refuse requests from another origin, even with the right CSRF token."""
    browser = annotation.browser("Ana")
    fields = browser.form(annotation.unit_path()) | FORM
    for headers in OTHER_SITES:
        refused = [
            browser.post(annotation.unit_path(), data=fields, headers=headers),
            browser.post("/sign-in", data={"name": "Eve"}, headers=headers),
            browser.put(annotation.api_path(0, "/response"), json=FORM, headers=headers | {"x-reader": "Ana"}),
            browser.post("/v1/studies", json={"rendering_id": "rendering-1"}, headers=headers),
        ]
        assert [answer.status_code for answer in refused] == [403] * 4, headers
        assert "PRIMITIVES_ANNOTATION_PUBLIC_ORIGIN" in refused[0].text
    assert browser.get("/v1/responses").json()["total"] == 0


def test_our_own_and_the_public_origin_are_accepted(tmp_path: Path) -> None:
    """Behind a proxy that changes the Host, the setting is the origin that browsers see."""
    browser = Annotation(tmp_path, public_origin="https://reading.example").browser()
    for origin in ("http://testserver", "https://reading.example"):
        assert browser.post("/sign-in", data={"name": "Ana"}, headers={"origin": origin}).status_code == 200


def test_large_requests_and_requests_without_a_length_are_refused(annotation: Annotation) -> None:
    """A body over the limit is 413; a body without a length is 411."""
    browser = annotation.browser("Ana")
    assert browser.post("/sign-in", data={"name": "x" * MOST_BYTES}).status_code == 413
    assert browser.post("/sign-in", content=iter([b"name=x"])).status_code == 411


def test_a_nul_enters_no_table(annotation: Annotation) -> None:
    """A NUL in an address is 400, in a text or key it is dropped, in a call it is 422."""
    browser = annotation.browser("Ana")
    for path in (f"/studies/%00{annotation.study_id}", "/answers?page=%00", "/v1/summary?study_id=%00"):
        assert browser.get(path).status_code == 400
    browser.answer(annotation.unit_path(), description="a\0b", idempotency_key="\0k")
    assert browser.get("/v1/responses").json()["responses"][0]["description"] == "ab"
    assert browser.post("/v1/studies", json={"rendering_id": "a\0"}, headers={"x-reader": "Ana"}).status_code == 422


def test_a_new_reader_finds_empty_pages(annotation: Annotation) -> None:
    """Home, answers and summary say that there are no answers yet."""
    browser = annotation.browser("New")
    assert "You have not answered a unit yet" in browser.get("/").text
    assert "You have not answered a unit yet" in browser.get("/answers").text
    assert "No answer yet." in browser.get("/summary").text


def test_hostile_names_and_texts_stay_text(annotation: Annotation) -> None:
    """Markup in a reader's name, an answer or the name of a patch is shown as text, not run."""
    browser = annotation.browser(HOSTILE)
    browser.answer(annotation.unit_path(), description=f"</textarea>{HOSTILE}")
    for path in ("/", "/answers", "/summary", annotation.unit_path(), annotation.overview_path()):
        page = browser.get(path).text
        assert "<script>alert" not in page
        assert 'onload="alert' not in page
        assert "</textarea>&lt;" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in browser.get(annotation.unit_path()).text


UNKNOWN = ["/pictures/{study}/block4/unit_0001/0.jpg", "/pictures/{study}/block4/unit_0001/65.jpg",
         "/pictures/{study}/block4/unit_0001/99999999999999999999.jpg", "/pictures/{study}/block4/unit_0006/1.jpg",
         "/pictures/{study}/../unit_0001/1.jpg", "/pictures/{study}/..%2F..%2Fblock4/unit_0001/1.jpg",
         "/pictures/..%2Ftraining/block4/unit_0001/1.jpg", "/pictures/{study}/block4/unit_99999/1.jpg",
         "/pictures/{study}/block4/..%2Funit_0001/1.jpg", "/sheets/{study}/block4/unit_0006.jpg",
         "/sheets/{study}/block4/pictures.pack.jpg", "/mammograms/{study}/7.jpg", "/mammograms/{study}/..%2F0.jpg",
         "/mammograms/{study}/99999999999999999999.jpg", "/mammograms/study-x/0.jpg", "/static/../main.py",
         "/pictures/{study}/block4/unit_0001/0.grey", "/pictures/{study}/block4/unit_0001/65.grey",
         "/pictures/{study}/block4/unit_0006/1.grey", "/pictures/{study}/block4/unit_0099/1.grey",
         "/pictures/study-x/block4/unit_0001/1.grey", "/mammograms/{study}/7.grey", "/mammograms/study-x/0.grey",
         "/static/%2e%2e/main.py", "/studies/{study}/layers/block4/units/unit_0099", "/studies/{study}/layers/nope",
         "/studies/nope/layers/block4", "/nowhere"]  # fmt: skip


def test_unknown_addresses_are_not_found(annotation: Annotation) -> None:
    """Only rows of the tables have addresses; no part of an address becomes the key of an object."""
    browser = annotation.browser("Ana")
    answers = {path: browser.get(path.format(study=annotation.study_id)).status_code for path in UNKNOWN}
    assert answers == dict.fromkeys(UNKNOWN, 404)


def test_pictures_are_the_stored_bytes_and_cached_privately(annotation: Annotation) -> None:
    """Pictures, sheets and previews are JPEGs that only the reader's own browser caches."""
    browser = annotation.browser("Ana")
    row = next(row for row in annotation.rendering.rows[LAYER] if (row["unit"], row["rank"]) == (17, 9))
    answer = browser.get(f"/pictures/{annotation.study_id}/{LAYER}/unit_0018/9.jpg")
    pack = annotation.rendering.manifest.layers[0].groups[1].pack
    assert answer.content == annotation.blobs.get_range(pack.bucket, pack.key, row["offset"], row["size"])
    for path in (f"/sheets/{annotation.study_id}/{LAYER}/unit_0018.jpg", f"/mammograms/{annotation.study_id}/1.jpg"):
        answer = browser.get(path)
        assert answer.content.startswith(b"\xff\xd8")
        assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
        assert answer.headers["vary"] == "cookie"  # no later session of the browser is shown it


def test_the_box_of_a_patch_is_in_pixels_of_its_mammogram(annotation: Annotation) -> None:
    """Row, column, height and width; the size of the mammogram is its height and its width."""
    page = annotation.browser("Ana").get(annotation.unit_path()).text
    [(box, size)] = re.findall(r'data-rank="1"[^>]* data-box="([\d ]+)" data-size="([\d ]+)"', page)
    row = next(row for row in annotation.rendering.rows[LAYER] if (row["unit"], row["rank"]) == (0, 1))
    assert box == f"{row['row']} {row['column']} 227 227"
    assert size == "1200 900"  # of the second mammogram, from which the first picture of unit 0 was cut


def test_pages_with_patches_show_the_notice(annotation: Annotation) -> None:
    """Every page that shows patches has the notice of the data set."""
    browser = annotation.browser("Ana")
    browser.answer(annotation.unit_path())
    for path in (annotation.unit_path(), annotation.unit_path(SILENT), annotation.overview_path(), "/answers"):
        assert NOTICE in browser.get(path).text


def test_a_silent_unit_has_no_form(annotation: Annotation) -> None:
    """The page of a silent unit says that it is silent, and has no questions."""
    page = annotation.browser("Ana").get(annotation.unit_path(SILENT)).text
    assert "This unit is silent" in page
    assert "<textarea" not in page


def test_lists_are_paged_and_anchored(annotation: Annotation) -> None:
    """A page has 24 units, each with its name as anchor. An invalid page number opens the first page."""
    browser = annotation.browser("Ana")
    first, second = (browser.get(annotation.overview_path(f"list=all&page={n}")).text for n in (1, 2))
    assert (first.count('<li id="unit_'), second.count('<li id="unit_')) == (24, 6)
    assert first.count('loading="lazy"') == 23 * 8
    for invalid in ("0", "-1", "x", "9999999999999999999999", "٣"):
        assert 'id="unit_0001"' in browser.get(annotation.overview_path(f"list=all&page={invalid}")).text
    beyond = html.unescape(browser.get(annotation.overview_path("list=all&page=99")).text)
    assert f'rel="prev" href="{annotation.overview_path("list=all&page=2")}"' in beyond


def test_seven_runs_are_too_many_to_compare(annotation: Annotation) -> None:
    """The error names the limit and the number of runs. (A repeated run counts once.)"""
    answer = annotation.browser("Ana").get("/runs/compare", params={"run": [f"run-{n}" for n in range(7)]})
    assert answer.status_code == 422
    assert "Up to 6 runs are compared at once; 7 were selected." in answer.text


def test_errors_are_sentences(annotation: Annotation) -> None:
    """An error begins with a capital letter and ends with one full stop."""
    browser = annotation.browser("Ana")
    messages = [
        html.unescape(re.findall(r'<p class="lead">(.*)</p>', browser.get(annotation.overview_path(query)).text)[0])
        for query in ("list=nope", "list=ranked&label=7")
    ]
    assert all(re.fullmatch(r"[A-Z].*[^.]\.", one) for one in messages), messages


def test_the_survey_moves_along_its_list(annotation: Annotation) -> None:
    """Previous and next follow the ranking in the address."""
    browser = annotation.browser("Ana")
    api = annotation.api_path()[: -len("/0")]
    units = [u["unit"] for u in browser.get(api, params={"list": "ranked", "label": 1, "limit": 3}).json()["units"]]
    page = browser.get(annotation.unit_path(units[1], "list=ranked&label=1")).text
    assert "2 of 30" in page
    links = re.findall(r'rel="(prev|next)" href="([^"]*)"', page)
    assert [html.unescape(href) for _, href in links] == [
        annotation.unit_path(unit, "list=ranked&label=1") for unit in (units[0], units[2])
    ]


@pytest.mark.parametrize("query", ["list=nope", "list=ranked&label=7", "list=ranked&label=x", "sort=nope"])
def test_an_invalid_query_gets_an_error_page(annotation: Annotation, query: str) -> None:
    """The answer is 422 and a page with a link home, not a traceback or JSON."""
    answer = annotation.browser("Ana").get(annotation.overview_path(query))
    assert answer.status_code == 422
    assert "Go to the home page" in answer.text


def test_every_response_has_the_security_headers(annotation: Annotation) -> None:
    """Pages, calls, errors and defects have the headers; pages are not cached and have no inline code."""
    browser = annotation.browser("Ana")
    broken = Browser(annotation.app, raise_server_exceptions=False)
    broken.cookies = browser.cookies
    annotation.app.get("/defect")(_raise)
    answers = [browser.get(path) for path in ("/", "/nowhere", annotation.unit_path(), "/v1/studies", "/docs")]
    answers += [annotation.browser().get("/sign-in"), broken.get("/defect")]
    assert answers[-1].status_code == 500
    for answer in answers:
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
        assert not re.search(r"<script(?![^>]*\bsrc=)|\sstyle=|\son\w+=|<style", answer.text)
    assert answers[0].headers["cache-control"] == "no-store"


def test_nothing_is_loaded_from_other_sites(annotation: Annotation) -> None:
    """No page, not even the API reference, has an address of another host."""
    browser = annotation.browser("Ana")
    for path in ("/", "/docs", "/sign-in", annotation.unit_path(), annotation.overview_path()):
        page = browser.get(path)
        assert page.status_code == 200
        assert not re.findall(r'(?:src|href)="(?:https?:)?//', page.text)
    assert browser.get("/redoc").status_code == 404
    assert "/v1/studies/{study_id}" in browser.get("/docs").text


def test_no_get_changes_anything(annotation: Annotation) -> None:
    """GET requests cannot save an answer or sign out."""
    browser = annotation.browser("Ana")
    for path in ("/sign-out", annotation.api_path(0, "/response")):
        assert browser.get(path).status_code == 405
    assert browser.get(annotation.unit_path(0, "list=all&recognizable=no")).status_code == 200
    assert browser.get("/v1/responses").json()["total"] == 0


def test_calls_name_their_reader_or_carry_the_csrf_token(annotation: Annotation) -> None:
    """A program names the reader in a header, in UTF-8. A script has the cookie and must send the CSRF token."""
    browser = annotation.browser("Ana")
    path = annotation.api_path(0, "/response")
    assert browser.put(path, json=FORM).status_code == 403
    token = browser.form(annotation.unit_path())["csrf"]
    assert browser.put(path, json=FORM, headers={"x-csrf-token": token}).json()["version"] == 1
    program = annotation.browser()
    assert program.put(path, json=FORM, headers={"x-reader": "Zoë".encode()}).json()["version"] == 1
    assert [r["name"] for r in program.get("/v1/summary", headers={"x-reader": b"Zo\xc3\xab"}).json()["readers"]] == [
        "Ana", "Zoë",
    ]  # fmt: skip
    with pytest.raises(InvalidInput, match="UTF-8"):
        auth._utf8("\xff")


def test_errors_of_calls_are_json(annotation: Annotation) -> None:
    """Stale answers are 409, incomplete ones 422, unknown plans 404."""
    program = annotation.browser()
    program.headers["x-reader"] = "Ana"
    path = annotation.api_path(0, "/response")
    assert program.put(path, json=FORM | {"base_version": 3}).json()["error"] == "StaleVersion"
    assert program.put(path, json=FORM | {"description": ""}).status_code == 422
    assert program.put(path, json=FORM | {"recognizable": "maybe"}).status_code == 422
    assert program.get("/v1/plans/plan-9").status_code == 404
    assert program.get("/v1/plans/plan-1").json()["stages"][0]["name"] == "study"
    opened: Any = program.post("/v1/studies", json={"rendering_id": "rendering-1", "title": "Again"})
    assert (opened.status_code, opened.json()["state"]) == (202, "queued")


def _raise() -> None:
    raise RuntimeError("planted")
