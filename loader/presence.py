"""Whether something is at a path: what may not be looked for is an error, not an absence.

``Path.is_file`` raises what it meets before Python 3.14, and takes all of it for "no" from then on.
"""

from __future__ import annotations

import errno
import stat
from pathlib import Path

from loader.bundle.errors import StorageError

_NOTHING = frozenset({errno.ENOENT, errno.ENOTDIR})


def is_file(path: Path) -> bool:
    """Tell whether ``path`` leads to a regular file; ``StorageError`` where that can't be told."""
    return stat.S_ISREG(_mode(path))


def is_folder(path: Path) -> bool:
    """Tell whether ``path`` leads to a folder; ``StorageError`` where that can't be told."""
    return stat.S_ISDIR(_mode(path))


def is_named(path: Path) -> bool:
    """Tell whether there is a ``path``, be it a link that leads nowhere; ``StorageError`` where that can't be told."""
    return bool(_mode(path, follow=False))


def _mode(path: Path, *, follow: bool = True) -> int:
    try:
        return (path.stat() if follow else path.lstat()).st_mode
    except OSError as error:
        if error.errno in _NOTHING:
            return 0
        raise StorageError(f"cannot look for {str(path)[:300]}", why=error.strerror or str(error)) from error
    except ValueError:  # nothing has a name with a zero byte
        return 0
