"""A run that is over is not repeated, a changed one is noticed, a folder has one user, a sweep fills its gaps."""

import csv
import json
import os
import shutil
import signal
from contextlib import suppress

import pytest
import torch
from omegaconf import OmegaConf

from arcsr_lightning import train
from arcsr_lightning.errors import InputError
from arcsr_lightning.launch import as_plain_data
from arcsr_lightning.processes import rank_zero_only
from arcsr_lightning.runs import resume
from arcsr_lightning.runs.settings import changes_for, differences
from arcsr_lightning.runs.weights import read_saved
from tests.conftest import slow

# ---------------------------------------------------------------- configurations


def changes(configure, folder, *overrides):
    return differences(as_plain_data(configure(folder)), as_plain_data(configure(folder, *overrides)))


def test_what_decides_the_training_is_compared(configure, tmp_path):
    assert changes(configure, tmp_path) == {}
    assert changes(configure, tmp_path, "optimizer.lr=5e-4", "data.batch_size=4") == {
        "data.batch_size": (2, 4),
        "optimizer.lr": (1e-3, 5e-4),
    }
    assert set(changes(configure, tmp_path, "ablation=no_kernel")) >= {"method", "loss.kernel_weight"}
    assert changes(configure, tmp_path, "scheduler=multistep")["scheduler.T_max"] == (4, None)


def test_weights_to_start_from_are_compared_where_both_name_some(configure, tmp_path):
    for settings in ((), ("weights=a.ckpt",)):
        before = as_plain_data(configure(tmp_path, *settings))
        assert changes_for(before, as_plain_data(configure(tmp_path, "weights=a.ckpt"))) == {}
        assert changes_for(before, as_plain_data(configure(tmp_path))) == {}
    other = as_plain_data(configure(tmp_path, "weights=b.ckpt"))
    assert changes_for(before, other)["weights"] == ("a.ckpt", "b.ckpt")


def test_all_that_decides_what_is_learnt_is_compared(configure, tmp_path):
    changed = {
        "scale": 2,
        "kernel_size": 5,
        "seed": 1,
        "known_kernels": True,
        "data.train.patch_size": 64,
        "data.train.noise_level": [1, 2],
        "data.noise_levels": [3],
        "degradation.blur.max_length": 3,
        "model.restorer.blocks": 2,
        "loss.kernel_weight": 0.125,
        "optimizer.betas": [0.5, 0.999],
        "scheduler.T_max": 7,
        "callbacks.ema.decay": 0.5,
        "trainer.max_steps": 8,
        "trainer.val_check_interval": 1,
        "trainer.precision": "bf16-mixed",
        "trainer.accumulate_grad_batches": 2,
        "trainer.gradient_clip_val": 0.5,
        "trainer.gradient_clip_algorithm": "value",
        "trainer.max_epochs": 3,
        "trainer.overfit_batches": 1,
        "trainer.limit_train_batches": 3,
        "trainer.limit_val_batches": 1,
    }
    overrides = [f"++{key}={str(value).replace(' ', '')}" for key, value in changed.items()]
    found = changes(configure, tmp_path, *overrides)
    assert {key: found[key][1] for key in changed if key in found} == changed


def test_what_cannot_change_the_result_is_not(configure, tmp_path):
    elsewhere = ("data.root=other", "data.num_workers=3", "trainer.devices=2", "logger=none", "task_name=b", "tags=[c]")
    assert changes(configure, tmp_path, *elsewhere, "trainer.max_time=00:00:10:00", "panel_images=1") == {}


def test_a_changed_run_is_resumed_only_if_allowed(configure, tmp_path):
    train.train(configure(tmp_path, "test=false", "trainer.max_steps=2"))
    (tmp_path / "finished.json").unlink()  # as if it had been interrupted
    longer = ("test=false", "trainer.max_steps=4", "ckpt_path=last")
    with pytest.raises(
        ValueError, match=r"last.ckpt: made with other settings: .*trainer.max_steps 2 -> 4; allow_config"
    ):
        train.train(configure(tmp_path, *longer))
    assert not list(tmp_path.glob("checkpoints/*4.ckpt"))
    train.train(configure(tmp_path, *longer, "allow_config_change=true"))
    assert read_saved(tmp_path / "checkpoints/last.ckpt").config["trainer"]["max_steps"] == 4


