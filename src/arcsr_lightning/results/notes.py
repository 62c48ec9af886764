"""What results.md says in words: the legend of its tables, what is not finished, what must be known of the methods."""

from collections.abc import Sequence
from typing import Any

from arcsr_lightning.results.runs import FINISHED, WAITING, Study
from arcsr_lightning.results.sections import Section

NOTES = "## Methods"  # the heading of what is too long for a terminal
NONE = "-"
PROTOCOLS = {
    "paper": "protocol=paper: by the paper's rule (Sec. 4.4) every method but ReDegNet is trained as ArcSR is, with "
    "the same optimiser, rate, schedule and steps, L1 on the image and what it needs besides.",
    "published": "protocol=published: every method is trained with the stages, rates, schedules and mirroring of its "
    "publication; images, batch size and the number of steps are the run's.",
}


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
    if not any(section.has_paper(level) for section in sections for level in section.levels):
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
