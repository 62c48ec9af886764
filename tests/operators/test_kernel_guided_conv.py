import copy
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from arcsr_lightning.operators import (
    kernel_guided_conv,
    kernel_guided_conv2d,
    kernel_guided_conv2d_plain,
    kernel_guided_conv2d_reference,
    native,
)
from tests.operators.native.allowance import MAY_LACK, REASON


@pytest.fixture
def in_strips(monkeypatch):
    """What there is without a compiler."""
    monkeypatch.setattr(native, "takes", lambda *_: False)


@pytest.fixture(params=["native", "in_strips"])
def either_way(request):
    """Whatever runs on this machine, and what runs where that is not there."""
    if request.param == "in_strips":
        request.getfixturevalue("in_strips")
    elif MAY_LACK:
        pytest.skip(REASON)


def random_inputs(batch, channels, out_channels, ks, height, width, dtype=torch.float32, seed=0):
    torch.manual_seed(seed)
    shapes = (
        (batch, channels, height, width),
        (batch, ks * ks, height, width),
        (out_channels, channels, ks, ks),
        (out_channels,),
    )
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


def gradients(operator, inputs):
    out = operator(*inputs)
    seed = torch.linspace(-1, 1, out.numel(), dtype=out.dtype, device=out.device).view_as(out)
    return torch.autograd.grad(out, inputs, seed)


def per_pixel(x, kernel, weight, bias):
    ks = weight.shape[-1]
    out = torch.zeros(x.shape[0], weight.shape[0], *x.shape[2:], dtype=x.dtype)
    for b in range(x.shape[0]):
        for row in range(x.shape[2]):
            for column in range(x.shape[3]):
                out[b, :, row, column] = bias
                for t in range(ks * ks):
                    r, c = row + t // ks - ks // 2, column + t % ks - ks // 2
                    if 0 <= r < x.shape[2] and 0 <= c < x.shape[3]:
                        out[b, :, row, column] += kernel[b, t, row, column] * (
                            weight.flatten(2)[:, :, t] @ x[b, :, r, c]
                        )
    return out


shapes = st.tuples(
    st.integers(1, 2),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([1, 3, 5]),
    st.integers(1, 5),
    st.integers(1, 5),
)


def strips(*inputs):
    with mock.patch.object(native, "takes", return_value=False):
        return kernel_guided_conv2d(*inputs)


@pytest.mark.parametrize(
    "operator", [kernel_guided_conv2d, strips, kernel_guided_conv2d_plain, kernel_guided_conv2d_reference]
)
@settings(max_examples=15, deadline=None)
@given(shape=shapes)
def test_equals_the_sum_written_out_pixel_by_pixel(operator, shape):
    inputs = [tensor.detach() for tensor in random_inputs(*shape, dtype=torch.float64)]
    torch.testing.assert_close(operator(*inputs), per_pixel(*inputs))


@pytest.mark.parametrize("shape", [(2, 2, 3, 3, 4, 5), (1, 2, 1, 5, 3, 2), (1, 1, 2, 1, 2, 3), (1, 2, 2, 3, 1, 1)])
def test_gradients_equal_finite_differences(shape, either_way):
    assert torch.autograd.gradcheck(kernel_guided_conv2d, random_inputs(*shape, dtype=torch.float64))


@pytest.mark.parametrize("ks", range(1, 22, 2))
def test_result_and_gradients_equal_the_reference(ks, either_way):
    inputs = random_inputs(2, 4, 3, ks, 14, 9)
    torch.testing.assert_close(
        kernel_guided_conv2d(*inputs), kernel_guided_conv2d_reference(*inputs), rtol=1e-4, atol=1e-4
    )
    ours, reference = gradients(kernel_guided_conv2d, inputs), gradients(kernel_guided_conv2d_reference, inputs)
    torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("lines_per_strip", [1, 2, 3, 5, 100])
