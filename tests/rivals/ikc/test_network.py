import pytest
import torch
from torch import nn

from arcsr_lightning.degradation.fields import GaussianField, MotionField
from arcsr_lightning.rivals.ikc.network import IKC, SFTMD, Corrector, Predictor, fit_code
from arcsr_lightning.rivals.kernel_code import draw_kernels
from arcsr_lightning.rivals.taps import to_lr_taps
from arcsr_lightning.scores.cost import parameters


def tiny(scale: int = 2, code: int = 4, iterations: int = 2, kernel_size: int = 3) -> IKC:
    torch.manual_seed(0)
    parts = Predictor(4, code), Corrector(scale, 4, code), SFTMD(scale, 4, 1, code)
    return IKC(*parts, code=code, kernel_size=kernel_size, iterations=iterations)


def conv(inputs: int, outputs: int, size: int) -> int:
    """Numbers of a convolution with its biases."""
    return inputs * outputs * size**2 + outputs


def test_parameters_are_those_of_the_publication_s_description():
    """Sec. 3.3 and 3.4: 16 residual blocks of 64 channels, a code of 10, the numbers of layers; it states no count."""
    transform = 2 * (conv(64 + 10, 32, 3) + conv(32, 64, 3))
    block = 2 * (transform + conv(64, 64, 3))
    head, up, tail = conv(3, 64, 3) + 2 * conv(64, 64, 3), 2 * conv(64, 256, 3), conv(64, 3, 9)
    assert parameters(SFTMD()) == head + 16 * block + transform + conv(64, 64, 3) + up + tail
    assert parameters(Predictor()) == conv(3, 64, 5) + 2 * conv(64, 64, 5) + conv(64, 10, 5)
    seen, known = conv(3, 64, 5) + 4 * conv(64, 64, 5), conv(10, 64, 1) + conv(64, 64, 1)
    assert parameters(Corrector()) == seen + known + conv(128, 128, 1) + conv(128, 64, 1) + conv(64, 10, 1)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (7, 10)])
def test_any_lr_size(scale, size):
    sr, kernel = tiny(scale)(torch.rand(2, 3, *size))
    assert sr.shape == (2, 3, scale * size[0], scale * size[1])
    assert kernel.shape == (2, 9, *size)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_corrector_sees_the_image_at_lr_size(scale):
    assert Corrector(scale, 4, 4).image(torch.rand(1, 3, 5 * scale, 6 * scale)).shape == (1, 4, 5, 6)


def test_every_correction_is_made_from_what_the_one_before_restored():
    network, lr = tiny(iterations=2), torch.rand(1, 3, 6, 7)
    guess = network.predictor(lr)
    once = guess + network.corrector(network.restorer(lr, guess), guess)
    twice = once + network.corrector(network.restorer(lr, once), once)
    torch.testing.assert_close(network(lr).sr, network.restorer(lr, twice))
    torch.testing.assert_close(tiny(iterations=0)(lr).sr, network.restorer(lr, guess))


def test_with_a_corrector_that_knows_the_kernel_the_image_is_that_of_the_kernel():
    class Knowing(nn.Module):
        def forward(self, sr, code):
            return truth - code

    network, lr = tiny(iterations=1), torch.rand(2, 3, 6, 7)
    truth = torch.randn(2, 4)
    network.corrector = Knowing()
    torch.testing.assert_close(network(lr).sr, network.restorer(lr, truth))


def test_the_kernel_is_one_for_the_image_non_negative_and_sums_to_one():
    kernel = tiny()(torch.rand(2, 3, 6, 7)).kernel
    assert kernel.min() >= 0
    torch.testing.assert_close(kernel.sum(1), torch.ones(2, 6, 7))
    torch.testing.assert_close(kernel, kernel[..., 2:3, 3:4].expand_as(kernel))


def test_in_bfloat16_kernels_sum_to_one_too():
    network = tiny(code=4, kernel_size=5)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        kernel = network(torch.rand(2, 3, 8, 8)).kernel
    torch.testing.assert_close(kernel.sum(1), torch.ones(2, 8, 8))


def test_a_code_as_long_as_a_kernel_has_taps_loses_nothing():
    network = tiny(code=9)
    kernel = torch.softmax(3 * torch.randn(5, 9), 1)
    torch.testing.assert_close(network.decode(network.encode(kernel)), kernel, atol=1e-5, rtol=0)


def test_a_kernel_loses_what_its_code_loses_and_no_more():
    network, blur = tiny(code=4, kernel_size=5), MotionField(kernel_size=5, max_length=4)
    fit_code(network, blur, samples=50, seed=3)
    taps = to_lr_taps(draw_kernels(blur, 50, 3).flatten(1)[..., None, None], 2, 5).flatten(1)
    mean = taps.mean(0, keepdim=True)
    torch.testing.assert_close(network.decode(network.encode(mean)), mean, atol=1e-4, rtol=0)
    kept = mean + (taps - mean) @ network.basis @ network.basis.T
    expected = kept.clamp_min(0) / kept.clamp_min(0).sum(1, keepdim=True)
    torch.testing.assert_close(network.decode(network.encode(taps)), expected, atol=1e-4, rtol=0)


def test_a_fitted_code_keeps_what_it_says():
    network = tiny(code=4, kernel_size=5)
    blur = MotionField(kernel_size=5, max_length=4)
    explained = fit_code(network, blur, samples=50, seed=3)["explained_variance"]
    taps = to_lr_taps(draw_kernels(blur, 50, 3).flatten(1)[..., None, None], 2, 5).flatten(1)
    centred = taps - taps.mean(0)
    lost = (centred - centred @ network.basis @ network.basis.T).square().sum() / centred.square().sum()
    assert explained == pytest.approx(1 - lost.item(), abs=1e-5)
    assert network.explained_variance == explained > 0.8
    assert network.state_dict().keys() >= {"basis", "explained_variance"}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SFTMD(5), "scale must be 2, 3 or 4, got 5"),
        (lambda: tiny(code=10), "ikc.code=10 is longer than the 9 taps"),
        (lambda: tiny(kernel_size=4), "kernel_size must be odd"),
        (lambda: tiny(iterations=-1), "ikc.iterations must be 0 or more, got -1"),
        (lambda: fit_code(tiny(), GaussianField(9), samples=2), "kernel_size 3 cannot hold HR kernels of size 9"),
    ],
)
def test_what_cannot_be_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
