"""MANet's parts are the published functions."""

import pytest
import torch

from arcsr_lightning.rivals.manet import KernelFieldLoss, MANet, MutualAffineEstimator
from arcsr_lightning.rivals.rrdb.conditioned import RRDBSFT
from tests.rivals.golden_files import assert_golden

PARTS = {
    "manet_estimator_split2": (lambda: MutualAffineEstimator(11, 32, 2), lambda net, lr: {"kernels": net(lr)}),
    "manet_sft_rrdb_x4": (lambda: RRDBSFT(4, 64, 2, 15, 32), lambda net, lr, code_map: {"sr": net(lr, code_map)}),
    "manet_sft_rrdb_x3": (lambda: RRDBSFT(3, 64, 2, 15, 32), lambda net, lr, code_map: {"sr": net(lr, code_map)}),
    "manet_whole": (
        lambda: MANet(MutualAffineEstimator(21, 8, 2), RRDBSFT(2, 64, 1, 15, 8), 11),
        lambda net, lr: {"sr": net(lr, hr_kernel=net.estimator(lr).to(lr)).sr},
    ),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_the_published_function(part, dtype):
    build, run = PARTS[part]
    with torch.no_grad():
        assert_golden(part, build(), run, dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_loss_of_the_kernels_is_the_published_one(dtype):
    """With gradients. Its softmax is in float32 in any case, hence the tolerance."""

    def loss(estimator, lr, kernel):
        network = MANet(estimator, RRDBSFT(4, 4, 1, 15, 2), 7)
        pixels = 16 * lr.shape[-2] * lr.shape[-1]  # of the HR patch, by which the publication divides once more
        batch = {"lr": lr, "basis": kernel[:, None], "masks": lr.new_ones(len(lr), 1, *(4 * s for s in lr.shape[-2:]))}
        terms = KernelFieldLoss(1e4 / pixels)(network, batch)
        names = ["head.weight", "tail.bias", "body.body.0.affines.1.2.weight", "up.0.weight"]
        gradients = torch.autograd.grad(terms["loss"], [estimator.get_parameter(name) for name in names])
        found = {f"grad/{name}": gradient for name, gradient in zip(names, gradients, strict=True)}
        return found | {"l1": terms["kernel_l1"], "loss": terms["loss"]}

    assert_golden("manet_loss_stage1", MutualAffineEstimator(21, 8, 2), loss, dtype, tolerance=1e-4)
