"""A process at work for another: what it answers, and what is left when one of the two is killed.

Each of these processes imports this file: it imports little.
"""

import os
import signal
from functools import partial

import pytest

from arcsr_lightning.errors import InputError
from arcsr_lightning.worker import Worker


def halves(job, report):
    """What the workers of these tests do: a number of steps, or one of the ways to fail."""
    if job == "refuse":
        raise InputError("no such picture")
    if job == "fault":
        return 1 // 0
    if job == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if job == "pid":
        return os.getpid()
    for number in range(job):
        report(number + 1, job)
    return job / 2


@pytest.fixture
def worker(tmp_path):
    one = Worker(halves, partial((tmp_path / "left").write_text, "alone"))
    yield one
    one.stop()


def test_a_worker_reports_returns_and_raises_what_its_work_does_and_goes_on_after_it(worker):
    reports = []
    with pytest.raises(InputError, match="^no such picture$"):
        worker.ask("refuse", None)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        worker.ask("fault", None)
    assert worker.ask(3, lambda *values: reports.append(values)) == 1.5
    assert reports == [(1, 3), (2, 3), (3, 3)]


def test_a_worker_that_is_killed_is_said_to_be_and_another_takes_its_place(worker):
    first = worker.ask("pid", None)
    with pytest.raises(InputError, match="was ended, perhaps for want of memory; try again"):
        worker.ask("die", None)
    assert worker.ask("pid", None) != first
    os.kill(worker.process.pid, signal.SIGKILL)  # between two jobs
    worker.process.join()
    assert worker.ask(4, lambda *values: None) == 2


@pytest.mark.parametrize("kind", [ValueError, OSError])
def test_the_rest_of_a_job_whose_reports_are_not_taken_is_not_the_answer_to_the_next(worker, kind):
    def refuse(*_):
        raise kind("nobody listens")

    with pytest.raises(kind, match="nobody listens"):
        worker.ask(6, refuse)
    assert worker.ask("pid", None) == worker.process.pid


def test_a_worker_that_is_left_alone_does_its_last_duty(worker, tmp_path):
    worker.start()
    assert not (tmp_path / "left").exists()
    worker.pipe.close()  # as the system does where this process is killed
    worker.process.join(60)
    assert (tmp_path / "left").read_text() == "alone"
