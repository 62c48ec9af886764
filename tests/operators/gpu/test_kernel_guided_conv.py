"""The numbers of the Triton kernels, in Triton's interpreter and on a GPU that is at hand."""

import json
import sys

import pytest
import torch

from arcsr_lightning.operators import kernel_guided_conv2d_reference
from tests.operators.gpu import comparison
from tests.operators.gpu.comparison import TOLERANCE, randoms, results

triton = pytest.importorskip("triton")

NAMES = ("out", "x", "kernel", "weight")
CASES = {  # batch, C, O, ks, H, W, dtype
    "one tap": (2, 5, 7, 1, 6, 11, torch.float32),
    "fewer pixels than a tile": (1, 3, 4, 3, 5, 3, torch.float32),
    "a last tile of pixels that is not full": (2, 4, 3, 3, 9, 7, torch.float32),
    "tiles of channels that are not full": (2, 20, 35, 3, 7, 6, torch.float32),
    "full tiles of channels": (1, 32, 16, 3, 8, 8, torch.float32),
    "five by five": (1, 16, 5, 5, 9, 8, torch.float32),
    "a window larger than the image": (2, 5, 6, 7, 5, 3, torch.float32),
    "bfloat16": (1, 20, 16, 3, 9, 7, torch.bfloat16),
    "float16": (1, 20, 16, 3, 9, 7, torch.float16),
}


def random_inputs(batch, channels, out_channels, ks, height, width, dtype, device="cpu"):
    """x, kernel, weight, and the gradient of the result."""
    shapes = (
        (batch, channels, height, width),
        (batch, ks * ks, height, width),
        (out_channels, channels, ks, ks),
        (batch, out_channels, height, width),
    )
    return randoms(*shapes, dtype=dtype, device=device)


def errors(inputs, exact_inputs=None):
    from arcsr_lightning.operators import gpu

    return comparison.errors(gpu.kernel_guided_conv2d, kernel_guided_conv2d_reference, inputs, exact_inputs)


def interpret():
    """Compute the errors of each case, then what the other tests below look at."""
    from arcsr_lightning.operators import gpu
    from arcsr_lightning.operators.gpu import kernel_guided_conv as module
    from arcsr_lightning.operators.gpu import tiles

    operator = gpu.kernel_guided_conv2d
    found = {"tiles of the size a GPU sees": errors(random_inputs(1, 70, 66, 3, 5, 4, torch.float32))}
    tiles.BLOCK = 16  # so that small inputs have many
    found |= {name: errors(random_inputs(*case)) for name, case in CASES.items()}

    inputs = random_inputs(2, 3, 4, 3, 4, 5, torch.float32)
    found["strided"] = errors([comparison.strided(tensor) for tensor in inputs], inputs)
    found["alone"] = comparison.alone(operator, inputs)
    found["compiled"] = comparison.compiled(operator, inputs)
    found["changed in place"] = comparison.changed_in_place(operator, inputs)
    x, kernel, weight, grad_out = inputs
    comparison.check_shapes_alone(module._opaque_convolve, x, kernel, weight)
    laid_out = weight.contiguous(memory_format=torch.channels_last)
    for one in (weight, laid_out):
        comparison.check_shapes_alone(module._opaque_weight_gradient, grad_out, x, kernel, one)
    for needs in ((True, True), (True, False), (False, True)):
        comparison.check_shapes_alone(module._opaque_pixel_gradients, grad_out, x, kernel, weight, *needs)

    gradient = module._weight_gradient(grad_out, x, kernel, laid_out)
    same = torch.equal(gradient, results(operator, inputs)[3])
    found["laid out"] = [same, gradient.stride() == laid_out.stride() != weight.stride()]
    found["custom operators in eager mode"] = comparison.custom_operators(operator, inputs)

    tuned = (module._taps_kernel, module._weight_gradient_kernel)
    found["every choice of tiles"] = comparison.with_every_tile(tuned, lambda: errors(inputs))
    for kernel_, blocks in zip(tuned, (4, 8), strict=True):  # of several the fastest is taken, which needs a GPU
        kernel_.configs = [triton.Config({"BLOCK_P": blocks}), triton.Config({"BLOCK_P": 16})]
    torch.use_deterministic_algorithms(True)
    found["deterministic"] = errors(inputs)
    found["timed"] = sum(len(kernel_.cache) for kernel_ in tuned)
    return found


@pytest.fixture(scope="module")
def interpreted():
    return comparison.interpret(__file__)


@pytest.mark.parametrize("case", CASES)
def test_result_and_gradients_equal_the_reference(interpreted, case):
    assert all(error < TOLERANCE[CASES[case][-1]] for error in interpreted[case]), interpreted[case]


@pytest.mark.parametrize("case", ["strided", "tiles of the size a GPU sees"])
def test_neither_layout_nor_the_size_of_tiles_matters(interpreted, case):
    assert all(error < TOLERANCE[torch.float32] for error in interpreted[case]), interpreted[case]


def test_one_gradient_alone_equals_that_of_all(interpreted):
    assert interpreted["alone"] == [True] * 3


def test_compiles_without_a_graph_break(interpreted):
    assert all(interpreted["compiled"])


def test_a_gradient_is_laid_out_as_its_weight(interpreted):
    assert all(interpreted["laid out"])


def test_the_result_may_be_changed_in_place(interpreted):
    assert interpreted["changed in place"] == [True] * 4


def test_without_a_compiler_no_custom_operator_is_called(interpreted):
    assert interpreted["custom operators in eager mode"] == []


def test_the_first_choice_of_tiles_gives_the_result_too(interpreted):
    """The one that the interpreter has, by what tries all of them on a GPU."""
    assert len(interpreted["every choice of tiles"]) == 2
    assert all(error < TOLERANCE[torch.float32] for each in interpreted["every choice of tiles"] for error in each)


def test_where_bits_have_to_repeat_no_timing_chooses_the_tiles(interpreted):
    assert all(error < TOLERANCE[torch.float32] for error in interpreted["deterministic"])
    assert interpreted["timed"] == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("channels", [64, 80])  # one tile of them, or two
@pytest.mark.parametrize(
    ("dtype", "precision", "tolerance"),
    [
        (torch.float32, "ieee", TOLERANCE[torch.float32]),
        (torch.float32, "tf32", TOLERANCE[torch.float16]),  # as many bits
        (torch.bfloat16, "tf32", TOLERANCE[torch.bfloat16]),
        (torch.float16, "tf32", TOLERANCE[torch.float16]),
    ],
)
def test_on_a_gpu_result_and_gradients_equal_the_reference(channels, dtype, precision, tolerance, monkeypatch):
    from arcsr_lightning.operators.gpu import kernel_guided_conv as module

    monkeypatch.setattr(module, "precision", lambda x: precision)
    found = errors(random_inputs(2, channels, channels, 5, 64, 64, dtype, "cuda"))
    assert all(error < tolerance for error in found), found


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_no_choice_of_tiles_changes_the_result(monkeypatch):
    from arcsr_lightning.operators.gpu import kernel_guided_conv as module

    monkeypatch.setattr(module, "precision", lambda x: "ieee")
    inputs = random_inputs(1, 64, 64, 3, 37, 53, torch.float32, "cuda")
    found = comparison.with_every_tile((module._taps_kernel, module._weight_gradient_kernel), lambda: errors(inputs))
    assert len(found) > 2
    assert all(error < TOLERANCE[torch.float32] for each in found for error in each), found


if __name__ == "__main__":
    json.dump(interpret(), sys.stdout)
