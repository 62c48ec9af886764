"""The compiled operators against their definitions, at the edges of strips, tiles, blocks of channels and threads."""

import math

import pytest
import torch

from arcsr_lightning.operators import (
    deform_conv2d,
    deform_conv2d_plain,
    kernel_guided_conv2d,
    kernel_guided_conv2d_reference,
    native,
)
from tests.operators.native.allowance import needs_library

pytestmark = needs_library

TOLERANCES = {torch.float32: {"rtol": 1e-4, "atol": 1e-4}, torch.float64: {"rtol": 1e-10, "atol": 1e-10}}


@pytest.fixture
def threads():
    """``threads(count)``: torch's number of threads until the end of the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def check(ours, expected, inputs):
    """Results and gradients agree, relative to the largest number, as float32 sums many terms."""
    assert native.takes(*inputs)
    torch.manual_seed(1)
    upstream = torch.randn_like(expected)
    gradients = [torch.autograd.grad(out, inputs, upstream) for out in (ours, expected)]
    for own, other in zip((ours, *gradients[0]), (expected, *gradients[1]), strict=True):
        size = max(1, other.abs().max().item())
        torch.testing.assert_close(own / size, other / size, **TOLERANCES[inputs[0].dtype])


def guided_inputs(batch, channels, out_channels, ks, height, width, dtype=torch.float32):
    torch.manual_seed(0)
    shapes = (
        (batch, channels, height, width),
        (batch, ks * ks, height, width),
        (out_channels, channels, ks, ks),
        (out_channels,),
    )
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("number", ["float", "double"])
@pytest.mark.parametrize("name", ["operators", "blur"])
def test_there_is_a_library_wherever_there_can_be_one(number, name):
    assert native.load(number, name) is not None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(
    "shape",
    [
        (1, 1, 1, 1, 1, 1),
        (2, 3, 5, 3, 7, 9),
        (1, 16, 16, 3, 32, 32),  # vectors without a tail
        (2, 5, 17, 5, 13, 47),  # one pixel short of three vectors
        (1, 33, 24, 7, 9, 49),  # blocks of channels, and one pixel more
        (1, 2, 3, 11, 3, 2),  # a window larger than the image
        (3, 20, 70, 1, 5, 33),  # five vectors of outputs
        (1, 4, 4, 3, 6, 600),  # several tiles beside each other
        (7, 2, 9, 3, 40, 5),
    ],
    ids=str,
)
def test_the_guided_convolution_equals_its_definition(shape, count, dtype, threads):
    threads(count)
    inputs = guided_inputs(*shape, dtype=dtype)
    check(kernel_guided_conv2d(*inputs), kernel_guided_conv2d_reference(*inputs), inputs)


@pytest.mark.parametrize("width", range(1, 66))
def test_tails_of_vectors(width):
    inputs = guided_inputs(1, 2, 3, 3, 4, width)
    check(kernel_guided_conv2d(*inputs), kernel_guided_conv2d_reference(*inputs), inputs)
    x, _, weight, bias = inputs
    inputs = [x, torch.randn(1, 18, 4, width, requires_grad=True), weight, bias]
    check(deform_conv2d(*inputs, padding=1), deform_conv2d_plain(*inputs, padding=1), inputs)


def deformed_inputs(batch, channels, out_channels, size, taps, stride, padding, dilation, dtype=torch.float32):
    torch.manual_seed(0)
    out_size = [(size[d] + 2 * padding[d] - dilation[d] * (taps[d] - 1) - 1) // stride[d] + 1 for d in (0, 1)]
    shapes = (
        (batch, channels, *size),
        (batch, 2 * math.prod(taps), *out_size),
        (out_channels, channels, *taps),
        (out_channels,),
    )
    return [(1 + (i == 1)) * torch.randn(shape, dtype=dtype) for i, shape in enumerate(shapes)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(
    "shape",
    [
        (1, 1, 1, (1, 1), (1, 1), (1, 1), (0, 0), (1, 1)),
        (2, 3, 5, (7, 9), (3, 3), (1, 1), (1, 1), (1, 1)),
        (1, 16, 16, (32, 32), (3, 3), (1, 1), (1, 1), (1, 1)),
        (4, 6, 17, (13, 47), (2, 5), (2, 1), (0, 2), (1, 2)),
        (1, 32, 70, (5, 49), (1, 1), (1, 2), (0, 0), (1, 1)),
        (3, 4, 4, (2, 100), (3, 3), (1, 1), (1, 1), (1, 1)),
    ],
    ids=str,
)
def test_the_deformable_convolution_equals_plain_torch(shape, count, dtype, threads):
    threads(count)
    inputs = [tensor.requires_grad_() for tensor in deformed_inputs(*shape, dtype=dtype)]
    check(deform_conv2d(*inputs, *shape[5:]), deform_conv2d_plain(*inputs, *shape[5:]), inputs)


@pytest.mark.parametrize("taps", [9, 18])
def test_an_empty_batch_is_of_no_weight(taps):
    x, kernel, weight, bias = guided_inputs(0, 512, 1, 3, 5, 6)  # backward has least room for what forward packs
    if taps == 9:
        out = kernel_guided_conv2d(x, kernel, weight, bias)
    else:
        out = deform_conv2d(x, torch.cat([kernel, kernel], dim=1), weight, bias, padding=1)
    assert out.shape == (0, 1, 5, 6)
    out.sum().backward()
    assert not weight.grad.any() and not bias.grad.any()
    assert x.grad.shape == x.shape and kernel.grad.shape == kernel.shape


@pytest.mark.parametrize("value", [1e30, -1e30, 100.0, -100.0])
def test_an_offset_far_outside_reads_zeros(value):
    x, offset, weight, bias = deformed_inputs(1, 3, 2, (5, 6), (3, 3), (1, 1), (1, 1), (1, 1))
    out = deform_conv2d(x, torch.full_like(offset, value), weight, bias, padding=1)
    torch.testing.assert_close(out, bias.view(1, 2, 1, 1).expand(1, 2, 5, 6))


@pytest.mark.parametrize("position", range(4))
def test_a_nan_in_any_input_comes_out_where_it_is_read(position):
    """A pixel, a tap or an offset of one pixel, a weight, a bias: NaN there, and numbers elsewhere."""
    guided = [tensor.detach() for tensor in guided_inputs(1, 3, 2, 3, 9, 20)]
    deformed = deformed_inputs(1, 3, 2, (9, 20), (3, 3), (1, 1), (1, 1), (1, 1))
    for inputs in (guided, deformed):
        inputs[position].view(-1)[inputs[position].numel() // 2] = math.nan
    out = kernel_guided_conv2d(*guided)
    assert out.isnan().any()
    assert torch.equal(out.isnan(), kernel_guided_conv2d_reference(*guided).isnan())
    expected = deform_conv2d_plain(*deformed, padding=1).isnan()
    if position == 1:  # grid_sample takes a place that is NaN for one outside
        expected = deformed[1].isnan().any(1, keepdim=True).expand(1, 2, 9, 20)
    out = deform_conv2d(*deformed, padding=1)
    assert out.isnan().any()
    assert torch.equal(out.isnan(), expected)


@pytest.mark.parametrize("operator", ["guided", "deformed"])
def test_a_second_derivative_is_refused(operator):
    if operator == "guided":
        out = kernel_guided_conv2d(*(inputs := guided_inputs(1, 2, 2, 3, 4, 4)))
    else:
        inputs = deformed_inputs(1, 2, 2, (4, 4), (3, 3), (1, 1), (1, 1), (1, 1))
        out = deform_conv2d(*(tensor.requires_grad_() for tensor in inputs), padding=1)
    (gradient,) = torch.autograd.grad(out.square().sum(), inputs[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(
    ("operator", "inputs"),
    [
        (kernel_guided_conv2d, guided_inputs(3, 20, 20, 5, 20, 33)),
        (deform_conv2d, deformed_inputs(7, 6, 5, (20, 33), (3, 3), (1, 1), (0, 0), (1, 1))),
    ],
)
def test_equal_calls_give_equal_bits(operator, inputs, count, threads):
    threads(count)
    inputs = [tensor.detach().requires_grad_() for tensor in inputs]
    first, *others = (torch.autograd.grad(operator(*inputs).square().sum(), inputs) for _ in range(6))
    assert all(torch.equal(*pair) for other in others for pair in zip(first, other, strict=True))
