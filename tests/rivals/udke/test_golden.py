"""UDKE's parts are the published functions."""

import pytest
import torch
from torch import nn

from arcsr_lightning import compose
from arcsr_lightning.launch import build_network
from arcsr_lightning.rivals.udke.network import HyPaNet, NetK, NetX
from arcsr_lightning.rivals.udke.unfolding import image_step, kernel_step
from tests.rivals.golden_files import assert_golden


def steps(_, **given):
    found = {}
    for scale in (2, 3, 4):
        inputs = [given[f"{name}{scale}"] for name in ("x", "lr", "kernel", "weight")]
        found |= {f"image{scale}": image_step(*inputs, scale), f"kernel{scale}": kernel_step(*inputs, scale)}
    return found


def every_stage(network, lr, noise_level):
    images, kernels = network.unfold(lr, noise_level)
    return {f"image{i}": x for i, x in enumerate(images)} | {f"kernel{i}": k for i, k in enumerate(kernels)}


def published(scale):
    """By the configuration's own settings, but for the size."""
    form = ["udke.kernel_size=11", "udke.downsampler=stride", "udke.border=circular"]
    small = ["udke.stages=2", "udke.blocks=1", "udke.width=8"]
    return build_network(compose(["data=sample", "model=udke", f"scale={scale}", *form, *small]).model)


PARTS = {
    "udke_netx": (lambda: NetX(8, 1), lambda net, x, beta: {"x": net(x, beta)}),
    "udke_netk": (lambda: NetK(16), lambda net, beta, **kernels: {name: net(k, beta) for name, k in kernels.items()}),
    "udke_hypanet": (
        lambda: HyPaNet(256),
        lambda net, noise_level: {"alpha_x_beta_x_alpha_k_beta_k": torch.stack(net(noise_level))},
    ),
    "udke_steps": (nn.Identity, steps),
    "udke_whole_x4": (lambda: published(4), every_stage),
    "udke_whole_x2": (lambda: published(2), every_stage),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_the_published_function(part, dtype):
    build, run = PARTS[part]
    with torch.no_grad():
        assert_golden(part, build(), run, dtype)
