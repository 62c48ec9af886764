"""What is read back from a sweep's folders, and what may not stand in one table."""

import json
import shutil

import pytest

from arcsr_lightning.errors import InputError
from arcsr_lightning.results import compare
from arcsr_lightning.results.runs import read_study, scores_by_level, throughput, training_seconds
from arcsr_lightning.results.sections import study_sections


def test_a_run_is_what_its_configuration_says_whatever_its_folder_is_called(job, tmp_path):
    job("dasr", 3, "reds").rename(tmp_path / "renamed")
    (run,) = read_study(tmp_path).runs
    assert (run.method, run.seed, run.data, run.state) == ("dasr", 3, "reds", "finished")
    assert run.overrides == ("model=dasr", "data=reds", "seed=3")


def test_every_job_has_its_state(job, tmp_path):
    job("arcsr", 0)
    job("arcsr", 1, state="failed")
    job("arcsr", 2, state="killed")
    (job("arcsr", 3, state="killed") / "finished.json").write_text("{}")
    (job("arcsr", 4) / "finished.json").unlink()  # goes on after its first test
    (job("arcsr", 5) / "FAILED").write_text("out of memory")  # in its second attempt
    planned = [["model=arcsr", "data=gopro", f"seed={seed}"] for seed in (6, 0)]
    (tmp_path / "jobs.json").write_text(json.dumps({"jobs": planned}))
    study = read_study(tmp_path)
    states = ["finished", "failed", "not finished", "not scored", "not finished", "failed"]
    assert [run.state for run in study.runs] == states
    assert study.runs[1].reason == "the loss is nan at step 7"
    assert study.waiting == [("model=arcsr", "data=gopro", "seed=6")]


def test_an_evaluation_is_finished_with_its_report(job, tmp_path):
    folder = job("arcsr", edit=lambda report: report["config"].update(train=None, trainer={}))
    (folder / "finished.json").unlink()
    path = folder / ".hydra" / "config.yaml"
    path.write_text(path.read_text().replace("\ntrain: true", "").replace("method: arcsr", "method: null"))
    assert "| arcsr | 1 | " in compare(tmp_path).read_text()


def test_an_evaluation_that_was_killed_is_not_finished(job, tmp_path):
    path = job("arcsr", state="killed") / ".hydra" / "config.yaml"
    path.write_text(path.read_text().replace("\ntrain: true", ""))
    (run,) = read_study(tmp_path).runs
    assert (run.state, run.reason) == ("not finished", "interrupted, or still running")


def test_evaluations_are_of_one_method_where_their_trainings_differ_in_the_seed_alone(job, tmp_path):
    # What there would be to train on says nothing of an evaluation.
    for number, (seed, lr) in enumerate([(0, 1e-4), (1, 1e-4), (0, 1e-3)]):
        samples = {"train": {"seed": seed}}  # as data takes it over
        trained = {"method": "arcsr", "seed": seed, "data": samples, "optimizer": {"lr": lr}}
        folder = job(
            "arcsr", 7, overrides=[f"weights={number}"], edit=lambda report, own=trained: report.update(trained=own)
        )
        path = folder / ".hydra" / "config.yaml"
        path.write_text(path.read_text().replace("\ntrain: true", "").replace("- 20\n", f"- {20 + number}\n"))
    labels = [
        line.split(" | ")[:2] for line in compare(tmp_path).read_text().splitlines() if line.startswith("| arcsr")
    ]
    assert labels[:2] == [["| arcsr, weights-0", "2"], ["| arcsr, weights-2", "1"]]


def test_runs_stand_in_the_order_of_their_plan(job, tmp_path):
    for seed in (0, 1, 2):
        job("arcsr", seed)
    planned = [["data=gopro", f"seed={seed}", "model=arcsr"] for seed in (2, 0, 1)]
    (tmp_path / "jobs.json").write_text(json.dumps({"jobs": planned}))
    assert [run.seed for run in read_study(tmp_path).runs] == [2, 0, 1]


def test_the_throughput_is_the_median_of_what_was_logged_in_all_starts(job, tmp_path):
    folder = job("arcsr", 0)  # logged 10, 110, 11
    assert throughput(read_study(tmp_path).runs[0]) == 11
    (folder / "csv" / "stage" / "version_1").mkdir(parents=True)
    (folder / "csv" / "stage" / "version_1" / "metrics.csv").write_text("train/images_per_s\n20\n30\n")
    assert throughput(read_study(tmp_path).runs[0]) == 20


