"""What a command says: short lines in the terminal, all of it with times in its folder, nothing of others'."""

import logging
import os
import re
import subprocess
import sys
import warnings

import pytest
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from arcsr_lightning import evaluate, predict, train
from arcsr_lightning.launch.logs import as_a_command, warnings_in_the_log

SHORT = ("trainer.max_steps=2",)


@pytest.fixture(scope="module")
def told(tiny, tmp_path_factory):
    """(standard output, standard error, log) of a training, typed in an empty folder."""
    folder = tmp_path_factory.mktemp("told")
    place = folder / "lightning"  # whose name Lightning looks for: it words warnings from there itself
    place.mkdir()
    (place / "talker.py").write_text(
        "import warnings\nfrom arcsr_lightning.training.progress import Throughput\n\nclass Talker(Throughput):\n"
        "    def __init__(self):\n        warnings.warn('this is going to be removed', FutureWarning)\n"
        "        warnings.warn('the disk is slow')\n"
    )
    command = [sys.executable, "-m", "arcsr_lightning.train", *tiny, *SHORT, "+callbacks.talker._target_=talker.Talker"]
    path = {"PYTHONPATH": f"{place}:{':'.join(p for p in sys.path if p)}"}
    done = subprocess.run(command, cwd=folder, env=os.environ | path, capture_output=True, text=True, check=True)
    (log,) = folder.glob("logs/quickstart/runs/*/quickstart.log")
    return done.stdout, done.stderr, log


def test_the_terminal_gets_what_matters_without_prefixes(told):
    _, terminal, log = told
    lines = terminal.splitlines()
    assert [line.split()[0] for line in lines[:11]] == [
        "task", "folder", "method", "data", "scale", "seed", "device", "protocol", "steps", "batch_size", "lr",
    ]  # fmt: skip
    assert str(log.parent) in lines[1]
    assert "warning: the disk is slow (talker.py:7)" in lines
    assert "`Trainer.fit` stopped: `max_steps=2` reached." in lines
    of_the_run = (
        *("ArcSR: ", "  estimator: ", "  restorer: ", "step ", "warning: the disk", "`Trainer.fit` stopped"),
        "3 of 3 validation images are trained on",
    )
    assert not [line for line in lines[11:] if not line.startswith(of_the_run)]


def test_adverts_and_deprecations_stay_away(told):
    stdout, terminal, _ = told
    for words in ("Tip:", "litlogger", "deprecated", "going to be removed", "GPU available", "_target_"):
        assert words not in stdout + terminal


def test_the_folder_gets_all_of_it_with_times(told):
    stdout, terminal, log = told
    text = log.read_text()
    times = re.findall(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", text, re.MULTILINE)
    assert len(times) > 12
    for line in filter(None, terminal.splitlines()):
        assert f" {line}\n" in text
    assert re.search(r"typed: arcsr-train experiment=quickstart model=arcsr data=folder ", text)
    assert re.search(r"versions: arcsr-lightning \S+, PyTorch \S+, Lightning \S+, Python \S+", text)
    (psnr,) = re.findall(r"│ +10 │ arcsr +│ +(\S+) │", stdout)
    assert re.search(rf"│ +10 │ arcsr +│ +{psnr} │", text)


def test_what_is_resumed_is_in_the_same_log(run, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(train, *tiny, *SHORT, "test=false")
    (log,) = tmp_path.glob("logs/quickstart/runs/*/quickstart.log")
    run(train, *tiny, *SHORT, "test=false", "trainer.max_steps=4", "ckpt_path=last", "allow_config_change=true")
    assert list(tmp_path.rglob("*.log")) == [log]
    text = log.read_text()
    assert text.count("typed: ") == 2
    assert re.search(r"ckpt_path +last\n", text)
    assert "going on with other settings: " in text and "trainer.max_steps 2 -> 4" in text


def test_an_error_is_the_last_line(run, tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        run(train, *tiny, *SHORT, "weights=nowhere.ckpt")
    with pytest.raises(SystemExit):
        run(evaluate, "weights=nowhere.ckpt")
    with pytest.raises(SystemExit):
        run(predict, "input=nowhere.png", "output=x.png")
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    logs = [next(tmp_path.glob(f"logs/{task}/runs/*/{task}.log")) for task in ("quickstart", "eval", "predict")]
    assert [log.read_text().splitlines()[-1].split(" ", 2)[2] for log in logs] == said


def test_a_fault_of_ours_is_in_the_log_with_its_traceback(run, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, "optimized", lambda *_: 1 / 0)
    with pytest.raises(SystemExit):
        run(train, *tiny, *SHORT, "test=false")
    (log,) = tmp_path.glob("logs/quickstart/runs/*/quickstart.log")
    assert log.read_text().rstrip().endswith("ZeroDivisionError: division by zero")


def test_only_the_first_process_of_a_run_writes(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    monkeypatch.setattr("arcsr_lightning.launch.commands.end_with_parent", lambda: None)
    with pytest.raises(SystemExit):
        run(evaluate, "weights=nowhere.ckpt")
    assert "error: nowhere.ckpt" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.log"))


def test_a_command_leaves_its_host_s_logging_and_warnings_as_they_were(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def state():
        loggers = [logging.getLogger(name) for name in ("", "pytorch_lightning", "lightning_fabric", "arcsr_lightning")]
        return (
            [(one.handlers[:], one.level, one.propagate) for one in loggers],
            warnings.filters[:],
            warnings.showwarning,
        )

    before = state()
    with pytest.raises(SystemExit):
        run(evaluate, "weights=nowhere.ckpt")
    assert state() == before
    with as_a_command(), warnings_in_the_log():
        assert state() != before
    assert state() == before
