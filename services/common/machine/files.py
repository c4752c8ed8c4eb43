"""The number of files, with connections among them, that the process may have open."""

import resource

MOST_FILES = 65536


def allowed_files() -> int:
    """Raise the limit as far as this user may, up to MOST_FILES, and return it. Shells often set it to 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return most
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    except (OSError, ValueError):  # macOS has another limit, which it does not name
        return soft
    return most
