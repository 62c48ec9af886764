"""Files that are either old or new, never half-written."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def write_aside(path: str | Path) -> Iterator[Path]:
    """Yield a path to write to; it takes the name ``path`` only when the block ends without an error.

    The temporary file is in the folder of ``path`` (made if missing) and has its suffix, by which image writers
    choose their format. It is on the disk before it replaces ``path``; after an error it is removed and whatever
    ``path`` held stays as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".part-{uuid4().hex[:12]}{path.suffix}")
    try:
        yield aside
        with aside.open("r+b") as file:
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8 through :func:`write_aside`."""
    with write_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")
