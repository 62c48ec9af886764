"""Stages: what each changes, what it leaves alone, and that a finished one is not repeated."""

import itertools
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import open_dict
from pytorch_lightning.callbacks import Timer
from torch import nn

from arcsr_lightning.errors import InputError
from arcsr_lightning.launch import build_network
from arcsr_lightning.losses import RestorationLoss
from arcsr_lightning.runs import resume
from arcsr_lightning.runs.stages import divide, interval_of, stages_of
from arcsr_lightning.runs.weights import read_saved
from arcsr_lightning.train import train
from arcsr_lightning.training.module import freeze_all_but
from tests.conftest import slow

ADAM = {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 3e-3}


@pytest.fixture
def staged(configure):
    """``staged(folder, *overrides)``: a training in two stages, four steps in all."""

    def configuration(folder, *overrides):
        cfg = configure(folder, "callbacks.ema=null", "test=false", *overrides)
        cfg.stages = {
            "first": {"share": 1, "trains": ["estimator"], "optimizer": ADAM},
            "second": {"share": 3, "trains": ["restorer"], "scheduler": None},
        }
        return cfg

    return configuration


def weights(path):
    return read_saved(path).weights


def steps_of(folder):
    return [stage["steps"] for stage in read_saved(folder / "model.safetensors").config["card"]["schedule"]]


def changed(before, after):
    """The parts of the network of which any weight differs."""
    return {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])}


# ---------------------------------------------------------------- the plan


@given(st.integers(1, 10**6), st.lists(st.floats(0.01, 1000), min_size=1, max_size=6))
def test_steps_are_divided_by_shares(steps, shares):
    if steps < len(shares):
        with pytest.raises(ValueError, match=f"max_steps={steps}: this method has {len(shares)} stages"):
            divide(steps, shares)
        return
    parts = divide(steps, shares)
    assert sum(parts) == steps
    assert min(parts) >= 1
    if steps > 10**4 and min(shares) > 1:
        for part, share in zip(parts, shares, strict=True):
            assert part == pytest.approx(steps * share / sum(shares), abs=len(shares))


def test_a_stage_is_the_run_with_keys_of_its_own(staged, tmp_path):
    first, second = stages_of(staged(tmp_path, "optimizer.lr=1e-3", "trainer.max_steps=8"))
    assert (first.name, first.config.trainer.max_steps, first.first_step) == ("first", 2, 0)
    assert (second.name, second.config.trainer.max_steps, second.first_step) == ("second", 6, 2)
    assert (first.config.optimizer.lr, second.config.optimizer.lr) == (3e-3, 1e-3)
    assert first.config.scheduler.T_max == 2  # follows the stage's steps
    assert second.config.scheduler is None
    assert first.config.loss == second.config.loss
    assert first.last == tmp_path / "checkpoints/first/last.ckpt"
    assert first.finished == tmp_path / "checkpoints/first/finished.ckpt"


def test_what_a_stage_has_replaces_the_run_s_as_a_whole(staged, tmp_path):
    first, second = stages_of(staged(tmp_path))
    assert first.config.optimizer == ADAM  # nothing of the run's betas
    assert "betas" in second.config.optimizer


def test_a_stage_s_optimizer_of_null_is_the_run_s(staged, tmp_path):
    cfg = staged(tmp_path)
    with open_dict(cfg):
        cfg.stages.first.optimizer = None
    assert all(stage.config.optimizer == cfg.optimizer for stage in stages_of(cfg))


def test_a_method_without_stages_has_one(configure, tmp_path):
    (only,) = stages_of(configure(tmp_path))
    assert (only.name, only.first_step, only.last) == (None, 0, tmp_path / "checkpoints/last.ckpt")


def test_two_stages_cannot_keep_their_last_checkpoint_in_one_folder(staged, tmp_path):
    with pytest.raises(ValueError, match="callbacks.last.dirpath=elsewhere: each of the stages first, second needs"):
        stages_of(staged(tmp_path, "callbacks.last.dirpath=elsewhere"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stage": "third"}, "stage=third: no stage of method=arcsr; it has first, second"),
        ({"stages": None, "stage": "first"}, "stage=first: method=arcsr has no stages"),
        ({"stages": {"a": {"share": 1, "epochs": 3}}}, r"stages\.a\.epochs: a stage has share, trains, prepare, loss"),
    ],
)
def test_what_is_no_stage_is_named(staged, tmp_path, change, message):
    cfg = staged(tmp_path)
    for key, value in change.items():
        cfg[key] = value
    with pytest.raises(ValueError, match=message):
        stages_of(cfg)


# ---------------------------------------------------------------- what is frozen


