"""results.md: what was reached, by what means, at what cost, and what is missing."""

from collections.abc import Sequence
from typing import Any

from arcsr_lightning.files import markdown_table
from arcsr_lightning.results.csv_rows import cost_columns
from arcsr_lightning.results.runs import FINISHED, WAITING, Run, Study
from arcsr_lightning.results.sections import KERNELS, Entry, Part, Section, percent
from arcsr_lightning.results.statistics import Interval, Spread
from arcsr_lightning.scores.protocol import TRUTH, with_arrow

NOTES = "## Methods"  # the heading of what is too long for a terminal
NONE = "-"
PROTOCOLS = {
    "paper": "protocol=paper: by the paper's rule (Sec. 4.4) every method but ReDegNet is trained as ArcSR is, with "
    "the same optimiser, rate, schedule and steps, L1 on the image and what it needs besides.",
    "published": "protocol=published: every method is trained with the stages, rates, schedules and mirroring of its "
    "publication; images, batch size and the number of steps are the run's.",
}


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


def legend_text(sections: Sequence[Section]) -> str:
    """What the figures are, for all sections."""
    protocol = "; ".join(f"{key} {value}" for key, value in sections[0].runs[0].report["protocol"].items())
    sentences = [
        "PSNR (dB) and SSIM on RGB, means over images; of several seeds the mean ± their sample standard deviation.",
        paper_sentence(sections),
        "Differences: the mean of the PSNR less the reference's over the images and the seeds that both have, and its "
        "95 % interval: a paired bootstrap of seeds and groups of images together, a group being the frames of a "
        "sequence or a photograph under several blurs. Of one seed it tells nothing of others; of two or three seeds "
        "or groups it is too narrow.",
        *blur_sentences(sections),
        "Kernel error: L1 to the true kernels on the LR grid, or to measured ones, weighted by their confidence; at "
        "most 2, mean over noise levels. Skill: 1 - error / error of the best constant kernel. Amount, direction: "
        "correlation of estimated and true blur over all pixels. "
        "GMACs: convolutions and matrix products for an LR image of 64x64. Images/s: trained on, the median; training: "
        "the images trained on by that speed, without validations. Latency: the network alone, for a test image, the "
        "median of all but the first.",
        *perceptual_sentences(sections),
        *(PROTOCOLS[name] for name in PROTOCOLS if any(section.protocol == name for section in sections)),
        "Σ lr·steps: the learning rate summed over all steps. Of published: the steps as a share of the publication's, "
        "whatever their batches. EMA: the decay of the average of the weights that is scored.",
        f"`{NONE}`: there is none (the reference itself, true kernels unknown, nothing trained, not in the paper, not "
        "known of the publication, not measured).",
        f"Scored by: {protocol}.",
    ]
    return "\n".join(f"- {sentence}" for sentence in sentences)


def blur_sentences(sections: Sequence[Section]) -> list[str]:
    """What the strength of blur is, where it is known."""
    if not any(section.terciles for section in sections):
        return []
    return [
        "Weak, medium, strong blur: a third of the test images each, by the amount of their true or measured blur: "
        "the root mean square distance of a kernel from its centroid, in LR pixels, mean over the image."
    ]


def perceptual_sentences(sections: Sequence[Section]) -> list[str]:
    """What the perceptual scores are, where they were asked for."""
    if not any(section.perceptual for section in sections):
        return []
    return [
        "LPIPS (AlexNet), DISTS: distances to the ground truth, of features; ARNIQA (KonIQ-10k): a score of the image "
        "alone, in [0, 1], so that the ground truth has one too. On 8-bit RGB with the border cut, means over images; "
        "↓ lower is better, ↑ higher is better."
    ]


def paper_sentence(sections: Sequence[Section]) -> str:
    """Which of the paper's tables its figures are from, where there are any."""
    if not any(paper_has(section, level) for section in sections for level in section.levels):
        return f"The paper has no figures for {' and '.join(dict.fromkeys(section.data for section in sections))}."
    first, second = ("Table 1", "Table 2") if any(section.ablations for section in sections) else ("Table 2", "Table 1")
    return (
        f"Paper: its {first}, and {second} where that has no figure; it does not say how it scored (colour, border, "
        "which images)."
    )


