"""The moving average of the weights: its numbers, and what it asks of a device."""

import pytorch_lightning as pl
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from arcsr_lightning.training.averaging import MovingAverage, move, pairs_of


def test_the_average_is_that_of_torch(tmp_path):
    class Line(pl.LightningModule):
        """A weight that every second batch lowers by a tenth, and a count of batches."""

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)
            self.register_buffer("batches", torch.tensor(0))
            self.register_buffer("share", torch.tensor(0.0))
            self.expected = []

        def training_step(self, batch, batch_idx):
            self.batches += 1
            self.share += 0.5
            return self.layer.weight.sum()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

        def on_train_batch_end(self, outputs, batch, batch_idx):
            if batch_idx % 2:
                self.expected.append(nn.ParameterList(parameter.clone() for parameter in self.layer.parameters()))
                self.expected[-1].register_buffer("share", self.share.clone())

    module, average = Line(), MovingAverage(0.75)
    settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", accumulate_grad_batches=2, callbacks=[average], default_root_dir=tmp_path,
        enable_model_summary=False, **settings,
    )  # fmt: skip
    trainer.fit(module, DataLoader(range(10)))
    oracle = AveragedModel(module.expected[0], avg_fn=get_ema_avg_fn(0.75), use_buffers=True)
    for state in module.expected:
        oracle.update_parameters(state)
    assert len(module.expected) == average._average_model.n_averaged == 5
    torch.testing.assert_close([*module.layer.parameters()], [*oracle.module.parameters()])
    torch.testing.assert_close(module.share, oracle.module.share)
    assert module.batches == 10


def test_a_move_takes_two_calls_however_many_tensors_there_are():
    class Calls(TorchDispatchMode):
        names: list = []  # noqa: RUF012

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func.namespace == "aten" and "detach" not in func.name():
                self.names.append(func.overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    average, network = (nn.Sequential(*(nn.BatchNorm2d(4) for _ in range(20))) for _ in range(2))
    pairs = pairs_of(average, network)
    with Calls() as calls:
        move(pairs, 0.9)
    assert calls.names == ["_foreach_lerp_", "_foreach_copy_"]
