"""`primitives dataset upload`: a folder of raw mammograms becomes objects of a bucket, which an import can read.

Files go from this machine to the object store, so that gigabytes of images pass through no service. They are stored as
they are, with the names of patients, until somebody removes the objects.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from services.cli.progress import transfer_bar
from services.common.blobs import Blobs, open_blobs
from services.common.blobs.keys import check_key
from services.common.errors import InvalidInput
from services.common.redaction import quoted
from services.training.imports.buckets import require_importable
from services.training.imports.schemas import as_folder
from services.training.raw.source.files import FolderFiles
from services.training.settings import TrainingSettings

THREADS = 4
"""Files that are sent at a time."""
LONGEST_KEY = 1024
"""Bytes of a key that S3 accepts."""

OnFile = Callable[[int, int, int], None]
"""Receives the files that are done, the files in all, and the bytes that were sent."""


@dataclass
class Uploaded:
    """What an upload did. `unchanged` files were in the store before, with the same bytes."""

    files: int = 0
    unchanged: int = 0
    bytes_sent: int = 0

    def add(self, sent: int | None) -> None:
        """Count a file: the bytes that were sent, or None if it was unchanged."""
        self.files += 1
        self.unchanged += sent is None
        self.bytes_sent += sent or 0


def upload_folder(folder: Path, bucket: str, prefix: str, settings: TrainingSettings) -> dict[str, Any]:
    """Upload a folder to the store of the settings. Return what was done, and the place as an import names it.
    Forbidden for a bucket that may not be imported."""
    require_importable(bucket, settings.importable_buckets)
    place = as_folder(prefix)
    with transfer_bar() as update:
        done = upload(open_blobs(settings.shared.blobs()), bucket, place, folder, update)
    return {"bucket": bucket, "prefix": place, **asdict(done)}


def upload(blobs: Blobs, bucket: str, prefix: str, folder: Path, on_file: OnFile) -> Uploaded:
    """Store the files of a folder under a prefix. Files that the store has already are not sent again, so an upload
    that was interrupted continues.

    Hidden files and links are left out, as an import leaves them out. Before anything is sent, InvalidInput is raised
    for an empty folder, for a name that cannot be a key, and for objects under the prefix that are no files of the
    folder: an import would read them too.
    """
    names = FolderFiles(folder).names
    _check(names, blobs, bucket, prefix, folder)
    done = Uploaded()
    with ThreadPoolExecutor(THREADS) as pool:
        sending = [pool.submit(_send, blobs, bucket, prefix + name, folder / name) for name in names]
        try:
            for one in as_completed(sending):
                done.add(one.result())
                on_file(done.files, len(names), done.bytes_sent)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return done


def _check(names: list[str], blobs: Blobs, bucket: str, prefix: str, folder: Path) -> None:
    if not names:
        raise InvalidInput(f"{folder} has no files")
    for name in names:
        check_key(bucket, prefix + name)
        if not name.isprintable() or len((prefix + name).encode("utf-8", "surrogateescape")) > LONGEST_KEY:
            raise InvalidInput(f"file {quoted(name)} has a name that cannot be a key of the store; rename it")
    others = set(blobs.list(bucket, prefix)).difference(prefix + name for name in names)
    if others:
        raise InvalidInput(
            f"{bucket}/{prefix} has {len(others)} objects that are no files of {folder}, such as "
            f"{quoted(min(others))}; an import would read them too. Choose another prefix"
        )


def _send(blobs: Blobs, bucket: str, key: str, path: Path) -> int | None:
    """Store a file unless the store has the same bytes. Return the bytes that were sent, None if there was no need."""
    try:
        size = path.stat().st_size
        if blobs.size(bucket, key) == size and blobs.get(bucket, key) == path.read_bytes():
            return None
        blobs.put_file(bucket, key, path)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    return size
