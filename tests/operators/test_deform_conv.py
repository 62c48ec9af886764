import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from arcsr_lightning.operators import deform_conv2d, deform_conv2d_plain


def random_inputs(
    channels=4, out_channels=4, size=(5, 6), taps=(3, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1,
    offset_groups=1, spread=2.0, dtype=torch.float64,
):  # fmt: skip
    torch.manual_seed(0)
    out_size = [(size[d] + 2 * padding[d] - dilation[d] * (taps[d] - 1) - 1) // stride[d] + 1 for d in (0, 1)]
    x = torch.randn(2, channels, *size, dtype=dtype)
    offset = spread * torch.randn(2, 2 * offset_groups * math.prod(taps), *out_size, dtype=dtype)
    weight = torch.randn(out_channels, channels // groups, *taps, dtype=dtype)
    return x, offset, weight, torch.randn(out_channels, dtype=dtype)


def bilinear(image, y, x):
    """The value of a (C, H, W) image between its pixels, zero outside."""
    value = torch.zeros(image.shape[0], dtype=image.dtype)
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < image.shape[1] and 0 <= column < image.shape[2]:
                value += (1 - abs(y - row)) * (1 - abs(x - column)) * image[:, row, column]
    return value


def per_pixel(x, offset, weight, bias, stride, padding, dilation):
    out_channels, group_channels, kh, kw = weight.shape
    channels = x.shape[1]
    offset_groups = offset.shape[1] // (2 * kh * kw)
    out = torch.zeros(x.shape[0], out_channels, *offset.shape[2:], dtype=x.dtype)
    for b, row, column in torch.cartesian_prod(*(torch.arange(n) for n in (x.shape[0], *offset.shape[2:]))).tolist():
        taps = torch.zeros(channels, kh, kw, dtype=x.dtype)
        for g, part in enumerate(x[b].chunk(offset_groups)):
            for i in range(kh):
                for j in range(kw):
                    number = 2 * (g * kh * kw + i * kw + j)
                    dy, dx = offset[b, number : number + 2, row, column].tolist()
                    y = row * stride[0] - padding[0] + i * dilation[0] + dy
                    across = column * stride[1] - padding[1] + j * dilation[1] + dx
                    first = g * part.shape[0]
                    taps[first : first + part.shape[0], i, j] = bilinear(part, y, across)
        for o in range(out_channels):
            first = o // (out_channels // (channels // group_channels)) * group_channels
            out[b, o, row, column] = (weight[o] * taps[first : first + group_channels]).sum() + bias[o]
    return out


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=15, deadline=None)
@given(
    size=st.tuples(st.integers(5, 7), st.integers(5, 7)),
    taps=pairs,
    stride=pairs,
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    groups=st.sampled_from([1, 2, 4]),
    offset_groups=st.sampled_from([1, 2, 4]),
)
def test_equals_the_sum_written_out_pixel_by_pixel(size, taps, stride, padding, dilation, groups, offset_groups):
    inputs = random_inputs(4, 4, size, taps, stride, padding, dilation, groups, offset_groups)
    expected = per_pixel(*inputs, stride, padding, dilation)
    torch.testing.assert_close(deform_conv2d_plain(*inputs, stride, padding, dilation), expected)
    torch.testing.assert_close(deform_conv2d(*inputs, stride, padding, dilation), expected)


@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 1, 1), (2, 0, 1), ((1, 2), (2, 1), 2)])
def test_offsets_of_zero_give_conv2d(stride, padding, dilation):
    x, weight, bias = torch.randn(2, 4, 9, 12), torch.randn(6, 2, 3, 3), torch.randn(6)
    expected = F.conv2d(x, weight, bias, stride, padding, dilation, groups=2)
    offset = torch.zeros(2, 18, *expected.shape[2:])
    out = deform_conv2d(x, offset, weight, bias, stride, padding, dilation)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)


