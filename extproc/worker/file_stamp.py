"""The stamp of a file: a cheap sign that another version is there.

It follows symlinks, so it is the same sign for a file that is written over, for one that is replaced, and for a
mounted ConfigMap or Secret of Kubernetes, whose files are symlinks through a folder that is swapped.
"""

from pathlib import Path

Stamp = tuple[int, int, int, int, int]
"""Device, inode, size, times of change of a file and of its rights (ns)."""


def stamp(path: Path) -> Stamp | None:
    """Return the stamp of a file, symlinks followed; None if there is no such file."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
