"""Trainings of a few steps: what is logged, what is kept, and that a training goes on as if never interrupted."""

import csv
import json
import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from arcsr_lightning import compose, load_model
from arcsr_lightning.errors import InputError
from arcsr_lightning.launch import build_data, build_trainer
from arcsr_lightning.losses import RestorationLoss
from arcsr_lightning.networks import Bicubic, Restoration
from arcsr_lightning.rivals.manet import MANet, MutualAffineEstimator
from arcsr_lightning.rivals.rrdb import RRDBSFT, RRDBNet
from arcsr_lightning.runs.weights import read_saved
from arcsr_lightning.scores.rows import rows_of
from arcsr_lightning.train import optimized, train
from arcsr_lightning.training import module as module_file
from arcsr_lightning.training.module import SRModule
from tests.conftest import slow
from tests.training.interruptions import last_checkpoint, last_step, same

SCORES = ("psnr", "ssim", "psnr_y", "ssim_y", "kernel_error")
MULTISTEP = ("scheduler=multistep", "scheduler.milestones=[1,3]")  # a schedule that max_steps does not change


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    lr, hr = (torch.rand(2, 3, side, side, generator=generator) for side in (8, 32))
    kernel = torch.rand(2, 9, 8, 8, generator=generator)
    return {"lr": lr, "hr": hr, "kernel": kernel / kernel.sum(1, keepdim=True)}


# ---------------------------------------------------------------- what is logged


def test_scores_are_logged_under_their_documented_names(configure, tmp_path):
    metrics = train(configure(tmp_path, "trainer.max_steps=2"))
    groups = [f"{stage}/{level}" for stage in ("val", "test") for level in ("", "noise0/", "noise10/")]
    assert {group + score for group in groups for score in SCORES} <= metrics.keys()
    assert {"train/loss", "train/l1", "train/kernel"} <= metrics.keys()
    assert all(math.isfinite(value) for value in metrics.values())


def test_means_are_over_all_images_whatever_their_noise_level(monkeypatch):
    module, logged = SRModule(Bicubic(2), method="net"), {}
    monkeypatch.setattr(module, "log", lambda name, value, **_: logged.update({name: value}))
    rows = [
        {"method": "net", "name": "a", "noise_level": 0.0, "psnr_rgb": 30.0},
        {"method": "net", "name": "b", "noise_level": 0.0, "psnr_rgb": 32.0},
        {"method": "net", "name": "a", "noise_level": 10.0, "psnr_rgb": 22.0},
        {"method": "bicubic", "name": "a", "noise_level": 0.0, "psnr_rgb": 99.0},
    ]
    module.log_means("val", rows, [])
    assert logged == {"val/psnr": 28.0, "val/noise0/psnr": 31.0, "val/noise10/psnr": 22.0}


def test_the_latency_is_the_median_of_all_test_images_but_the_first(monkeypatch):
    ticks = iter([0, 90, 100, 101, 200, 206, 300, 302, 400, 403])
    monkeypatch.setattr(module_file, "clock", lambda device: next(ticks))
    module = SRModule(Bicubic(4), method="net")
    monkeypatch.setattr(module, "log", lambda *_, **__: None)
    module.on_test_epoch_start()
    for number in range(5):
        one = {key: value[:1] for key, value in batch(number).items()}
        module.test_step(one | {"name": [str(number)], "noise_level": torch.zeros(1)}, number)
    module.on_test_epoch_end()
    assert module.latency == 2.5  # of 1, 6, 2 and 3


def test_logged_test_scores_are_means_of_the_images_rows(configure, tmp_path):
    metrics = train(configure(tmp_path, "trainer.max_steps=2"))
    with (tmp_path / "per_image.csv").open() as file:
        own = [row for row in csv.DictReader(file) if row["method"] == "arcsr"]
    assert len(own) == 6
    for score in SCORES:
        column = score + "_rgb" if score in ("psnr", "ssim") else score
        mean = sum(float(row[column]) for row in own) / len(own)
        assert metrics[f"test/{score}"] == pytest.approx(mean, rel=1e-5)


def test_a_method_without_parameters_cannot_be_trained(tmp_path):
    with pytest.raises(ValueError, match="nothing to train; set train=false"):
        train(
            compose(
                ["data=sample", "model=bicubic", "train=true", "print_config=false", f"paths.output_dir={tmp_path}"]
            )
        )


