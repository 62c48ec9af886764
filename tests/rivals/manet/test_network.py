import pytest
import torch
from omegaconf import OmegaConf
from torch.utils.flop_counter import FlopCounterMode

from arcsr_lightning.degradation.blur import lr_field
from arcsr_lightning.degradation.fields import GaussianField, MotionField, NoBlur
from arcsr_lightning.degradation.kernels import gaussian_kernel
from arcsr_lightning.errors import InputError
from arcsr_lightning.launch import prepare_network
from arcsr_lightning.rivals.manet.network import MANet, MutualAffineEstimator, refit_code
from arcsr_lightning.rivals.rrdb.conditioned import RRDBSFT
from arcsr_lightning.rivals.taps import hr_taps_field
from arcsr_lightning.scores.cost import parameters


def tiny(kernel_size: int = 5, code: int = 4, scale: int = 2) -> MANet:
    torch.manual_seed(0)
    estimator = MutualAffineEstimator(kernel_size, width=4)
    return MANet(estimator, RRDBSFT(scale, width=4, blocks=1, code=code, growth=2), kernel_size=5)


def operations(network: torch.nn.Module) -> float:
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, 64, 64, device="meta"))
    return counter.get_total_flops() / 2


def test_parameters_and_operations_of_the_published_network():
    with torch.device("meta"):
        network = MANet(MutualAffineEstimator(), RRDBSFT())
    assert parameters(network.estimator) == 1_810_361
    assert parameters(network) == 9_896_617
    assert operations(network.estimator) == pytest.approx(4.48e9, rel=0.01)
    assert operations(network) == pytest.approx(37.57e9, rel=0.01)


@pytest.mark.parametrize("size", [(1, 1), (7, 10), (13, 9)])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_any_lr_size(scale, size):
    sr, kernel = tiny(scale=scale)(torch.rand(2, 3, *size))
    assert sr.shape == (2, 3, scale * size[0], scale * size[1])
    assert kernel.shape == (2, 25, *size)


def test_kernels_are_non_negative_and_sum_to_one_in_both_units():
    network, lr = tiny(), torch.rand(1, 3, 9, 10)
    for kernel in (network.estimator(lr), network(lr).kernel):
        assert kernel.min() >= 0
        torch.testing.assert_close(kernel.sum(dim=1), torch.ones(1, 9, 10))


def test_a_kernel_sees_22_lr_pixels():
    torch.manual_seed(0)
    estimator = MutualAffineEstimator(3, width=4)
    with torch.no_grad():
        for parameter in estimator.parameters():
            parameter.abs_()  # nothing cancels and no ReLU is off
    lr = torch.rand(1, 3, 40, 40, requires_grad=True)
    logits = []
    estimator.tail.register_forward_hook(lambda module, inputs, output: logits.append(output))
    estimator(lr)
    logits[0][0, 0, 20, 20].backward()
    rows, columns = torch.nonzero(lr.grad.abs().sum((0, 1)), as_tuple=True)
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (22, 22)


def test_a_given_kernel_replaces_the_estimate():
    network, lr = tiny(), torch.rand(1, 3, 8, 8)
    masks = torch.ones(1, 1, 16, 16)
    hr_kernel = gaussian_kernel(5, 1.0, 0.5, 0.3)[None, None]
    field = hr_taps_field(hr_kernel, masks, 2, 5)
    sr, kernel = network(lr, hr_kernel=field)
    torch.testing.assert_close(sr, network.restorer(lr, network.encode(field)))
    torch.testing.assert_close(kernel, lr_field(hr_kernel, masks, 2, 5))
    assert not torch.allclose(sr, network(lr).sr)


def test_in_bfloat16_kernels_sum_to_one_too():
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        kernel = tiny()(torch.rand(1, 3, 8, 8)).kernel
    torch.testing.assert_close(kernel.sum(1), torch.ones(1, 8, 8))


def test_the_code_is_linear_without_a_mean():
    network, kernel = tiny(), torch.softmax(torch.randn(2, 25, 3, 4), 1)
    expected = torch.stack([network.basis.T @ pixel for pixel in kernel[1].flatten(1).T], 1)  # pixel by pixel
    torch.testing.assert_close(network.encode(kernel)[1].flatten(1), expected)
    assert not network.encode(torch.zeros_like(kernel)).any()


# ---------------------------------------------------------------- the kernel code


def test_refitting_fills_the_buffers_and_pads_smaller_kernels():
    network = tiny(kernel_size=7, code=6)
    assert network.explained_variance == 0
    refit_code(network, GaussianField(5, (0.2, 1.0)), samples=100, seed=0)
    assert network.explained_variance > 0.9
    border = network.basis.unflatten(0, (7, 7)).clone()
    border[1:-1, 1:-1] = 0
    assert border[..., :3].abs().max() < 1e-5
    assert network.state_dict().keys() >= {"basis", "explained_variance"}


def test_refitting_is_deterministic():
    first, second, other = tiny(), tiny(), tiny()
    blur = MotionField(kernel_size=5, max_length=6)
    for network, seed in ((first, 0), (second, 0), (other, 1)):
        refit_code(network, blur, samples=20, seed=seed)
    assert torch.equal(first.basis, second.basis)
    assert not torch.equal(first.basis, other.basis)


def test_a_code_that_came_with_weights_is_not_fitted_anew_before_a_training():
    blur = {"_target_": "arcsr_lightning.degradation.MotionField", "kernel_size": 5, "max_length": 6}
    refit = {"_target_": "arcsr_lightning.rivals.manet.network.refit_code", "_partial_": True, "samples": 20}
    cfg = OmegaConf.create({"prepare": {**refit, "blur": blur}})
    fresh, loaded = tiny(), tiny()
    assert prepare_network(cfg, fresh)["explained_variance"] > 0
    refit_code(loaded, GaussianField(5), samples=20)
    basis = loaded.basis.clone()
    assert prepare_network(cfg, loaded) == {}
    assert torch.equal(loaded.basis, basis)


def test_one_kernel_alone_has_nothing_to_lose():
    network = tiny()
    refit_code(network, NoBlur(), samples=2, seed=0)
    assert network.explained_variance == 1
    assert network.basis.isfinite().all()


def test_kernels_too_large_for_the_estimator_are_refused():
    with pytest.raises(InputError, match=r"manet\.kernel_size=5 .* 9x9 kernels of degradation\.blur") as error:
        refit_code(tiny(), GaussianField(9), samples=2, seed=0)
    assert "degradation.blur.kernel_size at most 5" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MutualAffineEstimator(4, width=4), "kernel_size must be odd"),
        (lambda: MutualAffineEstimator(3, width=5), "5 channels do not make 2"),
        (lambda: tiny(kernel_size=25), "kernel_size 5 cannot hold HR kernels of size 25 at scale 2"),
        (lambda: tiny(kernel_size=3, code=10), "code 10 is longer than the 9 taps"),
    ],
)
def test_impossible_networks_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
