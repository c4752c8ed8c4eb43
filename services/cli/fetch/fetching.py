"""Fetches an archive: lists what it has, leaves out what is there, and downloads the rest with several connections."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from services.cli.fetch.archives import Archive
from services.cli.fetch.download import Downloader, Fetched, Refused, Stopped
from services.cli.fetch.manifest import RemoteFile
from services.cli.fetch.nbia import Series, fetch_series, is_whole, list_series
from services.cli.fetch.retries import Limits
from services.cli.fetch.summary import Summary
from services.cli.fetch.target import Target, digest_of
from services.common.errors import InvalidInput, PrimitivesError, Unavailable

MOST_FAILURES = 20
"""Files that may fail one after the other. Then the server is away, and the others are not tried."""

Item = RemoteFile | Series
Progress = Callable[[int, int, int], None]
"""Receives the number of finished items, that of all, and the bytes that this run has received."""


@dataclass(frozen=True)
class FetchOptions:
    """How to fetch: only items whose name matches one of the patterns (all without one), with a number of connections;
    `verify` hashes what is there; `accept_unhashed` takes files whose hash no source states."""

    only: tuple[str, ...] = ()
    connections: int = 4
    verify: bool = False
    accept_unhashed: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of an item: fetched (None if it was there), and whether what was there had the wrong hash."""

    fetched: Fetched | None
    was_damaged: bool


def fetch_archive(
    archive: Archive,
    folder: Path,
    options: FetchOptions,
    limits: Limits,
    on_progress: Progress = lambda *_: None,
) -> Summary:
    """Fetch an archive into a folder. InvalidInput if a file has no known hash and that is not accepted."""
    _require_hashes(archive, options)
    target, received, stop = Target(folder), _Counter(), threading.Event()
    downloader = Downloader(target, limits, received.add, stop)
    try:
        with target.locked():
            items, estimate = _list_items(archive, downloader, options)
            _require_space(items, estimate, target)
            summary = Summary(archive.name, str(target.folder), len(items))
            _fetch_all(items, downloader, options, summary, lambda done: on_progress(done, len(items), received.total))
            summary.finish(received.total)
            return summary
    except Refused as error:
        raise Unavailable(f"the list of {archive.name} cannot be had: {error}") from error
    finally:
        stop.set()
        downloader.close()


class _Counter:
    """A sum that several threads add to."""

    def __init__(self) -> None:
        self.total = 0
        self._lock = threading.Lock()

    def add(self, number: int) -> None:
        with self._lock:
            self.total += number


def _require_hashes(archive: Archive, options: FetchOptions) -> None:
    unhashed = [file.name for file in archive.files if not file.digest and _matches(file.name, options)]
    if unhashed and not options.accept_unhashed:
        raise InvalidInput(
            f"no hash is known of {', '.join(unhashed[:5])}; pass --manifest FILE with hashes, or --accept-unhashed "
            "to record those of what arrives"
        )


def _matches(name: str, options: FetchOptions) -> bool:
    return not options.only or any(fnmatchcase(name, pattern) for pattern in options.only)


def _list_items(archive: Archive, downloader: Downloader, options: FetchOptions) -> tuple[list[Item], float]:
    """The chosen files and series of an archive, and the mean size of one in bytes."""
    items: list[Item] = list(archive.files)
    if archive.collection:
        items += list_series(downloader, archive.api, archive.collection)
    chosen = [item for item in items if _matches(item.name, options)]
    if not chosen:
        raise InvalidInput(f"nothing of {archive.name} has a name like {', '.join(options.only)}")
    return chosen, archive.bytes / len(items)


def _require_space(items: Sequence[Item], estimate: float, target: Target) -> None:
    """Check that the disk has room for what is missing. `estimate` is the size of an item that does not state its
    own."""
    missing = [item for item in items if not target.path(item.name).exists()]
    sizes = [item.size if isinstance(item, RemoteFile) else None for item in missing]
    target.require_space(round(sum(estimate if size is None else size for size in sizes)))


def _fetch_all(
    items: Sequence[Item],
    downloader: Downloader,
    options: FetchOptions,
    summary: Summary,
    on_done: Callable[[int], None],
) -> None:
    """Fetch the items with several threads, and count what becomes of them."""
    records = downloader.target.records()
    pool = ThreadPoolExecutor(options.connections, thread_name_prefix="fetch")
    pending: dict[Future[Outcome], Item] = {
        pool.submit(_fetch, item, records.get(item.name), downloader, options): item for item in items
    }
    in_a_row = 0
    try:
        while pending and in_a_row < MOST_FAILURES:
            finished, _ = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in finished:
                worked = _count(future, pending.pop(future), downloader.target, summary)
                in_a_row = 0 if worked else in_a_row + 1
            on_done(len(items) - len(pending))
        summary.left = len(pending)
    finally:
        downloader.stop.set()
        pool.shutdown(cancel_futures=True)


def _count(future: "Future[Outcome]", item: Item, target: Target, summary: Summary) -> bool:
    """Count what became of an item, record a new file, and return whether the item is right in its place."""
    try:
        outcome = future.result()
    except (Refused, PrimitivesError, OSError) as error:
        summary.fail(item.name, str(error))
        return False
    if outcome.fetched is None:
        summary.kept += 1
    else:
        summary.add(outcome.fetched, outcome.was_damaged)
        if isinstance(item, RemoteFile):
            target.record(outcome.fetched.file)
    if isinstance(item, RemoteFile) and not item.digest:
        summary.unhashed.append(item.name)
    return True


def _fetch(item: Item, record: RemoteFile | None, downloader: Downloader, options: FetchOptions) -> Outcome:
    """Fetch an item unless it is there."""
    if downloader.stop.is_set():
        raise Stopped
    if isinstance(item, Series):
        there = downloader.target.path(item.name).exists()
        if is_whole(downloader, item, options.verify):
            return Outcome(None, was_damaged=False)
        return Outcome(fetch_series(downloader, item), was_damaged=there)
    path = downloader.target.path(item.name)
    there = path.exists()
    if there and _is_right(path, item, record, options.verify):
        return Outcome(None, was_damaged=False)
    return Outcome(downloader.download(item), was_damaged=there)


def _is_right(path: Path, file: RemoteFile, record: RemoteFile | None, verify: bool) -> bool:
    """Whether a finished file has its size and, if it is verified, its hash: that of the manifest, or else the one that
    was recorded when it was fetched."""
    known = file if file.digest or record is None else record
    size = known.size if file.size is None else file.size
    if size is not None and path.stat().st_size != size:
        return False
    return not (verify and known.digest) or digest_of(path, known.digest) == known.digest
