"""What a newcomer types first: no arguments, another model, nothing but the network."""

import pytest
from pytorch_lightning.callbacks import Checkpoint

from arcsr_lightning import CONF_DIR, compose, train
from arcsr_lightning.launch import build_trainer

EXPERIMENTS = sorted(path.stem for path in (CONF_DIR / "experiment").glob("*.yaml"))


@pytest.fixture
def error_of(run, capsys, tmp_path, monkeypatch):
    """``error_of(*arguments)``: the one line that ``arcsr-train`` ends with."""
    monkeypatch.chdir(tmp_path)

    def line(*arguments):
        with pytest.raises(SystemExit):
            run(train, *arguments)
        (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
        return error

    return line


def test_without_arguments_it_says_what_to_type(error_of):
    line = error_of()
    assert "experiment=quickstart" in line
    assert "data=folder data.root=PATH" in line


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_runs_without_callbacks_and_loggers(experiment, tmp_path):
    data = [] if experiment in ("quickstart", "table1_cpu", "table2_cpu") else ["data.root=somewhere"]
    none = ["callbacks=none", "logger=none", f"paths.output_dir={tmp_path}", "trainer.accelerator=cpu"]
    trainer = build_trainer(compose([f"experiment={experiment}", *data, *none]))
    assert not trainer.loggers
    assert not [callback for callback in trainer.callbacks if isinstance(callback, Checkpoint)]
    assert not [callback for callback in trainer.callbacks if type(callback).__module__.startswith("arcsr_lightning")]


def test_a_training_without_callbacks_and_loggers_leaves_its_scores_and_no_checkpoints(
    tiny, run, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    bare = [setting for setting in tiny if not setting.startswith("callbacks.")]
    run(train, *bare, "callbacks=none", "logger=none")
    (folder,) = tmp_path.glob("logs/quickstart/runs/*")
    assert (folder / "metrics.json").is_file()
    assert not list(folder.rglob("*.ckpt"))
