"""What the tests of the Triton kernels share.

Triton reads TRITON_INTERPRET when the kernels are defined, so these tests run their own file as a script in another
process.
"""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import arcsr_lightning

ROOT = Path(__file__).parents[3]
# Roundings of a result (and one of a factor or sample, for the weight) cost less, sums in half precision more.
TOLERANCE = {torch.float32: 1e-6, torch.bfloat16: 2**-7, torch.float16: 2**-10}


def interpret(file):
    """What a test file prints that is run as a script, where kernels are interpreted."""
    import triton

    if tuple(map(int, triton.__version__.split(".")[:2])) < (3, 9):
        pytest.skip(
            f"the interpreter of Triton {triton.__version__} takes no computed bounds of a loop, that of 3.9 does"
        )
    path = os.pathsep.join((str(Path(arcsr_lightning.__file__).parents[1]), str(ROOT)))
    environment = os.environ | {"PYTHONPATH": path, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, file], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def randoms(*shapes, dtype=torch.float32, device="cpu"):
    torch.manual_seed(0)
    return [torch.randn(shape).to(device, dtype) for shape in shapes]


def results(operator, inputs, needs=(0, 1, 2)):
    """The result, and the gradients of those inputs that need one; the last input is the gradient of the result."""
    leaves = [tensor.detach().requires_grad_(i in needs) for i, tensor in enumerate(inputs[:3])]
    out = operator(*leaves)
    out.backward(inputs[3])
    return [out.detach(), *(leaf.grad for leaf in leaves)]


def errors(operator, reference, inputs, exact_inputs=None):
    """||operator - reference|| / ||reference|| of the result and of each gradient, the reference in float64."""
    ours = results(operator, inputs)
    exact = results(reference, [tensor.double() for tensor in exact_inputs or inputs])
    assert all(tensor.dtype == given.dtype for tensor, given in zip(ours, (inputs[3], *inputs[:3]), strict=True))
    return [((a - b).norm() / b.norm()).item() for a, b in zip(ours, exact, strict=True)]


def with_every_tile(kernels, compute):
    """What ``compute`` gives with each choice of tiles of each kernel that the card has room for."""
    from triton.runtime.errors import OutOfResources

    found = []
    for kernel in kernels:
        choices = kernel.configs
        for config in choices:
            kernel.configs = [config]  # the only one is taken without timing it
            kernel.cache.clear()
            with suppress(OutOfResources):
                found.append(compute())
        kernel.configs = choices
    return found


def strided(tensor):
    """The same numbers, neither contiguous nor channels-last."""
    view = torch.stack((tensor, tensor.flip(0)), -1).transpose(0, 1).contiguous().transpose(0, 1)[..., 0]
    assert not view.is_contiguous()
    assert not view.permute(0, 2, 3, 1).is_contiguous()
    return view


def alone(operator, inputs):
    """For each gradient, whether it is the same when nothing else needs one, and whether nothing else has one."""
    every = results(operator, inputs)
    found = []
    for position in range(3):
        one = results(operator, inputs, needs=(position,))
        found.append(
            all(
                tensor is None if other not in (0, position + 1) else torch.equal(tensor, every[other])
                for other, tensor in enumerate(one)
            )
        )
    return found


def compiled(operator, inputs):
    """For the result and each gradient, whether torch.compile takes the operator as one and finds the same."""
    within = torch.compile(lambda *tensors: operator(*tensors).tanh(), backend="aot_eager", fullgraph=True)
    eager = results(lambda *tensors: operator(*tensors).tanh(), inputs)
    return [torch.equal(a, b) for a, b in zip(results(within, inputs), eager, strict=True)]


def check_shapes_alone(operator, *arguments):
    """Compare what torch.compile is told of a custom operator with what it does."""
    torch.library.opcheck(operator, arguments, test_utils=("test_schema", "test_faketensor"))


def changed_in_place(operator, inputs):
    """For the result and each gradient, whether a ReLU may write over the result, as in a KG-block."""
    over = results(lambda *tensors: operator(*tensors).relu_(), inputs)
    return [torch.equal(a, b) for a, b in zip(over, results(lambda *all: operator(*all).relu(), inputs), strict=True)]


def custom_operators(operator, inputs):
    """The names of those of this package that a pass calls."""
    with _Called() as called:
        results(operator, inputs)
    return called.names


class _Called(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names += [func.name()] if func.namespace == "arcsr_lightning" else []
        return func(*args, **(kwargs or {}))
