"""The runs of a study, read back from what each left in its folder."""

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from arcsr_lightning.errors import InputError
from arcsr_lightning.launch.folders import overrides_that_name
from arcsr_lightning.scores.metrics import protocol

Row = dict[str, Any]

FINISHED, FAILED, UNFINISHED, UNSCORED, WAITING = "finished", "failed", "not finished", "not scored", "not started"
PARTS = ("rows", "method", "config", "protocol", "hardware")  # of metrics.json
COLUMNS = ("method", "noise_level", "images", "psnr_rgb", "ssim_rgb")  # of its rows
SAME = 0.01  # dB; bicubic upscaling of the same images scores alike on any device


class Run(NamedTuple):
    """A job that was begun.

    ``overrides`` are those that make it another training than its neighbours; ``config`` is the configuration as it was
    composed, interpolations not resolved; ``report`` is its metrics.json, None unless ``state`` is "finished".
    """

    folder: Path
    overrides: tuple[str, ...]
    config: dict[str, Any]
    state: str
    reason: str
    report: dict[str, Any] | None

    @property
    def method(self) -> str:
        return self.report["method"]["name"] if self.report else str(self.config["method"])

    @property
    def data(self) -> str:
        return self.config["data"]["name"]

    @property
    def seed(self) -> int:
        return self.config["seed"]


class Study(NamedTuple):
    """The runs in their planned order, and the overrides of jobs that were planned and never begun."""

    name: str
    runs: list[Run]
    waiting: list[tuple[str, ...]]

    @property
    def finished(self) -> list[Run]:
        return [run for run in self.runs if run.state == FINISHED]


def read_study(folder: Path) -> Study:
    """The jobs of a sweep, from the configurations saved below its folder and from its jobs.json.

    Raises:
        InputError: there are none, or a run was scored by another version of the evaluation.
    """
    plan = folder / "jobs.json"
    planned = [tuple(job) for job in json.loads(plan.read_text(encoding="utf-8"))["jobs"]] if plan.is_file() else []
    runs = [read_run(path.parents[1]) for path in folder.glob("*/.hydra/config.yaml")]
    if not runs and not planned:
        raise InputError(f"{folder}: holds no runs of a sweep; give a folder below logs/<task_name>/multiruns")
    place = {frozenset(job): number for number, job in enumerate(planned)}
    runs.sort(key=lambda run: (place.get(frozenset(run.overrides), len(place)), run.folder.name))
    begun = {frozenset(run.overrides) for run in runs}
    name = runs[0].config["task_name"] if runs else folder.name
    return Study(name, runs, [job for job in planned if frozenset(job) not in begun])


def read_run(folder: Path) -> Run:
    """What the job in ``folder`` was, and what became of it.

    Raises:
        InputError: it was scored by another version of the evaluation.
    """
    config = OmegaConf.to_container(OmegaConf.load(folder / ".hydra" / "config.yaml"))
    overrides = OmegaConf.load(folder / ".hydra" / "overrides.yaml")
    hydra = OmegaConf.load(folder / ".hydra" / "hydra.yaml").hydra
    own = tuple(overrides_that_name(overrides, hydra.job.config.override_dirname.exclude_keys))

    failed, report = folder / "FAILED", folder / "metrics.json"
    over = "train" not in config or (folder / "finished.json").is_file()  # an evaluation ends with its report
    if failed.is_file():
        return Run(folder, own, config, FAILED, failed.read_text(encoding="utf-8").strip(), None)
    if not over:
        return Run(folder, own, config, UNFINISHED, "interrupted, or still running", None)
    if not report.is_file():
        return Run(folder, own, config, UNSCORED, "no test (test=false), or none of its images scored", None)
    return Run(folder, own, config, FINISHED, "", read_report(report))


def read_report(path: Path) -> dict[str, Any]:
    """A run's metrics.json.

    Raises:
        InputError: it is damaged, or written by a version that scored differently.
    """
    again = "score its weights again with arcsr-eval, or use that version"
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: no JSON ({error}); {again}") from None
    lacking = [key for key in PARTS if key not in report]
    lacking += sorted({key for row in report.get("rows", []) for key in COLUMNS if key not in row})
    if lacking:
        raise InputError(f"{path}: of another version of the evaluation, without {', '.join(lacking)}; {again}")
    here, there = protocol(report["config"]["scale"]), report["protocol"]
    for key in here | there:
        if here.get(key) != there.get(key):
            differing = f"{key} {there.get(key)!r} where it is {here.get(key)!r} now"
            raise InputError(f"{path}: of another version of the evaluation, {differing}; {again}")
    return report


def rows_of(run: Run, method: str) -> dict[float, Row]:
    """The mean scores of a method in a finished run, by noise level; a perfect PSNR, which JSON cannot hold, is inf."""
    return {
        row["noise_level"]: row | {"psnr_rgb": math.inf if row["psnr_rgb"] is None else row["psnr_rgb"]}
        for row in run.report["rows"]
        if row["method"] == method
    }


def images_of(run: Run, method: str) -> dict[float, dict[str, float]]:
    """The PSNR on RGB of every test image, by noise level and name.

    Raises:
        InputError: the run has lost its per_image.csv.
    """
    path = run.folder / "per_image.csv"
    if not path.is_file():
        raise InputError(f"{path}: missing beside metrics.json; score the run's weights again with arcsr-eval")
    images: dict[float, dict[str, float]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["method"] == method:
                images.setdefault(float(row["noise_level"]), {})[row["name"]] = float(row["psnr_rgb"])
    return images


def throughput(run: Run) -> float | None:
    """The median of the images per second that the training logged, over all its stages and starts."""
    speeds = []
    for path in run.folder.glob("csv/**/metrics.csv"):
        with path.open(newline="", encoding="utf-8") as file:
            speeds += [float(speed) for row in csv.DictReader(file) if (speed := row.get("train/images_per_s"))]
    return median(speeds) if speeds else None


def check_comparable(runs: Sequence[Run]) -> None:
    """Raise InputError where finished runs on one data set differ in what or how they were scored."""
    aspects = {
        "scale": lambda report: report["config"]["scale"],
        "the protocol": lambda report: report["protocol"],
        "the test images": lambda report: {**report["config"]["data"]["test"], "store": None},
        "data.noise_levels": lambda report: report["config"]["data"]["noise_levels"],
    }
    for other in runs[1:]:
        for name, aspect in aspects.items():
            if aspect(other.report) != aspect(runs[0].report):
                raise InputError(f"{runs[0].folder.name} and {other.folder.name} differ in {name}: no common table")
        ours, theirs = rows_of(runs[0], "bicubic"), rows_of(other, "bicubic")
        for level, row in ours.items():
            if row["images"] != theirs[level]["images"] or not math.isclose(
                row["psnr_rgb"], theirs[level]["psnr_rgb"], abs_tol=SAME
            ):
                raise InputError(
                    f"{runs[0].folder.name} and {other.folder.name} differ in the test images, as bicubic upscaling "
                    "scores differently on them: no common table"
                )
