"""What is measured against what, and the goals: the suite is a list of cases."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import default_collate

from arcsr_lightning.blocks import KGConv
from arcsr_lightning.degradation import apply_blended_kernels
from arcsr_lightning.networks import ArcSR, KernelEstimator, Restorer
from arcsr_lightning.operators import (
    deform_conv2d,
    kernel_guided_conv2d,
    kernel_guided_conv2d_reference,
    motion_cues,
    native,
)
from arcsr_lightning.rivals.manet import MANet, MutualAffineEstimator
from arcsr_lightning.rivals.rrdb import RRDBSFT
from arcsr_lightning.scores.cost import macs
from benchmarks.memory import Build, peak_on_gpu, peaks
from benchmarks.timing import Function, Samples, interleave, torch_threads

FORWARD, BOTH = "forward", "forward + backward"
KG, DEFORM = "kernel_guided_conv2d", "deform_conv2d"
CONV, REFERENCE = "conv2d", "unfold reference"


class Goal(NamedTuple):
    """A bound on ours / theirs, or, with ``at_least``, one from below on theirs / ours."""

    limit: float
    at_least: bool = False

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}"


class Case(NamedTuple):
    """One comparison.

    subject: what is measured; cases of one subject, measure, counterpart and goal make one line of the summary.
    size: where.
    measure: "time" (seconds), "memory" (bytes at the peak), "GMACs" or "error" (relative).
    against: the name of the counterpart.
    build: makes (ours, theirs), on the same inputs; for "GMACs" and "error" they return the figures, otherwise they are
        measured.
    goal: None where the issue is silent.
    threads: of torch.
    least_pairs: of timings; fewer than three only where a pair takes half a minute.
    x: what the cost should be proportional to, in a series that shows growth.
    device: where ``build`` makes its tensors.
    """

    subject: str
    size: str
    measure: str
    against: str
    build: Build
    goal: Goal | None = None
    threads: int = 1
    least_pairs: int = 3
    x: int | None = None
    device: str = "cpu"

    @property
    def name(self) -> str:
        return f"{self.measure}: {self.subject} against {self.against}, {self.size}, threads {self.threads}"


def measure(case: Case) -> Samples:
    """What ``case.build()`` gives, measured."""
    if case.measure == "memory" and case.device == "cpu":
        return peaks(case.build, case.threads)
    with torch_threads(case.threads), torch.device(case.device):
        ours, theirs = case.build()
        if case.measure == "memory":
            return Samples([peak_on_gpu(ours)], [peak_on_gpu(theirs)])
        if case.device != "cpu" and case.measure == "time":  # compilers and the choice of algorithms take long once
            for function in (ours, theirs):
                function()
        if case.measure == "time":
            return interleave(ours, theirs, case.least_pairs)
        return Samples([ours()], [theirs()])


# ---------------------------------------------------------------- suites


def smallest() -> list[Case]:
    """One convolution, each measure: seconds."""
    return [
        against_conv(FORWARD, 3, 32, 48, 1, 1),
        against_conv(BOTH, 3, 32, 48, 1, 1),
        against_conv(BOTH, 3, 32, 48, 1, 1, "memory"),
    ]


def suite(full: bool = False) -> list[Case]:
    """Every goal at its extremes and in the middle; ``full``: at every size. What takes gigabytes comes last."""
    shapes = full_shapes() if full else extreme_shapes()
    return [
        *(against_conv(passes, *shape, n) for shape, passes, n in product(shapes, (FORWARD, BOTH), (1, 2))),
        *(against_conv(BOTH, *shape, 1, 2, "memory") for shape in memory_shapes()),
        *(without_kernel_gradient(ks, 64, 128) for ks in (3, 11)),
        *(against_reference(passes, ks, n) for ks, passes, n in product((5, 7, 11), (FORWARD, BOTH), (1, 2))),
        *(against_reference(BOTH, ks, 2, "memory") for ks in (5, 7, 11)),
        *(deformable(*shape, n) for shape, n in product(deformable_shapes(), (1, 2))),
        *(deformable(16, size, 1, 2, "memory") for size in (64, 128)),
        motion_cues_cost(),
        *growth(),
        *(synthesis(n) for n in (1, 2)),
        *(blur_of_a_sample(n) for n in (1, 2)),
        crops_from_a_store(),
        inference_cost(),
        *(inference(n) for n in (2, 1)),
        *(training(n) for n in (2, 1)),
        *(quickstart_step(n) for n in (1, 2)),
    ]


def full_shapes() -> list[tuple[int, int, int, int]]:
    """(ks, channels, side, batch) of every size that the goals speak of, the smallest first."""
    sizes = product((3, 5, 7, 9, 11), (16, 24, 32, 64, 128), (32, 64, 128, 256), (1, 6))
    return sorted(sizes, key=lambda s: s[0] * s[1] * s[2] * s[3])


def extreme_shapes() -> list[tuple[int, int, int, int]]:
    """(ks, channels, side, batch): the corners of the goals, and what lies between them."""
    corners = product((3, 11), (16, 128), (32, 256), (1,))
    middle = product((3, 7, 11), (16, 24, 32, 64), (32, 64), (1, 6))
    more = [(3, 16, 256, 6), (3, 64, 256, 6), (3, 128, 64, 6), (5, 64, 64, 1), (9, 64, 64, 1)]
    return list(dict.fromkeys([*middle, *corners, *more]))


def deformable_shapes() -> list[tuple[int, int, int]]:
    """(channels, side, batch): quarters of 16 to 128 channels."""
    return list(product((4, 6, 16, 32), (32, 64, 128), (1, 6)))


def memory_shapes() -> list[tuple[int, int, int]]:
    return [*product((3, 11), (32, 64, 128), (128,)), (7, 64, 48), (7, 64, 256)]


# ---------------------------------------------------------------- operators


def against_conv(
    passes: str, ks: int, channels: int, side: int, batch: int, threads: int, measure: str = "time"
) -> Case:
    """Goals: time 1.4 and 1.5 times conv2d in nine of ten rows; memory 1.5 times."""
    goal = Goal(1.4 if measure == "time" and passes == FORWARD else 1.5)
    build = partial(kernel_guided, CONV, passes, ks, channels, side, batch)
    return Case(f"{KG}, {passes}", shape(ks, channels, side, batch), measure, CONV, build, goal, threads)


def without_kernel_gradient(ks: int, channels: int, side: int) -> Case:
    """Memory where the kernel is given, so that there are as many gradients as conv2d has."""
    build = partial(kernel_guided, CONV, BOTH, ks, channels, side, kernel_gradient=False)
    subject = f"{KG}, {BOTH} without a gradient for the kernel"
    return Case(subject, shape(ks, channels, side), "memory", CONV, build, Goal(1.5), 2)


def against_reference(passes: str, ks: int, threads: int, measure: str = "time") -> Case:
    """Goals: 4 times faster, 10 times less memory."""
    goal = Goal(10 if measure == "memory" else 4, at_least=True)
    build = partial(kernel_guided, REFERENCE, passes, ks, 64, 64)
    return Case(f"{KG}, {passes}", shape(ks, 64, 64), measure, REFERENCE, build, goal, threads)


def deformable(channels: int, side: int, batch: int, threads: int, measure: str = "time") -> Case:
    """3x3. Goals: 3.5 times the time of conv2d, 2.5 times from 16 channels on; 4 times its memory."""
    goal = Goal(4 if measure == "memory" else 2.5 if channels >= 16 else 3.5)
    build = partial(deform, 3, channels, side, batch)
    return Case(f"{DEFORM}, {BOTH}", shape(3, channels, side, batch), measure, CONV, build, goal, threads)


def motion_cues_cost() -> Case:
    """What it costs to show the cues to the quickstart's U-Net."""
    return Case("motion_cues, forward", "128×128", "time", "the U-Net, width 16", cues_and_estimator)