def test_the_seconds_of_a_training_are_those_of_its_stages_by_their_own_speed(job, tmp_path):
    stages = [{"stage": "first", "steps": 100}, {"stage": "second", "steps": 300}]
    folder = job("arcsr", 0, edit=lambda report: report["method"].update(schedule=stages))
    assert training_seconds(read_study(tmp_path).runs[0]) is None  # neither stage logged its speed
    for stage, speed in (("first", 32), ("second", 8)):
        (folder / "csv" / stage / "version_0").mkdir(parents=True)
        (folder / "csv" / stage / "version_0" / "metrics.csv").write_text(f"train/images_per_s\n{speed}\n")
    (run,) = read_study(tmp_path).runs
    assert training_seconds(run) == pytest.approx(16 * 100 / 32 + 16 * 300 / 8)
    run.report["config"]["trainer"]["accumulate_grad_batches"] = 2
    assert training_seconds(run) == pytest.approx(2 * (16 * 100 / 32 + 16 * 300 / 8))


def test_a_perfect_score_is_infinite(job, tmp_path):
    job("arcsr", 0, edit=lambda report: report["rows"][1].update(psnr_rgb=None))
    (run,) = read_study(tmp_path).runs
    assert scores_by_level(run, "arcsr")[0.0]["psnr_rgb"] == float("inf")


def test_the_scores_of_images_are_those_of_the_means(job, tmp_path):
    job("arcsr", 1)
    (run,) = read_study(tmp_path).runs
    for method in ("bicubic", "arcsr"):
        for level, images in run.images[method].items():
            mean = sum(image.psnr for image in images.values()) / len(images)
            assert mean == pytest.approx(scores_by_level(run, method)[level]["psnr_rgb"])


def change(*path, to):
    """An edit of a report: the value at ``path``."""

    def edit(report):
        node = report
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = to

    return edit


@pytest.mark.parametrize(
    ("edit", "aspect"),
    [
        (change("config", "data", "test", "limit", to=3), "the test images"),
        (change("config", "data", "noise_levels", to=[0, 5]), "data.noise_levels"),
        (change("rows", 0, "psnr_rgb", to=20.0), "the test images, as bicubic upscaling scores differently"),
        (change("rows", 2, "images", to=11), "the test images, as bicubic upscaling scores differently"),
    ],
)
def test_runs_that_were_scored_differently_have_no_common_table(edit, aspect, job, tmp_path):
    job("arcsr", 0)
    job("dasr", 0, edit=edit)
    with pytest.raises(InputError, match=f"model-arcsr_.* and model-dasr_.* differ in {aspect}.*: no common table"):
        compare(tmp_path)


def test_data_that_moved_are_the_same_images(job, tmp_path):
    job("arcsr", 0)
    job("dasr", 0, edit=change("config", "data", "test", "root", to="/elsewhere"))
    compare(tmp_path)
    assert "dasr" in (tmp_path / "results.md").read_text()


def other_scale(report):
    report["config"]["scale"] = report["protocol"]["border"] = 2


def test_another_scale_is_another_table(job, tmp_path):
    job("arcsr", 0)
    job("dasr", 0, edit=other_scale)
    with pytest.raises(InputError, match="differ in scale: no common table"):
        compare(tmp_path)


def test_data_sets_have_sections_of_their_own_and_need_nothing_in_common(job, tmp_path):
    job("arcsr", 0, "gopro")
    job("arcsr", 0, "reds", edit=change("config", "data", "noise_levels", to=[0, 5]))
    assert [section.data for section in study_sections(read_study(tmp_path))] == ["gopro", "reds"]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (change("protocol", "rounding", to="none"), "rounding 'none' where it is '8 bit' now"),
        (lambda report: report["protocol"].pop("ssim"), "ssim None where it is 'Gaussian window"),
        (lambda report: report.pop("hardware"), "hardware is missing"),
        (lambda report: report["rows"][0].pop("ssim_rgb"), "ssim_rgb is missing in rows[0]"),
    ],
)
def test_a_report_of_another_version_is_named(edit, words, job, tmp_path):
    path = job("arcsr", 0, edit=edit) / "metrics.json"
    with pytest.raises(InputError) as caught:
        compare(tmp_path)
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value) and "arcsr-eval" in str(caught.value)


def test_a_damaged_report_and_a_missing_one_per_image_are_named(job, tmp_path):
    folder = job("arcsr", 0)
    (folder / "per_image.csv").unlink()
    with pytest.raises(InputError, match=r"per_image\.csv: missing beside metrics\.json"):
        compare(tmp_path)
    (folder / "metrics.json").write_text("{")
    with pytest.raises(InputError, match=r"metrics\.json: damaged"):
        compare(tmp_path)


def test_one_training_twice_is_no_second_seed(job, tmp_path):
    shutil.copytree(job("arcsr", 0), tmp_path / "again")
    with pytest.raises(InputError, match="again and model-arcsr.* are the same training, seed=0: remove one"):
        compare(tmp_path)


def test_a_folder_without_runs_is_named(tmp_path):
    with pytest.raises(InputError, match=f"{tmp_path}: holds no runs"):
        compare(tmp_path)
