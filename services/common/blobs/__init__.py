"""Objects (patches, checkpoints, activations, pictures): a port and its embedded form."""

from urllib.parse import urlsplit

from services.common.blobs.folder import FolderBlobs
from services.common.blobs.port import Blobs, ObjectRef
from services.common.errors import InvalidInput

__all__ = ["Blobs", "FolderBlobs", "ObjectRef", "open_blobs"]


def open_blobs(url: str) -> Blobs:
    """The object store that a URL names."""
    parts = urlsplit(url)
    if parts.scheme == "folder" and parts.path:
        return FolderBlobs(parts.path)
    raise InvalidInput(f"PRIMITIVES_BLOBS_URL is {url!r}; expected folder:///PATH")
