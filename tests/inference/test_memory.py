"""tile=auto: what is measured against what is known, and against what the system says a process took."""

import subprocess
import sys
from functools import partial

import pytest
import torch
from torch import nn

from arcsr_lightning.errors import InputError
from arcsr_lightning.inference import largest_tile, memory, run_network
from arcsr_lightning.inference.memory import SHARE, available_memory, free_memory, memory_of_group, peak_memory
from arcsr_lightning.networks.restoration import Restoration
from tests.conftest import slow

CPU = torch.device("cpu")
# The most that a process takes, beyond what it had, while it restores an image of one tile with a real network.
TAKEN = """
from functools import partial

import torch
from arcsr_lightning.inference import largest_tile, restore, run_network
from arcsr_lightning.launch import build_network, compose

def status(name):
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))

network = build_network(compose(["data=sample", "size=small"]).model).eval()
run = partial(run_network, network, ensemble=ENSEMBLE, precision=PRECISION)
tile = largest_tile(run, torch.device("cpu"), FREE, overlap=32)
restore(run, torch.rand(1, 3, 48, 48))
open("/proc/self/clear_refs", "w").write("5")  # forgets the most that was taken
before = status("VmRSS")
restore(run, torch.rand(1, 3, tile, tile), tile, 32)
print(tile, status("VmHWM") - before)
"""


class Wide(nn.Module):
    """Holds 100 channels of float32 twice: 800 bytes a pixel, 812 with its result and 824 with its input."""

    scale = 1

    def forward(self, lr):
        channels = lr[:, :1].expand(-1, 100, -1, -1).clone()
        channels = channels + 1
        return Restoration(channels[:, :3] * 1)


def test_what_tensors_take_at_the_worst_moment_is_counted():
    assert peak_memory(partial(run_network, Wide()), CPU, 50) == 50 * 50 * (12 + 12 + 2 * 400)


@pytest.mark.parametrize("free", [10_000_000, 123_456_789])
def test_the_tile_is_the_largest_multiple_of_16_that_needs_half_of_the_free_memory(free):
    per_pixel = 824
    side = largest_tile(partial(run_network, Wide()), CPU, free, overlap=8)
    assert side % 16 == 0
    assert per_pixel * side**2 <= SHARE * free < per_pixel * (side + 16) ** 2


def test_too_little_memory_is_one_line_that_names_what_is_free_and_wanted():
    with pytest.raises(InputError, match=r"tile=auto: 3 MB are free, and a tile of twice overlap=32 wants 7 MB"):
        largest_tile(partial(run_network, Wide()), CPU, 3_000_000, overlap=32)


@pytest.mark.skipif(not available_memory(), reason="only Linux tells what a process took at most")
@pytest.mark.parametrize(
    ("ensemble", "precision"),
    [(1, 32), slow(8, 32), slow(1, "bf16")],
)
def test_a_process_takes_no_more_than_was_free(ensemble, precision):
    free = 60_000_000
    code = TAKEN.replace("ENSEMBLE", str(ensemble)).replace("PRECISION", repr(precision)).replace("FREE", str(free))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    tile, taken = map(int, done.stdout.split())
    assert 64 < tile < 128
    assert free / 4 < taken < free


def test_the_memory_of_the_system_is_read(tmp_path):
    table = tmp_path / "meminfo"
    table.write_text("MemTotal:       16 kB\nMemAvailable:   12 kB\n")
    assert available_memory(table) == 12 * 1024
    assert available_memory(tmp_path / "none") is None


def test_the_narrowest_group_of_a_process_counts_and_kept_files_are_free(tmp_path):
    own = tmp_path / "own"
    own.write_text("1:cpu:/\n0::/job/step\n")
    for name, most, used, kept in (("", "max", 1, 0), ("job", "1000", 700, 200), ("job/step", "max", 600, 0)):
        folder = tmp_path / "groups" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.max").write_text(f"{most}\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text(f"anon 1\ninactive_file {kept}\n")
    assert memory_of_group(tmp_path / "groups", own) == 1000 - (700 - 200)
    assert memory_of_group(tmp_path / "nowhere", own) is None


@pytest.mark.parametrize(
    ("system", "group", "free"), [(3, 5, 3), (5, 3, 3), (3, None, 3), (None, 3, 3), (5, 0, 0), (None, None, None)]
)
def test_free_memory_is_the_least_of_what_the_system_and_the_group_leave(monkeypatch, system, group, free):
    monkeypatch.setattr(memory, "available_memory", lambda: system)
    monkeypatch.setattr(memory, "memory_of_group", lambda: group)
    assert free_memory(CPU) == free
