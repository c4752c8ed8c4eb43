"""Real data that lies next to some checkouts. It is not part of this repository."""

import warnings
from pathlib import Path


def shared_data(name: str) -> Path | None:
    """The folder shared/data/NAME next to this checkout, or None with a warning that what needs it was not checked."""
    for parent in Path(__file__).parents:
        folder = parent / "shared" / "data" / name
        if folder.is_dir():
            return folder
    warnings.warn(f"shared/data/{name} is not next to this checkout; nothing was checked with it", stacklevel=2)
    return None
