"""Measure the suite: ``make bench``, ``python -m benchmarks``."""

import argparse
import os
import re
from pathlib import Path
from time import perf_counter

import torch
from rich.console import Console

from benchmarks import gpu, report
from benchmarks.cases import Case, measure, smallest, suite


def main() -> None:
    arguments = parse()
    if arguments.device == "cpu":
        cases = smallest() if arguments.quick else suite(arguments.full)
    elif torch.cuda.is_available() or arguments.list:
        cases = gpu.suite(arguments.quick)
    else:
        raise SystemExit("error: --device cuda: torch finds no GPU here")
    cases = [case for case in cases if arguments.only is None or arguments.only.search(case.name)]
    if not cases:
        raise SystemExit("error: --only matches no case; --list shows their names")
    if arguments.list:
        Console().print("\n".join(case.name for case in cases), soft_wrap=True, highlight=False)
    else:
        whole = not (arguments.quick or arguments.only)
        place = Path("experiments/benchmarks") if whole else Path("logs/benchmarks")
        folder = arguments.output or (place if arguments.device == "cpu" else place / "gpu")
        bench(cases, folder)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description="Speed and memory as ratios to counterparts.")
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--quick", action="store_true", help="the smallest case only: seconds, and no evidence")
    extent.add_argument("--full", action="store_true", help="every size of the goals: half an hour")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cuda: errors, and cuDNN's time")
    parser.add_argument(
        "--only", type=pattern, metavar="PATTERN", help="cases in whose names this is, a regular expression"
    )
    parser.add_argument("--list", action="store_true", help="print the names of the cases, and measure nothing")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="default experiments/benchmarks; of a part, logs/benchmarks"
    )
    return parser.parse_args()


def pattern(text: str) -> re.Pattern:
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from None


def bench(cases: list[Case], folder: Path) -> None:
    """Measure the cases in their order; what is done is on the disk after each of them."""
    console = Console()
    cores = os.cpu_count() or 1
    possible = [case for case in cases if case.threads <= cores]
    if len(possible) < len(cases):
        console.print(f"{len(cases) - len(possible)} cases left out: they need more than {cores} cores")
    rows, start = [], perf_counter()
    for number, case in enumerate(possible, start=1):
        row = report.row_of(case, measure(case))
        rows.append(row)
        report.write(folder, rows, len(possible))
        goal = f", goal {row['goal']}" if row["goal"] else ""
        line = f"{number}/{len(possible)} {case.name}: {row['ratio']:.2f}{goal}"
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    if report.series_of(rows):
        report.draw_growth(folder / "growth.png", rows)
    ending = f"\n{report.summary(rows)}\n\nresults: {folder} ({(perf_counter() - start) / 60:.1f} min)"
    console.print(ending, soft_wrap=True, highlight=False, markup=False)


if __name__ == "__main__":
    main()
