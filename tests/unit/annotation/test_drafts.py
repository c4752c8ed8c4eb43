"""Drafts and answers in any order: an older draft never replaces a newer answer, and none is lost without a word."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.annotation.protocol_schemas import AnswerReadingRequest, DraftReadingRequest
from services.annotation.workflow.readings import StaleAnswer
from tests.fakes.annotation import Annotation
from tests.fakes.reading import FORM, ReaderStudy

TABS = 3
STEP = st.tuples(st.sampled_from(("open", "draft", "answer")), st.integers(0, TABS - 1))
"""What one of some open tabs does: open the page again, keep a draft, or save an answer."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> ReaderStudy:
    annotation = Annotation(tmp_path_factory.mktemp("drafts"))
    return ReaderStudy(annotation, ["Ana"], readers_per_unit=1, patches=1)


class Tabs:
    """Tabs of one reader with the same reading, and what must be saved."""

    def __init__(self, study: ReaderStudy, reading_id: str) -> None:
        self.study, self.reading_id, self.reader = study, reading_id, study.reader("Ana")
        view = study.readings.get(self.reader, reading_id)
        self.base = [view.answer_version] * TABS
        self.version = view.answer_version
        self.answer, self.draft = self._content(view.answer), self._content(view.draft)

    def step(self, what: str, tab: int, text: str) -> None:
        """Take a step, and check that it is refused exactly if the tab's page is older than the answer."""
        if what == "open":
            self.base[tab] = self.study.readings.get(self.reader, self.reading_id).answer_version
            return
        if self.base[tab] < self.version:
            with pytest.raises(StaleAnswer) as refused:
                self._send(what, tab, text)
            assert (refused.value.version, self._content(refused.value.saved)) == (self.version, self.answer)
            return
        self._send(what, tab, text)
        if what == "draft":
            self.draft = text
        else:
            self.version += 1
            self.answer, self.draft, self.base[tab] = text, None, self.version

    def _send(self, what: str, tab: int, text: str) -> None:
        content: dict[str, Any] = {"answers": FORM | {"description": text}, "base_version": self.base[tab]}
        if what == "draft":
            self.study.readings.save_draft(self.reader, self.reading_id, DraftReadingRequest(**content))
        else:
            self.study.readings.answer(self.reader, self.reading_id, AnswerReadingRequest(**content))

    def check(self) -> None:
        """The answer is the last one that was accepted; a draft is shown only if it is younger than that."""
        view = self.study.readings.get(self.reader, self.reading_id)
        assert (view.answer_version, self._content(view.answer)) == (self.version, self.answer)
        assert self._content(view.draft) == self.draft

    @staticmethod
    def _content(saved: Any) -> str | None:
        return str(saved.answers["description"]) if saved is not None else None


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(steps=st.lists(STEP, max_size=12), place=st.integers(0, 20))
def test_an_older_draft_never_replaces_a_newer_answer(study: ReaderStudy, steps: list[Any], place: int) -> None:
    """After every step of three tabs, the reading has the last accepted answer, and the last draft that is based on
    it."""
    ids = study.ids("Ana")
    tabs = Tabs(study, ids[place % len(ids)])
    for number, (what, tab) in enumerate(steps):
        tabs.step(what, tab, f"{what} {number} of tab {tab}")
        tabs.check()
