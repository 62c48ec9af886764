"""The Triton kernels: their numbers in Triton's interpreter, whether they compile for a GPU, and both on one at hand.

Triton reads TRITON_INTERPRET when the kernels are defined, so this file runs itself as a script in other processes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import arcsr_lightning
from arcsr_lightning.operators import kernel_guided_conv2d_reference

triton = pytest.importorskip("triton")

NAMES = ("out", "x", "kernel", "weight")
CASES = {  # batch, C, O, ks, H, W, dtype
    "one tap": (2, 5, 7, 1, 6, 11, torch.float32),
    "fewer pixels than a block": (1, 3, 4, 3, 5, 3, torch.float32),
    "a last block of pixels that is not full": (2, 4, 3, 3, 9, 7, torch.float32),
    "blocks of channels that are not full": (2, 20, 35, 3, 7, 6, torch.float32),
    "full blocks of channels": (1, 32, 16, 3, 8, 8, torch.float32),
    "five by five": (1, 16, 5, 5, 9, 8, torch.float32),
    "a window larger than the image": (2, 5, 6, 7, 5, 3, torch.float32),
    "bfloat16": (1, 20, 16, 3, 9, 7, torch.bfloat16),
    "float16": (1, 20, 16, 3, 9, 7, torch.float16),
}
# Roundings of a result (and one of a factor, for the weight) cost less; sums in half precision would cost more.
TOLERANCE = {torch.float32: 1e-6, torch.bfloat16: 2**-7, torch.float16: 2**-10}


def random_inputs(batch, channels, out_channels, ks, height, width, dtype, device="cpu"):
    """x, kernel, weight, and the gradient of the result."""
    torch.manual_seed(0)
    shapes = (
        (batch, channels, height, width),
        (batch, ks * ks, height, width),
        (out_channels, channels, ks, ks),
        (batch, out_channels, height, width),
    )
    return [torch.randn(shape).to(device, dtype) for shape in shapes]


def results(operator, inputs, needs=(0, 1, 2)):
    """The result, and the gradients of those inputs that need one."""
    leaves = [tensor.detach().requires_grad_(i in needs) for i, tensor in enumerate(inputs[:3])]
    out = operator(*leaves)
    out.backward(inputs[3])
    return [out.detach(), *(leaf.grad for leaf in leaves)]


def errors(inputs, exact_inputs=None):
    """||triton - reference|| / ||reference|| of the result and of each gradient, the reference in float64."""
    from arcsr_lightning.operators.kernel_guided_conv_triton import kernel_guided_conv2d_triton

    ours = results(kernel_guided_conv2d_triton, inputs)
    exact = results(kernel_guided_conv2d_reference, [tensor.double() for tensor in exact_inputs or inputs])
    assert all(tensor.dtype == inputs[0].dtype for tensor in ours)
    return dict(zip(NAMES, [((a - b).norm() / b.norm()).item() for a, b in zip(ours, exact, strict=True)], strict=True))


def strided(tensor):
    """The same numbers, neither contiguous nor channels-last."""
    return torch.stack((tensor, tensor.flip(0)), -1).transpose(0, 1).contiguous().transpose(0, 1)[..., 0]


def interpret():
    """Compute the errors of each case, then what the other tests below look at."""
    from arcsr_lightning.operators import kernel_guided_conv_triton as module

    operator = module.kernel_guided_conv2d_triton
    found = {}
    found["blocks of the size a GPU sees"] = errors(random_inputs(1, 70, 66, 3, 5, 4, torch.float32))
    module.BLOCK = 16  # so that small inputs have many blocks
    for name, case in CASES.items():
        found[name] = errors(random_inputs(*case))

    inputs = random_inputs(2, 3, 4, 3, 4, 5, torch.float32)
    views = [strided(tensor) for tensor in inputs]
    assert not any(view.is_contiguous() or view.permute(0, 2, 3, 1).is_contiguous() for view in views)
    found["strided"] = errors(views, inputs)
    every = results(operator, inputs)
    for position, name in enumerate(NAMES[1:]):
        alone = results(operator, inputs, needs=(position,))
        found[f"only {name}"] = [
            tensor is None if other not in (0, position + 1) else torch.equal(tensor, every[other])
            for other, tensor in enumerate(alone)
        ]

    compiled = torch.compile(lambda *tensors: operator(*tensors).tanh(), backend="aot_eager", fullgraph=True)
    eager = results(lambda *tensors: operator(*tensors).tanh(), inputs)
    found["compiled"] = [torch.equal(a, b) for a, b in zip(results(compiled, inputs), eager, strict=True)]
    x, kernel, weight, grad_out = inputs
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(module._opaque_convolve, (x, kernel, weight), test_utils=checks)
    laid_out = weight.contiguous(memory_format=torch.channels_last)
    for one in (weight, laid_out):
        torch.library.opcheck(module._opaque_weight_gradient, (grad_out, x, kernel, one), test_utils=checks)
    for needs in ((True, True), (True, False), (False, True)):
        torch.library.opcheck(module._opaque_pixel_gradients, (grad_out, x, kernel, weight, *needs), test_utils=checks)

    gradient = module._weight_gradient(grad_out, x, kernel, laid_out)
    found["laid out"] = [torch.equal(gradient, every[3]), gradient.stride() == laid_out.stride() != weight.stride()]
    with CustomOperators() as called:
        results(operator, inputs)
    found["custom operators in eager mode"] = called.names

    tuned = (module._taps_kernel, module._weight_gradient_kernel)
    for kernel_, blocks in zip(tuned, (4, 8), strict=True):  # of several the fastest is taken, which needs a GPU
        kernel_.configs = [triton.Config({"BLOCK_P": blocks}), triton.Config({"BLOCK_P": 16})]
    torch.use_deterministic_algorithms(True)
    found["deterministic"] = errors(inputs)
    found["timed"] = sum(len(kernel_.cache) for kernel_ in tuned)
    return found


class CustomOperators(TorchDispatchMode):
    """The names of those of this package that are called."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names += [func.name()] if func.namespace == "arcsr_lightning" else []
        return func(*args, **(kwargs or {}))


