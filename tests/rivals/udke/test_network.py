import math

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from arcsr_lightning.degradation import apply_kernel_field, downsample, gaussian_kernel
from arcsr_lightning.errors import InputError
from arcsr_lightning.rivals.taps import to_lr_taps
from arcsr_lightning.rivals.udke.network import (
    UDKE,
    HyPaNet,
    NetK,
    NetX,
    downsampling_filter,
    estimate_noise_level,
    start_image,
)
from arcsr_lightning.rivals.udke.unfolding import image_step, kernel_step
from arcsr_lightning.scores.cost import parameters
from tests.rivals.udke.test_unfolding import strided_blur

FULL = {"stages": 8, "blocks": 4}
LITE = {"stages": 3, "blocks": 1}


def small(scale: int = 2, kernel_size: int = 5, **sizes) -> UDKE:
    torch.manual_seed(0)
    return UDKE(scale, kernel_size, **{"stages": 2, "blocks": 1, "width": 4, "hyper_width": 8, **sizes})


def uniform(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def smooth_picture(side: int) -> torch.Tensor:
    """(1, 3, side, side) in [0, 1], double."""
    rows = torch.linspace(0, 3, side).double()
    waves = [torch.sin(rows[:, None] * (1 + c) + rows * (2 - c)) for c in range(3)]
    return (torch.stack(waves)[None] + 1) / 2


def smooth_kernels(size: int) -> torch.Tensor:
    blur = gaussian_kernel(9, 2.0, 2.0).double()
    seeds = uniform(2, 1, size - 8, size - 8).double()
    kernels = F.conv2d(seeds, blur[None, None], padding=8)[:, 0]
    return kernels / kernels.sum((1, 2), keepdim=True)


def test_parameters_are_as_many_as_published():
    with torch.device("meta"):
        counts = [parameters(part) for part in (NetX(), NetK(), HyPaNet(), UDKE(**FULL), UDKE(**LITE))]
    assert counts == [32_640_960, 149_505, 2_054, 32_806_897, 9_351_123]


@pytest.mark.parametrize(("sizes", "gmacs"), [(FULL, 1_111.7), (LITE, 112.5)], ids=["full", "lite"])
def test_multiplications_are_as_many_as_published(sizes, gmacs):
    with torch.device("meta"):
        network, lr = UDKE(**sizes), torch.empty(1, 3, 64, 64)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(lr)
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmacs, rel=0.01)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (13, 9)])
def test_any_lr_size_from_the_smallest_up(scale, height, width):
    network = small(scale)
    sr, kernel = network(uniform(2, 3, height, width))
    assert sr.shape == (2, 3, scale * height, scale * width)
    assert kernel.shape == (2, network.lr_kernel_size**2, height, width)


def test_a_stage_is_four_steps():
    network, lr = small(stages=2), uniform(1, 3, 9, 8)
    alpha_x, beta_x, alpha_k, beta_k = network.hyper_nets[0](torch.tensor([10.0]))
    previous = torch.zeros(1, 5, 5)
    x = image_step(start_image(lr, 2), lr, previous, alpha_x, 2, network.prefilter, network.margin)
    assert torch.equal(x, start_image(lr, 2))  # no kernel yet
    x = network.image_net(x, beta_x)
    kernel = network.kernel_net(kernel_step(x, lr, previous, alpha_k, 2, network.prefilter), beta_k)
    images, kernels = network.unfold(lr, torch.tensor([10.0]))
    torch.testing.assert_close(images[0], x)
    torch.testing.assert_close(kernels[0], kernel)
    assert kernel.min() >= 0


def test_its_kernel_is_one_for_the_image_in_lr_taps():
    network, lr = small(lr_kernel_size=5), uniform(2, 3, 8, 9)
    field = network(lr).kernel
    kernel = network.unfold(lr)[1][-1]
    dense = (kernel / kernel.sum((1, 2), keepdim=True)).flatten(1)[..., None, None].expand(-1, -1, 8, 9)
    torch.testing.assert_close(field, to_lr_taps(dense, 2, 5))
    torch.testing.assert_close(field.sum(1), torch.ones(2, 8, 9))