def test_a_frozen_part_keeps_its_weights_and_its_statistics():
    network = nn.ModuleDict({"a": nn.BatchNorm2d(3), "b": nn.BatchNorm2d(3)})
    freeze_all_but(network, ["b"])
    for part in network.values():
        part(torch.rand(2, 3, 4, 4)).sum()
    assert [part.num_batches_tracked.item() for part in network.values()] == [0, 1]
    assert [part.weight.requires_grad for part in network.values()] == [False, True]
    freeze_all_but(network, None)
    assert all(part.training and part.weight.requires_grad for part in network.values())


def test_the_dropout_of_a_frozen_part_stays_on():
    network = nn.ModuleDict({"a": nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5)), "b": nn.Dropout(0.5)})
    freeze_all_but(network, ["b"])
    ones = torch.ones(1, 3, 64, 64)
    assert set(network["a"](ones).round(decimals=3).unique().tolist()) == {0.0, 2.0}


def test_an_unknown_part_is_named(staged, tmp_path):
    cfg = staged(tmp_path)
    cfg.stages.first.trains = ["estimators"]
    with pytest.raises(ValueError, match="trains: ArcSR has no part 'estimators'; it has estimator, restorer"):
        train(cfg)


# ---------------------------------------------------------------- a run


def test_every_stage_changes_its_own_part_alone(staged, tmp_path):
    cfg = staged(tmp_path)
    train(cfg)
    after_first = weights(tmp_path / "checkpoints/first/finished.ckpt")
    after_second = weights(tmp_path / "checkpoints/second/last.ckpt")
    torch.manual_seed(cfg.seed)
    assert changed(build_network(cfg.model).state_dict(), after_first) == {"estimator"}
    assert changed(after_first, after_second) == {"restorer"}
    assert (tmp_path / "model.safetensors").is_file()
    assert {path.parent.name for path in tmp_path.glob("csv/*/version_0")} == {"first", "second"}
    assert steps_of(tmp_path) == [1, 3]


@pytest.mark.parametrize("parts", [1, 2])
def test_no_sample_is_seen_by_two_stages(staged, tmp_path, monkeypatch, parts):
    seen, healthy = [], RestorationLoss.forward

    def spying(self, network, batch):
        seen.extend(batch["number"].tolist())
        return healthy(self, network, batch)

    monkeypatch.setattr(RestorationLoss, "forward", spying)
    train(staged(tmp_path, f"trainer.accumulate_grad_batches={parts}"))
    assert seen == list(range(8 * parts))


@pytest.mark.parametrize("dies_at", [slow(1), 3])
def test_an_interrupted_run_ends_as_if_it_never_was_and_repeats_no_stage(staged, tmp_path, monkeypatch, dies_at):
    """Killed in the first step of the second stage (nothing of it saved), or after its second."""

    def configuration(folder, *overrides):
        cfg = staged(folder, "trainer.val_check_interval=1", *overrides)
        cfg.stages.first.optimizer = {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 1e-3}  # logs lr-SGD
        return cfg

    logged = train(configuration(tmp_path / "whole"))
    calls, healthy = [], RestorationLoss.forward

    def dying(self, network, batch):
        if len(calls) == dies_at:
            calls.append("died")
            raise KeyboardInterrupt
        calls.append(batch["number"].tolist())
        return healthy(self, network, batch)

    monkeypatch.setattr(RestorationLoss, "forward", dying)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(configuration(tmp_path / "cut"))
    assert train(configuration(tmp_path / "cut", "ckpt_path=last")).keys() == logged.keys()
    assert [call for call in calls if call != "died"] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    whole, cut = (
        torch.load(tmp_path / run / "checkpoints/second/last.ckpt", weights_only=True) for run in ("whole", "cut")
    )
    for key, value in whole["state_dict"].items():
        assert torch.equal(value, cut["state_dict"][key]), key


def test_a_stage_that_its_time_limit_cut_off_goes_on_and_the_next_starts_again(staged, tmp_path, monkeypatch):
    long = ("trainer.max_steps=12", "trainer.val_check_interval=1", "ckpt_path=last")  # 3 and 9
    train(staged(tmp_path / "whole", *long))
    seconds = itertools.count()
    monkeypatch.setattr(Timer, "time_elapsed", lambda *_: next(seconds))
    train(staged(tmp_path / "cut", *long, "trainer.max_time=00:00:00:02"))
    assert steps_of(tmp_path / "cut")[0] < 3
    train(staged(tmp_path / "cut", *long))
    assert steps_of(tmp_path / "cut") == [3, 9]
    own, expected = (weights(tmp_path / name / "checkpoints/second/last.ckpt") for name in ("cut", "whole"))
    assert changed(own, expected) == set()
    longer = staged(tmp_path / "cut", "trainer.max_steps=24", "trainer.max_time=00:01:00:00")
    assert resume.stages_over(stages_of(longer)) == 1  # a limit that never cut it off reopens no stage


