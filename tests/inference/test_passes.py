"""Passes over turned images, and passes in bfloat16, against what they must keep."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from arcsr_lightning.degradation import SYMMETRIES, turn, turn_field
from arcsr_lightning.inference import device, passes, placed, run_network
from arcsr_lightning.inference.device import layout_of
from arcsr_lightning.launch import build_network, compose
from arcsr_lightning.networks.restoration import Restoration


class Lopsided(nn.Module):
    """A network that treats no two symmetries alike."""

    scale = 2

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.image = nn.Parameter(torch.randn(12, 3, 3, 3, generator=generator) / 3)
        self.field = nn.Parameter(torch.randn(9, 3, 3, 3, generator=generator) / 3)
        self.computed_in = None

    def forward(self, lr):
        features = F.conv2d(lr, self.image, padding=1)
        self.computed_in = features.dtype
        return Restoration(F.pixel_shuffle(features, 2), F.conv2d(lr, self.field, padding=1).softmax(1))


@pytest.fixture
def lr():
    return torch.rand(2, 3, 7, 10, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def test_eight_passes_are_the_mean_of_what_is_made_of_each_turned_image(lr):
    network, total = Lopsided(), 0
    for mirrored in (False, True):
        for turns in range(4):
            image = np.flip(lr.numpy(), -1) if mirrored else lr.numpy()
            image = np.rot90(image, turns, (-2, -1)).copy()
            back = np.rot90(network(torch.from_numpy(image)).sr.numpy(), -turns, (-2, -1))
            total = total + (np.flip(back, -1) if mirrored else back)
    np.testing.assert_allclose(run_network(network, lr, ensemble=8).sr.numpy(), total / 8, rtol=0, atol=1e-6)


@pytest.mark.parametrize("symmetry", SYMMETRIES, ids=str)
def test_eight_passes_turn_with_the_image_and_so_do_their_kernels(lr, symmetry):
    network = Lopsided()
    upright, turned = run_network(network, lr, 8), run_network(network, turn(lr, symmetry), 8)
    torch.testing.assert_close(turned.sr, turn(upright.sr, symmetry))
    torch.testing.assert_close(turned.kernel, turn_field(upright.kernel, symmetry))
    if symmetry != SYMMETRIES[0]:  # or the test could not fail
        one = run_network(network, turn(lr, symmetry)).sr - turn(run_network(network, lr).sr, symmetry)
        assert one.abs().max() > 0.1


def test_bfloat16_is_computed_in_and_float32_comes_out(lr):
    network = Lopsided()
    exact, rounded = run_network(network, lr), run_network(network, lr, precision="bf16")
    assert network.computed_in == torch.bfloat16
    assert rounded.sr.dtype == rounded.kernel.dtype == torch.float32
    torch.testing.assert_close(rounded.sr, exact.sr, rtol=2**-6, atol=2**-6)
    assert not torch.equal(rounded.sr, exact.sr)


@pytest.mark.parametrize("ensemble", [1, 8])
@pytest.mark.parametrize("precision", [32, "bf16"])
def test_kernels_of_arcsr_still_sum_to_one(lr, ensemble, precision):
    tiny = ["arcsr.estimator_width=4", "arcsr.estimator_levels=2", "arcsr.width=4", "arcsr.blocks=1", "kernel_size=3"]
    network = build_network(compose(["data=sample", *tiny]).model).eval()
    restored = run_network(network, lr, ensemble, precision)
    torch.testing.assert_close(restored.kernel.sum(1), torch.ones(2, 7, 10), rtol=0, atol=1e-5)
    torch.testing.assert_close(restored.sr, run_network(network, lr, ensemble).sr, rtol=0, atol=2e-2)


def test_kernels_are_left_out_on_request(lr):
    assert run_network(Lopsided(), lr, 8, keep_kernel=False).kernel is None


def test_a_network_on_a_gpu_is_given_weights_and_images_channels_last(lr, monkeypatch):
    """As KGconv leaves them there. No GPU here: the layout of one is asked for on the CPU."""
    network = Lopsided()
    for module in (device, passes):
        monkeypatch.setattr(module, "layout_of", lambda device: layout_of(torch.device("cuda")))
    seen = []
    network.register_forward_pre_hook(lambda network, inputs: seen.append(inputs[0]))
    run_network(placed(network, torch.device("cpu")), lr)
    assert network.image.is_contiguous(memory_format=torch.channels_last)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert layout_of(torch.device("cpu")) is torch.contiguous_format
