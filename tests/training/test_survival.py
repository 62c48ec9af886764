"""Trainings that are cut off, by a crash, a signal, their time limit or a full disk, end as if they had not been."""

import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import time
import traceback

import pytest
import torch
from pytorch_lightning.callbacks import Timer
from safetensors.torch import load_file

from arcsr_lightning import train
from arcsr_lightning.training.module import SRModule

SETTINGS = (
    "trainer.max_steps=6",
    "trainer.val_check_interval=2",
    "callbacks.last.every_n_train_steps=1",
    "callbacks.panel=null",
    "callbacks.kernel_field=null",
    "callbacks.offsets=null",
    "test=false",  # the last of these
)


@pytest.fixture(scope="module")
def start(tiny):
    """``start(folder, *overrides)``: arcsr-train in a process, and process group, of its own; returns its number."""

    def command(folder, *overrides):
        process = os.fork()  # a new interpreter would need many times the seconds of the training
        if process:
            return process
        code = 70
        try:
            os.setsid()
            output = os.open(f"{folder}.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            for stream in (1, 2):
                os.dup2(output, stream)
            sys.stdout, sys.stderr = (open(stream, "w", closefd=False) for stream in (1, 2))  # noqa: SIM115
            sys.argv = ["arcsr-train", *tiny, *SETTINGS, f"hydra.run.dir={folder}", "ckpt_path=last", *overrides]
            train.main()
            code = 0
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    return command


def end_of(process):
    """The exit status of a process; the negative number of the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory):
    """The folder of a training without interruption; when it began to train, and how long it took, in seconds."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    begin = time.time()
    assert end_of(start(folder)) == 0, folder.with_suffix(".log").read_text()
    return folder, (folder / "config.yaml").stat().st_mtime - begin, time.time() - begin


def checkpoints(folder):
    """All whole checkpoints below a folder, by name."""
    paths = sorted(path for path in folder.rglob("*.ckpt") if not path.name.startswith(".part-"))
    return {path.relative_to(folder).as_posix(): torch.load(path, weights_only=True) for path in paths}


def last_step(folder):
    return torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["global_step"]


def same(a, b):
    """Whether two states are equal to the last bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return len(a) == len(b) and all(map(same, a, b)) if isinstance(a, list | tuple) else a == b


def metrics(folder):
    """What a run logged, but for its speed."""
    logged = json.loads((folder / "finished.json").read_text())
    return {name: value for name, value in logged.items() if name != "train/images_per_s"}


def assert_same_end(folder, whole):
    """Two runs left the same checkpoints, the same best weights and the same figures."""
    own, expected = checkpoints(folder), checkpoints(whole)
    assert own.keys() == expected.keys()
    for name in own:
        for part in ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers"):
            assert same(own[name][part], expected[name][part]), f"{name}: {part}"
        assert own[name]["global_step"] == expected[name]["global_step"]
    assert same(load_file(folder / "model.safetensors"), load_file(whole / "model.safetensors"))
    assert metrics(folder) == metrics(whole)
    assert not list(folder.rglob("checkpoints/**/.part-*"))


# ---------------------------------------------------------------- SIGKILL


def moments(number):
    """Random parts of a training's time, one from each of ``number`` equal spans."""
    rng = random.Random(number)
    return [pytest.param((span + rng.random()) / number, id=f"{span + 1} of {number}") for span in range(number)]


@pytest.mark.parametrize(
    "part", [*moments(3), *(pytest.param(*each.values, id=each.id, marks=pytest.mark.slow) for each in moments(20))]
)
def test_a_run_killed_at_any_moment_ends_as_if_it_had_not_been(start, whole, tmp_path, part):
    uninterrupted, startup, duration = whole
    folder, status = tmp_path / "run", 0
    while status != -signal.SIGKILL:  # not over by then
        shutil.rmtree(folder, ignore_errors=True)
        process = start(folder)
        time.sleep(startup + part * (duration - startup))
        os.kill(process, signal.SIGKILL)
        status, part = end_of(process), part / 2
    checkpoints(folder)  # none is half-written
    assert end_of(start(folder)) == 0, folder.with_suffix(".log").read_text()
    assert_same_end(folder, uninterrupted)


# ---------------------------------------------------------------- other signals


@pytest.fixture
def at_batch(monkeypatch):
    """``at_batch({number: action})``: do something in the midst of a training batch; they are counted from 0."""

    def arrange(actions):
        healthy, batches = SRModule.training_step, iter(range(10**9))

        def step(self, batch, batch_idx):
            actions.get(next(batches), lambda: None)()
            return healthy(self, batch, batch_idx)

        monkeypatch.setattr(SRModule, "training_step", step)

    return arrange


def raised(number):
    return lambda: signal.raise_signal(number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_run_and_its_workers_saves_the_step_at_hand(start, whole, tmp_path, number):
    folder = tmp_path / "run"
    process = start(folder, "data.num_workers=1")
    while not (folder / "checkpoints/last.ckpt").is_file():
        time.sleep(0.01)
    os.killpg(process, number)
    output = folder.with_suffix(".log")
    assert end_of(process) == 128 + number, output.read_text()
    (step,) = re.findall(rf"stopped by {number.name} after step (\d+); go on with ckpt_path=last", output.read_text())
    assert last_step(folder) == int(step) < 6
    assert end_of(start(folder)) == 0, output.read_text()
    assert_same_end(folder, whole[0])


def test_a_signal_in_a_validation_ends_it_and_it_is_run_again(configure, tmp_path, monkeypatch):
    settings = (*SETTINGS, "+optimizer.maximize=true")  # the first validation is the best
    train.train(configure(tmp_path / "whole", *settings))
    healthy, calls = SRModule.validation_step, []

    def step(self, *args):
        calls.append(args)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGUSR1)
        return healthy(self, *args)

    monkeypatch.setattr(SRModule, "validation_step", step)
    with pytest.raises(SystemExit) as end:
        train.train(configure(tmp_path / "cut", *settings))
    assert (end.value.code, len(calls)) == (128 + signal.SIGUSR1, 2)
    train.train(configure(tmp_path / "cut", *settings, "ckpt_path=last"))
    assert "checkpoints/best_0000002.ckpt" in checkpoints(tmp_path / "cut")
    assert_same_end(tmp_path / "cut", tmp_path / "whole")


def test_a_handler_that_was_there_before_is_called_once_all_is_saved(configure, tmp_path, at_batch, monkeypatch):
    steps = []
    before = signal.signal(signal.SIGUSR2, lambda *_: steps.append(last_step(tmp_path)))
    installed = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)]
    try:
        at_batch({2: raised(signal.SIGUSR2)})
        train.train(configure(tmp_path, *SETTINGS, "trainer.val_check_interval=6"))
        assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)] == installed
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert (steps, last_step(tmp_path)) == ([3], 6)


