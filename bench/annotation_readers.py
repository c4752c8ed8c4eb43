"""Simulated readers in browsers: each signs in, lists, opens items with their pictures, and saves answers.

A reader begins an item every `item_s` seconds; if the pages are too slow for that, the reader is late and continues at
once. All readers are threads of this process.
"""

import math
import random
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from html import unescape
from typing import Any

import httpx
import numpy as np

from bench.annotation_rows import LAYER, PICTURES, PROTOCOL_STUDY, survey_called
from bench.lists import reader_called

CALL_LIMIT_S = 60.0
SHOWN_ERRORS = 5
PARTS = (50, 95, 99, 100)

READ_SURVEY = survey_called(1)
"""The survey in which readers save answers. That of number 0 keeps its number of answers, for the exports."""
READING_LIST = f"/reading/{PROTOCOL_STUDY}/1"
SURVEY_LIST = f"/studies/{READ_SURVEY}/layers/{LAYER}?list=all"
LISTS = {"home": "/", "reading list": READING_LIST, "units of a layer": SURVEY_LIST, "my answers": "/answers"}

STRUCTURED = {
    "answer.recognizable": "yes", "answer.multiplicity": "single", "answer.phenomena.terms": "margin-spiculated",
    "answer.associated": "yes", "answer.confidence": "3", "answer.description": "Spiculated, in dense tissue.",
}  # fmt: skip
SURVEY = {
    "recognizable": "yes", "associated": "unsure", "multiplicity": "single",
    "description": "Spiculated, in dense tissue.",
}  # fmt: skip
LIST, SAVE = "list", "save"
SAVES = ("save a reading", "save a unit")


@dataclass
class Answers:
    """The seconds of each call, by its group and name, and the errors."""

    seconds: defaultdict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def timed(self, group: str, name: str, call: Callable[[], httpx.Response], code: int) -> httpx.Response | None:
        """Make a call. The response is None, and an error is added, if it has another code."""
        begin = time.perf_counter()
        try:
            response = call()
        except httpx.HTTPError as error:
            self._add_error(f"{name}: {error!r}")
            return None
        seconds = time.perf_counter() - begin
        if response.status_code != code:
            self._add_error(f"{name}: {response.status_code} {response.text[:200]}")
            return None
        with self.lock:
            self.seconds[group, name].append(seconds)
        return response

    def of_group(self, group: str) -> list[float]:
        """The seconds of all calls of a group."""
        return [one for key, times in self.seconds.items() if key[0] == group for one in times]

    def _add_error(self, text: str) -> None:
        with self.lock:
            self.errors.append(text)