def build():
    """Find which instructions the kernels become on an H100, built here without one."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from arcsr_lightning.operators import kernel_guided_conv_triton as module

    found = {}
    for dtype, precision in (("bf16", "tf32"), ("fp32", "ieee")):
        shared = {"KS": 5, "PRECISION": precision}
        taps = {"K": 64, "N": 64, "BLOCK_K": 16 if precision == "ieee" else 64, "BLOCK_N": 64, **shared}
        weight = {"C": 64, "O": 64, "HEIGHT": 64, "WIDTH": 64, "BLOCK_C": 64, "BLOCK_O": 64, **shared}
        kernels = {
            "forward": (module._taps_kernel, {**taps, "BACKWARD": False, "features": None, "grad_kernel": None}),
            "pixels": (module._taps_kernel, {**taps, "BACKWARD": True}),
            "weight": (module._weight_gradient_kernel, weight),
        }
        for name, (tuned, constants) in kernels.items():
            config = tuned.configs[0]
            constants = constants | config.kwargs
            types = {"pixels": "i32", "height": "i32", "width": "i32", "sums": "*fp32"}
            types |= dict.fromkeys(constants, "constexpr")
            signature = {argument: types.get(argument, f"*{dtype}") for argument in tuned.arg_names}
            aligned = {(i,): [["tt.divisibility", 16]] for i, type_ in enumerate(signature.values()) if type_[0] == "*"}
            options = {"num_warps": config.num_warps, "num_stages": config.num_stages}
            source = ASTSource(tuned.fn, signature, constants, aligned)
            code = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm["ptx"]
            found[f"{name} {dtype} {precision}"] = {"tensor cores": "wgmma" in code, "pipelined": "cp.async" in code}
    return found


def run(task, **environment):
    environment = os.environ | {"PYTHONPATH": str(Path(arcsr_lightning.__file__).parents[1])} | environment
    done = subprocess.run([sys.executable, __file__, task], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def interpreted():
    if tuple(map(int, triton.__version__.split(".")[:2])) < (3, 9):
        pytest.skip(
            f"the interpreter of Triton {triton.__version__} takes no computed bounds of a loop, that of 3.9 does"
        )
    return run("interpret", TRITON_INTERPRET="1")


@pytest.mark.parametrize("case", CASES)
def test_result_and_gradients_equal_the_reference(interpreted, case):
    tolerance = TOLERANCE[CASES[case][-1]]
    assert all(error < tolerance for error in interpreted[case].values()), interpreted[case]


@pytest.mark.parametrize("case", ["strided", "blocks of the size a GPU sees"])
def test_neither_layout_nor_block_size_matters(interpreted, case):
    assert all(error < TOLERANCE[torch.float32] for error in interpreted[case].values()), interpreted[case]


@pytest.mark.parametrize("name", NAMES[1:])
def test_one_gradient_alone_equals_that_of_all(interpreted, name):
    assert all(interpreted[f"only {name}"])


def test_compiles_without_a_graph_break(interpreted):
    assert all(interpreted["compiled"])


def test_a_gradient_is_laid_out_as_its_weight(interpreted):
    assert all(interpreted["laid out"])


def test_without_a_compiler_no_custom_operator_is_called(interpreted):
    assert interpreted["custom operators in eager mode"] == []


def test_where_bits_have_to_repeat_no_timing_chooses_the_blocks(interpreted):
    assert all(error < TOLERANCE[torch.float32] for error in interpreted["deterministic"].values())
    assert interpreted["timed"] == 0


def fails(device):
    raise RuntimeError("Failed to find C compiler.\nPlease specify")


@pytest.mark.parametrize(
    ("capability", "launch", "works", "said"),
    [
        ((9, 0), lambda device: None, True, []),
        ((7, 5), lambda device: None, False, []),
        (
            (9, 0),
            fails,
            False,
            ["Triton does not work here (Failed to find C compiler.): PyTorch computes kernel-guided convolutions"],
        ),
    ],
)
def test_pytorch_does_the_work_where_triton_cannot(capability, launch, works, said, monkeypatch, caplog):
    from arcsr_lightning.operators import kernel_guided_conv_triton as module

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(module, "_try", launch)
    module._works.cache_clear()
    assert [module._supports(0), module._supports(0)] == [works, works]
    assert [message.partition(", slower")[0] for message in caplog.messages] == said  # once
    module._works.cache_clear()


def test_builds_for_a_gpu_and_uses_its_tensor_cores(tmp_path):
    built = run("build", TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path))
    for name, found in built.items():
        assert found == {"tensor cores": not name.endswith("ieee"), "pipelined": True}, name


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("channels", [64, 80])  # one block of them, or two
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
    from arcsr_lightning.operators import kernel_guided_conv_triton as module

    monkeypatch.setattr(module, "_precision", lambda x: precision)
    found = errors(random_inputs(2, channels, channels, 5, 64, 64, dtype, "cuda"))
    assert all(error < tolerance for error in found.values()), found


if __name__ == "__main__":
    json.dump({"interpret": interpret, "build": build}[sys.argv[1]](), sys.stdout)