def test_a_second_interrupt_does_not_wait(configure, tmp_path, at_batch):
    at_batch({2: lambda: (signal.raise_signal(signal.SIGINT), signal.raise_signal(signal.SIGINT))})
    with pytest.raises(SystemExit) as end:
        train.train(configure(tmp_path, *SETTINGS, "trainer.val_check_interval=6"))
    assert (end.value.code, last_step(tmp_path)) == (130, 2)


def test_a_signal_ends_a_whole_sweep(run, tiny, tmp_path, at_batch, monkeypatch):
    monkeypatch.chdir(tmp_path)
    at_batch({1: raised(signal.SIGTERM)})
    with pytest.raises(SystemExit) as end:
        run(train, "-m", *tiny, *SETTINGS, "seed=0,1")
    assert end.value.code == 143
    assert len(list(tmp_path.glob("logs/*/multiruns/*/*/config.yaml"))) == 1


def test_a_signal_within_accumulated_batches_waits_for_their_step(configure, tmp_path, at_batch):
    settings = (*SETTINGS, "trainer.accumulate_grad_batches=2", "trainer.max_steps=4")
    settings += ("trainer.val_check_interval=7", "callbacks.last.every_n_train_steps=4")  # within the last step
    train.train(configure(tmp_path / "whole", *settings))
    at_batch({2: raised(signal.SIGTERM)})
    with pytest.raises(SystemExit):
        train.train(configure(tmp_path / "cut", *settings))
    assert last_step(tmp_path / "cut") == 2
    train.train(configure(tmp_path / "cut", *settings, "ckpt_path=last"))
    assert_same_end(tmp_path / "cut", tmp_path / "whole")


