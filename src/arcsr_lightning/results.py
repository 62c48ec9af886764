"""One table from the runs of a sweep: what was reached, by what means, at what cost."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from arcsr_lightning.errors import InputError
from arcsr_lightning.files import markdown_table, write_csv, write_text

Row = dict[str, Any]


class Run(NamedTuple):
    """A job of a sweep; ``report`` is its metrics.json, None where it left none."""

    folder: Path
    method: str
    report: dict[str, Any] | None

    @property
    def rows(self) -> list[Row]:
        """The mean scores of its method, a row for each noise level."""
        return [row for row in self.report["rows"] if row["method"] == self.method] if self.report else []

    @property
    def failure(self) -> str:
        """Why there is no report."""
        note = self.folder / "FAILED"
        return note.read_text(encoding="utf-8").strip() if note.is_file() else "not finished"


def read_runs(folder: Path) -> list[Run]:
    """The jobs below a sweep's folder, in their order.

    Raises:
        InputError: there are none.
    """
    configs = sorted(folder.glob("*/.hydra/config.yaml"), key=lambda path: int(path.parts[-3].split("_")[0]))
    if not configs:
        raise InputError(f"{folder}: holds no runs of a sweep; give a folder below logs/<task_name>/multiruns")
    reports = [path.parents[1] / "metrics.json" for path in configs]
    read = [json.loads(report.read_text(encoding="utf-8")) if report.is_file() else None for report in reports]
    return [
        Run(path.parents[1], OmegaConf.load(path).method, report) for path, report in zip(configs, read, strict=True)
    ]


def compare(folder: str | Path) -> Path:
    """Write comparison.md and comparison.csv into a sweep's folder; returns the first.

    A row per run, failed ones with their reason, bicubic upscaling first; below them what each method can represent
    and what it does unlike its publication.

    Raises:
        InputError: there are no runs, or they were not scored alike on the same images.
    """
    folder = Path(folder)
    runs = sorted(read_runs(folder), key=lambda run: run.method != "bicubic")
    check_comparable(runs)
    write_text(folder / "comparison.md", markdown(runs))
    write_csv(folder / "comparison.csv", [row | costs(run) for run in runs for row in run.rows])
    return folder / "comparison.md"


def check_comparable(runs: list[Run]) -> None:
    """Raise InputError where finished runs differ in what or how they were scored."""
    aspects = {
        "the protocol": lambda report: report["protocol"],
        "scale": lambda report: report["config"]["scale"],
        "data": lambda report: report["config"]["data"]["name"],
        "the test images": lambda report: {**report["config"]["data"]["test"], "store": None},
        "data.noise_levels": lambda report: report["config"]["data"]["noise_levels"],
    }
    first, *others = [run for run in runs if run.report] or [None]
    for other in others:
        for name, aspect in aspects.items():
            if aspect(other.report) != aspect(first.report):
                raise InputError(f"{first.folder.name} and {other.folder.name} differ in {name}: no common table")


def costs(run: Run) -> Row:
    """What a run's figures were bought with, as the columns of a table."""
    method, trained = run.report["method"], run.report["method"].get("schedule") or []
    return {
        "seed": run.report["config"]["seed"],
        "parameters": method["parameters"],
        "gmacs_lr64": round(method["gmacs_lr64"], 3),
        "learnt_from": " + ".join(method.get("supervision") or []) or "nothing",
        "steps": " + ".join(f"{stage['stage'] or ''} {stage['steps']}".strip() for stage in trained) or "none",
        "batch_size": method["batch_size"] if trained else None,
    }


def markdown(runs: list[Run]) -> str:
    """The table, and what must be known beside it."""
    done = [run for run in runs if run.report]
    levels = sorted({row["noise_level"] for run in done for row in run.rows})
    header = ["method", *(f"{score}, noise {level:g}" for level in levels for score in ("PSNR", "SSIM"))]
    header += ["kernel error", "parameters", "GMACs", "learnt from", "steps", "seed"]
    lines = [header]
    for number, run in enumerate(runs, start=1):
        if run.report:
            lines.append([*label(number, run), *score_cells(run, levels), *cost_cells(run)])
        else:
            lines.append([*label(number, run), f"failed: {run.failure}", *["-"] * (len(header) - 2)])
    notes = "\n".join(explained(number, run) for number, run in enumerate(runs, start=1) if run.report)
    return "\n\n".join([*([title(done)] if done else []), markdown_table(lines), *([notes] if notes else [])]) + "\n"


def label(number: int, run: Run) -> list[str]:
    """The first cell: the method, where to read about it, and whether its figures may be compared."""
    comparable = run.report is None or run.report["method"].get("comparable", True)
    return [f"{run.method} [{number}]" + ("" if comparable else ", not comparable")]


def score_cells(run: Run, levels: list[float]) -> list[str]:
    """PSNR and SSIM for each noise level, and the error of the estimated kernels, its mean over noise levels."""
    by_level = {row["noise_level"]: row for row in run.rows}
    scores = [(by_level[level]["psnr_rgb"], by_level[level]["ssim_rgb"]) for level in levels]
    errors = [row["kernel_error"] for row in run.rows if "kernel_error" in row]
    cells = [cell for psnr, ssim in scores for cell in (f"{psnr:.2f}" if psnr is not None else "inf", f"{ssim:.4f}")]
    return [*cells, f"{sum(errors) / len(errors):.3f}" if errors else "-"]


def cost_cells(run: Run) -> list[str]:
    cost = costs(run)
    sizes = [f"{cost['parameters'] / 1e6:.2f} M", f"{cost['gmacs_lr64']:.2f}"]
    return [*sizes, cost["learnt_from"], cost["steps"], str(cost["seed"])]


def title(runs: list[Run]) -> str:
    """What was scored, and how."""
    report = runs[0].report
    config, protocol = report["config"], report["protocol"]
    seen = [samples_seen(run.report["config"]) for run in runs if run.report["method"].get("schedule")]
    samples = ""
    if seen:
        same = all(other == seen[0] for other in seen)
        samples = (
            f"All were trained on the same samples, {seen[0]['batch_size']} a step. "
            if same
            else "Not all were trained on the same samples. "
        )
    images = report["rows"][0]["images"]
    return (
        f"# {config['data']['name']}, ×{config['scale']}, {images} test images\n\n"
        "PSNR (dB) and SSIM on RGB, means over images. Kernel error: L1 to the true kernels on the LR grid, at most 2. "
        f"GMACs: convolutions and matrix products for an LR image of 64x64. {samples}Protocol: "
        + "; ".join(f"{key} {value}" for key, value in protocol.items())
        + "."
    )


def samples_seen(config: dict[str, Any]) -> dict[str, Any]:
    """What decides which samples a training sees, in which order."""
    elsewhere = ("second_crop", "store", "degrade_on")  # none of them changes a sample
    train = {key: value for key, value in config["data"]["train"].items() if key not in elsewhere}
    return {"train": train, "batch_size": config["data"]["batch_size"], "steps": config["trainer"]["max_steps"]}


def explained(number: int, run: Run) -> str:
    """The footnote of a run, in sentences."""
    method = run.report["method"]
    deviations = [sentence.rstrip(".") for sentence in method.get("deviations") or []]
    parts = [
        method.get("publication"),
        f"Represents {method['represents']}" if "represents" in method else None,
        method.get("note"),
        "Unlike the publication: " + "; ".join(deviations) if deviations else None,
    ]
    sentences = [part.strip().rstrip(".") for part in parts if part]
    return f"- [{number}] **{run.method}**: " + ". ".join(part[0].upper() + part[1:] for part in sentences) + "."