@dataclass
class BrowsingReader:
    """A reader with a browser of their own."""

    client: httpx.Client
    number: int
    answers: Answers
    reading: str = ""
    """The address of the next reading; that of the next unit of the survey is `unit`."""
    unit: str = ""
    items: int = 0

    def begin(self) -> None:
        """Sign in and find the first items. Nothing of it is measured, and an error ends the bench."""
        signed_in = self.client.post("/sign-in", data={"name": reader_called(self.number)})
        assert signed_in.status_code == 303, signed_in.text
        page = self.client.get(READING_LIST).raise_for_status().text
        self.reading = unescape(re.findall(r'id="continue" href="([^"]+)"', page)[0])
        page = self.client.get(f"{SURVEY_LIST}&filter=unanswered").raise_for_status().text
        self.unit = unescape(re.findall(r'<h2><a href="([^"]+)"', page)[self.number % 20])

    def work(self, begin: float, seconds: float, item_s: float) -> None:
        """Work on items until the time is over, at a regular pace from a random moment on."""
        first = begin + self._phase(item_s)
        while (due := first + self.items * item_s) < begin + seconds:
            time.sleep(max(0.0, due - time.perf_counter()))
            if time.perf_counter() >= begin + seconds:
                return
            self._list()
            if self.items % 2 == 0:
                self.reading = self._read() or self.reading
            else:
                self.unit = self._answer() or self.unit
            self.items += 1

    def due(self, seconds: float, item_s: float) -> int:
        """The number of items that the reader begins in this time if the pages are never too slow."""
        return math.ceil((seconds - self._phase(item_s)) / item_s)

    def every_call(self) -> dict[str, Callable[[], object]]:
        """Each list, each page of an item without its pictures, by name."""
        lists = {name: self._lister(name) for name in LISTS}
        pages = {"reading": lambda: self._page("reading", self.reading), "unit": lambda: self._page("unit", self.unit)}
        return {**lists, **pages}

    def every_save(self) -> dict[str, Callable[[], object]]:
        """Each save, by name, of a form that is opened now."""
        reading, unit = self._page("reading", self.reading), self._page("unit", self.unit)
        assert reading is not None
        assert unit is not None
        forms = (hidden_fields(reading.text) | STRUCTURED, hidden_fields(unit.text) | SURVEY)
        return {
            SAVES[0]: lambda: self._save(SAVES[0], self.reading, forms[0]),
            SAVES[1]: lambda: self._save(SAVES[1], self.unit, forms[1]),
        }

    def _phase(self, item_s: float) -> float:
        """The time of the first item, the same in every bench."""
        return random.Random(self.number).random() * item_s

    def _lister(self, name: str) -> Callable[[], object]:
        return lambda: self.answers.timed(LIST, name, lambda: self.client.get(LISTS[name]), 200)

    def _list(self) -> None:
        self._lister(list(LISTS)[(self.items + self.number) % len(LISTS)])()

    def _read(self) -> str | None:
        """Open a reading with its pictures, keep a draft, and save. Returns the address of the next one."""
        page = self._open("reading", self.reading)
        if page is None:
            return None
        form = hidden_fields(page) | STRUCTURED | {"first_action_s": "1.5", "active_s": "4.5"}
        path = self.reading.partition("?")[0]
        draft = form | {"answer.description": "Spiculated"}
        self.answers.timed("draft", "draft", lambda: self.client.post(f"{path}/draft", data=draft), 204)
        return self._save(SAVES[0], path, form)

    def _answer(self) -> str | None:
        """Open a unit of the survey with its pictures, and save. Returns the address of the next one."""
        page = self._open("unit", self.unit)
        return self._save(SAVES[1], self.unit, hidden_fields(page) | SURVEY) if page is not None else None

    def _page(self, name: str, path: str) -> httpx.Response | None:
        return self.answers.timed("item", name, lambda: self.client.get(path), 200)

    def _open(self, name: str, path: str) -> str | None:
        page = self._page(name, path)
        if page is None:
            return None
        for source in re.findall(r'<img src="([^"]+\.jpg)"', page.text)[:PICTURES]:
            self.answers.timed("picture", "picture", lambda source=source: self.client.get(unescape(source)), 200)  # type: ignore[misc]
        return page.text

    def _save(self, name: str, path: str, form: dict[str, Any]) -> str | None:
        saved = self.answers.timed(SAVE, name, lambda: self.client.post(path, data=form), 303)
        return saved.headers["location"] if saved is not None else None


def hidden_fields(page: str) -> dict[str, Any]:
    """The hidden fields of the form with the questions."""
    form = page[page.index('<form class="answer"') :]
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form))


def read_concurrently(base: str, readers: int, seconds: float, item_s: float) -> tuple[Answers, list[BrowsingReader]]:
    """Let all readers work. Returns their calls, and the readers, with the numbers of their items."""
    answers = Answers()
    clients = [httpx.Client(base_url=base, timeout=CALL_LIMIT_S) for _ in range(readers)]
    people = [BrowsingReader(client, number, answers) for number, client in enumerate(clients)]
    try:
        with ThreadPoolExecutor(readers, "reader") as pool:
            for one in pool.map(BrowsingReader.begin, people):
                assert one is None
            begin = time.perf_counter()
            for running in [pool.submit(one.work, begin, seconds, item_s) for one in people]:
                running.result()
    finally:
        for client in clients:
            client.close()
    return answers, people


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Percentiles in milliseconds, and the number of calls."""
    if not seconds:
        return {"calls": 0}
    values = np.percentile(seconds, PARTS)
    names = ("p50_ms", "p95_ms", "p99_ms", "max_ms")
    found = {name: round(1000 * float(value), 1) for name, value in zip(names, values, strict=True)}
    return {"calls": len(seconds)} | found
