"""Damaged files of every layout: nothing but InvalidInput and NotFound leaves a reader, no process crashes or hangs,
and memory stays bounded.

A case is a source, and a number from which the damage follows. Cases run in child processes, of which each damages one
file at a time in a source of its own, and restores it.
"""

import multiprocessing
import os
import re
import resource
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

import pytest

from services.common.errors import InvalidInput, NotFound
from services.imaging.geometry import Region
from services.training.raw.case import RawMammogram
from services.training.raw.layout import Layout
from services.training.raw.layouts import LAYOUTS, layout_named
from services.training.raw.report import ImportReport
from services.training.raw.source.files import FolderFiles
from tests.fakes.raw.mutations import mutate
from tests.fakes.raw.sources import SOURCES

SECONDS = 5
SLACK_S = 25
"""Seconds after which a process that its own alarm does not interrupt counts as hanging; it may be writing a source."""
MEMORY = 2 << 30
"""Bytes of addresses above what a process needs to read the undamaged source."""
MOST_READ = 8
"""Mammograms of a case that are read: those that the damage can concern."""
PLACE = re.compile(r"\bfile \d+\b|[\w*-]+\.(?:csv|xlsx|ics|json|dcm|xml|png|jpe?g|ljpeg)\b", re.IGNORECASE)
"""A file in a message: by its number, or as the kind of file that is missing."""

Case = tuple[str, int]


class Hang(BaseException):
    """A case took too long. It is no Exception, so that no reader catches it."""


@dataclass(frozen=True)
class Source:
    """An undamaged source in a folder, and its mammograms."""

    name: str
    layout: Layout
    root: Path
    files: tuple[str, ...]
    mammograms: dict[str, RawMammogram]


def open_source(name: str, folder: Path) -> Source:
    """Write a source, read it completely, and bound the memory of this process from now on."""
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    layout_name, write = SOURCES[name]
    root, layout = folder / name, layout_named(layout_name)
    root.mkdir(parents=True)
    write(root)
    files = FolderFiles(root)
    mammograms = {one.name: one for one in layout.scan(files, ImportReport())}
    for mammogram in mammograms.values():
        read(layout, files, mammogram, ImportReport())
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, resource.RLIM_INFINITY))
    return Source(name, layout, root, tuple(files.names), mammograms)


def run_case(source: Source, number: int) -> str:
    """Damage a file of a source and read it. Return what went wrong, empty if nothing did."""
    rng = Random(f"{source.name}/{number}")
    changed = rng.choice(source.files)
    path = source.root / changed
    content = path.read_bytes()

    def other_file() -> bytes:
        return (source.root / rng.choice(source.files)).read_bytes()

    damage, damaged = mutate(rng, content, other_file)
    path.write_bytes(damaged)
    try:
        with alarm(SECONDS):
            problem = read_source(source, changed)
    except (Hang, Exception):
        problem = traceback.format_exc()
    finally:
        path.write_bytes(content)
    return f"{source.name}/{number}: {damage} of {changed}: {problem}" if problem else ""


def read_source(source: Source, changed: str) -> str:
    """Scan a source, and read the mammograms that a changed file can concern. Return what is wrong with a refusal."""
    files, report = FolderFiles(source.root), ImportReport()
    try:
        found = list(source.layout.scan(files, report))
    except InvalidInput as error:
        return wrong_refusal(source, error)
    concerned = [one for one in found if is_concerned(source, one, changed)]
    for mammogram in concerned[:MOST_READ]:
        refusal = read(source.layout, files, mammogram, report)
        if refusal is not None and (wrong := wrong_refusal(source, refusal)):
            return wrong
    reasons = {**report.dropped, **report.mended, **report.flagged}
    without = [reason for reason, one in reasons.items() if not reason or not all(one.examples)]
    return f"a reason without a place: {without}" if without else ""


def is_concerned(source: Source, mammogram: RawMammogram, changed: str) -> bool:
    """Whether a mammogram is another one than in the undamaged source, or is read with the changed file."""
    masks = {finding.mask.file for finding in mammogram.findings if finding.mask is not None}
    same_folder = mammogram.file.rpartition("/")[0] == changed.rpartition("/")[0]
    return changed in masks or same_folder or source.mammograms.get(mammogram.name) != mammogram


def read(layout: Layout, files: FolderFiles, mammogram: RawMammogram, report: ImportReport) -> Exception | None:
    """Decode a mammogram and its outlines as an import does. Return the refusal, if it is refused."""
    try:
        pixels = layout.read(files, mammogram)
        height, width = pixels.grey.shape
        for finding in mammogram.findings:
            outlines = layout.outlines(files, mammogram, finding, height, width, report)
            if outlines:
                assert Region.of(outlines, height, width).area <= height * width
    except (InvalidInput, NotFound) as error:
        return error
    return None


