import pytest
import torch

from arcsr_lightning.blocks import Standardisation

CROPS = torch.randn(6, 4, 3, 5, 7, generator=torch.Generator().manual_seed(0))  # batches of pictures
UNLIKE = CROPS * torch.arange(1.0, 7)[:, None, None, None, None] + torch.arange(6.0)[:, None, None, None, None]


def seen(batches):
    layer = Standardisation(3).train()
    for batch in batches:
        out = layer(batch)
    return layer, out


def test_statistics_are_those_of_all_batches_together():
    layer, _ = seen(UNLIKE)
    variance, mean = torch.var_mean(UNLIKE, dim=(0, 1, 3, 4), correction=0)
    torch.testing.assert_close(layer.running_mean, mean)
    torch.testing.assert_close(layer.running_var, variance)


def test_a_batch_is_in_training_what_it_is_afterwards():
    """Batch normalisation makes another picture of it: what was learnt on that is wrong of every other."""
    layer, out = seen(UNLIKE)
    torch.testing.assert_close(out, layer.eval()(UNLIKE[-1]))
    assert abs(out.mean()) > 0.1


def test_training_on_several_devices_leaves_it_as_it_is():
    """Lightning makes SyncBatchNorm of every BatchNorm, whatever its class makes of a batch."""
    network = torch.nn.Sequential(Standardisation(3))
    assert type(torch.nn.SyncBatchNorm.convert_sync_batchnorm(network)[0]) is Standardisation


def test_what_is_frozen_keeps_its_statistics():
    layer, _ = seen(UNLIKE)
    before = layer.running_mean.clone()
    layer.eval()(UNLIKE[0])
    assert torch.equal(layer.running_mean, before)


def test_two_batches_may_be_gone_backwards_through_together():
    layer, x = Standardisation(3).train(), UNLIKE.clone().requires_grad_()
    (layer(x[0]).square().sum() + layer(x[1]).square().sum()).backward()
    assert x.grad[:2].abs().min() > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_any_type_comes_back_as_it_was(dtype):
    layer = Standardisation(3).to(dtype if dtype == torch.float64 else torch.float32).train()
    assert layer(UNLIKE[0].to(dtype)).dtype == dtype