def test_equal_integer_offsets_give_conv2d_of_the_shifted_image():
    x, _, weight, bias = random_inputs(size=(7, 8))
    offset = torch.tensor([2.0, -1.0]).double().repeat(9).view(1, 18, 1, 1).expand(2, -1, 7, 8)
    shifted = F.pad(x, (1, 0, 0, 2))[:, :, 2:, :8]  # row r holds row r + 2, column c holds column c - 1
    inner = (..., slice(1, -1), slice(1, -1))  # the padding of conv2d does not shift with the image
    out, expected = deform_conv2d(x, offset, weight, bias, padding=1), F.conv2d(shifted, weight, bias, padding=1)
    torch.testing.assert_close(out[inner], expected[inner])


@pytest.mark.parametrize("operator", [deform_conv2d, deform_conv2d_plain])
@pytest.mark.parametrize("options", [{}, {"groups": 2, "offset_groups": 2, "stride": (2, 1), "size": (4, 3)}])
def test_gradients_equal_finite_differences(options, operator):
    inputs = [tensor.requires_grad_() for tensor in random_inputs(**options, spread=0.7)]
    stride = options.get("stride", 1)
    assert torch.autograd.gradcheck(lambda *tensors: operator(*tensors, stride=stride, padding=1), inputs)


def test_an_image_of_one_pixel_is_seen_by_the_tap_that_lands_on_it():
    x, weight = torch.full((1, 1, 1, 1), 3.0), torch.arange(1.0, 10.0).view(1, 1, 3, 3)
    offset = torch.zeros(1, 18, 1, 1)
    assert deform_conv2d(x, offset, weight, padding=1).item() == 15  # 3 * the middle weight
    offset[0, 0] = offset[0, 1] = 1  # moves the first tap onto the pixel too
    assert deform_conv2d(x, offset, weight, padding=1).item() == pytest.approx(18)


@pytest.mark.parametrize("operator", [deform_conv2d, deform_conv2d_plain])
def test_autocast_stays_near_float32_and_returns_float32_gradients(operator):
    inputs = [tensor.requires_grad_() for tensor in random_inputs(size=(9, 8), dtype=torch.float32)]
    expected = operator(*inputs, padding=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = operator(inputs[0].bfloat16(), *inputs[1:], padding=1)
    assert out.dtype == torch.bfloat16
    assert (out.float() - expected).norm() < 0.02 * expected.norm()
    assert {gradient.dtype for gradient in torch.autograd.grad(out.float().sum(), inputs)} == {torch.float32}


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("weight_dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("operator", [deform_conv2d, deform_conv2d_plain])
def test_half_precision_is_computed_in_float32(operator, weight_dtype, autocast):
    """But for the rounding of its inputs and of its result, half a unit of 2**-8."""
    x, offset, weight, bias = random_inputs(size=(9, 8), dtype=torch.float32)
    halves = x.bfloat16(), offset, weight.to(weight_dtype), bias.to(weight_dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        out = operator(*halves, padding=1)
    exact = operator(*(tensor.double() for tensor in halves), padding=1)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.double(), exact, rtol=2**-8, atol=1e-5)


@pytest.mark.parametrize(
    ("position", "shape", "message"),
    [
        (0, (4, 5, 6), r"4 dimensions, got shapes \(4, 5, 6\), \(2, 18, 5, 6\), \(4, 4, 3, 3\)"),
        (1, (2, 17, 5, 6), "18 channels for each group of x's 4, got 17"),
        (1, (2, 54, 5, 6), "18 channels for each group of x's 4, got 54"),
        (1, (2, 18, 5, 5), r"size \[5, 6\].*got \(2, 18, 5, 5\)"),
        (2, (4, 3, 3, 3), r"weight \(4, 3, 3, 3\) does not divide the 4 channels"),
        (3, (3,), r"bias needs shape \(4,\), got \(3,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_named(position, shape, message):
    inputs = list(random_inputs())
    inputs[position] = torch.zeros(shape, dtype=torch.float64)
    with pytest.raises(ValueError, match=message):
        deform_conv2d(*inputs, padding=1)
