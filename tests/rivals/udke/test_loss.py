import pytest
import torch
from torch.nn import functional as F

from arcsr_lightning.degradation import apply_kernel_field, downsample, gaussian_kernel, upsample
from arcsr_lightning.rivals.udke import network as network_module
from arcsr_lightning.rivals.udke.loss import UDKELoss
from arcsr_lightning.rivals.udke.network import UDKE


def batch(scale: int = 2) -> dict[str, torch.Tensor]:
    seeds = torch.rand(2, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    hr = upsample(seeds, 2 * scale)  # (2, 3, 20, 24)
    kernel = gaussian_kernel(5, 1.5, 0.8, 0.3).flatten()[None, :, None, None].expand(2, -1, *hr.shape[-2:])
    return {"hr": hr, "lr": downsample(apply_kernel_field(hr, kernel), scale)}


def small(stages: int = 2, **settings) -> UDKE:
    torch.manual_seed(0)
    return UDKE(2, 5, stages=stages, blocks=1, width=8, hyper_width=8, **settings)


def test_compares_the_last_image_or_all():
    network, data = small(), batch()
    errors = [F.l1_loss(image, data["hr"]) for image in network.unfold(data["lr"])[0]]
    last, every = UDKELoss()(network, data), UDKELoss(every_stage=True)(network, data)
    torch.testing.assert_close(last, {"l1": errors[-1], "loss": errors[-1]})
    torch.testing.assert_close(every["loss"], (errors[0] + errors[1]) / 2)
    assert UDKELoss.supervision == ("pairs",)


@pytest.mark.parametrize("step", ["image_step", "kernel_step"])
def test_it_takes_no_step_that_nothing_reads(step, monkeypatch):
    """The first image knows no kernel yet, and the last kernel restores no image."""
    taken, real = [], getattr(network_module, step)
    monkeypatch.setattr(network_module, step, lambda *given: taken.append(1) or real(*given))
    UDKELoss()(small(stages=3), batch())
    assert len(taken) == 2


@pytest.mark.parametrize("checkpointed", [False, True])
def test_every_parameter_has_a_gradient(checkpointed):
    """As DDP demands."""
    network = small(checkpoint_stages=checkpointed)
    UDKELoss()(network, batch())["loss"].backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("every_stage", [False, True])
def test_its_stage_learns(every_stage):
    network, data, loss = small(), batch(), UDKELoss(every_stage)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    history = []
    for _ in range(40):
        optimizer.zero_grad()
        value = loss(network, data)["loss"]
        value.backward()
        optimizer.step()
        history.append(value.item())
    assert history[-1] < 0.5 * history[0]
