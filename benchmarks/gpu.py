"""What is measured on a GPU: whether it is right, against float64, and then how fast it is, against cuDNN.

Nothing here has been run on one yet; the tests run the same functions, small, on a CPU.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arcsr_lightning.blocks import KGConv, OrdinaryConv, PlainConv
from arcsr_lightning.networks import ArcSR, KernelEstimator, Restorer
from arcsr_lightning.operators import (
    deform_conv2d,
    deform_conv2d_plain,
    kernel_guided_conv2d,
    kernel_guided_conv2d_reference,
)
from arcsr_lightning.precision import exact_float32
from arcsr_lightning.scores.metrics import score
from benchmarks.cases import BOTH, CONV, DEFORM, FORWARD, KG, REFERENCE, Case, Goal, run_of
from benchmarks.timing import Function


@contextmanager
def tf32():
    """Allow it, in convolutions and in matrix products."""
    convolution, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolution
        torch.set_float32_matmul_precision(products)


PRECISIONS = {
    "float32": (torch.float32, exact_float32),
    "TF32": (torch.float32, tf32),
    "bfloat16": (torch.bfloat16, tf32),
    "float16": (torch.float16, tf32),
}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}
SHAPES = (  # batch, C, O, ks, H, W: the network's, blocks that are not full, large and small windows
    (2, 64, 64, 7, 64, 64),
    (1, 64, 64, 3, 37, 53),
    (2, 32, 64, 5, 17, 129),
    (1, 80, 48, 11, 31, 20),
    (1, 16, 16, 21, 9, 30),
    (3, 3, 5, 1, 7, 9),
)
CALLS = 20  # timed as one, so that launches run ahead of the card as they do in a training


def suite(quick: bool = False) -> list[Case]:
    """Errors first; ``quick``: one of them and one time."""
    if quick:
        return [guided_error(SHAPES[1], "TF32", "contiguous"), guided_time(FORWARD, 3, 64, "bfloat16")]
    return [
        *(guided_error(*case) for case in product(SHAPES, PRECISIONS, LAYOUTS)),
        *(deformed_error(*case) for case in product((16, 64), PRECISIONS)),
        *(score_error(layout) for layout in LAYOUTS),
        *(guided_time(passes, *shape) for shape, passes in product(times(), (FORWARD, BOTH))),
        guided_time(BOTH, 7, 64, "bfloat16", "memory"),
        *(deformed_time(*case) for case in product((16, 32, 64), ("bfloat16", "TF32"))),
        training_step(),
    ]


def times() -> list[tuple[int, int, str]]:
    """(ks, channels, precision)."""
    sizes = ((3, 64), (5, 64), (7, 64), (11, 64), (7, 32), (7, 128))
    return [(*size, precision) for size, precision in product(sizes, ("bfloat16", "TF32", "float32"))]


# ---------------------------------------------------------------- right


def guided_error(shape: Sequence[int], precision: str, layout: str) -> Case:
    """Goal: at most twice the error of the unfolded image in the same precision."""
    build = partial(guided_errors, *shape, precision, layout)
    batch, channels, out_channels, ks, height, width = shape
    size = f"ks {ks}, C {channels}, O {out_channels}, {height}×{width}, batch {batch}, {precision}, {layout}"
    return on_gpu(f"{KG}, {BOTH}", size, "error", REFERENCE, build, Goal(2))


def guided_errors(
    batch: int, channels: int, out_channels: int, ks: int, height: int, width: int, precision: str, layout: str
) -> tuple[Function, Function]:
    torch.manual_seed(0)
    inputs = [
        torch.randn(batch, channels, height, width).contiguous(memory_format=LAYOUTS[layout]),
        torch.randn(batch, ks * ks, height, width).softmax(1) * ks,
        torch.randn(out_channels, channels, ks, ks).contiguous(memory_format=LAYOUTS[layout]),
    ]
    upstream = torch.randn(batch, out_channels, height, width)
    return errors((kernel_guided_conv2d, kernel_guided_conv2d_reference), inputs, upstream, precision)


def deformed_error(channels: int, precision: str) -> Case:
    """Goal: at most twice the error of grid_sample in the same precision."""
    build = partial(deformed_errors, channels, 64, precision)
    size = f"ks 3, C {channels}, 64×64, {precision}"
    return on_gpu(f"{DEFORM}, {BOTH}", size, "error", "grid_sample", build, Goal(2))


def deformed_errors(channels: int, side: int, precision: str) -> tuple[Function, Function]:
    torch.manual_seed(0)
    image = (2, channels, side, side)
    inputs = [torch.randn(image), 2 * torch.randn(2, 18, side, side), torch.randn(channels, channels, 3, 3)]
    operators = (partial(deform_conv2d, padding=1), partial(deform_conv2d_plain, padding=1))
    return errors(operators, inputs, torch.randn(image), precision)


def errors(
    operators: Sequence[Callable[..., Tensor]], inputs: Sequence[Tensor], upstream: Tensor, precision: str
) -> tuple[Function, ...]:
    """For each operator, the largest relative error of its result and gradients, the last one in float64 being right.

    The inputs are rounded to the precision first, whose error is not the operators'. Triton's kernels take the first of
    their tiles: to time all of them for every shape would be a quarter of an hour of compilation.
    """
    dtype, allowed = PRECISIONS[precision]
    inputs, upstream = [each.to(dtype) for each in inputs], upstream.to(dtype)

    def results(operator: Callable[..., Tensor], *given: Tensor) -> list[Tensor]:
        *leaves, above = (each.detach().requires_grad_() for each in given)
        out, gradients = run_of(partial(operator, *leaves), leaves, above.detach(), BOTH)()
        return [out.detach(), *gradients]

    right = results(operators[-1], *(each.double() for each in (*inputs, upstream)))

    def error(operator: Callable[..., Tensor]) -> float:
        with allowed(), first_tiles():
            found = results(operator, *inputs, upstream)
        return max(((a.double() - b).norm() / b.norm()).item() for a, b in zip(found, right, strict=True))

    return tuple(partial(error, operator) for operator in operators)


@contextmanager
def first_tiles() -> Iterator[None]:
    """Triton's kernels are not tuned within the block: each takes the first tiles of its list."""
    tuned = [kernel for kernel in tuned_kernels() if len(kernel.configs) > 1]
    lists = [kernel.configs for kernel in tuned]
    for kernel in tuned:
        kernel.configs = kernel.configs[:1]
    try:
        yield
    finally:
        for kernel, configs in zip(tuned, lists, strict=True):
            kernel.configs = configs


