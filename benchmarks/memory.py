"""Peak memory of a call, in a process of its own.

It is what torch's allocator reports to the profiler: every block that an operator takes, its library's scratch memory
included, to the byte, at whatever moment. The peak of the resident set would depend on malloc, on pages never
touched and on code compiled during the call.
"""

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.timing import Function, Samples

Build = Callable[[], tuple[Function, Function]]


def peaks(build: Build, threads: int) -> Samples:
    """The most bytes that either function of ``build()`` holds at a time beyond what was there before its call.

    Results count, and what stays cached after the call does too. ``build`` must be picklable.
    """
    command = [sys.executable, "-m", __name__]
    child = subprocess.run(command, input=pickle.dumps((build, threads)), capture_output=True)  # the profiler chatters
    if child.returncode:
        raise RuntimeError(f"measuring memory failed: {child.stderr.decode()}")
    ours, theirs = json.loads(child.stdout)
    return Samples([ours], [theirs])


def peak(function: Function) -> int:
    """The most bytes that ``function``, its result included, holds at a time on the CPU."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        result = function()
    del result
    with TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        record.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    blocks = sorted((event for event in events if event["name"] == "[memory]"), key=lambda event: event["ts"])
    held = most = 0
    for block in blocks:
        held += block["args"]["Bytes"]  # negative where it is freed
        most = max(most, held)
    return most


def peak_on_gpu(function: Function) -> int:
    """The most bytes that ``function``, its result included, holds at a time on the GPU, after a first call."""
    function()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    function()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def main() -> None:
    build, threads = pickle.load(sys.stdin.buffer)
    torch.set_num_threads(threads)
    sys.stdout.write(json.dumps([peak(function) for function in build()]))


if __name__ == "__main__":
    main()
