"""The rows of results.csv and results_means.csv: the figures of a study as plain numbers."""

from typing import Any

from arcsr_lightning.results.paper import ABLATIONS, Figures, published
from arcsr_lightning.results.runs import (
    FINISHED,
    WAITING,
    Run,
    Study,
    scores_by_level,
    throughput,
    training_seconds,
)
from arcsr_lightning.results.sections import Section
from arcsr_lightning.results.statistics import Interval, Spread


def run_rows(study: Study) -> list[dict[str, Any]]:
    """A row per finished run and noise level, and one for every other job, with its state and reason."""
    ablations = {run.data for run in study.runs if run.method in ABLATIONS}
    rows: list[dict[str, Any]] = []
    for run in study.runs:
        job = {"data": run.data, "protocol": run.protocol, "method": run.method, "seed": run.seed}
        job["overrides"] = " ".join(run.overrides)
        if run.state == FINISHED:
            rows += [job | {"state": run.state} | row for row in finished_rows(run, run.data in ablations)]
        else:
            rows.append(job | {"state": run.state, "reason": run.reason})
    return rows + [{"overrides": " ".join(overrides), "state": WAITING} for overrides in study.waiting]


def finished_rows(run: Run, ablations: bool) -> list[dict[str, Any]]:
    """A row per noise level: scores, the paper's, costs."""
    rows = []
    for level, row in scores_by_level(run, run.method).items():
        paper = published(run.method, run.data, run.report["config"]["scale"], level, ablations)
        speed = {"images_per_s": throughput(run), "training_s": training_seconds(run)}
        speed |= {"latency_s": run.report["method"].get("latency_s")} | run.report["hardware"]
        rows.append(row | paper_columns(paper) | cost_columns(run.report["method"]) | speed)
    return rows


def mean_rows(section: Section) -> list[dict[str, Any]]:
    """The tables of a section, a row per method and noise level; one with its state where nothing is finished."""
    rows: list[dict[str, Any]] = []
    for entry in section.entries:
        job = {"data": section.data, "protocol": section.protocol, "method": entry.label}
        job |= {"seeds": entry.finished, "planned": entry.planned}
        if not entry.scores:
            rows.append(job | {"state": entry.state})
        for level, score in entry.scores.items():
            row = job | {"state": entry.state, "noise_level": level}
            row |= spread_columns("psnr", score.psnr) | spread_columns("ssim", score.ssim)
            row |= paper_columns(section.paper(entry.method, level))
            if score.difference:
                row |= {"reference": section.reference} | interval_columns(score.difference)
            for tercile, part in zip(section.terciles, score.parts, strict=True):
                row |= {f"{tercile.label}_up_to_px": tercile.high} | spread_columns(f"{tercile.label}_psnr", part.psnr)
                row |= interval_columns(part.difference, f"{tercile.label}_") if part.difference else {}
            for name, found in (score.perceptual | entry.kernels).items():
                row |= spread_columns(name, found)
            row |= spread_columns("images_per_s", entry.images_per_s) | spread_columns("training_s", entry.seconds)
            row |= spread_columns("latency_s", entry.latency)
            rows.append(row | cost_columns(entry.card))
    return rows


def cost_columns(card: dict[str, Any]) -> dict[str, Any]:
    """What a method's figures were bought with."""
    schedule = card.get("schedule") or []
    steps, published = sum(stage["steps"] for stage in schedule), card.get("published_steps")
    trained = {
        "lr_sum": by_stage(schedule, "lr_sum", ".3g"),
        "steps_of_published": round(steps / published, 6) if published else None,
        "ema": card.get("ema"),
        "augmentation": " + ".join(card.get("augmentation") or []) or "none",
    }
    return {
        "parameters": card["parameters"],
        "gmacs_lr64": None if card["gmacs_lr64"] is None else round(card["gmacs_lr64"], 3),
        "skip": card.get("skip"),
        "learnt_from": " + ".join(card.get("supervision") or []) or "nothing",
        "steps": by_stage(schedule, "steps", "d") or "none",
        "batch_size": card["batch_size"] if schedule else None,
    } | (trained if schedule else {})


def by_stage(schedule: list[dict[str, Any]], key: str, form: str) -> str:
    """A number of every stage that has one, after the stage's name where there are several."""
    named = len(schedule) > 1
    numbers = [stage for stage in schedule if stage.get(key) is not None]
    return " + ".join((f"{stage.get('stage')} " if named else "") + f"{stage[key]:{form}}" for stage in numbers)


def paper_columns(figures: Figures | None) -> dict[str, Any]:
    return {"paper_psnr": figures.psnr, "paper_ssim": figures.ssim} if figures else {}


def interval_columns(value: Interval, prefix: str = "") -> dict[str, Any]:
    return {f"{prefix}difference": value.mean, f"{prefix}low": value.low, f"{prefix}high": value.high}


def spread_columns(name: str, value: Spread | None) -> dict[str, Any]:
    return {name: value.mean, f"{name}_std": value.std} if value else {}
