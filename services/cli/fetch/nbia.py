"""The images of a collection on an NBIA server, as The Cancer Imaging Archive runs it: its REST API, version 1.

`getSeries?Collection=NAME&format=json` lists the series. `getImageWithMD5Hash?SeriesInstanceUID=UID` is a ZIP of a
series, made as it is sent: it has no size, and the server cannot continue it, so a series is fetched whole.
"""

import json
import re
import shutil
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from services.cli.fetch.download import Downloader, Fetched, Refused
from services.cli.fetch.manifest import PART, RemoteFile
from services.cli.fetch.unpack import LARGEST_IMAGE, BadSeries, damaged_image, unpack_series
from services.common.errors import InvalidInput
from services.common.machine.reading import read_at_most
from services.common.redaction import quoted

LIST = "series.json"
"""The list of series, as the server sent it last."""
LARGEST_LIST = 64 << 20
"""Bytes of a list. CBIS-DDSM's 6,775 series need about 4 MB."""
MOST_IMAGES = 10_000
"""Images of a series."""

_UID = re.compile(r"[0-9.]{1,64}")
_PATIENT = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}")


@dataclass(frozen=True)
class Series:
    """A series of images; its name, `PATIENT/STUDY/SERIES`, is its folder."""

    name: str
    url: str
    images: int


def list_series(downloader: Downloader, api: str, collection: str) -> tuple[Series, ...]:
    """List the series of a collection, by name. Refused if the server does not send the list; InvalidInput if it cannot
    be used."""
    url = f"{api}/getSeries?{urlencode({'Collection': collection, 'format': 'json'})}"
    path = downloader.target.path(LIST)
    downloader.download(RemoteFile(LIST, url), LARGEST_LIST)
    try:
        rows = json.loads(read_at_most(path, LARGEST_LIST) or b"[]")
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the list of series from {quoted(url)} is not JSON") from error
    if not isinstance(rows, list) or not rows:
        raise InvalidInput(f"{quoted(url)} lists no series")
    series = {one.name: one for one in (_series(api, row, number) for number, row in enumerate(rows, 1))}
    return tuple(series[name] for name in sorted(series))


def is_whole(downloader: Downloader, series: Series, verify: bool) -> bool:
    """Whether a series is there; with `verify`, whether its images have their hashes."""
    folder = downloader.target.path(series.name)
    return folder.is_dir() and not (verify and damaged_image(folder, series.images))


def fetch_series(downloader: Downloader, series: Series) -> Fetched:
    """Fetch a series into its folder. A folder that is there before is replaced once all images are right."""
    folder = downloader.target.path(series.name)
    archive = downloader.target.path(series.name + ".zip")
    aside = folder.with_name(folder.name + PART)
    received, reason = 0, ""
    for restarts in range(downloader.limits.restarts + 1):
        fetched = downloader.download(RemoteFile(series.name + ".zip", series.url), series.images * LARGEST_IMAGE)
        received += fetched.received
        try:
            size = unpack_series(archive, aside, series.images)
        except BadSeries as error:
            reason = str(error)
            continue
        finally:
            archive.unlink()
        if folder.exists():
            shutil.rmtree(folder)
        aside.rename(folder)
        return Fetched(RemoteFile(series.name, series.url, size), received, fetched.resumed, restarts)
    shutil.rmtree(aside)
    raise Refused(f"{reason}; abandoned after {downloader.limits.restarts + 1} attempts")


def _series(api: str, row: Any, number: int) -> Series:
    """The series of a row of the list. InvalidInput if a value of it cannot be part of a path."""
    cells: dict[str, Any] = row if isinstance(row, dict) else {}
    patient, study, uid = (str(cells.get(name)) for name in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID"))
    images = str(cells.get("ImageCount"))
    named = _PATIENT.fullmatch(patient) and _UID.fullmatch(study) and _UID.fullmatch(uid)
    if not named or not re.fullmatch(r"[0-9]{1,5}", images) or not 1 <= int(images) <= MOST_IMAGES:
        raise InvalidInput(f"series {number} of the list has no usable PatientID, study, series and number of images")
    if study[0] == "." or uid[0] == ".":
        raise InvalidInput(f"series {number} of the list has a UID that begins with a dot")
    url = f"{api}/getImageWithMD5Hash?{urlencode({'SeriesInstanceUID': uid})}"
    return Series(f"{patient}/{study}/{uid}", url, int(images))
