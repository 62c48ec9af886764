import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from arcsr_lightning.degradation.kernels import gaussian_kernel
from arcsr_lightning.rivals.udke import unfolding
from arcsr_lightning.rivals.udke.unfolding import (
    image_step,
    kernel_step,
    smallest_lr_side,
    solve_spd,
    transfer_function,
)

ASYMMETRIC = torch.tensor([[0, 0.3, 0, 0, 0], [0, 0.1, 0.2, 0, 0], [0, 0, 0, 0.4, 0]] + 2 * [[0.0] * 5]).double()


def uniform(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_kernels(batch: int, size: int) -> torch.Tensor:
    kernels = uniform(batch, size, size, seed=size)
    return kernels / kernels.sum((1, 2), keepdim=True)


def circular_blur(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    padded = F.pad(x, [len(kernel) // 2] * 4, mode="circular")
    return F.conv2d(padded, kernel.expand(x.shape[1], 1, -1, -1), groups=x.shape[1])


def strided_blur(
    x: torch.Tensor, kernel: torch.Tensor, scale: int, prefilter: torch.Tensor | None = None
) -> torch.Tensor:
    """The forward operator A: blur by the kernel of each sample, filter, keep every ``scale``-th pixel."""
    blurred = torch.cat([circular_blur(image[None], one) for image, one in zip(x, kernel, strict=True)])
    return (blurred if prefilter is None else circular_blur(blurred, prefilter))[..., ::scale, ::scale]


def bicubic_like_filter() -> torch.Tensor:
    """A smooth filter that is off its centre by one pixel, as a downsampler's is."""
    taps = F.pad(gaussian_kernel(7, 1.5, 1.5)[3], (2, 0)).double()
    return torch.outer(taps, taps) / taps.sum() ** 2


@pytest.mark.parametrize("prefilter", [None, bicubic_like_filter()], ids=["kernel", "filter"])
def test_the_transfer_function_is_that_of_a_circular_cross_correlation(prefilter):
    x, kernels = uniform(2, 3, 12, 18), torch.stack([ASYMMETRIC, ASYMMETRIC.rot90()])
    found = torch.fft.fft2(x) * transfer_function(kernels, prefilter, 12, 18)
    torch.testing.assert_close(found, torch.fft.fft2(strided_blur(x, kernels, 1, prefilter)))


@pytest.mark.parametrize("prefilter", [None, bicubic_like_filter()], ids=["stride", "filter"])
@pytest.mark.parametrize(("scale", "size"), [(2, 5), (3, 7), (4, 5)])
def test_the_image_step_solves_its_normal_equations(scale, size, prefilter):
    """The gradient of what it minimises, by autograd through the forward operator, vanishes at its result."""
    x, kernel, weight = uniform(2, 3, 12, 24), random_kernels(2, size), torch.tensor([0.01, 0.5]).double()
    lr = uniform(2, 3, 12 // scale, 24 // scale, seed=1)
    z = image_step(x, lr, kernel, weight, scale, prefilter).requires_grad_()
    misfit = (strided_blur(z, kernel, scale, prefilter) - lr).square().sum()
    distance = (weight[:, None, None, None] * (z - x).square()).sum()
    (gradient,) = torch.autograd.grad(misfit + distance, z)
    assert gradient.abs().max() < 1e-12
    assert (z - x).abs().max() > 0.1


def test_a_kernel_of_zeros_leaves_the_image_as_it_is():
    x = uniform(1, 3, 16, 16).float()
    weight = torch.ones(1)
    assert torch.equal(image_step(x, uniform(1, 3, 4, 4, seed=1).float(), torch.zeros(1, 5, 5), weight, 4, margin=2), x)


def test_with_a_margin_opposite_borders_do_not_meet():
    """Left half black, right half white: the circular solution sees an edge at the border, the other does not."""
    x = torch.zeros(1, 1, 32, 32).double()
    x[..., 16:] = 1
    kernel = gaussian_kernel(5, 1.0, 1.0).double()[None]
    replicated = F.pad(x, [8] * 4, mode="replicate")
    lr = strided_blur(replicated, kernel, 2)[..., 4:-4, 4:-4]
    weight = torch.full((1,), 0.01).double()
    torch.testing.assert_close(image_step(x, lr, kernel, weight, 2, margin=1), x)
    assert (image_step(x, lr, kernel, weight, 2) - x)[..., -1].abs().max() > 0.1


@pytest.mark.parametrize("size", [11, 15, 21])
def test_recovers_known_random_kernels(size):
    """At batch 2, a kernel for each sample, in float32."""
    x, kernel = uniform(2, 3, 96, 96).float(), random_kernels(2, size).float()
    lr = strided_blur(x, kernel, 4)
    found = kernel_step(x, lr, torch.zeros_like(kernel), torch.full((2,), 1e-6), 4)
    assert (found - kernel).abs().max() < 1e-6
    assert (found - kernel.flip(0)).abs().max() > 1e-3


@pytest.mark.parametrize(("scale", "size"), [(1, 5), (2, 7), (2, 9), (3, 5), (3, 7), (3, 9), (4, 3), (4, 13)])
def test_recovers_kernels_at_every_residue_of_size_and_scale(scale, size):
    side = scale * (smallest_lr_side(size, scale) + size)
    x, kernel = uniform(1, 3, side, side + scale), random_kernels(1, size)
    found = kernel_step(x, strided_blur(x, kernel, scale), kernel.flip(1), torch.full((1,), 1e-9), scale)
    torch.testing.assert_close(found, kernel, rtol=0, atol=1e-9)


def test_the_kernel_step_is_the_ridge_regression_it_claims(monkeypatch):
    """Against rows gathered pixel by pixel and least squares; in bands of one LR row."""
    monkeypatch.setattr(unfolding, "BAND_BYTES", 1)
    x, lr, kernel, size, scale = uniform(1, 2, 21, 27), uniform(1, 2, 7, 9, seed=1), random_kernels(1, 5), 5, 3
    weight = torch.tensor([0.3]).double()
    rows, targets = [], []
    for colour in range(2):
        for i in range(7):
            for j in range(9):
                top, left = i * scale - size // 2, j * scale - size // 2
                if top >= 0 and left >= 0 and top + size <= 21 and left + size <= 27:
                    rows.append(x[0, colour, top : top + size, left : left + size].flatten())
                    targets.append(lr[0, colour, i, j])
    ridge = weight.sqrt()
    rows = torch.cat([torch.stack(rows), ridge * torch.eye(size**2).double()])
    targets = torch.cat([torch.stack(targets), ridge * kernel.flatten()])
    expected = torch.linalg.lstsq(rows, targets[:, None]).solution.view(1, size, size)
    torch.testing.assert_close(kernel_step(x, lr, kernel, weight, scale), expected / expected.sum())


def test_the_kernel_step_has_the_right_gradient(monkeypatch):
    monkeypatch.setattr(unfolding, "BAND_BYTES", 1)
    x, lr, kernel = uniform(2, 1, 12, 14), uniform(2, 1, 6, 7, seed=1), random_kernels(2, 3)
    weight, prefilter = torch.tensor([0.5, 2.0]).double(), uniform(3, 3)
    inputs = [t.requires_grad_() for t in (x, lr, kernel, weight)]
    assert torch.autograd.gradcheck(lambda *args: kernel_step(*args, 2, prefilter), inputs)


def test_backward_gathers_neighbourhoods_again_but_does_not_multiply_them_again():
    """Its products are those of the two factors' gradients, each as large as the forward's."""
    x, lr = uniform(1, 3, 24, 24).requires_grad_(), uniform(1, 3, 12, 12, seed=1)
    with FlopCounterMode(display=False) as forward:
        taps = kernel_step(x, lr, random_kernels(1, 7), torch.ones(1), 2)
    with FlopCounterMode(display=False) as backward:
        taps.square().sum().backward()
    products = [counter.get_flop_counts()["Global"][torch.ops.aten.bmm] for counter in (forward, backward)]
    assert products[1] < 2.5 * products[0]


def test_the_image_step_has_the_right_gradient():
    x, lr, kernel = uniform(1, 1, 8, 6), uniform(1, 1, 4, 3, seed=1), random_kernels(1, 3)
    inputs = [t.requires_grad_() for t in (x, lr, kernel, torch.ones(1).double())]
    assert torch.autograd.gradcheck(lambda *args: image_step(*args, 2, uniform(3, 3), margin=1), inputs)


@pytest.mark.parametrize(
    ("matrix", "rhs"),
    [
        (torch.zeros(3, 3), torch.ones(3, 1)),
        (torch.diag(torch.tensor([1.0, -1.0, 1.0])), torch.ones(3, 1)),
        (torch.full((3, 3), torch.nan), torch.ones(3, 1)),
        (torch.eye(3), torch.full((3, 1), torch.nan)),
    ],
    ids=["singular", "indefinite", "nan", "nan target"],
)
def test_the_solver_raises_rather_than_answer(matrix, rhs):
    """One sample of two is enough."""
    with pytest.raises(torch.linalg.LinAlgError, match="not positive definite or holds NaN"):
        solve_spd(torch.stack([torch.eye(3), matrix]), torch.stack([torch.ones(3, 1), rhs]))


def test_the_smallest_lr_side_is_the_smallest():
    for scale in (1, 2, 3, 4):
        for size in (1, 3, 5, 7, 9):
            side = smallest_lr_side(size, scale, prefilter_size=3)
            x, kernel, weight = uniform(1, 3, scale * side, scale * side), torch.zeros(1, size, size), torch.ones(1)
            assert kernel_step(x, x[..., ::scale, ::scale], kernel, weight, scale, uniform(3, 3)).isfinite().all()
            x = x[..., scale:, :]
            with pytest.raises(ValueError, match=f"needs LR sides of at least {side}, got"):
                kernel_step(x, x[..., ::scale, ::scale], kernel, weight, scale, uniform(3, 3))


def test_impossible_kernels_are_refused():
    with pytest.raises(ValueError, match="kernel of 9x9 is larger than its image of 8x8"):
        transfer_function(random_kernels(1, 9), None, 8, 8)
    with pytest.raises(ValueError, match="must be odd"):
        transfer_function(random_kernels(1, 4), None, 8, 8)
