"""Two functions timed in turns, so that whatever slows the machine slows both."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any, NamedTuple

import torch

Function = Callable[[], Any]

SECONDS = 0.7  # of measuring for a comparison, where the least number of pairs allows
MOST_PAIRS = 50
LONG = 2.0  # seconds of a pair beside which a first call's extra work does not show


class Samples(NamedTuple):
    """What was measured, pair by pair."""

    ours: list[float]
    theirs: list[float]


def interleave(ours: Function, theirs: Function, least_pairs: int = 3) -> Samples:
    """Seconds of ``ours`` and ``theirs``, called in turns until ``SECONDS`` are over; the results are dropped.

    At least ``least_pairs`` and at most ``MOST_PAIRS`` pairs. A first pair warms up and does not count, unless it takes
    longer than ``LONG``.
    """
    with no_garbage_collection():
        first = seconds(ours), seconds(theirs)
        pairs = [first] if sum(first) > LONG else []
        end = perf_counter() + SECONDS - sum(map(sum, pairs))
        while len(pairs) < least_pairs or (perf_counter() < end and len(pairs) < MOST_PAIRS):
            pairs.append((seconds(ours), seconds(theirs)))
    return Samples([pair[0] for pair in pairs], [pair[1] for pair in pairs])


def seconds(function: Function) -> float:
    """How long one call takes, freeing of its result and whatever a GPU is still at included."""
    start = perf_counter()
    function()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return perf_counter() - start


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch's operators use ``count`` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
