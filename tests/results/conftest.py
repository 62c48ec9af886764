"""Studies as their runs leave them, without the training."""

import csv
import json

import numpy as np
import pytest
from omegaconf import OmegaConf

from arcsr_lightning.scores import protocol as scoring

IMAGES = [f"image{number}" for number in range(12)]
GROUPS = [f"sequence{number // 4}" for number in range(12)]
BLURS = [0.25 * (5 * number % 12) for number in range(12)]  # 0, 1.25, 2.5, 0.75 ...: in no order
LEVELS = [0.0, 10.0]
HARDWARE = {"device": "cpu", "devices": 1, "threads": 2}
CARD = {
    "parameters": 15_900_000,
    "gmacs_lr64": 31.6,
    "batch_size": 16,
    "publication": "a publication",
    "represents": "one blur kernel per LR pixel",
    "deviations": ["none to speak of."],
    "note": None,
    "comparable": True,
    "supervision": ["pairs"],
    "schedule": [{"stage": None, "steps": 400, "trains": [], "lr": 1e-4, "lr_sum": 0.04}],
    "training": ["one stage in place of two."],
    "protocol": "paper",
    "ema": 0.999,
    "augmentation": ["RandomRotate90"],
    "published_steps": 1000,
}


def psnr_of(method: str, seed: int, level: float) -> np.ndarray:
    """Of every image: images differ much, methods by a constant of their own, seeds by 0.1 dB each."""
    images = 24 + np.random.default_rng(0).normal(0, 2, len(IMAGES)) - level / 10
    gain = {"bicubic": 0, "arcsr": 1, "arcsr_no_kernel": 0.75, "dasr": 0.5, "udke_lite": 0.25}[method]
    noise = np.random.default_rng([seed, len(method)]).normal(0, 0.2, len(IMAGES))
    return images + gain + (0 if method == "bicubic" else 0.1 * seed + noise - noise.mean())


@pytest.fixture
def psnr():
    """``psnr(method, seed, level)``: of every image."""
    return psnr_of


@pytest.fixture
def tables():
    """``tables(text)``: the tables of a Markdown text, as lists of cells."""

    def read(text: str) -> list[list[list[str]]]:
        found = [[]]
        for line in text.splitlines():
            if line.startswith("| "):
                found[-1].append(line.removeprefix("| ").removesuffix(" |").split(" | "))
            elif found[-1]:
                found.append([])
        return [table for table in found if table]

    return read


@pytest.fixture
def job(tmp_path):
    """``job(method, seed)``: the folder of a job of the sweep in ``tmp_path``, its files as ``state`` has them.

    ``blurred``: the blur of its images and their sequences are known.
    """

    def make(
        method="arcsr",
        seed=0,
        data="gopro",
        state="finished",
        overrides=None,
        edit=lambda report: None,
        protocol="paper",
        blurred=False,
    ):
        own = overrides or [f"model={method}", f"data={data}", f"seed={seed}"]
        own += ["protocol=published"] if protocol == "published" else []
        folder = tmp_path / "_".join(own).replace("=", "-")
        test = {"root": "/data", "noise": None}
        train = {"noise_level": [0.2, 20], "seed": "${seed}"}
        config = {
            "task_name": "study",
            "method": method,
            "protocol": protocol,
            "scale": 4,
            "seed": seed,
            "train": True,
            "data": {"name": data, "noise_levels": LEVELS, "batch_size": 16, "train": train, "test": test},
            "trainer": {"max_steps": 400},
        }
        (folder / ".hydra").mkdir(parents=True)
        naming = {"exclude_keys": ["experiment", "trainer"]}
        OmegaConf.save(config, folder / ".hydra" / "config.yaml")
        OmegaConf.save(["experiment=study", *own], folder / ".hydra" / "overrides.yaml")
        hydra = {"hydra": {"job": {"config": {"override_dirname": naming}}}}
        OmegaConf.save(hydra, folder / ".hydra" / "hydra.yaml")
        if state == "failed":
            (folder / "FAILED").write_text("the loss is nan at step 7\n")
        if state != "finished":
            return folder
        methods = dict.fromkeys(["bicubic", method])
        rows = [
            {"method": name, "data": data, "noise_level": level, "images": len(IMAGES)}
            | {"psnr_rgb": float(psnr_of(name, seed, level).mean()), "ssim_rgb": 0.7 + seed / 100}
            for level in LEVELS
            for name in methods
        ]
        resolved = OmegaConf.to_container(OmegaConf.create(config), resolve=True)
        report = {
            "rows": rows,
            "method": {"name": method} | CARD,
            "config": resolved,
            "protocol": scoring.protocol(4),
            "hardware": HARDWARE,
        }
        report["method"]["protocol"] = protocol
        edit(report)
        (folder / "metrics.json").write_text(json.dumps(report))
        (folder / "finished.json").write_text("{}")
        with (folder / "per_image.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            known = ["group", "blur_amount"] if blurred else []
            writer.writerow(["method", "name", "noise_level", "psnr_rgb", *known])
            for row in report["rows"]:
                values = psnr_of(row["method"], seed, row["noise_level"])[: row["images"]]
                values += (np.inf if row["psnr_rgb"] is None else row["psnr_rgb"]) - values.mean()
                for image, value, *more in zip(IMAGES, values, GROUPS, BLURS, strict=False):
                    writer.writerow([row["method"], image, row["noise_level"], value, *(more if blurred else [])])
        (folder / "csv" / "version_0").mkdir(parents=True)
        speeds = "\n".join(f"{10 + seed + step}," for step in (0, 100, 1))
        (folder / "csv" / "version_0" / "metrics.csv").write_text(f"train/images_per_s,train/loss\n{speeds}\n,0.5\n")
        return folder

    return make
