"""Objects (patches, checkpoints, activations, pictures): a port with its embedded and its deployed form."""

from urllib.parse import urlsplit

from services.common.blobs.folder import FolderBlobs
from services.common.blobs.port import Blobs, ObjectRef, StoredObject, missing_objects
from services.common.errors import InvalidInput

__all__ = ["Blobs", "FolderBlobs", "ObjectRef", "StoredObject", "missing_objects", "open_blobs"]


def open_blobs(url: str) -> Blobs:
    """Open the object store of a URL: folder:///PATH or s3://…"""
    if url.startswith("folder:///"):
        return FolderBlobs(url.removeprefix("folder://"))
    parts = urlsplit(url)
    if parts.scheme == "s3":
        from services.common.blobs.s3 import S3Blobs  # the client is loaded only where it is used

        return S3Blobs(url)
    raise InvalidInput(
        f"PRIMITIVES_BLOBS_URL has the scheme {parts.scheme!r}; expected folder:///PATH or s3://KEY:SECRET@HOST:PORT"
    )
