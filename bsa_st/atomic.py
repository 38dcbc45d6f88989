"""Writing a file aside and renaming it, so that a reader sees the old file or the new one, never half of one."""

from __future__ import annotations

import glob
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import psutil

from bsa_st.errors import BSAError


def check_output(path: Path, ours: bytes | None = None, overwrite: bool = False) -> None:
    """Refuse a path that must not be written, before any work is done for it: raise :class:`BSAError` if it is a folder, a link, a device or a pipe, or
    its folder is missing or cannot be written; or, unless ``overwrite``, if it is a file that does not begin with ``ours``, as those of its kind do."""
    if not path.parent.is_dir():
        raise BSAError(f"cannot write {path}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise BSAError(f"cannot write {path}: the folder {path.parent} is read-only")
    _check_file(path)
    if overwrite or not path.exists():
        return
    with path.open("rb") as file:
        if ours is None or file.read(len(ours)) != ours:
            known = "there already" if ours is None else "not a file of this kind"
            raise BSAError(f"{path} exists and is {known}; give --overwrite to replace it")


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that becomes ``path`` when the block ends well; on any failure, which is a :class:`BSAError`, ``path`` stays as it was."""
    _check_file(path)
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


def _check_file(path: Path) -> None:
    if path.is_symlink() or (path.exists() and not path.is_file()):
        kind = "a link" if path.is_symlink() else "a folder" if path.is_dir() else "a device or a pipe"
        raise BSAError(f"cannot write {path}: it is {kind}")


def write_json(path: Path, content: Any) -> None:
    """Write what JSON can hold, atomically; raises what :func:`atomic_file` raises."""
    with atomic_file(path) as file:
        file.write((json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "replace"))


def remove_leftovers(path: Path) -> None:
    """Remove what writers of ``path`` that were killed have left beside it; those that are still at work are left alone."""
    for aside in path.parent.glob(f".{glob.escape(path.name)}.*.*"):
        writer = aside.name.removeprefix(f".{path.name}.").split(".")[0]
        if writer.isdigit() and not psutil.pid_exists(int(writer)):
            aside.unlink(missing_ok=True)
