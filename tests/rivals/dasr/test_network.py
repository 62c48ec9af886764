import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from arcsr_lightning.rivals.dasr.network import DASR, DASRRestorer, DegradationEncoder
from arcsr_lightning.scores.cost import parameters


def small(scale=2):
    return DASR(DegradationEncoder(8), DASRRestorer(scale, width=8, groups=1, blocks=1))


@pytest.fixture(scope="module")
def published():
    """The network at its published size, without memory for its weights."""
    with torch.device("meta"):
        return DASR(DegradationEncoder(), DASRRestorer(4)).eval()


def test_parameter_counts(published):
    encoder, restorer = published.encoder, published.restorer
    assert parameters(encoder) == 1_278_784
    assert parameters(encoder.trunk) == 1_147_200
    # The publication counts two frozen 1x1 convolutions (3x3 weights and 3 biases each) that subtract and add the mean
    # colour. They are constants, not parameters: here a buffer of three values.
    mean_shift = 2 * (9 + 3)
    assert parameters(restorer) + mean_shift == 4_690_523
    assert parameters(published) + mean_shift == 5_969_307
    assert parameters(published) + mean_shift - parameters(encoder.head) == 5_837_723
    assert all(p.requires_grad for p in published.parameters())


def test_multiply_accumulates_at_lr_64(published):
    with FlopCounterMode(display=False) as counter:
        published(torch.empty(1, 3, 64, 64, device="meta"))
    assert counter.get_total_flops() / 2e9 == pytest.approx(13.17, rel=0.01)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (7, 10), (13, 9)])
def test_any_lr_size_from_one_pixel_up(scale, size):
    height, width = size
    sr, kernel = small(scale).eval()(torch.rand(2, 3, height, width))
    assert sr.shape == (2, 3, scale * height, scale * width)
    assert kernel is None


def test_images_are_shifted_by_the_mean_colour_and_back():
    """A restorer of zeros says "nothing to add to the mean"; its head sees zero where the image is the mean."""
    restorer = small().restorer
    nn.init.zeros_(restorer.tail.weight)
    nn.init.zeros_(restorer.tail.bias)
    mean = torch.tensor([0.4488, 0.4371, 0.4040])[None, :, None, None]
    sr = restorer(torch.rand(1, 3, 4, 5), torch.rand(1, 32))
    torch.testing.assert_close(sr, mean.expand_as(sr))
    seen = []
    restorer.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    restorer(mean.expand(1, 3, 4, 5) + 1 / 255, torch.rand(1, 32))
    torch.testing.assert_close(seen[0], torch.ones(1, 3, 4, 5), atol=1e-3, rtol=0)


def test_the_vector_steers_the_restoration():
    torch.manual_seed(0)
    network, lr = small().eval(), torch.rand(2, 3, 6, 6)
    vector = network.encoder(lr)
    torch.testing.assert_close(network(lr).sr, network.restorer(lr, vector))
    assert not torch.allclose(network(lr).sr, network.restorer(lr, -vector))


def texture(images, side, generator):
    layers = [
        F.interpolate(torch.rand(images, 3, s, s, generator=generator), size=(side, side), mode="bicubic")
        for s in (side, side // 2, side // 4)
    ]
    return torch.stack(layers).mean(0).clamp(0, 1)


def change(encoder, x, y):
    """Relative change of the vector, mean over images."""
    with torch.no_grad():
        return ((encoder(y) - encoder(x)).norm(dim=1) / encoder(x).norm(dim=1)).mean().item()


def test_the_vector_ignores_where_patches_are():
    """Half a turn of the image around a torus makes its four quarters change places.

    What is left is due to borders and seams, hence halves when sides double: 8 % at 64 pixels, 3 % at 128. A blur of
    3x3 changes the vector of the same images by more than 60 %, noise of 10 levels and other images by 7 % or more.
    """
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    encoder = DegradationEncoder(8)
    with torch.no_grad():
        for _ in range(60):  # batch normalisation needs statistics
            encoder(texture(2, 64, generator))
    encoder.eval()
    moved = {}
    for side in (64, 128):
        x = texture(4, side, generator)
        moved[side] = change(encoder, x, x.roll((side // 2, side // 2), (2, 3)))
    blurred = change(encoder, x, F.avg_pool2d(F.pad(x, [1] * 4, mode="replicate"), 3, 1))
    noisy = change(encoder, x, x + torch.randn(x.shape, generator=generator) * 10 / 255)
    assert moved[64] < 0.12
    assert moved[128] < 0.05
    assert moved[128] < 0.6 * moved[64]
    assert blurred > 10 * moved[128]
    assert noisy > 1.5 * moved[128]
    assert change(encoder, x, x.roll(1, 0)) > 1.5 * moved[128]


def test_every_parameter_but_the_head_s_learns_from_the_image():
    torch.manual_seed(0)
    network = small()
    network(torch.rand(2, 3, 8, 8)).sr.square().mean().backward()
    silent = {name for name, p in network.named_parameters() if p.grad is None}
    assert silent == {f"encoder.head.{i}.{kind}" for i in (0, 2) for kind in ("weight", "bias")}


@pytest.mark.parametrize(
    ("build", "message"),
    [(lambda: DASRRestorer(scale=5), "scale must be 2, 3 or 4, got 5"), (lambda: DASRRestorer(width=4), "8 channels")],
)
def test_impossible_networks_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
