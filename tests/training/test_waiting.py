"""Between two steps that are logged nothing looks at a number that a device is still computing."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from arcsr_lightning.train import train
from arcsr_lightning.training.module import SRModule, mean_of_processes


class Waits(TorchDispatchMode):
    """At which steps a tensor becomes a number of Python, which waits for a device that computes it."""

    def __init__(self):
        super().__init__()
        self.step, self.steps = None, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default and args[0].dtype != torch.int64:  # counters are Python's
            self.steps.append(self.step)
        return func(*args, **(kwargs or {}))


def test_a_step_that_is_not_logged_waits_for_nothing(configure, tmp_path, monkeypatch):
    healthy = SRModule.training_step

    def counted(self, batch, batch_idx):
        waits.step = self.global_step
        return healthy(self, batch, batch_idx)

    monkeypatch.setattr(SRModule, "training_step", counted)
    settings = ("trainer.max_steps=8", "trainer.val_check_interval=8", "trainer.log_every_n_steps=4", "test=false")
    bar = (
        "+callbacks.progress._target_=arcsr_lightning.training.progress.Progress",
        "trainer.enable_progress_bar=true",
    )
    with Waits() as waits:
        train(configure(tmp_path, *settings, *bar, "optimizer.fused=true", "callbacks.last.every_n_train_steps=8"))
    during = set(waits.steps) - {None}
    assert during <= {2, 3, 6, 7}, during  # 3 and 7 are logged, from their start on; 6 is saved, before a validation
    assert 3 in during  # the measure sees what it should


def test_losses_of_all_processes_meet_without_a_barrier(monkeypatch):
    """A barrier of NCCL waits for the device. Here two processes have the same losses."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda x: x.mul_(2))
    monkeypatch.setattr(torch.distributed, "barrier", lambda *args, **kwargs: pytest.fail("a barrier"))
    assert mean_of_processes(torch.tensor([1.0, 3.0])).tolist() == [1, 3]


@pytest.mark.parametrize("every", [50, 1])
def test_a_loss_that_is_no_number_is_found_before_anything_is_saved(configure, tmp_path, monkeypatch, every):
    healthy = SRModule.watch_loss

    def failing(self, loss):
        healthy(self, loss * (torch.nan if self.global_step == 1 else 1))

    monkeypatch.setattr(SRModule, "watch_loss", failing)
    settings = ("trainer.val_check_interval=4", "callbacks.last.every_n_train_steps=4")
    with pytest.raises(FloatingPointError, match="the loss is nan at step 1"):
        train(configure(tmp_path, *settings, f"trainer.log_every_n_steps={every}"))
    assert not list(tmp_path.rglob("*.ckpt"))
