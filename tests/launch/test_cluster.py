"""cluster=slurm on a real SLURM of one node, which tests/slurm/one_node.py starts and stops."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from safetensors.torch import load_file

from arcsr_lightning import CONF_DIR, train

pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason='needs "arcsr-lightning[cluster]"')

SLURM = Path(__file__).parents[1] / "slurm"
STEPS = 40
SWEEP = (
    "cluster=slurm",
    "hydra.launcher.timeout_min=1",  # SLURM counts in minutes, and looks every 30 s
    "hydra.launcher.signal_delay_s=10",
    "hydra.launcher.cpus_per_task=1",
    "hydra.sweep.subdir=pause${callbacks.diary.pause}",
    f"trainer.max_steps={STEPS}",
    f"trainer.val_check_interval={STEPS}",  # a signal within a validation would cost the step before it
    "+callbacks.diary._target_=diary.Diary",
    "+callbacks.diary.folder=${paths.output_dir}",
    "+callbacks.diary.pause=0,2,-1",
)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """The environment in which commands reach a SLURM that runs as long as these tests."""
    folder = tmp_path_factory.mktemp("slurm")
    script = [sys.executable, SLURM / "one_node.py"]
    checked = subprocess.run([*script, "check"], capture_output=True, text=True)
    if checked.returncode:
        pytest.skip(checked.stderr.strip())
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH", "WANDB"))}
    path = os.pathsep.join(filter(None, (str(SLURM), outer.get("PYTHONPATH"))))
    try:
        subprocess.run([*script, "start", folder], env=outer, check=True)
        yield {**outer, "SLURM_CONF": str(folder / "slurm.conf"), "PYTHONPATH": path}
    finally:
        subprocess.run([*script, "stop", folder], env=outer, check=True)


@pytest.fixture(scope="module")
def sweep(slurm, tiny, tmp_path_factory):
    """The sweep's folder, and its jobs by their pause: one finishes, one reaches its time limit, one fails."""
    folder = tmp_path_factory.mktemp("sweep")
    command = [sys.executable, "-m", "arcsr_lightning.train", *tiny, *SWEEP]
    done = subprocess.run(command, cwd=folder, env=slurm, capture_output=True, text=True, timeout=900)
    (sweep,) = (folder / "logs" / "quickstart" / "multiruns").iterdir()
    logs = "\n".join(path.read_text() for path in sweep.glob(".submitit/*/*.out"))
    assert (done.returncode, done.stderr.count("error: ")) == (1, 1), done.stderr + logs
    return sweep, {pause: sweep / f"pause{pause}" for pause in (0, 2, -1)}


def test_a_job_at_its_time_limit_is_queued_again_and_goes_on_from_its_last_step(sweep):
    folder, jobs = sweep
    with (jobs[2] / "diary.csv").open() as file:
        restarts, steps = zip(*((int(restart), int(step)) for restart, step in csv.reader(file)), strict=True)
    assert steps == tuple(range(1, STEPS + 1))  # none is done twice, none left out
    assert list(restarts) == sorted(restarts)
    assert restarts[0] < restarts[-1]
    assert any("SIGUSR2" in path.read_text() for path in folder.glob(".submitit/*/*.out"))
    assert (jobs[2] / "finished.json").is_file()


def test_its_weights_are_those_of_the_job_that_was_never_interrupted(sweep):
    ours, theirs = (load_file(sweep[1][pause] / "model.safetensors") for pause in (2, 0))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_job_that_fails_says_why_and_the_others_finish(sweep):
    _, jobs = sweep
    assert "sleep length must be non-negative" in (jobs[-1] / "FAILED").read_text()
    assert [(folder / "finished.json").is_file() for folder in jobs.values()] == [True, True, False]


def complaint(run, capsys, *arguments):
    """The one line that a command ends with."""
    with pytest.raises(SystemExit):
        run(train, "cluster=slurm", "trainer=cpu", *arguments)
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_a_refusal_of_the_cluster_is_one_line(slurm, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLURM_CONF", slurm["SLURM_CONF"])
    line = complaint(run, capsys, "hydra.launcher.partition=nowhere")
    assert line.startswith("error: sbatch: error: invalid partition specified: nowhere")


def test_without_a_cluster_a_line_says_so(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    line = "error: cluster=slurm: there is no srun on this machine; type the command where sbatch works"
    assert complaint(run, capsys) == line


def test_devices_that_only_the_node_could_count_are_refused(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert "trainer.devices=auto: a cluster must be told how many" in complaint(run, capsys, "trainer.devices=auto")


def test_a_missing_launcher_says_what_to_install(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run(train, "--cfg", "job")  # which registers the launchers
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"]["launcher"], "submitit_slurm.yaml")
    line = 'error: cluster=slurm needs more packages; pip install ".[cluster]" in the clone'
    assert complaint(run, capsys) == line


@pytest.mark.parametrize(
    ("overrides", "asked"),
    [
        (["trainer=ddp", "trainer.num_nodes=2"], (2, 4, 4)),
        (["trainer=gpu", "trainer.devices=[1,3]"], (1, 2, 2)),
        (["trainer=cpu"], (1, 1, None)),
    ],
)
def test_a_job_asks_for_what_the_trainer_uses(overrides, asked):
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        cfg = hydra_compose("train", ["cluster=slurm", *overrides], return_hydra_config=True)
    launcher = cfg.hydra.launcher
    assert (launcher.nodes, launcher.tasks_per_node, launcher.gpus_per_node) == asked
