"""results.md: what was reached, by what means, at what cost, and what is missing."""

from collections.abc import Sequence
from typing import Any

from arcsr_lightning.files import markdown_table
from arcsr_lightning.results.csv_rows import cost_columns
from arcsr_lightning.results.notes import NONE, NOTES, heading_text, legend_text, method_notes, unfinished_lines
from arcsr_lightning.results.runs import Run, Study
from arcsr_lightning.results.sections import KERNELS, Entry, Part, Section, percent
from arcsr_lightning.results.statistics import Interval, Spread
from arcsr_lightning.scores.protocol import TRUTH, with_arrow


def results_markdown(study: Study, sections: Sequence[Section]) -> str:
    """The tables of all data sets, what is not finished, and what must be known of the methods."""
    parts = [f"# {study.name}"]
    scored = [section for section in sections if section.levels]
    if scored:
        parts += [legend_text(scored), "![PSNR of every method](results.png)"]
    if any(section.compared for section in scored):
        parts += ["![Gain over the strength of blur](results_blur.png)"]
    for section in sections:
        parts += [
            heading_text(section),
            markdown_table(score_cells(section)),
            *([markdown_table(blur_cells(section))] if section.terciles else []),
            *([markdown_table(perceptual_cells(section)), *missing_text(section)] if section.perceptual else []),
            *([markdown_table(cost_cells(section)), markdown_table(training_cells(section))] if section.levels else []),
        ]
    missing = unfinished_lines(study)
    if missing:
        parts += ["## Not finished", "\n".join(missing)]
    notes = method_notes(sections)
    if notes:
        parts += [NOTES, "\n".join(notes)]
    return "\n\n".join(parts) + "\n"


def score_cells(section: Section) -> list[list[str]]:
    """The header, and a line per method."""
    header = ["method", "seeds"]
    for level in section.levels:
        paper = ["paper"] if section.has_paper(level) else []
        header += [f"PSNR, noise {level:g}", *paper, f"SSIM, noise {level:g}", *paper]
        header += [f"PSNR − {section.reference}"] if section.reference else []
    lines = [header]
    for entry in section.entries:
        scores = [cell for level in section.levels for cell in level_cells(section, entry, level)]
        lines.append([method_cell(entry), seeds_cell(entry), *scores])
    return lines


def level_cells(section: Section, entry: Entry, level: float) -> list[str]:
    """PSNR, SSIM, each with the paper's beside it, and the difference, as the header has them."""
    score, paper = entry.scores.get(level), section.paper(entry.method, level)
    papers = [f"{paper.psnr:.2f}", f"{paper.ssim:.2f}"] if paper else [NONE, NONE]
    psnr, ssim, difference = (
        (spread_cell(score.psnr, ".2f"), spread_cell(score.ssim, ".4f"), interval_cell(score.difference))
        if score
        else [entry.state] * 3
    )
    scores = [psnr, papers[0], ssim, papers[1]] if section.has_paper(level) else [psnr, ssim]
    return scores + ([difference] if section.reference else [])


def blur_cells(section: Section) -> list[list[str]]:
    """The header, and a line per noise level and method: PSNR by strength of blur."""
    header = ["noise", "method"]
    for tercile in section.terciles:
        header += [f"{tercile.label} blur, {tercile.low:.2f} to {tercile.high:.2f} px"]
        header += [f"PSNR − {section.reference}"] if section.reference else []
    lines = [header]
    for level in section.levels:
        for entry in section.entries:
            if level in entry.scores:
                cells = [part_cells(section, part) for part in entry.scores[level].parts]
                lines.append([f"{level:g}", method_cell(entry), *(cell for pair in cells for cell in pair)])
    return lines


def perceptual_cells(section: Section) -> list[list[str]]:
    """The header, a line for the ground truth where it has a score of its own, and a line per method."""
    columns = [(level, name) for level in section.levels for name in section.perceptual]
    lines = [["method", *(f"{with_arrow(name)}, noise {level:g}" for level, name in columns)]]
    truths = [first_truth(section, level, TRUTH.get(name)) for level, name in columns]
    lines += [["ground truth", *(spread_cell(truth, ".4f") for truth in truths)]] if any(truths) else []
    lines += [
        [method_cell(entry), *(perceptual_cell(entry, *column) for column in columns)] for entry in section.entries
    ]
    return lines


def first_truth(section: Section, level: float, name: str | None) -> Spread | None:
    """The ground truth's own score, from the first method that was scored with it."""
    scores = [entry.scores[level].perceptual for entry in section.entries if level in entry.scores]
    return next((perceptual[name] for perceptual in scores if name in perceptual), None)


