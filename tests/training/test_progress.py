"""What a training says of itself: speed, memory, the network's size, a line for every validation."""

import csv
import re
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.demos.boring_classes import BoringModel
from torch import nn
from torch.utils.data import DataLoader

from arcsr_lightning.networks import Restoration
from arcsr_lightning.train import train
from arcsr_lightning.training import progress
from arcsr_lightning.training.progress import GpuMemory, Progress, Throughput, network_lines

# ---------------------------------------------------------------- throughput


def test_throughput_is_images_per_second_of_training(monkeypatch):
    clock, logged = [0.0], []
    monkeypatch.setattr(progress.time, "perf_counter", lambda: clock[0])
    trainer = SimpleNamespace(world_size=2, global_step=0, log_every_n_steps=2)
    module = SimpleNamespace(log=lambda name, value: logged.append((name, value)))
    callback = Throughput()
    callback.on_train_start(trainer, module)
    for _ in range(4):
        clock[0] += 0.5
        trainer.global_step += 1
        callback.on_train_batch_end(trainer, module, None, {"lr": torch.zeros(3, 3, 4, 4)}, 0)
        if trainer.global_step == 2:
            clock[0] += 100  # of validation
            callback.on_validation_end(trainer, module)
    assert logged == [("train/images_per_s", 2 * 2 * 3 / 1.0)] * 2


def test_throughput_counts_all_batches_of_an_accumulated_step(monkeypatch):
    clock, logged = [0.0], []
    monkeypatch.setattr(progress.time, "perf_counter", lambda: clock[0])
    trainer = SimpleNamespace(world_size=1, global_step=0, log_every_n_steps=1)
    module = SimpleNamespace(log=lambda name, value: logged.append(value))
    callback = Throughput()
    callback.on_train_start(trainer, module)
    for batch in range(6):
        clock[0] += 1
        trainer.global_step = (batch + 1) // 3
        callback.on_train_batch_end(trainer, module, None, {"lr": torch.zeros(2, 3, 4, 4)}, batch)
    assert logged == [2.0, 2.0]


def test_throughput_and_learning_rate_are_in_the_csv(trained):
    with (trained / "csv/version_0/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    speeds = [float(row["train/images_per_s"]) for row in rows if row["train/images_per_s"]]
    rates = [float(row["lr-Adam"]) for row in rows if row["lr-Adam"]]
    assert len(speeds) == len(rates) == 4
    assert min(speeds) > 0
    assert rates[0] == 1e-3
    assert rates == sorted(rates, reverse=True)


# ---------------------------------------------------------------- progress bar


class Total(Progress):
    """Keeps how many batches the bar of a training has."""

    def on_train_epoch_start(self, trainer, module):
        self.total = self.total_train_batches


def test_the_bar_of_a_training_that_goes_on_counts_all_its_batches(tmp_path):
    def total(steps: int, ckpt_path=None) -> int:
        bar = Total()
        trainer = pl.Trainer(
            max_steps=steps, max_epochs=-1, accumulate_grad_batches=2, accelerator="cpu", callbacks=[bar], logger=False,
            default_root_dir=tmp_path, enable_checkpointing=False, enable_model_summary=False, limit_val_batches=0,
        )  # fmt: skip
        trainer.fit(BoringModel(), DataLoader(torch.rand(8, 32)), ckpt_path=ckpt_path)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        return bar.total

    assert total(1) == 8
    assert total(4, tmp_path / "last.ckpt") == 8


# ---------------------------------------------------------------- GPU memory


def test_gpu_memory_is_the_peak_since_it_was_last_logged(monkeypatch):
    peak, logged = [7], []
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: peak[0] * 2**30)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: peak.__setitem__(0, 0))
    trainer = SimpleNamespace(global_step=0, log_every_n_steps=2)
    module = SimpleNamespace(
        device=torch.device("cuda"), log=lambda name, value, **how: logged.append((name, value, how["reduce_fx"]))
    )
    callback = GpuMemory()
    callback.on_train_start(trainer, module)  # what came before the training does not count
    for gib in (3, 2, 1, 1.5):
        trainer.global_step += 1
        peak[0] = max(peak[0], gib)
        callback.on_train_batch_end(trainer, module, None, {}, 0)
    assert logged == [("gpu/memory_gib", 3, "max"), ("gpu/memory_gib", 1.5, "max")]


# ---------------------------------------------------------------- lines in the log


def test_every_validation_of_a_training_leaves_a_line(configure, tmp_path, caplog):
    with caplog.at_level("INFO", logger="arcsr_lightning.training.progress"):
        train(configure(tmp_path))
    with (tmp_path / "csv/version_0/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    lines = [line for line in caplog.messages if line.startswith("step ")]
    form = r"step (\d+): val/psnr ([\d.]+) dB, val/ssim ([\d.]+), train/loss ([\d.]+), [\d.]+ images/s"
    found = [[float(number) for number in re.fullmatch(form, line).groups()] for line in lines]
    validations = [row for row in rows if row["val/psnr"]]
    losses = [float(row["train/loss"]) for row in rows if row["train/loss"]]
    assert len(losses) == 4
    for (step, psnr, ssim, loss), row, both in zip(found, validations, (losses[:2], losses[2:]), strict=True):
        assert step == int(row["step"]) + 1
        assert psnr == pytest.approx(float(row["val/psnr"]), abs=0.006)
        assert ssim == pytest.approx(float(row["val/ssim"]), abs=6e-5)
        assert loss == pytest.approx(sum(both) / 2, abs=6e-6)


class Net(nn.Module):
    """Two parts, of which the first is frozen."""

    scale = 2

    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 4, 3, padding=1).requires_grad_(False)
        self.tail = nn.Conv2d(4, 12, 1, bias=False)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, lr):
        return Restoration(self.shuffle(self.tail(self.head(lr))))


def test_the_size_of_a_network_and_of_its_parts_is_said_in_lines():
    head, tail = (64 * 64 * 3 * 4 * 9 / 1e9, 64 * 64 * 4 * 12 / 1e9)
    assert network_lines(Net()) == [
        f"Net: 160 parameters, 48 of them trained; GMACs {head + tail:.2f} for 64×64 LR pixels",
        f"  head: 112 parameters, 0 of them trained; GMACs {head:.2f}",
        f"  tail: 48 parameters, 48 of them trained; GMACs {tail:.2f}",
    ]


def test_a_network_that_needs_numbers_to_run_has_a_size_all_the_same():
    class Moody(Net):
        def forward(self, lr):
            return super().forward(lr if lr.mean().item() > 0 else -lr)

    assert network_lines(Moody())[0] == "Moody: 160 parameters, 48 of them trained; GMACs unknown for 64×64 LR pixels"
