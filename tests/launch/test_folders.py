"""Which folder a command works in, decided once, and what the environment has to do with it."""

import json
import os
import re
from datetime import datetime, timedelta
from itertools import count
from unittest import mock

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import OmegaConf, open_dict

from arcsr_lightning import CONF_DIR, evaluate, train
from arcsr_lightning.errors import InputError
from arcsr_lightning.launch import FolderChoice, SweepPlan, compose, environment
from arcsr_lightning.launch.folders import job_folder
from arcsr_lightning.launch.sweeps import sweep_job
from arcsr_lightning.processes import rank_zero_only


@pytest.fixture
def chosen(tmp_path, monkeypatch):
    """``chosen(way, *typed)``: the folder, below ``tmp_path``, of a launch at the time "now"."""

    def choose(way, *typed):
        monkeypatch.setenv("ARCSR_RUN_STAMP", "now")
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            cfg = hydra_compose("train", [f"paths.log_dir={tmp_path}", *typed], return_hydra_config=True)
        getattr(FolderChoice(), f"on_{way}_start")(cfg)
        before = dict(os.environ)
        folder = cfg.hydra.run.dir if way == "run" else cfg.hydra.sweep.dir
        assert dict(os.environ) == before  # resolving only reads
        return os.path.relpath(folder, tmp_path)

    return choose


def a_run(folder, name, time):
    path = folder / "train/runs" / name / "checkpoints/stage/last.ckpt"
    path.parent.mkdir(parents=True)
    path.touch()
    os.utime(path, (time, time))


def a_sweep(folder, name, typed, jobs, finished):
    path = folder / "train/multiruns" / name
    for number in range(finished):
        (path / str(number)).mkdir(parents=True)
        (path / str(number) / "finished.json").touch()
    path.mkdir(parents=True, exist_ok=True)
    (path / "jobs.json").write_text(json.dumps({"typed": typed, "jobs": [[str(job)] for job in range(jobs)]}))


def test_a_run_has_a_folder_of_its_own_until_it_is_to_go_on(chosen, tmp_path):
    assert chosen("run", "ckpt_path=last") == "train/runs/now"  # nothing to go on with
    a_run(tmp_path, "b", time=1)
    a_run(tmp_path, "a", time=2)
    assert chosen("run") == "train/runs/now"
    assert chosen("run", "ckpt_path=last") == "train/runs/a"
    assert chosen("run", "ckpt_path=last", "task_name=other") == "other/runs/now"


def test_a_run_of_these_settings_is_gone_on_with_before_others_and_an_unfinished_before_a_finished_one(
    chosen, tmp_path
):
    for name, time in (("oldest", 1), ("older", 2), ("newer", 3), ("newest", 4)):
        a_run(tmp_path, name, time)
    runs = tmp_path / "train/runs"
    cfg = compose(["data=sample", "seed=7", f"paths.log_dir={tmp_path}"])
    for name in ("oldest", "older", "newest"):
        OmegaConf.save(cfg, runs / name / "config.yaml")
    for name in ("older", "newest"):
        (runs / name / "finished.json").touch()
    assert chosen("run", "data=sample", "seed=7", "ckpt_path=last") == "train/runs/oldest"
    (runs / "oldest" / "finished.json").touch()
    assert chosen("run", "data=sample", "seed=7", "ckpt_path=last") == "train/runs/newest"
    assert chosen("run", "data=sample", "seed=8", "ckpt_path=last") == "train/runs/newer"


def test_a_sweep_goes_on_though_another_was_typed_since(chosen, tmp_path):
    typed = [f"paths.log_dir={tmp_path}", "seed=0"]
    a_sweep(tmp_path, "1", typed, jobs=2, finished=1)
    a_sweep(tmp_path, "2", ["seed=1"], jobs=2, finished=1)
    assert chosen("multirun", "seed=0") == "train/multiruns/1"


def test_evaluations_are_over_with_their_figures(chosen, tmp_path):
    typed = [f"paths.log_dir={tmp_path}", "seed=0"]
    a_sweep(tmp_path, "1", typed, jobs=2, finished=1)
    (tmp_path / "train/multiruns/1/evaluated").mkdir()
    (tmp_path / "train/multiruns/1/evaluated/metrics.json").touch()
    assert chosen("multirun", "seed=0") == "train/multiruns/now"


def test_a_sweep_goes_on_where_the_same_was_typed_and_something_is_missing(chosen, tmp_path):
    typed = [f"paths.log_dir={tmp_path}", "seed=0"]
    a_sweep(tmp_path, "1", typed, jobs=2, finished=1)
    assert chosen("multirun", "seed=0") == "train/multiruns/1"
    assert chosen("multirun", "seed=1") == "train/multiruns/now"
    a_sweep(tmp_path, "2", typed, jobs=2, finished=2)
    assert chosen("multirun", "seed=0") == "train/multiruns/now"
    assert chosen("multirun", "seed=0", "ckpt_path=last") == "train/multiruns/2"


