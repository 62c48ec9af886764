"""How large a tile fits in the memory that is free: what a network needs is measured, not guessed."""

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from arcsr_lightning.errors import InputError, is_lack_of_memory
from arcsr_lightning.networks.restoration import Restoration

SHARE = 0.5  # of the free memory: operators need room within themselves, which is not seen, and others need some too
PROBES = (32, 64)  # LR pixels a side of the two tiles that are measured
STEP = 16  # LR pixels; sides of tiles are multiples of it


def largest_tile(run: Callable[[Tensor], Restoration], device: torch.device, free: int, overlap: int) -> int:
    """The side in LR pixels of the largest tile for which a network takes no more than half of the free memory.

    Two small tiles are restored, and the memory at their worst moment is measured; between them, and beyond, it is
    taken to grow with the number of pixels, as it does for convolutions.

    Args:
        run: a pass of the network, as ``restore`` is given.
        device: where it computes.
        free: bytes that are free there.
        overlap: that tiles are to share, of which a tile has twice as many pixels a side.

    Raises:
        InputError: not even the smallest tile fits.
    """
    small, large = (peak_memory(run, device, side) for side in PROBES)
    per_pixel = max(1.0, (large - small) / (PROBES[1] ** 2 - PROBES[0] ** 2))
    constant = max(0.0, large - per_pixel * PROBES[1] ** 2)
    side = isqrt(max(0, int((SHARE * free - constant) / per_pixel))) // STEP * STEP
    if side < 2 * overlap:
        needed = (constant + per_pixel * (2 * overlap) ** 2) / SHARE
        raise InputError(
            f"tile=auto: {megabytes(free)} are free, and a tile of twice overlap={overlap} wants {megabytes(needed)}; "
            "free some memory, or set a smaller overlap"
        )
    return side


@contextmanager
def naming_lack_of_memory(
    source: Path, task: str = "restore it so; set a smaller tile, or tile=auto"
) -> Iterator[None]:
    """Let what ends within the block for want of memory name the picture that it was, and the task.

    Raises:
        InputError: memory did not suffice.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_lack_of_memory(error):
            raise
        raise InputError(f"{source}: memory does not suffice to {task}") from error


def megabytes(number: float) -> str:
    return f"{number / 1e6:.0f} MB"


def peak_memory(run: Callable[[Tensor], Restoration], device: torch.device, side: int) -> int:
    """The bytes that tensors take at the worst moment while a network restores an image of that side."""

    def once() -> None:
        run(torch.zeros(1, 3, side, side, device=device))

    once()  # what is made at first use and kept is not counted
    if device.type == "cuda":
        return peak_on_gpu(device, once)
    with Allocations() as allocations:
        once()
    return allocations.most


def peak_on_gpu(device: torch.device, work: Callable[[], None]) -> int:
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    work()
    return torch.cuda.max_memory_allocated(device) - before


class Allocations(TorchDispatchMode):
    """Within it, ``now`` is the bytes of all tensors that were made and still exist, ``most`` the largest it was."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.alive: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self.note(tensor.untyped_storage())
        return result

    def note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self.alive:
            self.alive.add(key)
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self.forget, key, size)

    def forget(self, key: int, size: int) -> None:
        self.alive.discard(key)
        self.now -= size


def free_memory(device: torch.device) -> int | None:
    """The bytes that this process could still have on a device; None where the system does not tell."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by PyTorch, for itself
        return torch.cuda.mem_get_info(device)[0] + kept
    free = [one for one in (available_memory(), memory_of_group()) if one is not None]
    return min(free, default=None)


def available_memory(table: Path = Path("/proc/meminfo")) -> int | None:
    """What Linux says is available, in bytes."""
    try:
        lines = table.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def memory_of_group(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int | None:
    """What a container, or a cluster's job, may still take of its share, in bytes; None where it has no limit.

    That of every group (version 2) that this process is in; what the system only keeps of files counts as free.
    """
    try:
        inner = next(line for line in own.read_text().splitlines() if line.startswith("0::"))[len("0::/") :]
    except (OSError, StopIteration):
        return None
    left = []
    for group in (root / inner, *(root / inner).parents):
        if group.is_relative_to(root):
            with suppress(OSError, ValueError):  # not there, or "max"
                most = int((group / "memory.max").read_text())
                stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
                used = int((group / "memory.current").read_text()) - int(stat["inactive_file"])
                left.append(max(0, most - used))
    return min(left, default=None)