def cues_and_estimator() -> tuple[Function, Function]:
    lr, network = torch.rand(1, 3, 128, 128), KernelEstimator(width=16)
    return torch.no_grad()(partial(motion_cues, lr)), torch.no_grad()(partial(network, lr))


def growth() -> Iterator[Case]:
    """Series against what the cost should be proportional to."""
    for side in (32, 64, 96, 128, 192, 256):
        yield Case("growth of time with pixels", *growing(5, 64, side), threads=1, x=side**2)
    for channels in (16, 32, 64, 128):
        yield Case("growth of time with channels²", *growing(5, channels, 64), threads=1, x=channels**2)
    for side in (64, 128, 256):
        yield Case("growth of memory with pixels", *growing(5, 64, side, "memory"), threads=1, x=side**2)


def growing(ks: int, channels: int, side: int, measure: str = "time") -> tuple[str, str, str, Build]:
    """(size, measure, against, build) of a point in a series."""
    return shape(ks, channels, side), measure, CONV, partial(kernel_guided, CONV, BOTH, ks, channels, side)


def shape(ks: int, channels: int, side: int, batch: int = 1) -> str:
    return f"ks {ks}, C {channels}, {side}×{side}, batch {batch}"


def kernel_guided(
    against: str, passes: str, ks: int, channels: int, side: int, batch: int = 1, kernel_gradient: bool = True
) -> tuple[Function, Function]:
    """``kernel_guided_conv2d`` and what it is compared with, on the same tensors."""
    x, weight, bias, upstream = convolution_tensors(ks, channels, side, batch)
    kernel = torch.rand(batch, ks * ks, side, side)
    own = [x, weight, bias, *([kernel] if kernel_gradient else [])]
    ours = run_of(partial(kernel_guided_conv2d, x, kernel, weight, bias), own, upstream, passes)
    if against == REFERENCE:
        return ours, run_of(partial(kernel_guided_conv2d_reference, x, kernel, weight, bias), own, upstream, passes)
    return ours, run_of(partial(F.conv2d, x, weight, bias, padding=ks // 2), [x, weight, bias], upstream, passes)


def deform(ks: int, channels: int, side: int, batch: int = 1) -> tuple[Function, Function]:
    """``deform_conv2d``, with offsets of some pixels, and conv2d on the same tensors."""
    x, weight, bias, upstream = convolution_tensors(ks, channels, side, batch)
    offset = 2 * torch.randn(batch, 2 * ks * ks, side, side)
    ours = partial(deform_conv2d, x, offset, weight, bias, padding=ks // 2)
    theirs = partial(F.conv2d, x, weight, bias, padding=ks // 2)
    leaves = [x, weight, bias]
    return run_of(ours, [*leaves, offset], upstream, BOTH), run_of(theirs, leaves, upstream, BOTH)


def convolution_tensors(ks: int, channels: int, side: int, batch: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, weight, bias, and the gradient that comes from above."""
    torch.manual_seed(0)
    image = (batch, channels, side, side)
    return torch.randn(image), torch.randn(channels, channels, ks, ks), torch.randn(channels), torch.randn(image)


def run_of(function: Callable[[], Tensor], leaves: Sequence[Tensor], upstream: Tensor, passes: str) -> Function:
    """A call of ``function`` without gradients, or of it and of its derivatives by ``leaves``."""

    def both() -> tuple[Tensor, Sequence[Tensor]]:
        out = function()
        return out, torch.autograd.grad(out, leaves, upstream)

    if passes == FORWARD:
        return torch.no_grad()(function)
    for leaf in leaves:
        leaf.requires_grad_()
    return both


# ---------------------------------------------------------------- networks


class ReferenceKGConv(KGConv):
    """KGConv as Sec. 3.2.3 writes it."""

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        return kernel_guided_conv2d_reference(x, guide, self.weight, self.bias)


def training(threads: int) -> Case:
    """Goal: 3 times the images per second. A pair takes half a minute and gigabytes: one is measured."""
    subject, against, size = "ArcSR, training step (images/s)", "ArcSR on the reference", "4 × LR 64×64, ×4"
    return Case(subject, size, "time", against, training_steps, Goal(3, at_least=True), threads, least_pairs=1)


def training_steps() -> tuple[Function, Function]:
    """A step of Adam on L1 for ArcSR of the paper's size, and for the same on the reference operator."""
    torch.manual_seed(0)
    lr, hr = torch.rand(4, 3, 64, 64), torch.rand(4, 3, 256, 256)
    networks = [ArcSR(KernelEstimator(), Restorer(convolution=kind)) for kind in (KGConv, ReferenceKGConv)]
    networks[1].load_state_dict(networks[0].state_dict())
    return tuple(partial(l1_step, network, torch.optim.Adam(network.parameters()), lr, hr) for network in networks)


def l1_step(network: nn.Module, optimizer: torch.optim.Optimizer, lr: Tensor, hr: Tensor) -> None:
    optimizer.zero_grad()
    F.l1_loss(network(lr).sr, hr).backward()
    optimizer.step()


def inference(threads: int) -> Case:
    """Goal: less time than MANet's two networks."""
    return Case("ArcSR, inference", "LR 180×320, ×4", "time", "MANet", restorations, Goal(1), threads, least_pairs=2)


def restorations() -> tuple[Function, Function]:
    """One frame through either network."""
    torch.manual_seed(0)
    lr = torch.rand(1, 3, 180, 320)
    return tuple(torch.inference_mode()(partial(network, lr)) for network in (arcsr(), manet()))


def inference_cost() -> Case:
    return Case("ArcSR, inference", "LR 64×64, ×4", "GMACs", "MANet", inference_gmacs)


def inference_gmacs() -> tuple[Function, Function]:
    return tuple(lambda network=network: macs(network) / 1e9 for network in (arcsr(), manet()))


def arcsr() -> nn.Module:
    """The paper's size."""
    return ArcSR(KernelEstimator(), Restorer()).eval()


def manet() -> nn.Module:
    """The published size: kernels of 21x21 HR pixels, codes of 15."""
    return MANet(MutualAffineEstimator(), RRDBSFT()).eval()


# ---------------------------------------------------------------- data


def synthesis(threads: int) -> Case:
    """Goal: a tenth of a training step."""
    size = "quickstart: 4 patches of 192×192"
    return Case("synthesis of a batch", size, "time", "its training step", quickstart, Goal(0.1), threads)


def blur_of_a_sample(threads: int) -> Case:
    """Goal: half of the time of Fourier transforms."""
    size = "quickstart: 208×208, six kernels of 25×25"
    return Case("blur of a synthetic sample", size, "time", "with ARCSR_NATIVE=0", blurs, Goal(0.5), threads)


def blurs() -> tuple[Function, Function]:
    """The blur of ``degradation=motion`` for samples of the quickstart, and the same by Fourier transforms."""
    from arcsr_lightning.launch import build_data, compose

    samples = build_data(compose(["experiment=quickstart"])).make_train()
    drawn = [default_collate([samples.draw(number)]) for number in range(8)]
    numbers = count()

    def blur() -> Tensor:
        sample = drawn[next(numbers) % len(drawn)]
        return apply_blended_kernels(sample["window"], sample["basis"], sample["masks"])

    return blur, in_pytorch(blur)


def quickstart_step(threads: int) -> Case:
    """Goal: 1.7 times the steps per second of the operators in PyTorch."""
    subject, size = "quickstart, training step (steps/s)", "4 patches of 192×192"
    return Case(subject, size, "time", "with ARCSR_NATIVE=0", steps, Goal(1.7, at_least=True), threads)


def steps() -> tuple[Function, Function]:
    """A training step of the quickstart, and the same without the compiled operators."""
    _, step = quickstart()
    return step, in_pytorch(step)


def in_pytorch(function: Function) -> Function:
    """The same without what is compiled for the processor."""

    def run() -> None:
        with patch.object(native, "takes", return_value=False):
            function()

    return run


def quickstart() -> tuple[Function, Function]:
    """Make a batch of the quickstart's, from photographs that stay decoded, and train its restorer on one."""
    # Here, as the other cases, each in a process of its own where memory is measured, need neither Lightning nor Hydra.
    from arcsr_lightning.launch import build_data, build_loss, build_module, build_network, compose
    from arcsr_lightning.runs.stages import stages_of

    cfg = stages_of(compose(["experiment=quickstart"]))[-1].config
    torch.manual_seed(0)
    samples = build_data(cfg).make_train()
    numbers = count()

    def make_batch() -> dict:
        return default_collate([samples[next(numbers)] for _ in range(cfg.data.batch_size)])

    network = build_network(cfg.model)
    loss = build_loss(cfg)
    optimizer = build_module(cfg, network, loss).configure_optimizers()["optimizer"]
    batch = make_batch()

    def step() -> None:
        optimizer.zero_grad()
        loss(network, batch)["loss"].backward()
        nn.utils.clip_grad_norm_(network.parameters(), cfg.trainer.gradient_clip_val)
        optimizer.step()

    return make_batch, step


def crops_from_a_store() -> Case:
    """Goal: 10 times the crops per second of one worker."""
    size = "crops of 256×256 from pairs of 1280×720"
    return Case("samples from a store (crops/s)", size, "time", "PNG frames", crops, Goal(10, at_least=True))


def crops() -> tuple[Function, Function]:
    """A training sample from the store of a few frames, and from the frames."""
    from PIL import Image
    from skimage import data

    from arcsr_lightning.data.layouts import Pair
    from arcsr_lightning.data.paired import PairedTraining
    from arcsr_lightning.data.store import write_store

    folder = TemporaryDirectory()
    paths = [Path(folder.name, f"{name}.png") for name in ("chelsea", "coffee", "rocket")]
    for path in paths:
        Image.fromarray(getattr(data, path.stem)()).resize((1280, 720)).save(path)
    pairs = [Pair(path.stem, path, path, at_lr_size=False) for path in paths]
    write_store(folder.name + "/store", paths)
    stored, decoded = (PairedTraining(pairs, scale=4, store=store) for store in (folder.name + "/store", None))

    def sample_of(samples: PairedTraining) -> Function:
        numbers = count()
        return lambda: (folder, samples[next(numbers)])  # the frames are there as long as the function is

    return sample_of(stored), sample_of(decoded)
