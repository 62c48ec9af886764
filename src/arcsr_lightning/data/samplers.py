"""Which sample numbers make up which training batch."""

from collections.abc import Callable, Iterator

from torch.utils.data import Sampler

from arcsr_lightning.errors import InputError


class StepSampler(Sampler[list[int]]):
    """Numbers every training sample of a run: batch t holds the numbers t * batch_size to (t + 1) * batch_size - 1.

    With samples that are pure functions of their number, what a run sees depends neither on the number of processes
    nor on interruptions.

    ``len()`` is ``steps`` wherever a pass begins, because Lightning counts a resumed pass from its first batch.

    Args:
        batch_size: over all processes; each takes an equal share.
        steps: batches in the whole pass.
        start: asked at the start of every pass for the batch to begin with.
        rank: which share is taken.
        world_size: number of processes.
        offset: batches of passes before this one, whose samples are not seen again.

    Raises:
        InputError: ``batch_size`` is not a positive multiple of ``world_size``.
    """

    def __init__(
        self,
        batch_size: int,
        steps: int,
        start: Callable[[], int] = lambda: 0,
        rank: int = 0,
        world_size: int = 1,
        offset: int = 0,
    ) -> None:
        if batch_size < 1 or batch_size % world_size:
            raise InputError(
                f"data.batch_size counts the samples of all processes: with {world_size} of them it must be a positive "
                f"multiple of {world_size}, got {batch_size}"
            )
        self.batch_size = batch_size
        self.steps = steps
        self.start = start
        self.share = batch_size // world_size
        self.rank = rank
        self.offset = offset

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.start(), self.steps):
            first = (self.offset + step) * self.batch_size + self.rank * self.share
            yield list(range(first, first + self.share))

    def __len__(self) -> int:
        return self.steps
