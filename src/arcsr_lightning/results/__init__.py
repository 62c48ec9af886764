"""A study's figures from the runs of its sweep: tables, raw numbers and a picture, beside the paper's own numbers."""

from pathlib import Path

from arcsr_lightning.results import plot, tables
from arcsr_lightning.results.runs import read_study
from arcsr_lightning.results.sections import sections

__all__ = ["compare"]


def compare(folder: str | Path, reference: str | None = None) -> Path:
    """Write results.md, results.csv (a row per run), results_means.csv and results.png into a sweep's folder.

    Args:
        folder: of a sweep, finished or not.
        reference: the method that others are compared with; None: ArcSR, without it the first that is trained.

    Returns the path of results.md.

    Raises:
        InputError: there are no runs, they were not scored alike on the same images or by another version of the
            evaluation, or there is no such reference.
    """
    folder = Path(folder)
    study = read_study(folder)
    found = sections(study, reference)
    tables.write(folder, study, found)
    plot.draw(folder / "results.png", found)
    return folder / "results.md"
