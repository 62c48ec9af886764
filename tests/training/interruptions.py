"""Trainings that are cut off and go on: what they are, and whether two of them ended the same."""

import json
import os
import time

import torch
from safetensors.torch import load_file

PATIENCE = 600  # seconds for what takes one; far beyond any load

SETTINGS = (
    "trainer.max_steps=6",
    "trainer.val_check_interval=2",
    "callbacks.last.every_n_train_steps=1",
    "test=false",  # the last of these
)


def end_of(process):
    """The exit status of a process; the negative number of the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def has_ended(process):
    """Whether a process is over; its exit status is left for ``end_of``."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def wait_for(path, process=None):
    """Wait until there is such a file, or a process that was to make it has ended."""
    end = time.monotonic() + PATIENCE
    while not path.is_file() and not (process and has_ended(process)):
        assert time.monotonic() < end, f"no {path}"
        time.sleep(0.01)


def checkpoints(folder):
    """All whole checkpoints below a folder, by name."""
    paths = sorted(path for path in folder.rglob("*.ckpt") if not path.name.startswith(".part-"))
    return {path.relative_to(folder).as_posix(): torch.load(path, weights_only=True) for path in paths}


def last_checkpoint(folder):
    return torch.load(folder / "checkpoints/last.ckpt", weights_only=True)


def last_step(folder):
    return last_checkpoint(folder)["global_step"]


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
