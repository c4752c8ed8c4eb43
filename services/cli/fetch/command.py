"""The command: fetches an archive with a progress bar, prints the summary, and exits with status 1 if a file failed."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from services.cli.fetch.archives import Archive, check_base, find_archive
from services.cli.fetch.manifest import LARGEST_MANIFEST, parse_manifest
from services.cli.output import print_json
from services.common.errors import InvalidInput
from services.common.machine.reading import read_at_most


# typer reads a command's options from its parameters.
def fetch(
    archive: Annotated[str, typer.Argument(help="ddsm-visual-primitives or cbis-ddsm.")],
    folder: Annotated[Path, typer.Argument(help="Where the files lie afterwards; also to continue or to verify.")],
    base: Annotated[
        str, typer.Option("--from", help="Address of a server that has the same files, instead of the archive's own.")
    ] = "",
    manifest: Annotated[
        Path | None, typer.Option(help="A list of files with sizes and hashes, relative to --from; see docs/import.md.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Fetch only what has such a name, as Mass-Test_*; may be repeated.")
    ] = None,
    connections: Annotated[int, typer.Option(min=1, max=16, help="Files that are fetched at the same time.")] = 4,
    silence: Annotated[float, typer.Option(min=1, help="Seconds after which a silent server counts as stalled.")] = 60,
    retries: Annotated[int, typer.Option(min=0, help="Further attempts at a file that makes no progress.")] = 6,
    verify: Annotated[bool, typer.Option("--verify", help="Hash the files that are there, and replace wrong ones.")] = (
        False
    ),
    accept_unhashed: Annotated[
        bool, typer.Option("--accept-unhashed", help="Accept files whose hash nobody publishes, and record theirs.")
    ] = False,
) -> None:
    """Fetch a public data set from its archive. A fetch that was interrupted continues where it ended."""
    # httpx is imported here: other commands need no client.
    from services.cli.fetch.fetching import FetchOptions, fetch_archive
    from services.cli.fetch.retries import Limits
    from services.cli.progress import transfer_bar
    from services.cli.signals import exit_on_signals

    exit_on_signals()
    options = FetchOptions(tuple(only or ()), connections, verify, accept_unhashed)
    limits = Limits(silence_s=silence, retries=retries)
    with transfer_bar() as update:
        summary = fetch_archive(_archive(archive, base, manifest), folder, options, limits, update)
    print_json(summary.content())
    if summary.failed or summary.left:
        raise typer.Exit(1)


def _archive(name: str, base: str, manifest: Path | None) -> Archive:
    """The archive of a name, with the files of a manifest instead of its own if there is one."""
    archive = find_archive(name, base)
    if manifest is None:
        return archive
    if not base:
        raise InvalidInput("--manifest needs --from URL, to which its URLs are relative")
    try:
        text = read_at_most(manifest, LARGEST_MANIFEST).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{manifest} cannot be read as text: {error}") from error
    return replace(archive, files=parse_manifest(text, check_base(base), str(manifest)), collection="", api="")
