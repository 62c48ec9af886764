"""DASR's parts are the published functions."""

import pytest
import torch
from torch import nn

from arcsr_lightning.rivals.dasr import DASRLoss
from arcsr_lightning.rivals.dasr.network import DASR, DASRRestorer, DegradationEncoder
from tests.rivals.golden_files import assert_golden

PARTS = {
    "dasr_encoder": (lambda: DegradationEncoder(64), lambda net, lr: {"vector": net(lr), "head": net.head(net(lr))}),
    "dasr_sr_x4": (lambda: DASRRestorer(4, 64, 2, 1), lambda net, lr, vector: {"sr": net(lr, vector)}),
    "dasr_sr_x3": (lambda: DASRRestorer(3, 64, 2, 1), lambda net, lr, vector: {"sr": net(lr, vector)}),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_the_published_function(part, dtype):
    build, run = PARTS[part]
    with torch.no_grad():
        assert_golden(part, build(), run, dtype)


def test_two_steps_of_the_contrast_are_the_published_ones():
    """Loss, gradients, queue, and the key encoder, whose running statistics are its own.

    In float64 alone: gradients jump where rounding moves a feature over the kink of a leaky ReLU, which in float32
    some processors do and others do not.
    """
    names = ["trunk.0.weight", "trunk.16.bias", "head.2.weight"]

    def train(encoder, lr, lr_key, queue):
        network = DASR(encoder.train(), nn.Identity())
        loss = DASRLoss(DegradationEncoder(64), len(queue), image_weight=0, contrast_weight=1.0).to(queue.dtype)
        loss.queue.copy_(queue)
        optimizer, found = torch.optim.SGD(encoder.parameters(), lr=0.05), {}
        for step in range(2):
            optimizer.zero_grad()
            terms = loss(network, {"lr": lr[step], "lr_key": lr_key[step]})
            terms["loss"].backward()
            found[f"loss{step}"] = terms["loss"]
            found |= {f"grad{step}/{name}": encoder.get_parameter(name).grad[:8].clone() for name in names}
            optimizer.step()
            found |= {f"queue{step}": loss.queue.clone(), f"pointer{step}": loss.pointer.clone()}
            keys = loss.key_encoder.state_dict()
            statistics = ["trunk.1.running_mean", "trunk.1.running_var"]
            found |= {f"key{step}/{name}": keys[name][:8].clone() for name in names + statistics}
        return found

    assert_golden("dasr_contrast", DegradationEncoder(64), train, torch.float64)
