"""Writing a file aside and renaming it, so that a reader sees the old file or the new one, never half of one."""

from __future__ import annotations

import glob
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from bsa_st.errors import BSAError


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that becomes ``path`` when the block ends well; on any failure ``path`` stays as it was.

    Raises:
        BSAError: If the file cannot be written, e.g. on a full disk or in a missing folder.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with aside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        raise BSAError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        aside.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Remove what writers of ``path`` that were killed have left beside it; those that are still at work are left alone."""
    for aside in path.parent.glob(f".{glob.escape(path.name)}.*.*"):
        writer = aside.name.removeprefix(f".{path.name}.").split(".")[0]
        if writer.isdigit() and not _is_running(int(writer)):
            aside.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