# ---------------------------------------------------------------- the time limit


@pytest.mark.parametrize(("batches", "step"), [(1, 3), (2, 2)])
def test_the_steps_since_the_last_validation_outlive_the_time_limit(
    configure, tmp_path, at_batch, monkeypatch, batches, step
):
    settings = (*SETTINGS, "callbacks.last.every_n_train_steps=6", "trainer.val_check_interval=12")
    settings += (f"trainer.accumulate_grad_batches={batches}",)
    train.train(configure(tmp_path / "whole", *settings))
    seconds = []
    at_batch(dict.fromkeys(range(12), lambda: seconds.append(1)))
    monkeypatch.setattr(Timer, "time_elapsed", lambda *_: len(seconds))
    train.train(configure(tmp_path / "cut", *settings, "trainer.max_time=00:00:00:03"))
    assert last_step(tmp_path / "cut") == step
    (tmp_path / "cut/finished.json").unlink()
    train.train(configure(tmp_path / "cut", *settings, "ckpt_path=last"))
    own, expected = (checkpoints(tmp_path / name)["checkpoints/last.ckpt"] for name in ("cut", "whole"))
    assert all(same(own[part], expected[part]) for part in ("state_dict", "current_model_state", "optimizer_states"))


# ---------------------------------------------------------------- after the last step


def test_a_run_cut_off_after_its_last_step_is_scored_with_the_same_weights(configure, tmp_path, monkeypatch):
    averaged = (*SETTINGS[:-1], "callbacks.best=null", "callbacks.ema.decay=0.5", "trainer.limit_test_batches=1")
    train.train(configure(tmp_path / "whole", *averaged))
    monkeypatch.setattr(train, "keep_best", lambda *_: sys.exit(1))
    with pytest.raises(SystemExit):
        train.train(configure(tmp_path / "cut", *averaged))
    monkeypatch.undo()
    train.train(configure(tmp_path / "cut", *averaged, "ckpt_path=last"))
    assert metrics(tmp_path / "cut") == metrics(tmp_path / "whole")


# ---------------------------------------------------------------- a full disk


@pytest.fixture
def largest_file():
    """``largest_file(size)``: files cannot grow beyond so many bytes, or can again, until the test is over."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_stops_the_run_and_keeps_the_checkpoint_before(configure, whole, tmp_path, at_batch, largest_file):
    at_batch({2: lambda: largest_file(200_000)})
    with pytest.raises(
        ValueError, match=r"last.ckpt: File too large: cannot save .* 0\.\d MiB; those before it are kept"
    ):
        train.train(configure(tmp_path, *SETTINGS))
    largest_file(resource.RLIM_INFINITY)
    assert {name: state["global_step"] for name, state in checkpoints(tmp_path).items()} == {
        "checkpoints/best_0000002.ckpt": 2,
        "checkpoints/last.ckpt": 2,
    }
    train.train(configure(tmp_path, *SETTINGS, "ckpt_path=last"))
    assert_same_end(tmp_path, whole[0])


def test_a_disk_that_is_full_for_a_while_need_not_stop_the_run(configure, whole, tmp_path, at_batch, largest_file):
    seen = []

    def freed():
        seen.extend(sorted(path.name for path in (tmp_path / "checkpoints").iterdir()))
        largest_file(resource.RLIM_INFINITY)

    at_batch({2: lambda: largest_file(200_000), 4: freed})
    train.train(configure(tmp_path, *SETTINGS, "trainer.plugins.checkpoint_io.on_disk_full=continue"))
    assert seen == ["best_0000002.ckpt", "last.ckpt"]
    assert_same_end(tmp_path, whole[0])


def test_on_disk_full_is_stop_or_continue(run, tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        run(train, *tiny, "trainer.plugins.checkpoint_io.on_disk_full=wait")
    assert "checkpoint_io.on_disk_full=wait: give stop or continue" in capsys.readouterr().err
