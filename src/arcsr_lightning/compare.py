"""``arcsr-results``: what a study came to, its tables and its Figure 2."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from arcsr_lightning.errors import InputError, first_line
from arcsr_lightning.files import newness
from arcsr_lightning.results import compare
from arcsr_lightning.results.notes import NOTES

FIGURE = "figure, and after it images=NAME,NAME and noise=LEVEL"


class Asked(NamedTuple):
    """What the figure is to show; None: what tells most, and the lowest noise level."""

    images: list[str] | None
    noise: float | None


def main() -> None:
    arguments = parse_arguments()
    damages: list[str] = []
    try:
        asked = figure_asked(arguments.figure)
        folder = find_study(arguments.study, arguments.logs)
        if asked is None:
            print_tables(compare(folder, arguments.reference, damages.append))
        else:
            from arcsr_lightning.side_by_side import draw_figure  # torch, Hydra: the tables do without

            for path in draw_figure(folder, asked.images, asked.noise, arguments.reference, damages.append):
                Console().print(path, soft_wrap=True, highlight=False, markup=False)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
    except OSError as error:
        raise SystemExit(f"error: {error.filename}: {error.strerror or first_line(error)}") from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    if damages:
        raise SystemExit("\n".join(f"error: {line}" for line in damages))


def print_tables(path: Path) -> None:
    """Those of a results.md, without the notes, which are too long for a terminal."""
    tables = path.read_text(encoding="utf-8").partition(f"\n{NOTES}\n")[0]
    Console().print(f"{tables}\nresults: {path}", soft_wrap=True, highlight=False, markup=False)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("arcsr-results", description="Tabulate the runs of a sweep, or draw Figure 2.")
    parser.add_argument("study", help="a task_name, whose newest sweep is meant, or the folder of a sweep")
    parser.add_argument("figure", nargs="*", default=[], help=f"nothing, for tables; {FIGURE}")
    parser.add_argument("--reference", metavar="METHOD", help="whom others are compared with; default arcsr")
    parser.add_argument("--logs", type=Path, default=Path("logs"), metavar="DIR", help="default logs")
    return parser.parse_intermixed_args()


def figure_asked(words: Sequence[str]) -> Asked | None:
    """What was typed after the study; None where that is nothing.

    Raises:
        InputError: it is something else.
    """
    if not words:
        return None
    if words[0] != "figure":
        raise InputError(f"{words[0]}: after the study comes nothing, or {FIGURE}")
    images, noise = None, None
    for word in words[1:]:
        key, _, value = word.partition("=")
        if key == "images" and value.strip(","):
            images = [name for name in value.split(",") if name]
        elif key == "noise":
            noise = number_of(word, value)
        else:
            raise InputError(f"{word}: a figure takes images=NAME,NAME and noise=LEVEL")
    return Asked(images, noise)


def number_of(word: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise InputError(f"{word}: noise is a level that was tested, a number") from None


def find_study(study: str, logs: Path) -> Path:
    """The folder of a study: its newest sweep below ``logs``, or the folder itself.

    Raises:
        InputError: there is neither.
    """
    if study and Path(study).name == study:
        sweeps = logs / study / "multiruns"
        if plans := sorted(sweeps.glob("*/jobs.json"), key=newness):
            return plans[-1].parent
        if folders := sorted(path for path in sweeps.glob("*") if path.is_dir()):
            return folders[-1]
    if study and Path(study).is_dir():
        return Path(study)
    known = sorted({path.parents[1].name for path in logs.glob("*/multiruns/*")})
    there = f"studies below {logs}: {', '.join(known)}" if known else f"there are no studies below {logs}"
    raise InputError(f"{study or repr(study)}: no such study and no such folder; {there}")


if __name__ == "__main__":
    main()
