"""Files that are either old or new, never half-written, and the text of tables in them."""

import csv
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout

from arcsr_lightning.errors import FolderKeptError, InputError, first_line

PART = ".part-"  # what the name of a file begins with while it is being written


@contextmanager
def write_aside(path: str | Path) -> Iterator[Path]:
    """Yield a path to write to; it takes the name ``path`` only when the block ends without an error.

    The temporary file is in the folder of ``path`` (made if missing) and has its suffix, by which image writers
    choose their format. It is on the disk before it replaces ``path``, and so is its new name when this returns; after
    an error it is removed and whatever ``path`` held stays as it was.

    Raises:
        OSError: the file cannot be written; names ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{PART}{uuid4().hex[:12]}{path.suffix}")
    try:
        yield aside
        with aside.open("r+b") as file:
            os.fsync(file.fileno())
        aside.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        if error.filename not in (None, str(aside), aside):
            raise
        raise OSError(error.errno, error.strerror or first_line(error), str(path)) from error
    finally:
        aside.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system can do that."""
    with suppress(OSError):  # not every network's file system can
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def alone_in(folder: str | Path, refusal: str, patience: float = 0.0) -> Iterator[None]:
    """Keep every other process out of a folder; the system lets go of it when this process dies, however.

    Where a file system knows no locks (some of clusters), ``.lock`` itself is the lock: one of a process that was
    killed on another machine stays until it is removed.

    Args:
        folder: made if missing.
        refusal: what to say where another process is in it.
        patience: seconds to wait for that one to leave.

    Raises:
        FolderKeptError: it does not.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    lock = FileLock(Path(folder, ".lock"))
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        raise FolderKeptError(f"{folder}: {refusal}; if no process is left, remove {lock.lock_file}") from None
    try:
        yield
    finally:
        lock.release()


def remove_leftovers(folder: str | Path, below: bool = False) -> None:
    """Remove what killed processes were writing in a folder, or also ``below`` it, that no process writes to now."""
    for path in Path(folder).glob(f"**/{PART}*" if below else f"{PART}*"):
        path.unlink(missing_ok=True)


def files_below(folder: str | Path) -> Iterator[Path]:
    """The files in a folder and all below it, linked ones too; what can be reached by several ways comes once."""
    tops: deque[str | Path] = deque([folder])
    seen: set[str] = set()
    while tops:
        for place, folders, names in os.walk(tops.popleft()):  # links are left for later: a folder's own place is first
            if (real := os.path.realpath(place)) in seen:
                folders.clear()
                continue
            seen.add(real)
            yield from (Path(place, name) for name in names)
            tops.extend(path for name in sorted(folders) if (path := Path(place, name)).is_symlink())


def newness(path: Path) -> tuple[int, Path]:
    """What files are sorted by, the newest last: names of folders tell the time of most runs, not of SLURM's jobs."""
    return path.stat().st_mtime_ns, path


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8 through :func:`write_aside`."""
    with write_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file that somebody has asked for through :func:`write_aside`.

    Raises:
        InputError: there is no room for it, or no leave to write it.
    """
    try:
        with write_aside(path) as aside:
            aside.write_bytes(data)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or first_line(error)})") from error


def write_csv(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows with a header of all their keys, in the order of first appearance, through :func:`write_aside`."""
    with write_aside(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, dict.fromkeys(key for row in rows for key in row))
        writer.writeheader()
        writer.writerows(rows)


def markdown_table(cells: Sequence[Sequence[str]]) -> str:
    """A table of Markdown from its lines, the header first."""
    header, *lines = cells
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *lines))