@pytest.mark.parametrize("place", ["paths.checkpoints", slow("callbacks.last.dirpath")])
def test_a_run_goes_on_from_where_its_last_checkpoint_was_put(configure, tmp_path, place):
    elsewhere = (f"{place}={tmp_path / 'elsewhere'}", "test=false")
    train.train(configure(tmp_path / "run", *elsewhere, "trainer.max_steps=2"))
    (tmp_path / "run/finished.json").unlink()  # as if it had been interrupted
    longer = ("trainer.max_steps=4", "ckpt_path=last", "allow_config_change=true")
    train.train(configure(tmp_path / "run", *elsewhere, *longer))
    last = torch.load(tmp_path / "elsewhere/last.ckpt", weights_only=True)
    assert last["global_step"] == 4
    assert last["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["completed"] == 4  # two of them before
    steps = [row["step"] for row in csv.DictReader((tmp_path / "run/csv/version_1/metrics.csv").open())]
    assert set(steps) == {"2", "3"}  # counted from 0: the first two were not repeated


# ---------------------------------------------------------------- a run that is over


def test_a_finished_run_is_not_repeated(configure, tmp_path):
    metrics = train.train(configure(tmp_path))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("[!.]*") if path.is_file()}  # but for its lock
    assert train.train(configure(tmp_path, "ckpt_path=last")) == metrics
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("[!.]*") if path.is_file()}


@pytest.mark.parametrize(
    "less", ["test=false", "train=false", "trainer.limit_test_batches=1", "trainer.max_time=00:00:00:01"]
)
def test_a_run_that_was_to_do_less_is_not_over(configure, tmp_path, less):
    OmegaConf.save(configure(tmp_path, less), tmp_path / "config.yaml", resolve=True)
    (tmp_path / "finished.json").write_text("{}")
    assert resume.finished(configure(tmp_path, "ckpt_path=last")) is None
    assert resume.finished(configure(tmp_path, "ckpt_path=last", less)) == {}


@pytest.mark.parametrize("other", ["data.test_root=elsewhere", "data.test.draws=5"])
def test_a_run_that_was_tested_on_something_else_is_not_over(configure, tmp_path, other):
    OmegaConf.save(configure(tmp_path), tmp_path / "config.yaml", resolve=True)
    (tmp_path / "finished.json").write_text("{}")
    assert resume.finished(configure(tmp_path, "ckpt_path=last", other)) is None
    assert resume.finished(configure(tmp_path, "ckpt_path=last", "data.store=elsewhere")) == {}


def test_a_run_that_is_tested_on_something_else_is_trained_no_further(configure, tmp_path):
    train.train(configure(tmp_path))
    before = read_saved(tmp_path / "model.safetensors").weights
    train.train(configure(tmp_path, "ckpt_path=last", "data.test.draws=2"))
    after = read_saved(tmp_path / "model.safetensors").weights
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert "photo0_1" in {row["name"] for row in csv.DictReader((tmp_path / "per_image.csv").open())}
    rows = csv.DictReader((tmp_path / "csv/version_1/metrics.csv").open())
    assert not any(row.get("train/loss") for row in rows)


