"""The number of files that a process may open."""

import resource

from services.common.access.edge import open_edge
from services.common.machine.files import MOST_FILES, allowed_files
from services.common.settings import Shared


def test_the_limit_of_files_is_raised() -> None:
    """A limit that a shell has lowered is raised to what this user may have; servers use a sixteenth of it."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
    try:
        most = allowed_files()
        assert most == MOST_FILES or most == before[1]
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == most
        assert open_edge("training", Shared(max_connections=10**6)).limits.connections == most // 16
        assert open_edge("training", Shared(max_connections=10)).limits.connections == 10
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
