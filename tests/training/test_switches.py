"""What makes a training faster or longer changes nothing else: precision, layout, compilation, accumulation, time."""

import csv

import pytest
import torch
from pytorch_lightning.callbacks import Timer

from arcsr_lightning.launch import build_loss, build_module, build_network
from arcsr_lightning.networks import Restoration
from arcsr_lightning.scores.rows import rows_of
from arcsr_lightning.train import train

ONE_STEP = ("trainer.max_steps=1", "trainer.val_check_interval=1", "test=false")
DESCENT = ("optimizer._target_=torch.optim.SGD", "~optimizer.betas")  # Adam divides rounding errors by themselves


def weights_of(run):
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["current_model_state"]


def batch():
    generator = torch.Generator().manual_seed(0)
    lr, hr = (torch.rand(2, 3, side, side, generator=generator) for side in (8, 32))
    kernel = torch.rand(2, 9, 8, 8, generator=generator)
    return {"lr": lr, "hr": hr, "kernel": kernel / kernel.sum(1, keepdim=True)}


def module_of(cfg):
    torch.manual_seed(0)
    return build_module(cfg, build_network(cfg.model), build_loss(cfg))


def gradients(module):
    module.loss(module.network, batch())["loss"].backward()
    return {name: parameter.grad for name, parameter in module.named_parameters()}


@pytest.fixture(scope="module")
def plain(configure, tmp_path_factory):
    """What a step of batch size 4 logs, and its folder."""
    folder = tmp_path_factory.mktemp("plain")
    return train(configure(folder, *ONE_STEP, *DESCENT, "data.batch_size=4")), folder


def test_mixed_precision_reaches_estimator_and_restorer(configure, tmp_path):
    module = module_of(configure(tmp_path))
    with torch.autocast("cpu", torch.bfloat16):
        grads = gradients(module)
    assert all(torch.isfinite(grad).all() for grad in grads.values())
    for part in ("network.estimator.head", "network.estimator.tail", "network.restorer.head", "network.restorer.tail"):
        assert grads[f"{part}.weight"].abs().sum() > 0


def test_mixed_precision_has_the_loss_of_full_precision_and_keeps_full_weights(configure, plain, tmp_path):
    metrics = train(configure(tmp_path, *ONE_STEP, *DESCENT, "data.batch_size=4", "precision=bf16-mixed"))
    for name in ("train/loss", "train/l1", "train/kernel"):
        assert metrics[name] == pytest.approx(plain[0][name], rel=2e-2)
    assert metrics["train/kernel"] != plain[0]["train/kernel"]
    assert metrics["val/psnr"] == pytest.approx(plain[0]["val/psnr"], abs=0.1)
    assert all(torch.isfinite(value).all() and value.dtype == torch.float32 for value in weights_of(tmp_path).values())


def test_scores_are_computed_in_full_precision():
    generator = torch.Generator().manual_seed(0)
    restored = Restoration(torch.rand(1, 3, 32, 32, generator=generator), torch.rand(1, 9, 8, 8, generator=generator))
    known = {"name": ["a"], "noise_level": torch.zeros(1), "kernel": torch.rand(1, 9, 8, 8, generator=generator)}
    inputs = known | {"hr": (restored.sr + 0.1 * torch.rand(1, 3, 32, 32, generator=generator)).clamp(0, 1)}
    with torch.autocast("cpu", torch.bfloat16):
        mixed = rows_of("net", restored, inputs, 4)
    assert mixed == rows_of("net", restored, inputs, 4)


def test_an_accumulated_step_is_that_of_the_whole_batch(configure, plain, tmp_path):
    halves = ("trainer.accumulate_grad_batches=2", "data.batch_size=2", "trainer.val_check_interval=2")
    train(configure(tmp_path, *ONE_STEP, *DESCENT, *halves))
    torch.testing.assert_close(weights_of(tmp_path), weights_of(plain[1]), rtol=1e-5, atol=1e-6)


def test_channels_last_changes_the_layout_and_nothing_else(configure, tmp_path):
    plain, laid_out = (module_of(configure(tmp_path, f"channels_last={switch}")) for switch in ("false", "true"))
    weight = laid_out.network.restorer.kg_blocks[0].convolutions[0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()
    torch.testing.assert_close(gradients(laid_out), gradients(plain), rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_a_compiled_network_trains_to_the_same_weights(configure, tmp_path):
    torch.compiler.reset()  # sizes that other tests compiled for would make these dynamic
    for run, switch in (("plain", "compile=false"), ("compiled", "compile=true")):  # validation images differ in size
        train(configure(tmp_path / run, switch, "trainer.max_steps=2", "test=false"))
    plain, compiled = (weights_of(tmp_path / run) for run in ("plain", "compiled"))
    torch.testing.assert_close(compiled, plain, rtol=1e-3, atol=5e-3)  # Adam's first steps amplify rounding


def test_a_run_whose_time_is_over_ends_as_others_do(configure, tmp_path, at_batch, monkeypatch):
    seconds = []
    at_batch(dict.fromkeys(range(10), lambda: seconds.append(1)))
    monkeypatch.setattr(Timer, "time_elapsed", lambda *_: len(seconds))
    limits = ("trainer.max_time=00:00:00:03", "trainer.max_steps=10", "trainer.val_check_interval=10")
    metrics = train(configure(tmp_path, *limits))
    with (tmp_path / "csv/version_0/metrics.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row["train/loss"]]
    assert steps == [0, 1, 2]
    assert {"train/loss", "test/psnr"} <= metrics.keys()
    assert (tmp_path / "model.safetensors").is_file()


def test_a_training_needs_no_logger(configure, tmp_path):
    train(configure(tmp_path, *ONE_STEP, "logger=none"))
    assert (tmp_path / "model.safetensors").is_file()


def test_all_switches_go_together(configure, tmp_path):
    switches = (
        "precision=bf16-mixed",
        "channels_last=true",
        "trainer.accumulate_grad_batches=2",
        "trainer.profiler=simple",
    )
    train(configure(tmp_path, *ONE_STEP, *switches, "trainer.val_check_interval=2"))
    assert all(torch.isfinite(value).all() for value in weights_of(tmp_path).values())
