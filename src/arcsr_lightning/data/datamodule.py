"""The data sets of a run, as Lightning wants them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.overrides.distributed import UnrepeatedDistributedSampler
from torch.utils.data import DataLoader, Dataset

from arcsr_lightning.data.images import header_size
from arcsr_lightning.data.samplers import StepSampler
from arcsr_lightning.data.synthetic import SyntheticTraining, Undegraded
from arcsr_lightning.data.workers import Watched, obey_parent_only, places_of_the_dead
from arcsr_lightning.errors import InputError
from arcsr_lightning.processes import rank_zero_info

DatasetFactory = Callable[[], Dataset]


class SRDataModule(pl.LightningDataModule):
    """Loaders for training, validation and test.

    The data sets are made when a stage begins, so that an evaluation does not need the training images. The trainer
    needs ``max_steps`` (training is one pass of so many steps) and, on several devices,
    ``use_distributed_sampler=False``: every process takes its share of each batch and of the evaluation images, none
    of them twice.

    Args:
        train: makes the training set.
        val: each makes a validation set (one per noise level, say).
        test: each makes a test set.
        batch_size: of training, over all processes; evaluation takes one image at a time, as sizes differ.
        num_workers: processes that make samples, for each loader.
        first_step: steps of the stages before, so that no stage sees their samples again.
        degrade_on: where the samples of a synthetic training set are degraded: ``worker``, one by one where they are
            drawn, or ``device``, in batches where the network trains. They are the same, up to rounding.
        least_side: the least height and width of the HR images of validation and test, in pixels.

    Raises:
        InputError: ``degrade_on`` is neither, or the training set degrades nothing; a stage begins whose trainer or
            ``batch_size`` does not allow the above, or one of whose evaluation images is too small.
    """

    def __init__(
        self,
        train: DatasetFactory,
        val: Sequence[DatasetFactory],
        test: Sequence[DatasetFactory],
        batch_size: int,
        num_workers: int = 0,
        first_step: int = 0,
        degrade_on: str = "worker",
        least_side: int = 1,
    ) -> None:
        super().__init__()
        if degrade_on not in ("worker", "device"):
            raise InputError(f"data.degrade_on must be worker or device, got {degrade_on}")
        self.make_train, self.make_val, self.make_test = train, val, test
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.first_step = first_step
        self.degrade_on = degrade_on
        self.least_side = least_side
        self.watched: list[Watched] = []

    def setup(self, stage: str) -> None:
        self.watched = []  # the workers of another stage have ended
        if stage == "fit":
            self.train_set = self.make_train()
            if self.degrade_on == "device" and not isinstance(self.train_set, SyntheticTraining):
                raise InputError("data.degrade_on=device: these data are degraded already; leave it at worker")
        if stage in ("fit", "validate"):
            self.val_sets = [make() for make in self.make_val]
            check_sides(self.val_sets, self.least_side)
        if stage == "fit":
            note_shared(self.train_set, self.val_sets)
        if stage == "test":
            self.test_sets = [make() for make in self.make_test]
            check_sides(self.test_sets, self.least_side)

    def train_dataloader(self) -> "ResumableLoader":
        trainer = self.trainer
        if trainer.max_steps < 0:
            raise InputError("trainer.max_steps must be set: the length of a training is its number of steps")
        sampler = StepSampler(
            self.batch_size,
            trainer.max_steps * trainer.accumulate_grad_batches,
            # Overfitting means to see the same few batches again and again.
            lambda: 0 if trainer.overfit_batches else trainer.global_step * trainer.accumulate_grad_batches,
            trainer.global_rank,
            trainer.world_size,
            self.first_step * trainer.accumulate_grad_batches,
        )
        samples = Undegraded(self.train_set) if self.degrade_on == "device" else self.train_set
        return ResumableLoader(self._watch(samples), batch_sampler=sampler, **self.loading)

    @property
    def loading(self) -> dict[str, Any]:
        return {
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
            "worker_init_fn": obey_parent_only,
            "pin_memory": self.trainer.strategy.root_device.type == "cuda",
        }

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        moved = super().transfer_batch_to_device(batch, device, dataloader_idx)
        if isinstance(batch, dict) and "jpeg_quality" in batch:
            moved["jpeg_quality"] = batch["jpeg_quality"]  # which the codec looks at: on a GPU it would wait for it
        return moved

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if not (self.degrade_on == "device" and self.trainer.training):
            return batch
        return self.train_set.degrade(batch)

    def val_dataloader(self) -> list[DataLoader]:
        return [self._evaluation_loader(dataset) for dataset in self.val_sets]

    def test_dataloader(self) -> list[DataLoader]:
        return [self._evaluation_loader(dataset) for dataset in self.test_sets]

    def _evaluation_loader(self, dataset: Dataset) -> DataLoader:
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        if len(dataset) < world_size:
            raise InputError(f"{len(dataset)} evaluation images cannot be shared by {world_size} processes; use fewer")
        sampler = UnrepeatedDistributedSampler(dataset, world_size, rank, shuffle=False) if world_size > 1 else None
        return DataLoader(self._watch(dataset), batch_size=1, sampler=sampler, **self.loading)

    def _watch(self, dataset: Dataset) -> Dataset:
        if not self.num_workers:
            return dataset
        self.watched.append(Watched(dataset, self.num_workers))
        return self.watched[-1]

    @contextmanager
    def naming_dead_workers(self) -> Iterator[None]:
        """Let the error of a data worker that dies within the block name the sample and the file it was at.

        Raises:
            ChildProcessError: a data worker died.
        """
        try:
            yield
        except (RuntimeError, ConnectionError, EOFError) as error:
            places = places_of_the_dead(error, self.watched)
            if places is None:
                raise
            at = " and ".join(places) or "before any sample"
            raise ChildProcessError(
                f"a data worker died {at}; where memory ran out, lower data.num_workers, use "
                "smaller images, or read them from a store (data.store=PATH)"
            ) from error


def check_sides(datasets: Sequence[Dataset], least: int) -> None:
    """Check the size of evaluation images before hours of training; sets that do not tell their files are left out.

    Raises:
        InputError: one is lower or narrower than ``least`` pixels; names it.
    """
    sets = [dataset for dataset in datasets if least > 1 and hasattr(dataset, "source")]
    for path in dict.fromkeys(dataset.source(number) for dataset in sets for number in range(len(dataset))):
        size = header_size(path)
        if size and min(size) < least:
            raise InputError(
                f"{path} is {size[0]}x{size[1]}, and an image of validation or test needs {least} pixels a side to be "
                "scored; remove it"
            )


def note_shared(train_set: Dataset, val_sets: Sequence[Dataset]) -> None:
    """Say so where images are trained on and validated on: what is chosen by them flatters itself."""
    validated = set().union(*map(sharp_files, val_sets))
    if shared := validated & sharp_files(train_set):
        rank_zero_info(
            f"{len(shared)} of {len(validated)} validation images are trained on, too ({min(shared)}, say): scores "
            "on them say little of others; keep data.val_root out of data.root"
        )


def sharp_files(dataset: Dataset) -> set[Path]:
    """The sharp images that a data set is made of; of one that does not tell its files, none."""
    if hasattr(dataset, "parts"):
        return set().union(*map(sharp_files, dataset.parts.values()))
    pairs = getattr(dataset, "pairs", ())
    return {path.resolve() for path in getattr(dataset, "paths", [pair.hr for pair in pairs])}


class ResumableLoader(DataLoader):
    """Tells Lightning that training can resume within a pass; the sampler learns the step from the trainer."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass
