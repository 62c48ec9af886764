import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from arcsr_lightning.errors import InputError
from arcsr_lightning.rivals.redegnet import (
    ConditionalDiscriminator,
    ContentEncoder,
    DegNet,
    Generator,
    Synthesiser,
    UNetDiscriminator,
    from_signed,
    to_signed,
)
from arcsr_lightning.rivals.redegnet.generator import modulated_conv2d
from arcsr_lightning.scores.cost import parameters

SMALL = {"image_size": 32, "width": 4, "widest": 8}


def small() -> Synthesiser:
    torch.manual_seed(0)
    return Synthesiser(
        DegNet(**SMALL, code=6), ContentEncoder(**SMALL), Generator(**SMALL, code=6, style_layers=2)
    ).eval()


def images(batch: int = 2, side: int = 32, seed: int = 0) -> torch.Tensor:
    return 2 * torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(seed)) - 1


@pytest.mark.parametrize(
    ("build", "count"),
    [
        (DegNet, 13_089_600),
        (ContentEncoder, 15_972_480),
        (Generator, 45_182_434 - 6),  # six factors of its second layers are never read
        (ConditionalDiscriminator, 10_368_065),
        (UNetDiscriminator, 4_376_897),
    ],
)
def test_parameter_counts_are_the_publication_s(build, count):
    with torch.device("meta"):
        assert parameters(build()) == count


def test_the_synthesiser_costs_what_the_publication_s_does():
    with torch.device("meta"):
        synthesiser, image = Synthesiser(DegNet(), ContentEncoder(), Generator()), torch.rand(1, 3, 256, 256)
        with FlopCounterMode(display=False) as counter:
            synthesiser.generator(synthesiser.content(image), synthesiser.degradation(image, image))
    assert counter.get_total_flops() / 2e9 == pytest.approx(58.36, rel=1e-3)


@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize("demodulate", [True, False])
def test_modulated_convolution_is_a_convolution_per_sample(kernel_size, demodulate):
    torch.manual_seed(0)
    x, weight, style = torch.randn(3, 4, 5, 6), torch.randn(2, 4, kernel_size, kernel_size), torch.randn(3, 4)
    expected = []
    for image, factors in zip(x, style, strict=True):
        own = weight * factors[None, :, None, None]
        if demodulate:
            own = own / own.flatten(1).norm(dim=1)[:, None, None, None]
        expected.append(F.conv2d(image[None], own, padding=kernel_size // 2))
    torch.testing.assert_close(modulated_conv2d(x, weight, style, demodulate), torch.cat(expected))


def test_a_step_of_adam_moves_modulated_weights_by_its_rate_of_their_spread():
    generator = small().generator
    weights = [p for name, p in generator.named_parameters() if name.endswith("s.1.weight") or "rgb.1.weight" in name]
    before = [weight.clone() for weight in weights]
    generator([features.detach() for features in small().content(images())], torch.randn(2, 6)).sum().backward()
    torch.optim.Adam(weights, lr=1e-4).step()
    for weight, old in zip(weights, before, strict=True):
        moved = (weight - old).abs() / old.std()
        assert moved.median().item() == pytest.approx(1e-4, rel=0.3)


@pytest.mark.parametrize("side", [16, 32, 64])
def test_maps_code_and_image_have_the_documented_sizes(side):
    sizes = {"image_size": side, "width": 4, "widest": 8}
    maps = ContentEncoder(**sizes)(images(side=side))
    sides = [4, *(2**level for level in range(2, side.bit_length()))]
    assert [tuple(features.shape[2:]) for features in maps] == [(s, s) for s in sides]
    code = DegNet(**sizes, code=6)(images(side=side), images(side=side))
    assert code.shape == (2, 6)
    lq = Generator(**sizes, code=6, style_layers=1)(maps, code)
    assert lq.shape == (2, 3, side, side)
    assert lq.abs().max() <= 1
    assert ConditionalDiscriminator(**sizes, code=6)(lq, images(side=side), code).shape == (2, 1)
    assert UNetDiscriminator(2)(lq).shape == (2, 1, side, side)


def test_a_fresh_generator_sees_only_the_deepest_map():
    synthesiser = small()
    generator, code = synthesiser.generator, torch.randn(2, 6)
    deepest, *others = synthesiser.content(images())
    assert not generator.strength.any()
    lq = generator([deepest, *others], code)
    assert torch.equal(lq, generator([deepest, *(torch.randn_like(features) for features in others)], code))
    assert not torch.equal(lq, generator([torch.randn_like(deepest), *others], code))


def test_every_size_of_content_reaches_the_image_once_its_factor_is_learnt():
    synthesiser = small()
    maps = [features.detach().requires_grad_() for features in synthesiser.content(images())]
    nn.init.ones_(synthesiser.generator.strength)
    synthesiser.generator(maps, torch.randn(2, 6)).square().sum().backward()
    assert all(features.grad.abs().sum() > 0 for features in maps)


def test_the_generator_obeys_the_direction_of_the_code_not_its_length():
    synthesiser = small()
    maps, code = synthesiser.content(images()), torch.randn(2, 6)
    lq = synthesiser.generator(maps, code)
    torch.testing.assert_close(synthesiser.generator(maps, 3 * code), lq)
    assert not torch.allclose(synthesiser.generator(maps, -code), lq)


def test_samples_of_a_batch_do_not_mix():
    synthesiser, hq, lq = small(), images(), images(seed=1)

    def degraded(hq, lq):
        return synthesiser.generator(synthesiser.content(hq), synthesiser.degradation(hq, lq))

    torch.testing.assert_close(degraded(hq, lq)[1:], degraded(hq[1:], lq[1:]))


def test_spectral_norm_is_on_ordinary_convolutions_only():
    """And on the linear layers of the conditional discriminator."""

    def bare(network):
        return {
            type(child)
            for child in network.modules()
            if isinstance(child, nn.Conv2d | nn.Linear) and not hasattr(child, "parametrizations")
        }

    synthesiser = small()
    assert bare(synthesiser.content) == set()
    assert bare(synthesiser.degradation) == bare(synthesiser.generator) == {nn.Linear}
    assert bare(ConditionalDiscriminator(**SMALL, code=6)) == set()
    torch.manual_seed(0)
    encoder = ContentEncoder(**SMALL)
    for _ in range(50):  # each converges by one step of the power iteration
        encoder(images())
    weight = encoder.eval().convolution.weight.flatten(1)
    torch.testing.assert_close(torch.linalg.matrix_norm(weight, 2), torch.tensor(1.0), rtol=1e-3, atol=0)


def test_ranges_there_and_back():
    unit = torch.tensor([0.0, 0.25, 1.0])
    assert torch.equal(to_signed(unit), torch.tensor([-1.0, -0.5, 1.0]))
    assert torch.equal(from_signed(to_signed(unit)), unit)


@pytest.mark.parametrize("image_size", [8, 48, 100])
@pytest.mark.parametrize("build", [DegNet, ContentEncoder, Generator, ConditionalDiscriminator])
def test_other_image_sizes_are_refused(build, image_size):
    with pytest.raises(InputError, match=rf"redegnet\.image_size .*16, 32, 64.* got {image_size}"):
        build(image_size)
