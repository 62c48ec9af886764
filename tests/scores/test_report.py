"""metrics.json, per_image.csv and the table of a test."""

import csv
import json
import math
import re

import pytest
import torch
from rich.console import Console

from arcsr_lightning import compose
from arcsr_lightning.evaluate import evaluate
from arcsr_lightning.networks import Bicubic
from arcsr_lightning.scores.card import hardware_of, method_card, training_of
from arcsr_lightning.scores.kernels import kernel_row
from arcsr_lightning.scores.perceptual import Measure
from arcsr_lightning.scores.report import score_table, summary, write_report
from arcsr_lightning.train import train

SCORES = ["psnr_rgb", "ssim_rgb", "psnr_y", "ssim_y"]
KERNELS = ["kernel_error", "kernel_skill", "kernel_amount", "kernel_direction"]
COLUMNS = ["method", "data", "noise_level", "images", *SCORES]


def strict(text: str):
    """JSON as the standard has it: Python alone reads NaN and Infinity."""

    def refuse(constant):
        raise ValueError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def row(method="arcsr", name="a", noise_level=0.0, score=1.0, **more):
    return {"method": method, "name": name, "noise_level": noise_level} | dict.fromkeys(SCORES, score) | more


def test_metrics_json_has_the_documented_form(trained):
    report = strict((trained / "metrics.json").read_text())
    assert list(report) == ["rows", "method", "config", "protocol", "hardware"]
    assert [(row["method"], row["noise_level"]) for row in report["rows"]] == [
        ("bicubic", 0),
        ("arcsr", 0),
        ("bicubic", 10),
        ("arcsr", 10),
    ]
    for entry in report["rows"]:
        assert list(entry) == COLUMNS + (KERNELS if entry["method"] == "arcsr" else [])
        assert (entry["data"], entry["images"]) == ("folder", 3)
    assert report["config"]["model"]["restorer"]["blocks"] == 1
    assert report["protocol"]["border"] == report["config"]["scale"] == 4
    assert report["hardware"] == {"device": "cpu", "devices": 1, "threads": torch.get_num_threads()}


def test_its_means_are_those_of_the_rows_per_image(trained):
    with (trained / "per_image.csv").open(newline="") as file:
        images = list(csv.DictReader(file))
    for entry in strict((trained / "metrics.json").read_text())["rows"]:
        own = [i for i in images if (i["method"], float(i["noise_level"])) == (entry["method"], entry["noise_level"])]
        assert len({image["name"] for image in own}) == entry["images"]
        for score in set(entry) - {"method", "data", "noise_level", "images", *KERNELS[1:]}:
            assert entry[score] == pytest.approx(sum(float(image[score]) for image in own) / len(own))


@pytest.mark.parametrize("data", ["gopro", "reds"])
def test_without_true_kernels_there_is_no_kernel_error(configure, tmp_path, request, data):
    root = request.getfixturevalue(f"{data}_tree")
    source = (f"data={data}", f"data.root={root}", "loss=l1", "data.num_workers=0", "data.batch_size=2")
    train(configure(tmp_path, "trainer.max_steps=2", data=source))
    rows = strict((tmp_path / "metrics.json").read_text())["rows"]
    assert [list(entry) for entry in rows] == [COLUMNS] * 4
    assert {(entry["data"], entry["images"]) for entry in rows} == {(data, 2)}


def test_an_evaluation_needs_no_images_but_those_it_scores(trained, photos, tmp_path):
    cfg = compose(
        [
            f"weights={trained / 'model.safetensors'}",
            "data=folder",
            f"data.test_root={photos}",
            "data.num_workers=0",
            "degradation.blur.kernel_size=5",
            "degradation.blur.max_length=4",
            "callbacks.progress=null",
            f"paths.output_dir={tmp_path}",
        ],
        "evaluate",
    )
    evaluate(cfg)
    rows, expected = (strict((folder / "metrics.json").read_text())["rows"] for folder in (tmp_path, trained))
    assert [row.keys() for row in rows] == [row.keys() for row in expected]
    for row, other in zip(rows, expected, strict=True):
        assert row == pytest.approx(other)
    assert (tmp_path / "images/panel.png").is_file()


def test_bicubic_stands_first_at_every_noise_level():
    rows = [row("zeta", noise_level=5), row("aleph", noise_level=5), row("bicubic", noise_level=5), row("aleph")]
    assert [(mean["noise_level"], mean["method"]) for mean in summary(rows, "sample", [])] == [
        (0, "aleph"),
        (5, "bicubic"),
        (5, "aleph"),
        (5, "zeta"),
    ]


