"""The command: gets the extraction from its service and reads the rest from the store that the settings name."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli.client import get, named_services
from services.cli.output import Permission
from services.cli.tokens import command_audit, operator
from services.common.blobs import Blobs, ObjectRef, open_blobs
from services.common.errors import Conflict, InvalidInput
from services.common.settings import Shared
from services.common.work.plan_options import PictureFormat, PictureKind
from services.imaging.licence import require_permission

MOST_UNITS = 1_000_000


# typer reads a command's options from its parameters.
def gallery(
    extraction: Annotated[str, typer.Argument(help="A completed extraction.")],
    folder: Annotated[Path, typer.Argument(help="Folder for the pages: empty, or not there yet.")],
    layer: Annotated[list[str] | None, typer.Option(help="A layer; repeatable. By default all layers.")] = None,
    units: Annotated[str, typer.Option(help="Channels from 0, as 0-31,40. By default all of each layer.")] = "",
    kind: Annotated[PictureKind, typer.Option(help="What the pictures show.")] = "overlay",
    format: Annotated[PictureFormat, typer.Option(help="File format of the pictures.")] = "jpeg",
    top: Annotated[int, typer.Option(min=1, help="Most pictures per unit.")] = 32,
    size: Annotated[int, typer.Option(min=32, max=1024, help="Side of a picture in pixels.")] = 227,
    confirm_permission: Permission = False,
) -> None:
    """Write the units of an extraction as pages that a browser opens from disk: FOLDER/index.html."""
    from services.cli.gallery.build import GalleryOptions, build_gallery, is_free
    from services.cli.progress import progress_bar

    if not is_free(folder):
        raise InvalidInput(f"{folder} already exists and is not an empty folder")
    found = get(named_services().activation_extraction, f"/v1/extractions/{extraction}")
    if found["manifest"] is None:
        raise Conflict(f"extraction {extraction} is {found['state']}; its units are known once it is completed")
    shared = Shared()
    options = GalleryOptions(tuple(layer or ()), parse_units(units), kind, format, top, size)
    blobs, ref = open_blobs(shared.blobs()), ObjectRef.model_validate(found["manifest"])
    confirmed = _require_permission(blobs, ref, extraction, confirm_permission)
    with progress_bar("units") as update:
        index = build_gallery(blobs, shared.scratch(), ref, folder, options, update)
    if confirmed:
        outcome = f"gallery in {folder}; {confirmed}"
        command_audit(shared).record("export", f"extraction {extraction}", outcome=outcome, actor=operator())
    typer.echo(index)


def _require_permission(blobs: Blobs, extraction: ObjectRef, name: str, confirmed: bool) -> str:
    """Check that the licence of the patches allows a gallery; see `require_permission`."""
    from services.imaging.dataset import Dataset
    from services.patch_rendering.unit_maps import read_extraction

    dataset = Dataset.open(blobs, read_extraction(blobs, extraction).dataset)
    return require_permission("pictures", dataset.manifest.terms, f"extraction {name}", confirmed)


def parse_units(text: str) -> frozenset[int] | None:
    """Parse channels like `0-31,40`. Return None, which stands for all, if the text is empty. InvalidInput names the
    faulty part."""
    if not text:
        return None
    channels: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise InvalidInput(f"--units {text}: {part!r} is neither a channel nor a range of channels such as 0-31")
        bounds = int(first), int(last or first)
        if not bounds[0] <= bounds[1] < MOST_UNITS:
            raise InvalidInput(f"--units {text}: {part!r} is not a range from a smaller to a larger channel")
        channels |= set(range(bounds[0], bounds[1] + 1))
    return frozenset(channels)
