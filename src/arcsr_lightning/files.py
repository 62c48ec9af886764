"""Files that are either old or new, never half-written, and the text of tables in them."""

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
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