def tuned_kernels() -> list[Any]:
    """All of Triton's kernels that timings choose tiles for; none without Triton."""
    if find_spec("triton") is None:
        return []
    from arcsr_lightning.operators.gpu import deform_conv, kernel_guided_conv

    modules = (deform_conv, kernel_guided_conv)
    return [each for module in modules for each in vars(module).values() if hasattr(each, "configs")]


def score_error(layout: str) -> Case:
    """Goal: scores as on a CPU, to the fifth digit."""
    return on_gpu("scores", f"720×1280, {layout}", "error", "1e-5", partial(score_errors, 720, 1280, layout), Goal(1))


def score_errors(height: int, width: int, layout: str) -> tuple[Function, Function]:
    """The largest difference of a score from that of a CPU, where cuDNN may use TF32, as it may by default."""
    torch.manual_seed(0)
    hr = F.interpolate(torch.rand(1, 3, height // 8, width // 8), scale_factor=8, mode="bicubic").clamp(0, 1)
    sr = (hr + 0.03 * torch.randn_like(hr)).contiguous(memory_format=LAYOUTS[layout])

    def difference() -> float:
        with tf32():
            here = score(sr, hr, 4)
        with torch.device("cpu"):
            there = score(sr.cpu(), hr.cpu(), 4)
        return max((here[name].cpu() - there[name]).abs().max().item() for name in there)

    return difference, lambda: 1e-5


# ---------------------------------------------------------------- fast


def guided_time(passes: str, ks: int, channels: int, precision: str, measure: str = "time") -> Case:
    """Goals: 60 % of cuDNN's speed forward and 50 % with backward in bfloat16, none otherwise."""
    goal = Goal(1 / 0.6 if passes == FORWARD else 1 / 0.5) if (precision, measure) == ("bfloat16", "time") else None
    build = partial(guided, passes, ks, channels, 64, 16, precision, CALLS if measure == "time" else 1)
    size = f"ks {ks}, C {channels}, 64×64, batch 16, {precision}, channels-last"
    return on_gpu(f"{KG}, {passes}", size, measure, CONV, build, goal)


def guided(
    passes: str, ks: int, channels: int, side: int, batch: int, precision: str, calls: int
) -> tuple[Function, Function]:
    x, weight, upstream = laid_out(ks, channels, side, batch, precision)
    kernel = torch.rand(batch, ks * ks, side, side).to(x.dtype)
    ours = run_of(partial(kernel_guided_conv2d, x, kernel, weight), [x, weight, kernel], upstream, passes)
    theirs = run_of(partial(F.conv2d, x, weight, padding=ks // 2), [x, weight], upstream, passes)
    return repeated(ours, precision, calls), repeated(theirs, precision, calls)


def deformed_time(channels: int, precision: str) -> Case:
    """Without a goal: what it costs on a card is not known. Sizes are those of the levels of the network."""
    side = 1024 // channels
    size = f"ks 3, C {channels}, {side}×{side}, batch 16, {precision}, channels-last"
    return on_gpu(f"{DEFORM}, {BOTH}", size, "time", CONV, partial(deformed, channels, side, 16, precision, CALLS))


def deformed(channels: int, side: int, batch: int, precision: str, calls: int) -> tuple[Function, Function]:
    x, weight, upstream = laid_out(3, channels, side, batch, precision)
    offset = 2 * torch.randn(batch, 18, side, side)
    ours = run_of(partial(deform_conv2d, x, offset, weight, padding=1), [x, weight, offset], upstream, BOTH)
    theirs = run_of(partial(F.conv2d, x, weight, padding=1), [x, weight], upstream, BOTH)
    return repeated(ours, precision, calls), repeated(theirs, precision, calls)


def laid_out(ks: int, channels: int, side: int, batch: int, precision: str) -> tuple[Tensor, Tensor, Tensor]:
    """x, weight and the gradient from above, channels-last."""
    torch.manual_seed(0)
    image = (batch, channels, side, side)
    tensors = torch.randn(image), torch.randn(channels, channels, ks, ks), torch.randn(image)
    x, weight, upstream = (each.to(PRECISIONS[precision][0], memory_format=torch.channels_last) for each in tensors)
    return x, weight, upstream


def repeated(function: Function, precision: str, calls: int) -> Function:
    allowed = PRECISIONS[precision][1]

    def run() -> None:
        with allowed():
            for _ in range(calls):
                function()

    return run


def training_step() -> Case:
    """Goal: 1.4 times the step of the same network with ordinary convolutions in the place of both operators."""
    size = "16 × LR 64×64, bfloat16, compiled"
    return on_gpu("ArcSR, training step", size, "time", "with ordinary convolutions", partial(steps, 16, 64), Goal(1.4))


def steps(batch: int, side: int, compiled: bool = True, **sizes: int) -> tuple[Function, Function]:
    """Steps of Adam on L1 and on the kernels, of which both networks make as many."""
    torch.manual_seed(0)
    lr, hr = (torch.rand(batch, 3, scale * side, scale * side) for scale in (1, 4))
    lr = lr.contiguous(memory_format=torch.channels_last)

    def step_of(network: nn.Module) -> Function:
        network.to(memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(network.parameters(), fused=True)
        if compiled:
            network.compile()

        def step() -> None:
            optimizer.zero_grad()
            with torch.autocast(lr.device.type, torch.bfloat16):
                sr, kernel = network(lr)
                loss = F.l1_loss(sr, hr) + kernel.square().mean()
            loss.backward()
            optimizer.step()

        return step

    ours = ArcSR(KernelEstimator(**sizes), Restorer(convolution=KGConv, **sizes))
    theirs = ArcSR(KernelEstimator(convolution=OrdinaryConv, **sizes), Restorer(convolution=PlainConv, **sizes))
    return step_of(ours), step_of(theirs)


def on_gpu(
    subject: str, size: str, measure: str, against: str, build: Callable[[], tuple], goal: Goal | None = None
) -> Case:
    return Case(subject, size, measure, against, build, goal, device="cuda")
