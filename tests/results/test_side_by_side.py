"""Figure 2 of a study, from the weights of its runs and the images that they were tested on."""

import csv
import json
import shutil

import cv2
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from arcsr_lightning import launch
from arcsr_lightning.errors import InputError
from arcsr_lightning.results.runs import read_study
from arcsr_lightning.results.sections import study_sections
from arcsr_lightning.runs.weights import read_saved
from arcsr_lightning.side_by_side import caption_of, draw_figure, make_scenes, telling_images

HYDRA = {"hydra": {"job": {"config": {"override_dirname": {"exclude_keys": []}}}}}


def renamed(folder, method):
    """Let a run say that it is of another method."""
    for name in ("metrics.json", "per_image.csv"):
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace('"arcsr"', f'"{method}"').replace("\narcsr,", f"\n{method},"))


@pytest.fixture
def study(trained, tmp_path):
    """Two methods with the weights of one training, their folders as a sweep leaves them."""
    for method in ("arcsr_no_kernel", "arcsr"):
        folder = tmp_path / "study" / method
        shutil.copytree(trained, folder)
        renamed(folder, method)
        (folder / ".hydra").mkdir()
        config = OmegaConf.load(folder / "config.yaml")
        config.method, config.task_name = method, "study"
        OmegaConf.save(config, folder / ".hydra" / "config.yaml")
        OmegaConf.save([f"method={method}"], folder / ".hydra" / "overrides.yaml")
        OmegaConf.save(HYDRA, folder / ".hydra" / "hydra.yaml")
        (folder / "finished.json").write_text("{}")
    return tmp_path / "study"


def section_of(folder):
    return study_sections(read_study(folder))[0]


def change_weights(path, factor):
    """Scale all weights."""
    weights, config = load_file(path), read_saved(path).config
    save_file({key: factor * value for key, value in weights.items()}, path, {"config": json.dumps(config)})


def test_picture_and_page_are_written_small_and_say_what_they_show(study):
    png, html = draw_figure(study)
    assert png.stat().st_size <= 500_000 and cv2.imread(str(png)).shape[1] > 1000
    text = html.read_text()
    assert text.count('class="crop" alt="arcsr_no_kernel"') == text.count('class="crop" alt="arcsr"') == 3
    assert "Trained for 4 steps" in text and "study: folder" in text


def test_every_method_restores_the_same_lr_and_scores_as_recorded(study):
    (scene,) = make_scenes(section_of(study), ["photo1"], 10.0)
    lr, bicubic, first, second, truth = scene.cells
    torch.testing.assert_close(first.picture, second.picture)  # the weights are the same, and so is the LR
    with (study / "arcsr" / "per_image.csv").open(newline="") as file:
        rows = {(r["method"], r["name"], float(r["noise_level"])): float(r["psnr_rgb"]) for r in csv.DictReader(file)}
    assert bicubic.psnr == pytest.approx(rows["bicubic", "photo1", 10.0], abs=1e-3)
    assert second.psnr == pytest.approx(rows["arcsr", "photo1", 10.0], abs=1e-3)
    sample = launch.build_test_set(json.loads((study / "arcsr" / "metrics.json").read_text())["config"], 10.0)[1]
    torch.testing.assert_close(lr.picture[:, ::4, ::4], sample["lr"])
    torch.testing.assert_close(lr.picture[:, 3::4, 3::4], sample["lr"])
    torch.testing.assert_close(truth.kernel, sample["kernel"])
    assert first.kernel.shape == truth.kernel.shape and bicubic.kernel is None and lr.psnr is truth.psnr is None