def test_every_training_has_a_seed(configure, tmp_path):
    with pytest.raises(ValueError, match="seed=null"):
        train(configure(tmp_path, "seed=null"))


def test_a_kernel_of_another_size_than_the_truth_has_no_error():
    inputs = batch() | {"name": ["a", "b"], "noise_level": torch.zeros(2)}
    for taps, known in ((9, True), (25, False)):
        restored = Restoration(inputs["hr"], torch.full((2, taps, 8, 8), 1 / taps))
        assert all(("kernel_error" in row) == known for row in rows_of("net", restored, inputs, border=4))


def test_measured_kernels_count_by_their_confidence():
    data = batch() | {"name": ["a", "b"], "noise_level": torch.zeros(2)}
    kernel = data["kernel"].clone()
    kernel[..., :4] = kernel[..., :4].flip(1).roll(1, 1)
    errors = [
        rows_of("net", Restoration(data["hr"], kernel), data | {"confidence": sure}, border=4)[0]["kernel_error"]
        for sure in (torch.ones(2, 1, 8, 8), (torch.arange(8) >= 4).float().expand(2, 1, 8, 8))
    ]
    assert errors[0] > 0 and errors[1] == 0


def test_the_metric_asked_for_is_what_a_sweeper_gets():
    metrics = {"val/psnr": 30.0, "train/loss": 0.1}
    assert optimized(metrics, "train/loss") == 0.1
    assert optimized(metrics, None) is None
    assert optimized(metrics, "test/psnr") is None  # test=false
    with pytest.raises(ValueError, match="optimized_metric=val/pnsr.*train/loss, val/psnr"):
        optimized(metrics, "val/pnsr")


# ---------------------------------------------------------------- what is kept


def test_best_and_last_checkpoints_are_both_true_when_the_metric_worsens(configure, tmp_path):
    uphill = "+optimizer.maximize=true"  # of the loss
    settings = ("trainer.val_check_interval=1", "callbacks.ema=null", "test=false")
    metrics = train(configure(tmp_path, uphill, *settings))
    with (tmp_path / "csv/version_0/metrics.csv").open() as file:
        psnr = [float(row["val/psnr"]) for row in csv.DictReader(file) if row["val/psnr"]]
    best_step = max(range(4), key=psnr.__getitem__) + 1
    assert psnr[0] > psnr[3]
    assert metrics["val/psnr"] == pytest.approx(max(psnr))  # what a sweeper gets: that of the weights kept
    (best,) = (tmp_path / "checkpoints").glob("best_*.ckpt")
    assert torch.load(best, weights_only=True)["global_step"] == best_step
    assert last_step(tmp_path) == 4
    assert same(read_saved(tmp_path / "model.safetensors").weights, read_saved(best).weights)
    assert not same(read_saved(tmp_path / "checkpoints/last.ckpt").weights, read_saved(best).weights)


def test_the_best_by_steps_is_the_last(configure, tmp_path):
    uphill = ("+optimizer.maximize=true", "callbacks.best.monitor=step", "callbacks.ema=null", "test=false")
    train(configure(tmp_path, *uphill, "trainer.val_check_interval=1"))
    (best,) = (tmp_path / "checkpoints").glob("best_*.ckpt")
    assert read_saved(best).steps == 4
    assert same(read_saved(tmp_path / "model.safetensors").weights, read_saved(best).weights)


def test_a_loss_that_is_no_number_stops_the_training_and_names_the_step(configure, tmp_path, monkeypatch):
    healthy, calls = RestorationLoss.forward, []

    def failing(self, network, batch):
        calls.append(batch)
        return {
            name: term * (math.nan if len(calls) == 4 else 1) for name, term in healthy(self, network, batch).items()
        }

    monkeypatch.setattr(RestorationLoss, "forward", failing)
    with pytest.raises(FloatingPointError, match="the loss is nan at step 3"):
        train(configure(tmp_path))
    assert last_step(tmp_path) == 3
    assert torch.isfinite(load_model(tmp_path / "checkpoints/last.ckpt")(batch()["lr"]).sr).all()


def test_weights_that_are_no_numbers_do_not_replace_a_good_checkpoint(configure, tmp_path, monkeypatch):
    healthy = SRModule.optimizer_step

    def spoiling(self, *args, **settings):
        healthy(self, *args, **settings)
        if self.global_step == 3:  # counted after this hook
            next(self.parameters()).data.fill_(math.inf)

    monkeypatch.setattr(SRModule, "optimizer_step", spoiling)
    with pytest.raises(FloatingPointError, match="the weights are not finite after step 4"):
        train(configure(tmp_path))
    assert last_step(tmp_path) == 3
    assert all(torch.isfinite(value).all() for value in last_checkpoint(tmp_path)["state_dict"].values())


