"""A study's figures from the runs of its sweep: tables, raw numbers and a picture, beside the paper's own numbers."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arcsr_lightning.errors import InputError
from arcsr_lightning.files import write_csv, write_text
from arcsr_lightning.results.csv_rows import mean_rows, run_rows
from arcsr_lightning.results.markdown import results_markdown
from arcsr_lightning.results.runs import read_study
from arcsr_lightning.results.sections import study_sections

__all__ = ["compare"]


log = logging.getLogger(__name__)


def compare(folder: str | Path, reference: str | None = None, note_damage: Callable[[str], Any] = log.warning) -> Path:
    """Write results.md, results.csv (a row per run), results_means.csv, results.png and, where blur is
    known, results_blur.png into a sweep's folder.

    Args:
        folder: of a sweep, finished or not.
        reference: the method that others are compared with; None: ArcSR, without it the first that is trained.
        note_damage: told of each file that is damaged; the tables are those of the other runs.

    Returns:
        The path of results.md.

    Raises:
        InputError: there are no runs or none without damage, they were not scored alike on the same images, there is no
            such reference, or the tables cannot be written.
    """
    folder = Path(folder)
    study = read_study(folder)
    sections = study_sections(study, reference)
    for line in study.damages:
        note_damage(line)
    try:
        write_csv(folder / "results.csv", run_rows(study))
        write_csv(folder / "results_means.csv", [row for section in sections for row in mean_rows(section)])
        write_text(folder / "results.md", results_markdown(study, sections))
        if any(section.levels for section in sections):
            from arcsr_lightning.results.plot import draw_gains, draw_study  # matplotlib, where needed

            draw_study(folder / "results.png", sections)
            if any(section.compared for section in sections):
                draw_gains(folder / "results_blur.png", sections)
    except OSError as error:
        raise InputError(f"{folder}: cannot write the tables: {error}") from error
    return folder / "results.md"
