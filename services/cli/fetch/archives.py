"""The public sets that can be fetched, and where: the one table of addresses. docs/import.md says how sure each is."""

from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from services.cli.fetch.manifest import RemoteFile
from services.common.errors import InvalidInput
from services.common.redaction import quoted


@dataclass(frozen=True)
class Archive:
    """A public set: its files, and the collection of an NBIA server with its images, if there is one.

    `api` is the address of version 1 of NBIA's REST API. `bytes` is the size of all as its authors state it, used to
    check the free disk before sizes are known.
    """

    name: str
    files: tuple[RemoteFile, ...]
    bytes: int
    collection: str = ""
    api: str = ""


def _tables(versions: dict[str, str]) -> tuple[RemoteFile, ...]:
    folder = "https://wiki.cancerimagingarchive.net/download/attachments/22516629"
    names = {f"{table}_set.csv": modified for table, modified in versions.items()}
    return tuple(
        RemoteFile(name, f"{folder}/{name}?version=1&modificationDate={modified}&api=v2")
        for name, modified in names.items()
    )


_DDSM_VISUAL_PRIMITIVES = Archive(
    name="ddsm-visual-primitives",
    files=tuple(
        RemoteFile(name, f"https://www.dropbox.com/s/{share}/{name}?dl=1")
        for name, share in {
            "ddsm_patches.tar.gz": "xattw5gkfd72b1j",
            "ddsm_labels.tar.gz": "766akqdm4jt0ksd",
            "ddsm_raw.tar.gz": "33jx5t21avd0n5j",
            "ddsm_masks.tar.gz": "x8l97k6rgihtg5x",
        }.items()
    ),
    bytes=15_000_000_000,
)
_CBIS_DDSM = Archive(
    name="cbis-ddsm",
    files=_tables(
        {
            "mass_case_description_train": "1506796355038",
            "calc_case_description_train": "1506796349666",
            "mass_case_description_test": "1506796343175",
            "calc_case_description_test": "1506796343686",
        }
    ),
    bytes=163_600_000_000,
    collection="CBIS-DDSM",
    api="https://services.cancerimagingarchive.net/nbia-api/services/v1",
)
ARCHIVES = {archive.name: archive for archive in (_DDSM_VISUAL_PRIMITIVES, _CBIS_DDSM)}


def find_archive(name: str, base: str = "") -> Archive:
    """The archive of a name, at its own addresses or below `base`. InvalidInput if there is none, or `base` is no
    address."""
    archive = ARCHIVES.get(name)
    if archive is None:
        raise InvalidInput(f"archive {quoted(name)}; expected one of {', '.join(ARCHIVES)}")
    if not base:
        return archive
    base = check_base(base)
    files = tuple(replace(file, url=f"{base}/{file.name}") for file in archive.files)
    return replace(archive, files=files, api=base if archive.api else "")


def check_base(base: str) -> str:
    """Return an address without the slashes at its end. InvalidInput if it is not one of HTTP."""
    parsed = urlsplit(base)
    if parsed.scheme not in ("http", "https") or not parsed.hostname or parsed.query or parsed.fragment:
        raise InvalidInput(f"--from {quoted(base)}; expected https://HOST/PATH")
    return base.rstrip("/")
