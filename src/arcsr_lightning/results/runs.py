"""The runs of a study, read back from what each left in its folder."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from arcsr_lightning import processes
from arcsr_lightning.errors import InputError
from arcsr_lightning.results.image_scores import ImageScores, read_images
from arcsr_lightning.results.reading import NUMBER, number_in, read_csv, read_json, read_text, read_yaml
from arcsr_lightning.runs.jobs import naming_overrides
from arcsr_lightning.runs.settings import decisive_leaves
from arcsr_lightning.scores.protocol import KERNEL_SCORES, PERCEPTUAL, TRUTH, protocol

FINISHED, FAILED, UNFINISHED, UNSCORED, WAITING = "finished", "failed", "not finished", "not scored", "not started"
DAMAGED = "damaged"
# What tables need of the files of a sweep (reading.check_shape).
PLAN = {"jobs": [[str]]}
CONFIG = {
    "task_name": str,
    "method?": str,
    "protocol?": str,
    "seed?": int,
    "scale?": int,
    "data": {"name": str},
    "trainer": dict,
    "callbacks?": dict,
}
NAMING = {"hydra": {"job": {"config": {"override_dirname": {"exclude_keys": [str]}}}}}
SCORES = {
    "method": str,
    "noise_level": NUMBER,
    "images": int,
    "psnr_rgb": (*NUMBER, type(None)),
    "ssim_rgb": NUMBER,
    "kernel_error?": NUMBER,
    **{f"{name}?": NUMBER for name in (*KERNEL_SCORES, *PERCEPTUAL, *TRUTH.values())},
}
CARD = {
    "name": str,
    "parameters": int,
    "gmacs_lr64": (*NUMBER, type(None)),
    "latency_s?": NUMBER,
    "batch_size": int,
    "skip?": str,
    "publication?": str,
    "represents?": str,
    "note?": str,
    "deviations?": [str],
    "supervision?": [str],
    "schedule?": [{"stage?": str, "steps": int, "lr_sum?": NUMBER}],
    "training?": [str],
    "protocol?": str,
    "ema?": NUMBER,
    "augmentation?": [str],
    "published_steps?": int,
}
REPORT = {
    "rows": [SCORES],
    "method": CARD,
    "config": {
        "scale": int,
        "data": {"test": dict, "noise_levels": [NUMBER], "batch_size": int, "train?": dict},
        "trainer": dict,
    },
    "protocol": dict,
    "hardware": {"device": str, "devices": int, "threads": int},
    "trained?": {"seed?": int},
    "perceptual?": [{"name": str, "missing?": str}],
}
RESCORE = "score its weights again with arcsr-eval, or use the version that wrote it"
RETRAIN = "remove the run's folder and type the sweep again"
SAME = 0.01  # dB; bicubic upscaling of the same images scores alike on any device


class Run(NamedTuple):
    """A job that was begun.

    ``overrides`` are those that make it another training than its neighbours; ``config`` is the configuration as it was
    composed, interpolations not resolved; ``report`` is its metrics.json, None unless ``state`` is "finished", and
    ``images`` has the scores of single images then, for bicubic upscaling and its own method.
    """

    folder: Path
    overrides: tuple[str, ...]
    config: dict[str, Any]
    state: str
    reason: str
    report: dict[str, Any] | None
    images: dict[str, ImageScores]

    @property
    def method(self) -> str:
        return self.report["method"]["name"] if self.report else str(self.config.get("method"))

    @property
    def data(self) -> str:
        return self.config["data"]["name"]

    @property
    def protocol(self) -> str | None:
        """By whose rule it is trained (conf/protocol/); None: not known."""
        return self.report["method"].get("protocol") if self.report else self.config.get("protocol")

    @property
    def trained(self) -> dict[str, Any]:
        """The configuration of the training: of an evaluation, that of the weights."""
        return self.report.get("trained", self.config) if self.report else self.config

    @property
    def seed(self) -> int | None:
        """Of the training."""
        return self.trained.get("seed")


class Study(NamedTuple):
    """The runs in their planned order, and the overrides of jobs that were planned and never begun.

    ``unread`` has a line for each job of which not even the settings can be read, and for a plan that cannot.
    """

    name: str
    runs: list[Run]
    waiting: list[tuple[str, ...]]
    unread: list[str]

    @property
    def finished(self) -> list[Run]:
        return [run for run in self.runs if run.state == FINISHED]

    @property
    def damages(self) -> list[str]:
        """A line for each file that is at fault."""
        return self.unread + [run.reason for run in self.runs if run.state == DAMAGED]


def read_study(folder: Path) -> Study:
    """The jobs of a sweep, from the configurations saved below its folder and from its jobs.json.

    Raises:
        InputError: there are none, or none without damage.
    """
    unread: list[str] = []
    planned: list[tuple[str, ...]] = []
    runs: list[Run] = []
    if (folder / "jobs.json").is_file():
        with noting(unread):
            plan = read_json(folder / "jobs.json", PLAN, "remove it and type the sweep again")
            planned = [tuple(job) for job in plan["jobs"]]
    for path in sorted(folder.glob("*/.hydra")):
        with noting(unread):
            runs.append(read_run(path.parent))
    damages = unread + [run.reason for run in runs if run.state == DAMAGED]
    if damages and all(run.state == DAMAGED for run in runs):
        raise InputError(damages[0])
    if not runs and not planned:
        raise InputError(f"{folder}: holds no runs of a sweep; give a folder below logs/<task_name>/multiruns")
    place = {frozenset(job): number for number, job in enumerate(planned)}
    runs.sort(key=lambda run: (place.get(frozenset(run.overrides), len(place)), run.folder.name))
    begun = {frozenset(run.overrides) for run in runs}
    name = runs[0].config["task_name"] if runs else folder.name
    return Study(name, runs, [job for job in planned if frozenset(job) not in begun], unread)


@contextmanager
def noting(lines: list[str]) -> Iterator[None]:
    """Collect an InputError of the block as a line, and continue after it."""
    try:
        yield
    except InputError as error:
        lines.append(str(error))


def read_run(folder: Path) -> Run:
    """What the job in ``folder`` was, and what became of it; "damaged" where a file that says so is.

    Raises:
        InputError: its settings cannot be read.
    """
    config = read_yaml(folder / ".hydra" / "config.yaml", CONFIG, RETRAIN)
    overrides = read_yaml(folder / ".hydra" / "overrides.yaml", [str], RETRAIN)
    hydra = read_yaml(folder / ".hydra" / "hydra.yaml", NAMING, RETRAIN)["hydra"]
    own = tuple(naming_overrides(overrides, hydra["job"]["config"]["override_dirname"]["exclude_keys"]))
    run = Run(folder, own, config, UNFINISHED, "interrupted, or still running", None, {})
    try:
        return with_outcome(run)
    except InputError as error:
        return run._replace(state=DAMAGED, reason=str(error))


def with_outcome(run: Run) -> Run:
    """A run with what became of it, by the files in its folder, all of which are read.

    Raises:
        InputError: one of them is damaged, or it was scored by another version of the evaluation.
    """
    failed, report = run.folder / processes.FAILED, run.folder / "metrics.json"
    over = report.is_file() if "train" not in run.config else (run.folder / "finished.json").is_file()
    throughput(run)
    if failed.is_file():
        return run._replace(state=FAILED, reason=" ".join(read_text(failed).split()))
    if not over:
        return run
    if not report.is_file():
        return run._replace(state=UNSCORED, reason="no test (test=false), or none of its images scored")
    finished = run._replace(state=FINISHED, reason="", report=read_report(report))
    means = {method: scores_by_level(finished, method) for method in ("bicubic", finished.method)}
    return finished._replace(images=read_images(run.folder, means))


def read_report(path: Path) -> dict[str, Any]:
    """A run's metrics.json.

    Raises:
        InputError: it is damaged, or written by a version that scored differently.
    """
    report = read_json(path, REPORT, RESCORE)
    here, there = protocol(report["config"]["scale"]), report["protocol"]
    for key in here | there:
        if here.get(key) != there.get(key):
            differing = f"{key} {there.get(key)!r} where it is {here.get(key)!r} now"
            raise InputError(f"{path}: of another version of the evaluation, {differing}; {RESCORE}")
    levels = {row["noise_level"] for row in report["rows"]}
    for method in ("bicubic", report["method"]["name"]):
        own = sorted(row["noise_level"] for row in report["rows"] if row["method"] == method)
        if not own or own != sorted(levels):
            raise InputError(f"{path}: damaged, not one row of {method} for every noise level; {RESCORE}")
    return report


def scores_by_level(run: Run, method: str) -> dict[float, dict[str, Any]]:
    """The mean scores of a method in a finished run, by noise level; a perfect PSNR, which JSON cannot hold, is inf."""
    return {
        row["noise_level"]: row | {"psnr_rgb": math.inf if row["psnr_rgb"] is None else row["psnr_rgb"]}
        for row in run.report["rows"]
        if row["method"] == method
    }


def throughput(run: Run) -> float | None:
    """The median of the images per second that the training logged, over all its stages and starts.

    Raises:
        InputError: what it logged is damaged.
    """
    speeds = [speed for stage in logged_speeds(run).values() for speed in stage]
    return median(speeds) if speeds else None


def training_seconds(run: Run) -> float | None:
    """How long a finished run trained: of every stage the images it saw by the median speed, without validations.

    None where a stage was too short to log its speed.
    """
    speeds, seconds = logged_speeds(run), 0.0
    card, trainer = run.report["method"], run.report["config"]["trainer"]
    batch = card["batch_size"] * (trainer.get("accumulate_grad_batches") or 1)
    for stage in card.get("schedule") or []:
        logged = speeds.get(stage.get("stage") or "")
        if not logged:
            return None
        seconds += batch * stage["steps"] / median(logged)
    return seconds or None


def logged_speeds(run: Run) -> dict[str, list[float]]:
    """The images per second that every stage of a training logged, in all its starts; a stage without a name is ``""``.

    Raises:
        InputError: what it logged is damaged.
    """
    column = "train/images_per_s"
    speeds: dict[str, list[float]] = {}
    for path in sorted(run.folder.glob("csv/**/metrics.csv")):
        stage = "/".join(path.relative_to(run.folder / "csv").parts[:-2])
        own = speeds.setdefault(stage, [])
        own += [number_in(row, column, path) for row in read_csv(path) if row.get(column)]
    return speeds


def check_comparable(runs: Sequence[Run]) -> None:
    """Raise InputError where finished runs on one data set differ in what or how they were scored."""
    aspects = {
        "scale": lambda report: report["config"]["scale"],
        "the protocol": lambda report: report["protocol"],
        "the test images": lambda report: dict(decisive_leaves(report["config"]["data"]["test"], "test")),
        "data.noise_levels": lambda report: report["config"]["data"]["noise_levels"],
    }
    for other in runs[1:]:
        for name, aspect in aspects.items():
            if aspect(other.report) != aspect(runs[0].report):
                raise InputError(f"{runs[0].folder.name} and {other.folder.name} differ in {name}: no common table")
        check_bicubic(runs[0], other)


def check_bicubic(run: Run, other: Run) -> None:
    """Raise InputError where bicubic upscaling scores differently in two runs: their test images are not the same."""
    ours, theirs = scores_by_level(run, "bicubic"), scores_by_level(other, "bicubic")
    same = ours.keys() == theirs.keys() and all(
        row["images"] == theirs[level]["images"]
        and math.isclose(row["psnr_rgb"], theirs[level]["psnr_rgb"], abs_tol=SAME)
        for level, row in ours.items()
    )
    if not same:
        raise InputError(
            f"{run.folder.name} and {other.folder.name} differ in the test images, as bicubic upscaling "
            "scores differently on them: no common table"
        )
