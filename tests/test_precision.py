"""float32 is multiplied exactly where that matters, whoever allowed TF32, by PyTorch's new names or by its old ones."""

import contextlib

import pytest
import torch
from torch.backends import cudnn
from torch.utils._python_dispatch import TorchDispatchMode

from arcsr_lightning.data import SyntheticTraining, image_files
from arcsr_lightning.degradation import Degradation, MotionField
from arcsr_lightning.precision import exact_float32
from arcsr_lightning.rivals.ikc import IKC, SFTMD, Corrector, Predictor
from arcsr_lightning.rivals.taps import to_lr_taps
from arcsr_lightning.scores.metrics import blur_amount, blur_direction, ssim
from arcsr_lightning.training.muon import orthogonalised

PARTS = (cudnn.conv, torch.backends.cuda.matmul, torch.backends.mkldnn.conv, torch.backends.mkldnn.matmul)


def allow_all() -> None:
    for part in PARTS:
        part.fp32_precision = "none"  # that of all: an earlier test may have set one by its old name
    torch.backends.fp32_precision = "tf32"


ALLOWED = {  # ways to allow TF32: in none of them may the old names, or the new ones, be read or set at will
    "by default": lambda: None,
    "the old name, high": lambda: torch.set_float32_matmul_precision("high"),
    "the old name, medium": lambda: torch.set_float32_matmul_precision("medium"),
    "the new name for all": allow_all,
    "the new name for products": lambda: (
        setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
        setattr(cudnn.conv, "fp32_precision", "ieee"),
    ),
}


def precisions():
    return [part.fp32_precision for part in PARTS]


@pytest.fixture(autouse=True)
def as_before():
    """Whatever a test sets ends with it."""
    kept = precisions()
    yield
    torch.backends.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    for part, precision in zip(PARTS, kept, strict=True):
        part.fp32_precision = precision


class Tf32(TorchDispatchMode):
    """Rounds what is convolved or multiplied to 10 bits where the settings of the moment allow a GPU to do so."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        convolves = func.overloadpacket == torch.ops.aten.convolution
        multiplies = func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.bmm, torch.ops.aten.addmm)
        part = cudnn.conv if convolves else torch.backends.cuda.matmul
        if (convolves or multiplies) and part.fp32_precision == "tf32":
            args = [
                rounded(each) if isinstance(each, torch.Tensor) and each.dtype == torch.float32 else each
                for each in args
            ]
        return func(*args, **(kwargs or {}))


def rounded(x):
    bits = x.contiguous().view(torch.int32)
    return ((bits + (1 << 12)) & -(1 << 13)).view(torch.float32)


@pytest.mark.parametrize("allow", ALLOWED)
def test_nothing_is_rounded_within_and_all_is_allowed_again_after(allow):
    ALLOWED[allow]()
    before = precisions()
    with contextlib.suppress(KeyError), exact_float32():
        assert precisions() == ["ieee"] * 4
        raise KeyError
    assert precisions() == before


def test_the_old_names_are_used_where_there_are_no_new_ones(monkeypatch):
    torch.set_float32_matmul_precision("medium")
    monkeypatch.delattr(type(cudnn), "conv")
    monkeypatch.delattr(cudnn.m, "conv", raising=False)
    with contextlib.suppress(KeyError), exact_float32():
        assert (cudnn.allow_tf32, torch.get_float32_matmul_precision()) == (False, "highest")
        raise KeyError
    assert (cudnn.allow_tf32, torch.get_float32_matmul_precision()) == (True, "medium")


@pytest.mark.parametrize("allow", ALLOWED)
def test_a_gpu_s_scores_are_those_of_a_cpu(allow):
    ALLOWED[allow]()
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, 1, 40, 40, generator=generator) / 8 + 0.5  # little contrast: a variance is a small difference
    y = x + 0.02 * torch.randn(x.shape, generator=generator)
    kernel = torch.rand(1, 9, 6, 6, generator=generator)
    with Tf32():
        scores, rough = (ssim(x, y), blur_direction(kernel)), ssim.__wrapped__(x, y)
    torch.testing.assert_close(scores, (ssim(x, y), blur_direction(kernel)), rtol=0, atol=0)
    assert cudnn.conv.fp32_precision == "ieee" or (rough - scores[0]).abs().item() > 1e-3  # what TF32 would do


@pytest.mark.parametrize("allow", ALLOWED)
def test_samples_that_a_gpu_degrades_are_those_of_a_cpu(allow, photos):
    samples = SyntheticTraining(image_files(photos), Degradation(MotionField(5, 4)), 4, 3, 32)
    drawn = torch.utils.data.default_collate([samples.draw(number) for number in (0, 1)])
    expected = samples.degrade(drawn)
    ALLOWED[allow]()
    with Tf32():
        batch, rough = samples.degrade(drawn), SyntheticTraining.degrade.__wrapped__(samples, drawn)
    assert all(torch.equal(batch[key], expected[key]) for key in ("lr", "kernel"))
    if allow != "by default":  # which allows it to convolutions, of which a sample has none
        assert not all(torch.equal(rough[key], expected[key]) for key in ("lr", "kernel"))  # what TF32 would do


@pytest.mark.parametrize("allow", ALLOWED)
def test_a_gpu_s_steps_of_muon_are_those_of_a_cpu(allow):
    ALLOWED[allow]()
    generator = torch.Generator().manual_seed(0)
    gradient = torch.randn(32, 64, generator=generator) * torch.logspace(0, -3, 32)[:, None]
    with Tf32():
        step, rough = orthogonalised(gradient), orthogonalised.__wrapped__(gradient)
    assert torch.equal(step, orthogonalised(gradient))
    if allow != "by default":  # which allows it to convolutions alone
        assert (rough - step).abs().max() > 1e-3  # what TF32 would do


@pytest.mark.parametrize("allow", ALLOWED)
def test_a_gpu_s_kernels_in_lr_taps_are_those_of_a_cpu(allow):
    ALLOWED[allow]()
    field = torch.softmax(torch.randn(1, 49, 4, 4, generator=torch.Generator().manual_seed(0)), 1)
    with Tf32():
        taps = to_lr_taps(field, 3, 3)
    assert torch.equal(taps, to_lr_taps(field, 3, 3))


@pytest.mark.parametrize("allow", ALLOWED)
def test_kernels_that_a_gpu_decodes_are_those_of_a_cpu(allow):
    ALLOWED[allow]()
    torch.manual_seed(0)
    network, code = IKC(Predictor(4, 5), Corrector(2, 4, 5), SFTMD(2, 4, 1, 5), code=5), torch.randn(2, 5)
    with Tf32():
        kernels = network.decode(code)
    assert torch.equal(kernels, network.decode(code))


@pytest.mark.parametrize("measure", [blur_amount, blur_direction])
def test_autocast_leaves_what_is_measured_of_kernels_exact(measure):
    kernel = torch.softmax(torch.randn(1, 49, 4, 4, generator=torch.Generator().manual_seed(0)), 1)
    with torch.autocast("cpu", torch.bfloat16):
        measured = measure(kernel)
    torch.testing.assert_close(measured, measure(kernel), rtol=0, atol=0)
