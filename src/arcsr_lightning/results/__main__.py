"""The tables of a study: ``arcsr-results``, ``python -m arcsr_lightning.results``."""

import argparse
from pathlib import Path

from rich.console import Console

from arcsr_lightning.errors import InputError
from arcsr_lightning.results import compare
from arcsr_lightning.results.markdown import NOTES


def main() -> None:
    arguments = parse_arguments()
    damages: list[str] = []
    try:
        path = compare(find_study(arguments.study, arguments.logs), arguments.reference, damages.append)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    tables = path.read_text(encoding="utf-8").partition(f"\n{NOTES}\n")[0]
    Console().print(f"{tables}\nresults: {path}", soft_wrap=True, highlight=False, markup=False)
    if damages:
        raise SystemExit("\n".join(f"error: {line}" for line in damages))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("arcsr-results", description="Collect the runs of a sweep into tables.")
    parser.add_argument("study", help="a task_name, whose newest sweep is meant, or the folder of a sweep")
    parser.add_argument("--reference", metavar="METHOD", help="whom others are compared with; default arcsr")
    parser.add_argument("--logs", type=Path, default=Path("logs"), metavar="DIR", help="default logs")
    return parser.parse_args()


def find_study(study: str, logs: Path) -> Path:
    """The folder of a study: its newest sweep below ``logs``, or the folder itself.

    Raises:
        InputError: there is neither.
    """
    if study and Path(study).name == study:
        sweeps = [path for path in (logs / study / "multiruns").glob("*") if path.is_dir()]
        if sweeps:
            return max(sweeps)
    if study and Path(study).is_dir():
        return Path(study)
    known = sorted({path.parents[1].name for path in logs.glob("*/multiruns/*")})
    there = f"studies below {logs}: {', '.join(known)}" if known else f"there are no studies below {logs}"
    raise InputError(f"{study or repr(study)}: no such study and no such folder; {there}")


if __name__ == "__main__":
    main()