def test_a_study_on_two_data_sets_has_a_figure_of_each(study):
    folder = shutil.copytree(study / "arcsr", study / "elsewhere")
    for name in ("metrics.json", ".hydra/config.yaml"):
        text = (folder / name).read_text()
        (folder / name).write_text(
            text.replace('"name": "folder"', '"name": "other"').replace("name: folder", "name: other")
        )
    names = [path.name for path in draw_figure(study, ["photo0"])]
    assert names == [f"figure_{data}_paper.{suffix}" for data in ("folder", "other") for suffix in ("png", "html")]
    rows = (folder / "per_image.csv").read_text()
    (folder / "per_image.csv").write_text(rows.replace("photo0", "elsewhere0"))
    assert [path.name for path in draw_figure(study, ["photo0"])] == names[:2]  # the other has none of that name
    with pytest.raises(InputError, match=r"^images=photo9: no test image of folder.* and other.*; it has photo0,"):
        draw_figure(study, ["photo0", "photo9"])


def test_images_and_noise_may_be_chosen(study):
    _, html = draw_figure(study, ["photo2", "photo0"], 10.0)
    titles = [line for line in html.read_text().splitlines() if line.startswith("<h2>")]
    assert titles == ["<h2>photo2, noise 10</h2>", "<h2>photo0, noise 10</h2>"]


def test_the_images_that_tell_most_are_the_best_the_worst_and_the_middle_one(study):
    path = study / "arcsr_no_kernel" / "per_image.csv"
    rows = list(csv.DictReader(path.open(newline="")))
    own = [row for row in rows if row["method"] == "arcsr_no_kernel" and float(row["noise_level"]) == 0]
    for row, shift in zip(own, (0.5, -1.0, 0.5), strict=True):  # their mean stays
        row["psnr_rgb"] = float(row["psnr_rgb"]) + shift - (0.1 if row["name"] == "photo2" else -0.1) * (shift > 0)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    names, reason = telling_images(section_of(study), 0.0)
    assert names == ["photo1", "photo0", "photo2"]  # arcsr is 1 dB better, 0.6 dB worse, 0.4 dB worse
    assert reason == "Images by the gain of arcsr over the mean of the others: most, least, in the middle"
    assert "Seed 0." in caption_of(section_of(study), reason)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"images": ["photo9"]},
            "images=photo9: no test image of folder, protocol=paper; it has photo0, photo1, photo2",
        ),
        ({"noise": 5.0}, "noise=5: folder, protocol=paper was not tested at it; it was at 0, 10"),
        ({"reference": "manet"}, "reference=manet: no method of this study"),
    ],
)
def test_what_is_not_there_is_named(study, settings, words):
    with pytest.raises(InputError, match=words):
        draw_figure(study, **settings)
    assert not list(study.glob("figure*"))


def test_weights_that_are_missing_or_others_than_those_scored_are_named(study):
    path = study / "arcsr" / "model.safetensors"
    change_weights(path, 1.3)
    with pytest.raises(InputError, match=r"study/arcsr: arcsr scores [\d.]+ dB on photo\d, where per_image.csv has"):
        draw_figure(study)
    path.unlink()
    with pytest.raises(InputError, match=f"{path}: no such file"):
        draw_figure(study)


def test_a_study_of_which_nothing_is_finished_has_no_figure(study):
    for path in study.glob("*/finished.json"):
        path.unlink()
    with pytest.raises(InputError, match="study: no run is finished"):
        draw_figure(study)


@pytest.mark.parametrize(
    "path", ["os.system", "arcsr_lightning.data.synthetic.os.system", "arcsr_lightning.files.write_text", 7]
)
def test_what_a_report_names_from_outside_the_data_is_not_run(study, path):
    config = json.loads((study / "arcsr" / "metrics.json").read_text())["config"]
    config["data"]["test"]["degradation"] = {"blur": [{"_target_": path, "command": "true"}]}
    with pytest.raises(InputError, match=r"data.test: .* is from outside this package's data, and is not run"):
        launch.build_test_set(config, 0.0)


def test_images_that_are_gone_are_one_line(study):
    config = json.loads((study / "arcsr" / "metrics.json").read_text())["config"]
    config["data"]["test"]["paths"]["folder"] = "/nowhere"
    with pytest.raises(InputError, match="/nowhere is missing"):
        launch.build_test_set(config, 0.0)