@pytest.mark.parametrize(("batches", "most"), [(97_087, 20_000), (4000, 800), (2400, 400), (1, 800), (1333, 800)])
def test_next_to_nothing_of_a_stage_comes_after_its_last_validation(batches, most):
    interval = interval_of(batches, most)
    assert 0 < interval <= most
    assert batches % interval < batches / interval  # fewer steps than there are validations


def test_one_stage_can_be_trained_alone_from_given_weights(staged, tmp_path):
    train(staged(tmp_path / "first", "stage=first"))
    first = tmp_path / "first/checkpoints/first/last.ckpt"
    assert torch.load(first, weights_only=True)["global_step"] == 1
    train(staged(tmp_path / "second", "stage=second", f"weights={first}"))
    assert not (tmp_path / "second/checkpoints/first").exists()
    assert changed(weights(first), weights(tmp_path / "second/checkpoints/second/last.ckpt")) == {"restorer"}


def test_a_later_stage_alone_starts_from_what_the_one_before_left(staged, tmp_path):
    with pytest.raises(InputError, match=r"^stage=second: starts from what stage first learns, which is not over in"):
        train(staged(tmp_path, "stage=second", "ckpt_path=last"))
    with pytest.raises(InputError, match=r"^stage=second: starts from what stage first learns, which is not over in"):
        train(staged(tmp_path, "stage=second"))
    train(staged(tmp_path, "stage=first"))
    first = weights(tmp_path / "checkpoints/first/last.ckpt")
    train(staged(tmp_path, "stage=second", "ckpt_path=last"))
    assert changed(first, weights(tmp_path / "checkpoints/second/last.ckpt")) == {"restorer"}


def test_what_is_left_of_the_stages_of_an_ablation_starts_anew(configure, tmp_path):
    """As in every study that goes on: no_kernel has no kernels to be taught."""
    typed = ("model=arcsr_staged", "ablation=no_kernel", "ckpt_path=last", "test=false")
    train(configure(tmp_path, *typed))
    train(configure(tmp_path / "alone", *typed, "stage=restore"))
    for folder in (tmp_path, tmp_path / "alone"):
        assert read_saved(folder / "checkpoints/restore/last.ckpt").steps == 2


def test_a_stage_that_has_nothing_to_train_is_named(configure, tmp_path):
    with pytest.raises(InputError, match=r"^stage=kernels: method=arcsr_no_kernel has nothing for it to train$"):
        train(configure(tmp_path, "model=arcsr_staged", "ablation=no_kernel", "stage=kernels"))


def test_what_is_over_with_one_stage_is_not_over_with_all(staged, tmp_path):
    train(staged(tmp_path, "stage=first"))
    train(staged(tmp_path, "ckpt_path=last"))
    assert (tmp_path / "checkpoints/second/last.ckpt").is_file()
    before = (tmp_path / "checkpoints/second/last.ckpt").stat().st_mtime_ns
    train(staged(tmp_path, "ckpt_path=last"))
    assert (tmp_path / "checkpoints/second/last.ckpt").stat().st_mtime_ns == before


def test_an_earlier_stage_alone_leaves_what_the_next_would_start_from(staged, tmp_path, monkeypatch):
    """Its restorer is yet to learn, and PSNR, here best at the first validation, says nothing of its kernels."""
    psnr = itertools.count(30.0, -1.0)
    monkeypatch.setattr("arcsr_lightning.training.module.mean_scores", lambda rows: {"psnr_rgb": next(psnr)})
    train(staged(tmp_path, "stage=first", "trainer.max_steps=8", "trainer.val_check_interval=1"))
    best = next(tmp_path.glob("checkpoints/first/best_*.ckpt"))
    assert changed(weights(tmp_path / "model.safetensors"), weights(tmp_path / "checkpoints/first/last.ckpt")) == set()
    assert changed(weights(best), weights(tmp_path / "model.safetensors")) == {"estimator"}


def test_a_checkpoint_of_a_stage_that_is_not_planned_is_refused(staged, tmp_path):
    train(staged(tmp_path / "first", "stage=first"))
    path = tmp_path / "first/checkpoints/first/last.ckpt"
    with pytest.raises(ValueError, match="last.ckpt is of stage first, which is none of this run's: second"):
        train(staged(tmp_path / "second", "stage=second", f"ckpt_path={path}"))


def test_the_report_says_what_the_method_learnt_from(configure, tmp_path):
    train(configure(tmp_path, "trainer.max_steps=2"))
    method = json.loads((tmp_path / "metrics.json").read_text())["method"]
    assert method["supervision"] == ["pairs", "kernels"]  # quickstart supervises the kernels
    (schedule,) = method["schedule"]
    assert schedule.items() >= {"stage": None, "steps": 2, "trains": [], "lr": 1e-3}.items()
    assert method["parameters"] == sum(value.numel() for value in weights(tmp_path / "model.safetensors").values())
