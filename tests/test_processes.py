"""Processes that fail, end or are killed, and what becomes of the others."""

import os
import signal
import threading
import time
from pathlib import Path
from unittest import mock

import pytest
from lightning_fabric.utilities.rank_zero import _get_rank

from arcsr_lightning import train
from arcsr_lightning.processes import (
    FAILED,
    end_with_parent,
    failed_first,
    forget_failure,
    number_in,
    rank_zero_only,
    run_alone,
)
from arcsr_lightning.runs.resume import alone_in

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="whether a process lives is read in /proc")


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except FileNotFoundError:
        return False


def until(condition, seconds=10.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(condition())


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"RANK": "1", "LOCAL_RANK": "2", "SLURM_PROCID": "3", "JSM_NAMESPACE_RANK": "4"},
        {"LOCAL_RANK": "2", "SLURM_PROCID": "3", "JSM_NAMESPACE_RANK": "4"},
        {"SLURM_PROCID": "3", "JSM_NAMESPACE_RANK": "4"},
        {"JSM_NAMESPACE_RANK": "4"},
    ],
)
def test_a_process_has_the_number_that_lightning_would_find(environment):
    with mock.patch.dict(os.environ, environment, clear=True):
        assert number_in(os.environ) == (_get_rank() or 0)


def test_what_is_no_number_in_the_environment_is_not_that_of_a_process():
    assert number_in({"RANK": "gold", "LOCAL_RANK": "2"}) == 2


def test_only_the_first_that_fails_speaks(tmp_path):
    folder = tmp_path / "run"
    assert failed_first(folder, "the cause")
    assert not failed_first(folder, "connection closed by peer")
    assert (folder / "FAILED").read_text() == "the cause\n"


def test_the_first_process_forgets_an_earlier_failure_for_all(tmp_path, monkeypatch):
    assert failed_first(tmp_path, "the cause")
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    forget_failure(tmp_path)
    assert (tmp_path / FAILED).exists()
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    forget_failure(tmp_path)
    forget_failure(tmp_path)
    assert not (tmp_path / FAILED).exists()


def test_a_place_that_cannot_be_written_to_silences_nobody(tmp_path):
    (tmp_path / "run").write_text("a file where the folder should be")
    assert failed_first(tmp_path / "run" / "job", "the cause")


def test_nothing_is_left_of_a_command_that_failed(tmp_path):
    status = run_alone(["sh", "-c", f"sleep 100 & echo $! > {tmp_path}/pid; exit 3"], dict(os.environ))
    assert status == 3
    assert until(lambda: not is_alive(int((tmp_path / "pid").read_text())))


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_a_command_is_told_to_end_and_waited_for(tmp_path, told):
    script = f"trap 'touch {tmp_path}/saved; exit 0' TERM; touch {tmp_path}/ready; while :; do sleep 0.05; done"

    ready = []

    def tell():
        ready.append(until(lambda: (tmp_path / "ready").exists()))
        os.kill(os.getpid(), told)

    before = signal.getsignal(told)
    teller = threading.Thread(target=tell)
    teller.start()
    with pytest.raises(SystemExit) as ended:
        run_alone(["sh", "-c", script], dict(os.environ))
    teller.join()
    assert ready == [True]
    assert ended.value.code == 128 + told
    assert (tmp_path / "saved").exists()
    assert signal.getsignal(told) is before


def test_a_process_does_not_outlive_the_one_that_started_it(tmp_path):
    starter = os.fork()
    if not starter:
        child = os.fork()
        if not child:
            end_with_parent()
            (tmp_path / "pid").write_text(str(os.getpid()))
            time.sleep(100)
        time.sleep(100)
    assert until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    child = int((tmp_path / "pid").read_text())
    assert is_alive(child)
    os.kill(starter, signal.SIGKILL)
    os.waitpid(starter, 0)
    assert until(lambda: not is_alive(child))


def test_a_failed_run_leaves_its_line_until_it_is_tried_again(run, tiny, tmp_path):
    wrongs = {"data.train.patch_size=2048": "smaller than the crop", "weights=no.ckpt": "no such file"}
    for wrong, expected in wrongs.items():
        with pytest.raises(SystemExit):
            run(train, *tiny, f"hydra.run.dir={tmp_path}", wrong)
        assert expected in (tmp_path / "FAILED").read_text()


def test_a_run_in_use_is_not_marked_as_failed(run, tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("arcsr_lightning.runs.resume.PATIENCE", 0)
    with alone_in(tmp_path), pytest.raises(SystemExit):
        run(train, *tiny, f"hydra.run.dir={tmp_path}")
    assert "another process is training in this folder" in capsys.readouterr().err
    assert not (tmp_path / "FAILED").exists()