def test_options_are_swept_by_a_pattern(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCSR_RUN_STAMP", "now")
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        typed = ["data=sample", f"paths.log_dir={tmp_path}", "hydra.mode=MULTIRUN"]
        cfg = hydra_compose("train", typed, return_hydra_config=True)
        with open_dict(cfg):
            cfg.hydra.overrides.task = ["data=sample", "ablation=glob(no_k*)"]
            cfg.hydra.job.config_name = "train"
        SweepPlan().on_multirun_start(cfg)
    (plan,) = tmp_path.glob("**/jobs.json")
    swept = [job[-1] for job in json.loads(plan.read_text())["jobs"]]
    assert swept == ["ablation=no_kernel", "ablation=no_kgconv"]


@pytest.mark.parametrize("text", ["", '{"typed": [], "jo', "[]", "{}", "null"])
def test_a_plan_that_is_damaged_is_named(run, tmp_path, text, monkeypatch, capsys):
    plan = tmp_path / "logs/eval/multiruns/1/jobs.json"
    plan.parent.mkdir(parents=True)
    plan.write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        run(evaluate, "-m", "seed=0,1")
    assert ended.value.code == 1
    line = "error: logs/eval/multiruns/1/jobs.json: not the plan of a sweep; remove the file to start a new sweep\n"
    assert capsys.readouterr().err == line


@pytest.fixture
def clock(monkeypatch):
    """Each time that is asked for is 1.5 ms after the one before."""
    times = (datetime(2026, 1, 2, 3, 4, 5, 6500) + number * timedelta(microseconds=1500) for number in count())
    monkeypatch.setattr(environment, "datetime", mock.Mock(now=lambda: next(times)))


def test_folders_are_named_by_the_time(monkeypatch, clock):
    monkeypatch.delenv("SLURM_NTASKS", raising=False)
    names = [environment.new_folder_name() for _ in range(2)]
    assert names == ["2026-01-02_03-04-05-006", "2026-01-02_03-04-05-008"]


def test_processes_that_slurm_starts_agree_on_a_name(monkeypatch, clock):
    for name, value in {"NTASKS": "2", "PROCID": "1", "JOB_ID": "17"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.delenv("SLURM_STEP_ID", raising=False)
    assert environment.new_folder_name().startswith("2026")  # typed in a batch script without srun: one process
    monkeypatch.setenv("SLURM_STEP_ID", "3")
    names = []
    for rank in "01":
        monkeypatch.setenv("SLURM_PROCID", rank)
        names.append(environment.new_folder_name())
    assert names == ["slurm-17.3", "slurm-17.3"]


def test_variables_are_known_to_one_module():
    for path in (CONF_DIR.parent / "src").rglob("*.py"):
        if path.name != "environment.py":
            assert not re.search("ARCSR_(RUN_STAMP|TRACEBACK|JOB)", path.read_text("utf-8")), path


def test_long_names_of_jobs_stay_apart():
    long = "a" * 200
    assert job_folder(long + "1") != job_folder(long + "2")
    assert len(job_folder(long)) == 120
    assert job_folder("model-arcsr_seed-1") == "model-arcsr_seed-1"


def test_names_of_jobs_that_differ_in_punctuation_alone_stay_apart():
    lists = [job_folder(f"data.noise_levels-{levels}_seed-0") for levels in ("[0,5]", "[0.5]", "[0, 5]")]
    assert len(set(lists)) == 3
    assert all(re.fullmatch(r"data.noise_levels-.0.5._seed-0-[0-9a-f]{8}", name) for name in lists)
    assert job_folder("+a-1_weights-/d/e.ckpt") == "a-1_weights-.d.e.ckpt"


@pytest.mark.parametrize(
    ("command", "named"), [("train", "data-mixed_seed-0"), ("evaluate", "data.val_root-.a_data-mixed_seed-0")]
)
def test_a_training_is_not_named_by_where_its_data_lie_and_an_evaluation_by_its_test_set(command, named):
    typed = ["data=mixed", "data.root=/b", "data.val_root=/a", "data.gopro=/c", "data.reds=/d", "seed=0"]
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        cfg = hydra_compose(command, typed, return_hydra_config=True)
    assert cfg.hydra.sweep.subdir == named


def test_what_a_user_names_is_the_folder(run, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        run(train, *tiny, "weights=nowhere.ckpt", "ckpt_path=last", "hydra.run.dir=mine")
    assert (tmp_path / "mine/FAILED").is_file()
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize(
    ("rank", "executor", "ending"), [(0, "slurm", InputError), (1, "slurm", SystemExit), (1, None, InputError)]
)
def test_a_process_of_a_submitted_job_that_fails_ends_with_a_code_that_says_so(
    tmp_path, monkeypatch, rank, executor, ending
):
    """The first one leaves its error to whoever submitted the job; for any other 0 would let the rest wait for it.

    In a sweep that runs here, on several processes, all of them go on with the next job.
    """
    monkeypatch.setattr(rank_zero_only, "rank", rank)
    if executor:
        monkeypatch.setenv("SUBMITIT_EXECUTOR", executor)

    def fail(cfg):
        raise RuntimeError("no memory")

    with pytest.raises(ending):
        sweep_job("train", fail, OmegaConf.create({"paths": {"output_dir": str(tmp_path)}}))