# ---------------------------------------------------------------- going on and starting


@pytest.fixture(scope="module")
def straight(configure, tmp_path_factory):
    """Four steps without interruption."""
    folder = tmp_path_factory.mktemp("straight")
    train(configure(folder, *MULTISTEP, "test=false"))
    return last_checkpoint(folder)


@pytest.mark.parametrize("way", [slow("path"), "last"])
def test_a_resumed_training_ends_where_the_uninterrupted_one_does(configure, straight, tmp_path, way):
    first, second = ("first", "second") if way == "path" else ("same", "same")
    ckpt_path = tmp_path / "first/checkpoints/last.ckpt" if way == "path" else "last"
    train(configure(tmp_path / first, *MULTISTEP, "test=false", "trainer.max_steps=2"))
    train(configure(tmp_path / second, *MULTISTEP, "test=false", f"ckpt_path={ckpt_path}", "allow_config_change=true"))
    resumed = last_checkpoint(tmp_path / second)
    assert resumed["global_step"] == straight["global_step"] == 4
    for part in ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers"):
        assert same(resumed[part], straight[part]), part


def test_a_run_that_goes_on_in_another_layout_ends_in_the_same_weights(configure, straight, tmp_path):
    """As from a GPU to a CPU: there moments lie channels-last, and a fused step does not ask how they lie."""
    settings = (*MULTISTEP, "test=false")
    there, here = (("channels_last=true", "optimizer.fused=true"), ("channels_last=false", "optimizer.fused=true"))
    train(configure(tmp_path, *settings, *there, "trainer.max_steps=2"))
    train(configure(tmp_path, *settings, *here, "ckpt_path=last", "allow_config_change=true"))
    end, expected = (each["current_model_state"] for each in (last_checkpoint(tmp_path), straight))
    torch.testing.assert_close(end, expected, rtol=0, atol=1e-5)


def test_what_a_network_draws_is_drawn_again_by_a_training_that_goes_on(configure, tmp_path):
    """The estimator from cues has dropout."""
    settings = ("model/estimator=cues", "scheduler=none", "test=false")
    train(configure(tmp_path / "straight", *settings))
    train(configure(tmp_path / "same", *settings, "trainer.max_steps=2"))
    train(configure(tmp_path / "same", *settings, "ckpt_path=last", "allow_config_change=true"))
    straight, resumed = (last_checkpoint(tmp_path / name)["current_model_state"] for name in ("straight", "same"))
    assert same(resumed, straight)


@pytest.mark.slow  # as every training of test_checkpoints.py starts
def test_ckpt_path_last_starts_a_first_training(configure, tmp_path):
    train(configure(tmp_path, "ckpt_path=last", "trainer.max_steps=2", "test=false"))
    assert last_step(tmp_path) == 2


def test_a_checkpoint_of_another_architecture_is_refused_before_training(configure, trained, tmp_path):
    path = trained / "checkpoints/last.ckpt"
    with pytest.raises(ValueError, match=r"last.ckpt: weights of another architecture.*kernel_size=3"):
        train(configure(tmp_path, f"ckpt_path={path}", "model.restorer.width=8"))


def test_weights_are_where_a_training_starts(configure, trained, tmp_path):
    given = trained / "model.safetensors"
    stand_still = ("optimizer.lr=0", "callbacks.ema=null", "trainer.max_steps=2", "test=false")
    train(configure(tmp_path, f"weights={given}", *stand_still))
    assert same(read_saved(tmp_path / "model.safetensors").weights, read_saved(given).weights)
    assert last_step(tmp_path) == 2


def test_the_seed_decides_everything_and_zero_is_one(configure, tmp_path):
    def weights(run, seed):
        torch.manual_seed(len(run))  # what came before must not matter
        steps = ("trainer.max_steps=1", "trainer.val_check_interval=1", "test=false")
        train(configure(tmp_path / run, *steps, f"seed={seed}"))
        return last_checkpoint(tmp_path / run)["state_dict"]

    zero, again, other = weights("zero", 0), weights("once more", 0), weights("other", 1)
    assert same(zero, again)
    assert not same(zero, other)