def test_a_finished_run_is_not_mistaken_for_another(configure, tmp_path):
    train.train(configure(tmp_path, "test=false", "trainer.max_steps=2"))
    with pytest.raises(ValueError, match=r"config.yaml: made with other settings: .*seed 0 -> 1"):
        train.train(configure(tmp_path, "test=false", "trainer.max_steps=2", "ckpt_path=last", "seed=1"))


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_refusal_leaves_a_finished_run_as_it_was(run, tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    short = (*tiny, "trainer.max_steps=2", "test=false", f"hydra.run.dir={tmp_path}/run")
    run(train, *short)
    before = content(tmp_path)
    for typed, words in (
        (["ckpt_path=last", "optimizer.lr=2e-3"], "config.yaml: made with other settings: optimizer.lr 0.001 -> 0.002"),
        (["seed=1"], "run: holds a finished run; go on with it by ckpt_path=last, or use another folder"),
    ):
        with pytest.raises(SystemExit):
            run(train, *short, *typed)
        assert words in capsys.readouterr().err.splitlines()[-1]
        assert content(tmp_path) == before
    (tmp_path / "run/finished.json").write_text("{")
    with pytest.raises(SystemExit):
        run(train, *short, "ckpt_path=last")
    assert "finished.json: damaged" in capsys.readouterr().err.splitlines()[-1]
    (tmp_path / "run/config.yaml").write_text("[]")
    with pytest.raises(SystemExit):
        run(train, *short, "ckpt_path=last")
    assert "config.yaml: damaged" in capsys.readouterr().err.splitlines()[-1]


# ---------------------------------------------------------------- what a run leaves


def steps_of(folder):
    schedules = [read_saved(folder / "model.safetensors").config["card"]["schedule"]]
    if (folder / "metrics.json").is_file():
        schedules.append(json.loads((folder / "metrics.json").read_text())["method"]["schedule"])
    (steps,) = {tuple(stage["steps"] for stage in schedule) for schedule in schedules}
    return steps


def test_a_run_that_no_validation_judged_leaves_its_last_weights(configure, tmp_path):
    train.train(configure(tmp_path, "trainer.max_steps=2", "trainer.val_check_interval=9", "test=false"))
    exported, last = read_saved(tmp_path / "model.safetensors"), read_saved(tmp_path / "checkpoints/last.ckpt")
    assert exported.weights.keys() == last.weights.keys()
    assert all(torch.equal(exported.weights[key], last.weights[key]) for key in last.weights)


def test_a_run_tells_the_steps_that_it_took_and_no_figures_of_other_weights(configure, tmp_path):
    early = "{_target_: pytorch_lightning.callbacks.EarlyStopping, monitor: val/psnr, mode: max, stopping_threshold: 0}"
    train.train(configure(tmp_path, f"+callbacks.early={early}"))
    assert steps_of(tmp_path) == (2,)
    train.train(configure(tmp_path, "ckpt_path=last", "allow_config_change=true", "trainer.max_steps=3", "test=false"))
    assert steps_of(tmp_path) == (3,)
    assert not any((tmp_path / name).exists() for name in resume.FIGURES)


def test_the_steps_of_the_stages_before_are_not_forgotten_by_a_run_that_goes_on(configure, tmp_path):
    stages = "stages={a:{share:1},b:{share:1}}"
    train.train(configure(tmp_path, stages, "test=false"))
    assert steps_of(tmp_path) == (2, 2)
    cfg = configure(tmp_path, stages, "ckpt_path=last")
    planned = train.stages_of(cfg)
    (before,) = resume.taken_before(planned, 1)
    assert before["steps"] == 2 and before["lr_sum"] > 0 and resume.taken_before(planned, 0) == []


# ---------------------------------------------------------------- a folder of its own


def test_the_second_in_a_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "PATIENCE", 0.2)
    with resume.alone_in(tmp_path):
        with pytest.raises(ValueError, match=f"{tmp_path}: another process is training in this folder"):
            resume.alone_in(tmp_path).__enter__()
        with resume.alone_in(tmp_path / "another"):
            pass
    with resume.alone_in(tmp_path):
        pass


def test_a_killed_process_leaves_its_folder_free(tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "PATIENCE", 0.2)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with resume.alone_in(tmp_path):
            os.write(writing, b"x")
            signal.pause()
    os.read(reading, 1)
    with pytest.raises(ValueError, match="another process"):
        resume.alone_in(tmp_path).__enter__()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with resume.alone_in(tmp_path):
        pass


# ---------------------------------------------------------------- sweeps


@pytest.fixture
def sweep(run, tiny, tmp_path, monkeypatch):
    """``sweep(*overrides)``: a sweep of small trainings, some of which may fail; the folders of all sweeps so far."""
    monkeypatch.chdir(tmp_path)

    def command(*overrides):
        short = ("trainer.max_steps=2", "task_name=sweep")
        with suppress(SystemExit):
            run(train, "-m", *tiny, *short, *overrides)
        return sorted((tmp_path / "logs/sweep/multiruns").iterdir())

    return command


def written(folder):
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("*/finished.json")}