def heading_text(section: Section) -> str:
    """The data set, and whether all methods saw the same of it."""
    if not section.runs:
        return f"## {section.title}\n\nNo run is finished."
    report, images = section.runs[0].report, next(iter(section.runs[0].images["bicubic"].values()))
    reports = [run.report for run in section.runs if run.report["method"].get("schedule")]
    seen = [samples_seen(report) for report in reports if report["config"].get("train")]  # not of evaluations
    groups = len({image.group for image in images.values()})
    text = f"## {section.title}, ×{section.scale}, {report['rows'][0]['images']} test images"
    text += f" in {groups} groups" if groups < len(images) else ""
    text += f"\n\n{section.trained}" if section.trained else ""
    if seen:
        same = all(other == seen[0] for other in seen)
        text += (
            f"\n\nAll were trained on the same samples, {seen[0]['a_step']} a step."
            if same
            else "\n\nNot all were trained on the same samples."
        )
    return text


def samples_seen(report: dict[str, Any]) -> dict[str, Any]:
    """What decides, for a given seed, which samples a training sees in which order."""
    data, trainer = report["config"]["data"], report["config"]["trainer"]
    elsewhere = ("second_crop", "store", "seed")
    return {
        "train": {key: value for key, value in (data.get("train") or {}).items() if key not in elsewhere},
        "a_step": data["batch_size"] * (trainer.get("accumulate_grad_batches") or 1),
        "steps": trainer.get("max_steps"),
        "in_time": trainer.get("max_time") and [stage["steps"] for stage in report["method"]["schedule"]],
    }


def score_cells(section: Section) -> list[list[str]]:
    """The header, and a line per method."""
    header = ["method", "seeds"]
    for level in section.levels:
        paper = ["paper"] if paper_has(section, level) else []
        header += [f"PSNR, noise {level:g}", *paper, f"SSIM, noise {level:g}", *paper]
        header += [f"PSNR − {section.reference}"] if section.reference else []
    lines = [header]
    for entry in section.entries:
        scores = [cell for level in section.levels for cell in level_cells(section, entry, level)]
        lines.append([method_cell(entry), seeds_cell(entry), *scores])
    return lines


def paper_has(section: Section, level: float) -> bool:
    return any(section.paper(entry.method, level) for entry in section.entries)


def level_cells(section: Section, entry: Entry, level: float) -> list[str]:
    """PSNR, SSIM, each with the paper's beside it, and the difference, as the header has them."""
    score, paper = entry.scores.get(level), section.paper(entry.method, level)
    papers = [f"{paper.psnr:.2f}", f"{paper.ssim:.2f}"] if paper else [NONE, NONE]
    psnr, ssim, difference = (
        (spread_cell(score.psnr, ".2f"), spread_cell(score.ssim, ".4f"), interval_cell(score.difference))
        if score
        else [entry.state] * 3
    )
    scores = [psnr, papers[0], ssim, papers[1]] if paper_has(section, level) else [psnr, ssim]
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
            "-" if cost["gmacs_lr64"] is None else f"{cost['gmacs_lr64']:.2f}",
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


def unfinished_lines(study: Study) -> list[str]:
    """A line for every job without figures: what it was to be, and what became of it."""
    every = [frozenset(overrides) for overrides in (*study.waiting, *(run.overrides for run in study.runs))]
    common = frozenset.intersection(*every) if len(every) > 1 else frozenset()

    def line(overrides: Sequence[str], state: str, reason: str) -> str:
        own = " ".join(override for override in overrides if override not in common)
        return f"- `{own}`: {state}" + (f": {reason}" if reason else "")

    lines = [line(run.overrides, run.state, run.reason) for run in study.runs if run.state != FINISHED]
    return lines + [line(overrides, WAITING, "") for overrides in study.waiting] + [f"- {one}" for one in study.unread]


def method_notes(sections: Sequence[Section]) -> list[str]:
    """A note on every method, one for each protocol where there are several."""
    several = len({section.protocol for section in sections}) > 1
    cards = {}
    for section in sections:
        protocol = f", protocol={section.protocol}" if several and section.protocol else ""
        cards |= {
            entry.method + (protocol if entry.method != "bicubic" else ""): entry.card
            for entry in section.entries
            if entry.card
        }
    return [method_note(method, card) for method, card in cards.items()]


def method_note(method: str, card: dict[str, Any]) -> str:
    """The note on a method, in sentences."""
    departures = (*(card.get("deviations") or []), *(card.get("training") or []))
    deviations = [sentence.rstrip(".") for sentence in departures]
    if card.get("skip"):
        deviations.append(f"Its output is added to the {card['skip']} enlargement of its input (skip={card['skip']})")
    parts = [
        card.get("publication") or "",
        f"Represents {card['represents']}" if card.get("represents") else "",
        card.get("note") or "",
        "Unlike the publication: " + "; ".join(deviations) if deviations else "",
    ]
    sentences = [sentence for part in parts if (sentence := part.strip().rstrip("."))]
    return f"- **{method}**: " + ". ".join(part[0].upper() + part[1:] for part in sentences) + "."
