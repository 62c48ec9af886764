import pytest
import torch

from arcsr_lightning.operators import NORMALISATIONS, normalise_kernel


def softmax_field(ks, sharpness=1.0, dtype=torch.float32):
    torch.manual_seed(0)
    return (sharpness * torch.randn(2, ks * ks, 3, 4, dtype=dtype)).softmax(1)


@pytest.mark.parametrize("ks", [1, 3, 7, 21])
@pytest.mark.parametrize("mode", ["softmax_ks2", "gate", "unit_energy"])
def test_the_uniform_kernel_becomes_ones(mode, ks):
    uniform = torch.full((1, ks * ks, 2, 3), 1 / ks**2)
    torch.testing.assert_close(normalise_kernel(uniform, mode), torch.ones_like(uniform))


def test_softmax_leaves_the_kernel_as_it_is():
    kernel = softmax_field(3)
    torch.testing.assert_close(normalise_kernel(kernel, "softmax"), kernel, rtol=0, atol=0)


def test_the_gate_is_twice_the_sigmoid_of_the_logarithm():
    kernel = softmax_field(5, sharpness=4)
    torch.testing.assert_close(normalise_kernel(kernel, "gate"), 2 * (25 * kernel).log().sigmoid())


def test_unit_energy_has_mean_square_one_however_peaked_the_kernel():
    scaled = normalise_kernel(softmax_field(5, sharpness=30), "unit_energy")
    torch.testing.assert_close(scaled.square().mean(1), torch.ones(2, 3, 4))


@pytest.mark.parametrize("mode", NORMALISATIONS)
def test_gradients_equal_finite_differences(mode):
    kernel = softmax_field(3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda k: normalise_kernel(k, mode), kernel)


@pytest.mark.parametrize("mode", NORMALISATIONS)
def test_a_tap_of_zero_and_a_kernel_of_zeros_have_finite_gradients(mode):
    kernel = torch.zeros(1, 9, 1, 2)
    kernel[0, 4, 0, 0] = 1
    kernel.requires_grad_()
    normalise_kernel(kernel, mode).sum().backward()
    assert kernel.grad.isfinite().all()


def test_unit_energy_is_exact_to_bfloat16_for_a_large_flat_kernel():
    uniform = torch.full((1, 441, 1, 1), 1 / 441, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scaled = normalise_kernel(uniform, "unit_energy")
    assert scaled.dtype == torch.bfloat16
    torch.testing.assert_close(scaled, torch.ones_like(uniform), rtol=0, atol=0)


def test_an_unknown_mode_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'energy'.*softmax, softmax_ks2, gate, unit_energy"):
        normalise_kernel(softmax_field(3), "energy")


def test_taps_that_form_no_square_are_refused():
    with pytest.raises(ValueError, match="got 8"):
        normalise_kernel(torch.full((1, 8, 2, 2), 1 / 8), "gate")