def test_samples_do_not_meet():
    network, lr = small(), uniform(2, 3, 8, 8)
    together = network(lr)
    for number in range(2):
        alone = network(lr[number, None])
        torch.testing.assert_close(together.sr[number], alone.sr[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together.kernel[number], alone.kernel[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(10))
def test_a_fresh_network_s_kernel_is_near_the_one_solved_for_and_learns(seed):
    torch.manual_seed(seed)
    network = UDKE(2, 9, stages=2, blocks=1, width=4, hyper_width=8, skip="bicubic")
    _, (kernel, _) = network.unfold(smooth_picture(16).float())
    assert 0.5 < kernel.sum() < 3
    kernel.square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.kernel_net.parameters())


def test_every_parameter_learns():
    network = small(stages=3)
    images, kernels = network.unfold(uniform(1, 3, 8, 8))
    (images[-1].square().sum() + kernels[-1].square().sum()).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_the_noise_level_is_estimated_where_it_is_not_told():
    network, lr = small(), uniform(2, 3, 8, 8)
    level = estimate_noise_level(lr)
    torch.testing.assert_close(network(lr).sr, network(lr, level).sr)
    assert not torch.allclose(network(lr).sr, network(lr, 0 * level).sr)


def test_half_precision_stays_out_of_the_data_steps():
    network, lr = small(), uniform(1, 3, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sr, kernel = network(lr)
    assert sr.dtype == kernel.dtype == torch.float32
    torch.testing.assert_close(sr, network(lr).sr, rtol=0, atol=0.05)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_filter_before_the_stride_is_the_downsampler(scale):
    x, delta = uniform(1, 3, 12 * scale, 13 * scale), torch.ones(1, 1, 1)
    strided = strided_blur(x, delta, scale, downsampling_filter(scale))
    inside = (..., slice(4, -4), slice(4, -4))
    torch.testing.assert_close(strided[inside], downsample(x, scale)[inside])


@pytest.mark.parametrize("size", [11, 15, 21])
def test_recovers_known_kernels_through_the_bicubic_downsampler(size):
    """Random kernels, smoothed: of the finest detail of others, the downsampler leaves no trace in the LR image."""
    kernel, x = smooth_kernels(size), uniform(2, 3, 96, 96).double()
    prefilter = downsampling_filter(4).double()
    lr = strided_blur(x, kernel, 4, prefilter)
    found = kernel_step(x, lr, torch.zeros_like(kernel), torch.full((2,), 1e-6).double(), 4, prefilter)
    assert (found - kernel).abs().max() < 1e-5
    assert (found - kernel.flip(0)).abs().max() > 1e-3


def test_the_image_step_knows_our_lr_images():
    """With the true kernel it leaves the true image alone, which without the downsampler's filter it would not."""
    network, x, kernel = small(4, 7), smooth_picture(64).float(), gaussian_kernel(7, 1.5, 1.0, 0.5)
    lr = downsample(apply_kernel_field(x, kernel.flatten()[None, :, None, None].expand(1, -1, 64, 64)), 4)
    weight = torch.full((1,), 0.01)
    assert (image_step(x, lr, kernel[None], weight, 4, network.prefilter, network.margin) - x).abs().max() < 0.02
    assert (image_step(x, lr, kernel[None], weight, 4, None, network.margin) - x).abs().max() > 0.1


@pytest.mark.parametrize("level", [2.0, 10.0, 40.0])
def test_estimates_the_noise_level_of_each_image(level):
    clean = smooth_picture(96).expand(2, -1, -1, -1)
    noise = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    levels = torch.tensor([level, 2 * level])
    noisy = clean + noise * levels[:, None, None, None] / 255
    torch.testing.assert_close(estimate_noise_level(noisy).float(), levels, rtol=0.03, atol=0.0)


def test_the_noise_estimate_is_scikit_image_s():
    pytest.importorskip("pywt")  # which scikit-image needs for this
    from skimage.restoration import estimate_sigma

    noise = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(1)).double()
    noisy = smooth_picture(256) + noise * 10 / 255
    oracle = 255 * estimate_sigma(noisy[0].numpy(), channel_axis=0, average_sigmas=True)
    assert estimate_noise_level(noisy).item() == pytest.approx(oracle, rel=0.04)


def test_edges_are_not_noise():
    image = torch.zeros(1, 3, 32, 32)
    image[..., 10:, :17] = 1
    assert estimate_noise_level(image) == 0


def test_an_lr_image_below_the_smallest_is_refused():
    for scale, size, side in [(4, 21, 10), (4, 11, 8), (2, 5, 7)]:
        network = small(scale, size)
        assert network(uniform(1, 3, side, side)).sr.isfinite().all()
        with pytest.raises(InputError, match=f"kernel_size={size} needs LR images of at least {side}x{side}, got"):
            network(uniform(1, 3, side, side - 1))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"kernel_size": 4}, "kernel_size must be odd"),
        ({"downsampler": "area"}, "downsampler must be one of bicubic, stride"),
        ({"border": "mirror"}, "border must be one of repeat, circular"),
        ({"stages": 1}, "udke.stages=1: UDKE has two stages or more"),
        ({"kernel_size": 21, "lr_kernel_size": 5}, "needs lr_kernel_size of at least 7 at scale 4, got 5"),
    ],
)
def test_impossible_networks_are_refused(sizes, message):
    with pytest.raises(InputError, match=message):
        small(4, **sizes)


def test_without_a_filter_the_kernel_only_needs_its_own_room():
    network = small(4, 11, downsampler="stride")
    assert network.prefilter is None
    assert network.smallest_side == 2 * math.ceil(5 / 4)
    assert network(uniform(1, 3, 4, 4)).kernel.shape == (1, 25, 4, 4)


def test_checkpointed_stages_give_the_same_gradients_and_keep_nothing_of_their_own():
    lr, hr = uniform(2, 3, 12, 12), uniform(2, 3, 24, 24)
    gradients, kept = [], []
    for checkpointed in (False, True):
        model = small(stages=3, checkpoint_stages=checkpointed)
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, sizes=sizes: sizes.append(x.numel()) or x, lambda x: x):
            loss = F.l1_loss(model.unfold(lr)[0][-1], hr)
        kept.append(sum(sizes))
        loss.backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(checkpointed, plain)
    assert kept[1] < 5 * hr.numel() < kept[0]  # an image and a little more for each stage, and one for the loss
