"""Which buckets of the object store may be imported."""

from collections.abc import Collection

from services.common.errors import Forbidden
from services.common.redaction import quoted


def require_importable(bucket: str, importable: Collection[str]) -> None:
    """Forbidden for a bucket that the operator does not list."""
    if bucket not in importable:
        raise Forbidden(
            f"bucket {quoted(bucket)} cannot be imported here: PRIMITIVES_TRAINING_IMPORT_BUCKETS does not list it"
        )
