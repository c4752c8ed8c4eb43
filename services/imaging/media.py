"""Media types of pictures, recognised by their first bytes."""

MEDIA_TYPES = {"jpeg": "image/jpeg", "webp": "image/webp"}


def media_type(picture: bytes) -> str:
    """Return the media type of a picture that this project encoded."""
    return MEDIA_TYPES["webp" if picture[8:12] == b"WEBP" else "jpeg"]
