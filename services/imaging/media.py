"""The formats of pictures, by their first bytes."""

MEDIA_TYPES = {"jpeg": "image/jpeg", "webp": "image/webp"}


def media_type(picture: bytes) -> str:
    """The media type of an encoded picture of ours."""
    return MEDIA_TYPES["webp" if picture[8:12] == b"WEBP" else "jpeg"]