def wrong_refusal(source: Source, error: Exception) -> str:
    """What is wrong with a refusal: it names no file, or memory has run out."""
    text = str(error)
    context: BaseException | None = error
    while context is not None:
        if isinstance(context, MemoryError):
            return f"more than {MEMORY} bytes: {text}"
        context = context.__cause__ or context.__context__
    names = {name.rpartition("/")[2] for name in source.files}
    return "" if PLACE.search(text) or any(name in text for name in names) else f"a refusal without a file: {text}"


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Raise Hang after this number of seconds."""

    def ring(_signal: int, _frame: object) -> None:
        raise Hang(f"longer than {seconds} s")

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def work(cases: Sequence[Case], folder: Path, results: Connection) -> None:
    """Run cases one after the other, and send what went wrong in each."""
    warnings.simplefilter("ignore")
    source: Source | None = None
    for name, number in cases:
        if source is None or source.name != name:
            source = open_source(name, folder)
        results.send(run_case(source, number))


def run_cases(
    cases: Sequence[Case], folder: Path, work: Callable[[Sequence[Case], Path, Connection], None] = work
) -> list[str]:
    """Run cases in a child process, and in another one after each that kills or hangs it. Return what went wrong."""
    context = multiprocessing.get_context("spawn")
    problems: list[str] = []
    done = 0
    while done < len(cases):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(cases[done:], folder / str(done), sender))
        process.start()
        sender.close()
        try:
            while done < len(cases):
                if not receiver.poll(SECONDS + SLACK_S):
                    raise TimeoutError
                problems.append(receiver.recv())
                done += 1
        except (EOFError, TimeoutError) as error:
            name, number = cases[done]
            problems.append(f"{name}/{number}: the process {'hangs' if isinstance(error, TimeoutError) else 'died'}")
            done += 1
        finally:
            process.kill()
            process.join()
    return [problem for problem in problems if problem]


def test_every_layout_has_a_source() -> None:
    """A new layout needs a line in SOURCES. Layouts of other tests do not."""
    ours = {name for name, one in LAYOUTS.items() if one.__module__.startswith("services.")}
    assert {layout for layout, _ in SOURCES.values()} == ours


@pytest.mark.parametrize(("each", "processes"), [(19, 1), pytest.param(182, 2, marks=pytest.mark.long)])
def test_no_damage_gets_past_a_reader(tmp_path: Path, each: int, processes: int) -> None:
    """228 and 2,184 damaged files."""
    names = [list(SOURCES)[start::processes] for start in range(processes)]
    cases = [[(name, number) for name in part for number in range(each)] for part in names]
    with ThreadPoolExecutor(processes) as pool:
        folders = [tmp_path / str(part) for part in range(processes)]
        problems = [problem for found in pool.map(run_cases, cases, folders) for problem in found]
    assert problems == [], "\n".join(problems)


def dying_work(cases: Sequence[Case], _folder: Path, results: Connection) -> None:
    """Run cases, of which number 1 ends the process."""
    for name, number in cases:
        if number == 1:
            os._exit(1)
        results.send("a problem" if name == "b" else "")


def test_a_process_that_dies_is_found(tmp_path: Path) -> None:
    """The cases after it are run in another one."""
    cases = [("a", 0), ("a", 1), ("b", 2), ("a", 3)]
    assert run_cases(cases, tmp_path, dying_work) == ["a/1: the process died", "a problem"]


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (KeyError("x"), "KeyError: 'x'"),
        (Hang("longer"), "Hang: longer"),
        (InvalidInput("no reason"), "a refusal without a file: no reason"),
        (InvalidInput("a.csv:3 is broken"), ""),
    ],
)
def test_what_goes_wrong_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, expected: str
) -> None:
    """An unexpected exception, an alarm, and a refusal that names no file are problems; one that names a file is not.
    The damaged file is restored."""

    def fail(*_: object) -> Iterator[RawMammogram]:
        raise failure

    (tmp_path / "x.txt").write_text("1")
    layout = layout_named("rsna")
    monkeypatch.setattr(layout, "scan", fail)
    problem = run_case(Source("fake", layout, tmp_path, ("x.txt",), {}), 0)
    assert expected in problem and bool(problem) == bool(expected)
    assert (tmp_path / "x.txt").read_text() == "1"


def test_memory_that_runs_out_is_found() -> None:
    """A reader may have caught the error."""
    refusal = InvalidInput("x.txt cannot be read")
    refusal.__cause__ = ValueError("no pixels")
    refusal.__cause__.__context__ = MemoryError()
    source = Source("fake", layout_named("rsna"), Path(), ("x.txt",), {})
    assert wrong_refusal(source, refusal).startswith("more than 2147483648 bytes")


def test_the_alarm_ends_a_loop() -> None:
    """It also ends one that catches every Exception."""
    with pytest.raises(Hang), alarm(0.1):
        while True:
            with suppress(Exception):
                pow(3, 1000)