def test_strips_of_any_height_give_the_same_result_and_gradients(lines_per_strip, in_strips, monkeypatch):
    inputs = random_inputs(2, 4, 3, 3, 11, 6, dtype=torch.float64)
    expected = kernel_guided_conv2d_reference(*inputs)
    expected_gradients = gradients(kernel_guided_conv2d_reference, inputs)
    monkeypatch.setattr(kernel_guided_conv, "CPU_STRIP_BYTES", lines_per_strip * 4 * 9 * 6 * 8)
    torch.testing.assert_close(kernel_guided_conv2d(*inputs), expected)
    torch.testing.assert_close(gradients(kernel_guided_conv2d, inputs), expected_gradients)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_bands_of_several_samples_on_a_gpu_equal_the_reference():
    inputs = [tensor.detach().double().cuda().requires_grad_() for tensor in random_inputs(5, 4, 3, 5, 9, 8)]
    torch.testing.assert_close(kernel_guided_conv2d(*inputs), kernel_guided_conv2d_reference(*inputs))
    ours, reference = gradients(kernel_guided_conv2d, inputs), gradients(kernel_guided_conv2d_reference, inputs)
    torch.testing.assert_close(ours, reference)


@pytest.mark.parametrize("ks", [1, 3, 7])
def test_a_kernel_of_ones_gives_conv2d(ks):
    x, kernel, weight, bias = random_inputs(2, 3, 4, ks, 6, 11)
    expected = F.conv2d(x, weight, bias, padding=ks // 2)
    torch.testing.assert_close(
        kernel_guided_conv2d(x, torch.ones_like(kernel), weight, bias), expected, rtol=1e-5, atol=1e-5
    )


def test_layout_in_memory_does_not_matter(either_way):
    x, kernel, weight, bias = (tensor.detach() for tensor in random_inputs(2, 4, 3, 3, 6, 5))
    expected = gradients(kernel_guided_conv2d, [t.clone().requires_grad_() for t in (x, kernel, weight, bias)])
    strided = (
        x.to(memory_format=torch.channels_last),
        kernel.transpose(2, 3).contiguous().transpose(2, 3),
        weight.to(memory_format=torch.channels_last),
        bias.repeat_interleave(2)[::2],
    )
    assert not any(tensor.is_contiguous() for tensor in strided)
    torch.testing.assert_close(gradients(kernel_guided_conv2d, [t.requires_grad_() for t in strided]), expected)


@pytest.mark.parametrize("position", range(4))
def test_one_gradient_alone_equals_that_of_all(position, either_way):
    inputs = random_inputs(2, 3, 4, 3, 5, 6)
    expected = gradients(kernel_guided_conv2d, inputs)[position]
    alone = [tensor.detach().requires_grad_(i == position) for i, tensor in enumerate(inputs)]
    kernel_guided_conv2d(*alone).backward(torch.linspace(-1, 1, 2 * 4 * 5 * 6).view(2, 4, 5, 6))
    torch.testing.assert_close(alone[position].grad, expected)
    assert all(tensor.grad is None for i, tensor in enumerate(alone) if i != position)


def test_autocast_computes_in_bfloat16_and_returns_float32_gradients(either_way):
    inputs = random_inputs(2, 8, 6, 5, 9, 7)
    expected = kernel_guided_conv2d(*inputs)
    expected_gradients = gradients(kernel_guided_conv2d, inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = kernel_guided_conv2d(*inputs)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), expected, rtol=0.05, atol=0.05 * expected.std().item())
    seed = torch.linspace(-1, 1, out.numel(), dtype=torch.bfloat16).view_as(out)
    for gradient, exact in zip(torch.autograd.grad(out, inputs, seed), expected_gradients, strict=True):
        assert gradient.dtype == torch.float32
        assert (gradient - exact).norm() < 0.02 * exact.norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_rounds_nothing_but_the_result(either_way, dtype):
    with torch.no_grad():
        inputs = [x.to(dtype) for x in random_inputs(1, 32, 6, 7, 9, 7)]
        expected = kernel_guided_conv2d_reference(*(x.double() for x in inputs))
        out = kernel_guided_conv2d(*inputs)
    assert out.dtype == dtype
    half_a_step = torch.finfo(dtype).eps / 2
    torch.testing.assert_close(out.double(), expected, rtol=1.01 * half_a_step, atol=1e-4)


