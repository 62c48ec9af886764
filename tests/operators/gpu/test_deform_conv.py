"""The numbers of the Triton kernels, in Triton's interpreter and on a GPU that is at hand."""

import json
import sys
from functools import partial

import pytest
import torch

from arcsr_lightning.operators import deform_conv2d_plain
from tests.operators.gpu import comparison
from tests.operators.gpu.comparison import TOLERANCE, randoms, results

pytest.importorskip("triton")

GEOMETRY = ((1, 1), (1, 1), (1, 1))  # stride, padding, dilation
CASES = {  # C, O, taps, H, W, geometry, dtype
    "one tap": (5, 7, (1, 1), (6, 5), ((1, 1), (0, 0), (1, 1)), torch.float32),
    "a last tile of pixels that is not full": (4, 3, (3, 3), (5, 5), GEOMETRY, torch.float32),
    "tiles of channels that are not full": (20, 35, (2, 2), (5, 4), GEOMETRY, torch.float32),
    "full tiles of channels": (32, 16, (2, 2), (4, 4), GEOMETRY, torch.float32),
    "any geometry": (3, 4, (3, 2), (9, 8), ((2, 1), (1, 3), (1, 2)), torch.float32),
    "bfloat16": (20, 16, (1, 2), (5, 6), GEOMETRY, torch.bfloat16),
    "float16": (20, 16, (1, 2), (5, 6), GEOMETRY, torch.float16),
}


def random_inputs(channels, out_channels, taps, size, geometry, dtype, batch=2, device="cpu"):
    """x, offset, weight, and the gradient of the result; offsets reach out of small images."""
    out = [(size[d] + 2 * geometry[1][d] - geometry[2][d] * (taps[d] - 1) - 1) // geometry[0][d] + 1 for d in range(2)]
    shapes = (
        (batch, channels, *size),
        (batch, 2 * taps[0] * taps[1], *out),
        (out_channels, channels, *taps),
        (batch, out_channels, *out),
    )
    x, offset, weight, grad_out = randoms(*shapes, dtype=dtype, device=device)
    return x, 2 * offset.float(), weight, grad_out


def operator(x, offset, weight, geometry=GEOMETRY):
    from arcsr_lightning.operators import gpu

    return gpu.deform_conv2d(x, offset, weight, *geometry)


def reference(x, offset, weight, geometry=GEOMETRY):
    return deform_conv2d_plain(x, offset, weight, None, *geometry)


def errors(inputs, geometry=GEOMETRY, exact_inputs=None):
    ours, exact = (partial(one, geometry=geometry) for one in (operator, reference))
    return comparison.errors(ours, exact, inputs, exact_inputs)


def interpret():
    """Compute the errors of each case, then what the other tests below look at."""
    from arcsr_lightning.operators.gpu import deform_conv as module
    from arcsr_lightning.operators.gpu import tiles

    found = {
        "tiles of the size a GPU sees": errors(random_inputs(70, 66, (2, 1), (4, 4), GEOMETRY, torch.float32, batch=1))
    }
    tiles.BLOCK = 16  # so that small inputs have many
    for name, (*sizes, geometry, dtype) in CASES.items():
        found[name] = errors(random_inputs(*sizes, geometry, dtype), geometry)

    inputs = random_inputs(3, 4, (2, 2), (4, 5), GEOMETRY, torch.float32)
    found["strided"] = errors([comparison.strided(tensor) for tensor in inputs], GEOMETRY, inputs)
    found["alone"] = comparison.alone(operator, inputs)
    found["compiled"] = comparison.compiled(operator, inputs)
    found["changed in place"] = comparison.changed_in_place(operator, inputs)
    x, offset, weight, grad_out = inputs
    comparison.check_shapes_alone(module._opaque_convolve, x, offset, weight, *GEOMETRY)
    for opaque in (module._opaque_pixel_gradients, module._opaque_weight_gradient):
        comparison.check_shapes_alone(opaque, grad_out, x, offset, weight, *GEOMETRY)
    found["custom operators in eager mode"] = comparison.custom_operators(operator, inputs)

    offset[0, 3, 1, 2], offset[1, 0, 0, 0], offset[1, 4, 3, 3] = float("nan"), 1e20, -1e20
    ours, exact = (results(one, (x, offset, weight, grad_out))[0] for one in (operator, reference))
    found["no number"] = ours.isnan().nonzero().tolist()
    found["far away"] = (ours - exact)[1].abs().max().item()
    return found


@pytest.fixture(scope="module")
def interpreted():
    return comparison.interpret(__file__)


@pytest.mark.parametrize("case", CASES)
def test_result_and_gradients_equal_the_plain_version(interpreted, case):
    assert all(error < TOLERANCE[CASES[case][-1]] for error in interpreted[case]), interpreted[case]


@pytest.mark.parametrize("case", ["strided", "tiles of the size a GPU sees"])
def test_neither_layout_nor_the_size_of_tiles_matters(interpreted, case):
    assert all(error < TOLERANCE[torch.float32] for error in interpreted[case]), interpreted[case]


def test_one_gradient_alone_equals_that_of_all(interpreted):
    assert interpreted["alone"] == [True] * 3


def test_compiles_without_a_graph_break(interpreted):
    assert all(interpreted["compiled"])


def test_the_result_may_be_changed_in_place(interpreted):
    assert interpreted["changed in place"] == [True] * 4


def test_without_a_compiler_no_custom_operator_is_called(interpreted):
    assert interpreted["custom operators in eager mode"] == []


def test_an_offset_that_is_no_number_gives_none_and_one_far_away_zeros(interpreted):
    assert interpreted["no number"] == [[0, channel, 1, 2] for channel in range(4)]
    assert interpreted["far away"] < 1e-5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("channels", [16, 80])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_on_a_gpu_result_and_gradients_equal_the_plain_version(channels, dtype):
    found = errors(random_inputs(channels, channels, (3, 3), (64, 60), GEOMETRY, dtype, device="cuda"))
    # In float32 positions on 64 pixels have 18 bits behind the point, which alone is an error of 2e-6.
    assert all(error < max(TOLERANCE[dtype], 4e-6) for error in found), found


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_no_choice_of_tiles_changes_the_result(monkeypatch):
    from arcsr_lightning.operators.gpu import deform_conv as module

    monkeypatch.setattr(module, "precision", lambda x: "ieee")
    tuned = (module._forward_kernel, module._pixel_gradients_kernel, module._weight_gradient_kernel)
    inputs = random_inputs(64, 64, (3, 3), (37, 53), GEOMETRY, torch.float32, device="cuda")
    found = comparison.with_every_tile(tuned, lambda: errors(inputs))
    assert len(found) > 3
    assert all(error < 4e-6 for each in found for error in each), found


if __name__ == "__main__":
    json.dump(interpret(), sys.stdout)