def test_a_network_without_estimator_trains(configure, tmp_path):
    metrics = train(configure(tmp_path, "ablation=no_kernel", "trainer.max_steps=2"))
    assert "test/psnr" in metrics
    assert not any("kernel" in name for name in metrics)
    rows = json.loads((tmp_path / "metrics.json").read_text())["rows"]
    assert {row["method"] for row in rows} == {"bicubic", "arcsr_no_kernel"}


def test_a_restorer_that_knows_the_kernels_is_given_those_of_the_batch(configure, tmp_path):
    metrics = train(configure(tmp_path, "ablation=known_kernel", "trainer.max_steps=2"))
    assert metrics["test/kernel_error"] == 0
    rows = json.loads((tmp_path / "metrics.json").read_text())["rows"]
    assert {row["method"] for row in rows} == {"bicubic", "arcsr_known_kernel"}


def test_data_without_kernels_can_tell_nobody():
    class Told(Own):
        def forward(self, lr, kernel=None):
            return super().forward(lr)

    module = SRModule(Told(), known_kernels=True)
    with pytest.raises(InputError, match="known_kernels=true needs true or measured kernels"):
        module.scored({"lr": torch.rand(1, 3, 4, 4)}, [])


def test_a_stage_without_its_part_is_left_out_and_the_others_see_the_same(configure, tmp_path):
    kernels = "{share:1,trains:[estimator],loss:{_target_:arcsr_lightning.losses.KernelLoss}}"
    staged = f"+stages={{kernels:{kernels},restore:{{share:1}}}}"
    for name, ablation in {"with": "mean_kernel", "without": "no_kernel"}.items():
        train(configure(tmp_path / name, staged, f"ablation={ablation}"))
    with_it, without = (read_saved(tmp_path / name / "model.safetensors").config for name in ("with", "without"))
    assert [stage["stage"] for stage in without["card"]["schedule"]] == ["restore"]
    assert without["card"]["schedule"] == with_it["card"]["schedule"][1:]


# ---------------------------------------------------------------- a network of the user's own


class Own(nn.Module):
    """A network that this package does not know."""

    scale = 4

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 48, 3, padding=1)

    def forward(self, lr):
        return Restoration(F.pixel_shuffle(self.convolution(lr), 4))


class Plain(Own):
    def forward(self, lr):
        return super().forward(lr).sr


def of(network):
    return SRModule(network, RestorationLoss(), partial(torch.optim.Adam, lr=1e-3), method="own")


def test_a_network_of_the_users_own_trains_and_is_scored(configure, tmp_path):
    cfg = configure(tmp_path, "trainer.max_steps=2", panel=True)
    trainer, data, module = build_trainer(cfg), build_data(cfg), of(Own())
    before = module.network.convolution.weight.clone()
    trainer.fit(module, data)
    trainer.test(module, data, verbose=False)
    assert not torch.equal(module.network.convolution.weight, before)
    assert {row["method"] for row in module.test_rows} == {"own", "bicubic"}
    best = torch.load(trainer.checkpoint_callback.best_model_path, weights_only=True)["state_dict"]
    Own().load_state_dict({name.removeprefix("network."): value for name, value in best.items()})
    assert not module.network._forward_hooks


@pytest.mark.parametrize("call", ["fit", "test"])
def test_a_network_that_returns_anything_but_a_restoration_is_refused(configure, tmp_path, call):
    cfg = configure(tmp_path)
    with pytest.raises(InputError, match="Plain returns a Tensor; a network returns arcsr_lightning.networks.Re"):
        getattr(build_trainer(cfg), call)(of(Plain()), build_data(cfg))


@pytest.mark.parametrize(
    "network",
    [
        RRDBNet(4, width=4, growth=2, blocks=1),
        MANet(MutualAffineEstimator(5, width=8), RRDBSFT(4, width=8, blocks=1, code=4, growth=4)),  # of other taps
    ],
    ids=lambda network: type(network).__name__,
)
def test_a_network_that_takes_no_kernels_cannot_be_given_them(network):
    with pytest.raises(InputError, match=r"^known_kernels=true: \w+ is given no kernels; leave it out$"):
        SRModule(network, known_kernels=True)


def test_a_network_without_scale_is_refused():
    with pytest.raises(InputError, match="model: Conv2d has no scale"):
        SRModule(nn.Conv2d(3, 3, 1))