def test_no_grad_gives_the_same_numbers_and_no_graph(either_way):
    inputs = random_inputs(1, 2, 2, 3, 4, 4)
    with torch.no_grad():
        out = kernel_guided_conv2d(*inputs)
    assert not out.requires_grad
    torch.testing.assert_close(out, kernel_guided_conv2d(*inputs).detach(), rtol=0, atol=0)


class LargestTensor(TorchDispatchMode):
    """The number of elements of the largest storage that any operation returns."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.untyped_storage().nbytes() // tensor.element_size())
        return out


@pytest.mark.parametrize("shape", [(2, 8, 8, 3, 16, 16), (1, 16, 16, 7, 40, 40)])
def test_never_holds_the_unfolded_image(shape, either_way):
    batch, channels, _, ks, height, width = shape
    inputs = random_inputs(*shape)
    unfolded = channels * ks * ks * height * width
    with LargestTensor() as ours:
        gradients(kernel_guided_conv2d, inputs)
    with LargestTensor() as reference:
        gradients(kernel_guided_conv2d_reference, inputs)
    assert ours.elements < batch * unfolded
    assert reference.elements >= batch * unfolded  # the measure sees what it should


def test_nothing_on_the_way_is_larger_than_a_strip_or_an_operand(in_strips, monkeypatch):
    monkeypatch.setattr(kernel_guided_conv, "CPU_STRIP_BYTES", 144 << 10)
    inputs = random_inputs(1, 32, 2, 7, 30, 10)  # a line's products take 61.25 KiB
    padded = 32 * (30 + 6) * (10 + 6)
    with LargestTensor() as ours:
        gradients(kernel_guided_conv2d, inputs)
    assert ours.elements <= max(2 * 32 * 49 * 10, padded, *(tensor.numel() for tensor in inputs))


class Guided(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(3, 2, 3, 3))

    def forward(self, x, kernel):
        return kernel_guided_conv2d(x.relu(), kernel, self.weight).tanh()


def test_a_copied_module_with_a_graph_behind_it_gives_the_same_result():
    x, kernel, _, _ = random_inputs(1, 2, 3, 3, 5, 4)
    module = Guided()
    module(x, kernel).sum().backward()
    torch.testing.assert_close(copy.deepcopy(module)(x, kernel), module(x, kernel))


@pytest.mark.slow
def test_a_compiled_module_gives_the_same_result_and_gradients(either_way):
    x, kernel, _, _ = random_inputs(1, 2, 3, 3, 5, 4)
    module = Guided()
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, kernel), module(x, kernel))
    inputs = (x, kernel, module.weight)
    expected = torch.autograd.grad(module(x, kernel).sum(), inputs)
    torch.testing.assert_close(torch.autograd.grad(compiled(x, kernel).sum(), inputs), expected)


@pytest.mark.parametrize("operator", [kernel_guided_conv2d, kernel_guided_conv2d_plain, kernel_guided_conv2d_reference])
@pytest.mark.parametrize(
    ("position", "shape", "message"),
    [
        (0, (2, 5, 5), "4 dimensions"),
        (0, (1, 3, 5, 5), "takes 2 channels but x has 3"),
        (1, (1, 9, 5, 4), r"kernel needs shape \(1, 9, 5, 5\), got \(1, 9, 5, 4\)"),
        (1, (1, 25, 5, 5), r"kernel needs shape \(1, 9, 5, 5\), got \(1, 25, 5, 5\)"),
        (2, (3, 2, 4, 4), "odd size, got 4x4"),
        (2, (3, 2, 3, 1), "odd size, got 3x1"),
        (3, (2,), r"bias needs shape \(3,\), got \(2,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_named(operator, position, shape, message):
    inputs = random_inputs(1, 2, 3, 3, 5, 5)
    inputs[position] = torch.zeros(shape)
    with pytest.raises(ValueError, match=message):
        operator(*inputs)
