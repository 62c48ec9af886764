"""What ends a data worker, and what must not."""

import os
import signal
import subprocess
import sys
from multiprocessing import active_children

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from arcsr_lightning.data.workers import Watched, obey_parent_only

FROM_OTHERS_TOO = pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="nothing tells who sent a signal")


class Numbers(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, number):
        return torch.tensor(number)

    def source(self, number):
        return f"photo{number}.png"


def run(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], timeout=200, capture_output=True, text=True)


def test_a_watched_data_set_notes_where_its_workers_were():
    watched = Watched(Numbers(), 2)
    assert [int(number) for number in DataLoader(watched, None, num_workers=2)] == list(range(8))
    pids = [pid for pid, _, _ in watched.notes.tolist()]
    assert watched.notes[:, 1:].tolist() == [[6, 0], [7, 0]]
    assert watched.places({pids[1]}) == ["at sample 7, made from photo7.png"]
    assert watched.ended() == set()


@FROM_OTHERS_TOO
def test_a_worker_outlives_the_signals_that_come_from_elsewhere():
    before = set(active_children())
    loader = DataLoader(Numbers(), None, num_workers=1, persistent_workers=True, worker_init_fn=obey_parent_only)
    samples = iter(loader)
    assert next(samples) == 0
    (worker,) = set(active_children()) - before
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        subprocess.run([sys.executable, "-c", f"import os; os.kill({worker.pid}, {int(number)})"], check=True)
    assert [int(sample) for sample in samples] == list(range(1, 8))
    assert [int(sample) for sample in loader] == list(range(8))


def test_a_worker_ends_when_the_process_it_works_for_says_so():
    before = set(active_children())
    samples = iter(DataLoader(Numbers(), None, num_workers=1, persistent_workers=True, worker_init_fn=obey_parent_only))
    assert next(samples) == 0
    (worker,) = set(active_children()) - before
    os.kill(worker.pid, signal.SIGTERM)
    worker.join(100)
    assert worker.exitcode == 0  # no failure, which torch would report


def test_a_process_that_exits_does_not_wait_for_its_workers():
    code = """
from torch.utils.data import DataLoader
from arcsr_lightning.data.workers import obey_parent_only
samples = iter(DataLoader(range(9), num_workers=1, persistent_workers=True, worker_init_fn=obey_parent_only))
next(samples)
raise SystemExit(3)
"""
    assert run(code).returncode == 3


def test_a_host_s_own_daemonic_process_ends_as_it_likes():
    code = """
import atexit, multiprocessing, signal, sys, time

def work(ready):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ready.set()
    while True:
        time.sleep(0.01)

def report():
    host.join()
    print(host.exitcode)

if __name__ == "__main__":
    import arcsr_lightning.data, arcsr_lightning.train
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    host = context.Process(target=work, args=(ready,), daemon=True)
    host.start()
    ready.wait()
    import multiprocessing.util
    multiprocessing.util.Finalize(None, report, exitpriority=-1)  # after Python told its daemonic children to end
"""
    done = run(code)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


def test_importing_the_package_changes_nothing_in_its_host():
    """Beside what torch, OpenCV and Lightning do by themselves."""
    code = """
import atexit, os, signal
import cv2, pytorch_lightning, torch._dynamo, torchmetrics

def state():
    return dict(os.environ), {number: signal.getsignal(number) for number in signal.valid_signals()}

registered = []
register = atexit.register
atexit.register = lambda function, *rest, **more: (registered.append(function), register(function, *rest, **more))[0]
before = state()
import arcsr_lightning.data, arcsr_lightning.train
import arcsr_lightning.data.augment
assert state() == before, [now.items() ^ then.items() for now, then in zip(state(), before)]
print([function for function in registered if str(getattr(function, "__module__", "")).startswith("arcsr_lightning")])
"""
    done = run(code)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