def test_kernels_are_scored_at_every_noise_level_by_itself():
    truth = torch.softmax(torch.randn(9, 6, 6, generator=torch.Generator().manual_seed(0)), 0)
    kernels = [kernel_row(0.0, truth, truth), kernel_row(5.0, truth.flip(0), truth)]
    rows = [row(method, noise_level=level) for level in (0.0, 5.0) for method in ("bicubic", "arcsr")]
    means = {(mean["noise_level"], mean["method"]): mean for mean in summary(rows, "sample", kernels)}
    assert means[0, "arcsr"]["kernel_skill"] == 1
    assert means[5, "arcsr"]["kernel_skill"] < 0
    assert not any("kernel_skill" in means[level, "bicubic"] for level in (0, 5))


def test_a_card_names_augmentations_by_their_class_and_the_decay_of_the_average():
    transforms = {"turns": {"_target_": "arcsr_lightning.data.SquareSymmetry"}, "colours": None}
    trained = {"data": {"augment": {"transforms": transforms}}, "callbacks": {"ema": {"decay": 0.75}}}
    card = training_of(trained)
    assert (card["augmentation"], card["ema"]) == (["SquareSymmetry"], 0.75)


def test_a_perfect_image_leaves_valid_json(tmp_path):
    rows = [row("bicubic", score=20.0), row(score=math.inf)]
    config = {"scale": 4, "data": {"name": "sample", "batch_size": 16}}
    card = method_card("bicubic", Bicubic(4), config)
    write_report(tmp_path, rows, [], card, config, hardware_of(torch.device("cpu"), 1))
    bicubic, perfect = strict((tmp_path / "metrics.json").read_text())["rows"]
    assert bicubic["psnr_rgb"] == 20
    assert perfect["psnr_rgb"] is None


def test_the_table_shows_every_method_and_fits_a_terminal():
    kernels = {"kernel_error": 0.25, "kernel_skill": 0.4, "kernel_amount": 0.8, "kernel_direction": 0.93}
    rows = [row("bicubic", score=20.25), row("arcsr_no_dmconv", score=21.5, **kernels)]
    console = Console(width=80)
    with console.capture() as capture:
        console.print(score_table(summary(rows, "sample", []), 4, {"name": "arcsr_no_dmconv", "latency_s": 0.0625}))
    shown = capture.get()
    assert max(map(len, shown.splitlines())) <= 80
    for text in (
        "sample, 1 test images",
        "bicubic",
        "20.25",
        "arcsr_no_dmconv",
        "21.50",
        "0.250",
        "0.93",
        "4 px border",
        "arcsr_no_dmconv: 0.0625 s an image",
    ):
        assert text in shown
    assert re.search("noise ┃ method +┃ +psnr rgb", shown)


def test_perceptual_scores_have_a_table_that_names_what_is_missing_and_why(tmp_path, capsys):
    reason = f'torchvision is not installed; pip install ".[metrics]" in the clone {"or read on " * 9}'.strip()
    measures = [Measure("lpips", None, reason), Measure("dists", max), Measure("arniqa", max)]
    rows = [
        row(method, dists=dists, arniqa=arniqa, arniqa_hr=0.75)
        for method, dists, arniqa in (("bicubic", 0.3125, 0.25), ("arcsr", 0.125, 0.5))
    ]
    config = {"scale": 4, "data": {"name": "sample", "batch_size": 16}}
    card = method_card("arcsr", Bicubic(4), config, 0.0625)
    write_report(tmp_path, rows, [], card, config, hardware_of(torch.device("cpu"), 1), measures=measures)
    report = strict((tmp_path / "metrics.json").read_text())
    assert report["method"]["latency_s"] == 0.0625
    assert report["perceptual"] == [
        {"name": "lpips", "better": "lower", "missing": reason},
        {"name": "dists", "better": "lower", "missing": None},
        {"name": "arniqa", "better": "higher", "missing": None},
    ]
    assert [(entry["dists"], entry["arniqa"]) for entry in report["rows"]] == [(0.3125, 0.25), (0.125, 0.5)]
    shown = capsys.readouterr().out
    assert f"lpips is missing: {reason}\n" in shown
    table = shown.partition("perceptual scores")[2].splitlines()
    cells = [line.strip("│┃ ").replace("┃", "│").split("│") for line in table if line[:1] in "│┃" and line]
    assert [[cell.strip() for cell in line] for line in cells] == [
        ["noise", "method", "lpips ↓", "dists ↓", "arniqa ↑"],
        ["0", "ground truth", "missing", "-", "0.7500"],
        ["0", "bicubic", "missing", "0.3125", "0.2500"],
        ["0", "arcsr", "missing", "0.1250", "0.5000"],
    ]