def test_typed_again_a_sweep_does_only_what_is_missing(sweep, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ARCSR_RUN_STAMP", "1")
    gap = tmp_path / "start.safetensors"
    typed = (f"weights=null,{gap}", "test=false")
    (folder,) = sweep(*typed)
    assert "start.safetensors: no such file" in capsys.readouterr().err
    first = written(folder)
    failed = {path.parent.name: path.read_text() for path in folder.glob("*/FAILED")}
    assert (len(first), len(failed)) == (1, 1)
    assert all(line.startswith(f"{gap}: no such file") for line in failed.values())
    assert len(json.loads((folder / "jobs.json").read_text())["jobs"]) == 2

    monkeypatch.setenv("ARCSR_RUN_STAMP", "2")
    gap.write_bytes((trained / "model.safetensors").read_bytes())
    assert sweep(*typed) == [folder]
    second = written(folder)
    assert not list(folder.glob("*/FAILED"))
    assert second.keys() == first.keys() | failed.keys()
    assert first.items() <= second.items()


def test_a_sweep_that_cannot_be_composed_is_planned_nowhere(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for typed, said in (("ablation=full,ful", "did you mean ablation=full?"), ("optimizer.lrr=1,2", "optimizer.lr?")):
        with pytest.raises(SystemExit):
            run(train, "-m", "experiment=quickstart", typed)
        assert said in capsys.readouterr().err
    assert not list(tmp_path.glob("**/jobs.json"))


def test_a_run_that_is_only_scored_keeps_its_weights(configure, trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "run")
    before = json.loads((folder / "finished.json").read_text())
    (folder / "finished.json").unlink()
    after = train.train(configure(folder, "train=false", "ckpt_path=last"))
    assert after["test/psnr"] == pytest.approx(before["test/psnr"], abs=1e-4)
    assert json.loads((folder / "metrics.json").read_text())["method"]["schedule"][0]["steps"] == 4
    for name in ("model.safetensors", "finished.json"):
        (folder / name).unlink()
    with pytest.raises(InputError, match=r"^train=false: the training in .* is not over; go on with it, or name a"):
        train.train(configure(folder, "train=false", "ckpt_path=last"))


def test_weights_that_are_only_scored_are_told_by_their_training(configure, trained, tmp_path):
    train.train(configure(tmp_path, "train=false", f"weights={trained / 'model.safetensors'}"))
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert [stage["steps"] for stage in report["method"]["schedule"]] == [4]
    assert report["trained"]["paths"]["output_dir"] == str(trained)


def test_a_trial_of_one_batch_ends_no_run(configure, tmp_path):
    """It saves nothing, so that the run would be over for ever without having been trained."""
    train.train(configure(tmp_path, "trainer.fast_dev_run=true", "test=false"))
    assert not (tmp_path / "finished.json").exists()


def test_jobs_that_would_share_a_folder_are_refused(run, tmp_path, monkeypatch, capsys):
    """Their folders are not named by where the data lie."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        run(train, "-m", "data=folder", "data.root=A,B", "data.val_root=C", "seed=0,1")
    assert capsys.readouterr().err.startswith("error: data.root=A,B: jobs would share a folder, as it does not name")
    with pytest.raises(SystemExit):
        run(train, "-m", "task_name=a", "experiment=arcsr_gopro,arcsr_reds")
    assert capsys.readouterr().err.startswith("error: experiment=arcsr_gopro,arcsr_reds: jobs would share a folder")
    assert not list(tmp_path.glob("**/jobs.json"))


def test_jobs_of_two_tasks_share_no_folder(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for typed in (
        ("experiment=quickstart", "task_name=a,b"),
        ("experiment=table1_cpu,quickstart",),
        ("experiment=quickstart", "seed=0,0"),
    ):
        with suppress(SystemExit):
            run(train, "-m", *typed, "train=false", "test=false")
    assert {path.name for path in (tmp_path / "logs").iterdir()} >= {"a", "b", "table1_cpu", "quickstart"}


def test_a_study_is_added_to(sweep, monkeypatch):
    monkeypatch.setenv("ARCSR_RUN_STAMP", "1")
    (folder,) = sweep("seed=0", "train=false", "ckpt_path=last")
    monkeypatch.setenv("ARCSR_RUN_STAMP", "2")
    first = written(folder)
    assert sweep("seed=0,1", "train=false", "ckpt_path=last") == [folder]
    assert first.items() < written(folder).items()
    assert len(json.loads((folder / "jobs.json").read_text())["jobs"]) == 2


def test_only_the_first_process_clears_what_is_left_of_writing(configure, tmp_path, monkeypatch):
    """The others may start when the first one is writing already."""
    cfg, aside = configure(tmp_path), tmp_path / ".part-config.yaml"
    monkeypatch.setattr(resume, "finished", lambda cfg: {})
    for rank in (1, 0):
        aside.touch()
        monkeypatch.setattr(rank_zero_only, "rank", rank)
        train.train(cfg)
        assert aside.exists() == bool(rank)