def perceptual_cell(entry: Entry, level: float, name: str) -> str:
    """A score, that it is missing, or that it was not asked for."""
    if level not in entry.scores:
        return entry.state
    missing = [one["name"] for run in entry.runs for one in missing_scores(run)]
    found = entry.scores[level].perceptual.get(name)
    return "missing" if found is None and name in missing else spread_cell(found, ".4f")


def missing_text(section: Section) -> list[str]:
    """Why scores that were asked for are missing, a line for each reason; nothing where none are."""
    lines = {
        f"- {one['name']} is missing: {one['missing']}": None for run in section.runs for one in missing_scores(run)
    }
    return ["\n".join(lines)] if lines else []


def missing_scores(run: Run) -> list[dict[str, Any]]:
    return [one for one in run.report.get("perceptual") or [] if one.get("missing")]


def part_cells(section: Section, part: Part) -> list[str]:
    """PSNR and the difference, as the header has them."""
    difference = [interval_cell(part.difference)] if section.reference else []
    return [spread_cell(part.psnr, ".2f"), *difference]


def cost_cells(section: Section) -> list[list[str]]:
    """The header, and a line per method."""
    lines = [["method", "parameters", "GMACs", "kernel error", "skill", "amount", "direction"]]
    lines[0] += ["training, images/s", "latency, s", "on"]
    for entry in section.entries:
        if not entry.card:
            lines.append([method_cell(entry), *[entry.state] * 9])
            continue
        cost = cost_columns(entry.card)
        speed = [spread_cell(entry.images_per_s, ".1f"), spread_cell(entry.latency, ".3g")]
        speed += [devices_text(entry) if entry.images_per_s or entry.latency else NONE]
        figures = [
            f"{cost['parameters'] / 1e6:.2f} M",
            NONE if cost["gmacs_lr64"] is None else f"{cost['gmacs_lr64']:.2f}",
            *(spread_cell(entry.kernels.get(name), ".3f") for name in KERNELS),
        ]
        lines.append([method_cell(entry), *figures, *speed])
    return lines


def training_cells(section: Section) -> list[list[str]]:
    """The header, and a line per method: by what it was trained, and how far."""
    lines = [["method", "learnt from", "steps", "training", "of published", "Σ lr·steps", "EMA", "augmentation"]]
    for entry in section.entries:
        if not entry.card:
            lines.append([method_cell(entry), *[entry.state] * 7])
            continue
        cost = cost_columns(entry.card)
        seconds = f"{spread_cell(entry.seconds, '.0f')} s" if entry.seconds else NONE
        share = cost.get("steps_of_published")
        cells = [
            NONE if share is None else percent(share),
            cost.get("lr_sum"),
            cost.get("ema"),
            cost.get("augmentation"),
        ]
        trained = [NONE if cell is None or cell == "" else str(cell) for cell in cells]
        lines.append([method_cell(entry), cost["learnt_from"], cost["steps"], seconds, *trained])
    return lines


def method_cell(entry: Entry) -> str:
    """The method, whether a skip was added to it, and whether its figures may be compared."""
    skip = f"skip={entry.card['skip']}" if entry.card.get("skip") else ""
    marks = [skip] if skip and skip not in entry.label else []
    marks += [] if entry.card.get("comparable", True) else ["not comparable"]
    return ", ".join([entry.label, *marks])


def seeds_cell(entry: Entry) -> str:
    """How many there are, and how many there should be."""
    if entry.method == "bicubic":
        return NONE
    return str(entry.planned) if entry.finished == entry.planned else f"{entry.finished} of {entry.planned}"


def devices_text(entry: Entry) -> str:
    """What the runs ran on."""
    return ", ".join(
        (f"{one['devices']} × " if one["devices"] > 1 else "")
        + one["device"]
        + (f", threads {one['threads']}" if one["device"] == "cpu" else "")
        for one in entry.hardware
    )


def spread_cell(value: Spread | None, form: str) -> str:
    """``mean ± std``, the mean alone, or that there is none."""
    if value is None:
        return NONE
    return f"{value.mean:{form}}" + (f" ± {value.std:{form}}" if value.std is not None else "")


def interval_cell(value: Interval | None) -> str:
    """A difference with its interval, which one group of images under one seed does not have."""
    if value is None:
        return NONE
    interval = f" [{value.low:+.2f}, {value.high:+.2f}]" if value.high - value.low > 1e-9 else ""
    return f"{value.mean:+.2f}{interval}"
