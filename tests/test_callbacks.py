"""What callbacks draw and measure, and what the loggers get of it."""

import csv
import time
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from arcsr_lightning import callbacks, launch
from arcsr_lightning.callbacks import Panel, Throughput
from arcsr_lightning.launch import wandb_offline
from arcsr_lightning.train import train

SHORT = ("trainer.max_steps=2", "callbacks.ema=null")


@pytest.fixture
def no_key(monkeypatch, tmp_path):
    """A user who never heard of W&B; the environment is put back after the test."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "NETRC"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


# ---------------------------------------------------------------- throughput


def test_throughput_is_images_per_second_of_training(monkeypatch):
    clock, logged = [0.0], []
    monkeypatch.setattr(callbacks.time, "perf_counter", lambda: clock[0])
    trainer = SimpleNamespace(world_size=2, global_step=0, log_every_n_steps=2)
    module = SimpleNamespace(log=lambda name, value: logged.append((name, value)))
    callback = Throughput()
    callback.on_train_start(trainer, module)
    for _ in range(4):
        clock[0] += 0.5
        trainer.global_step += 1
        callback.on_train_batch_end(trainer, module, None, {"lr": torch.zeros(3, 3, 4, 4)}, 0)
        if trainer.global_step == 2:
            clock[0] += 100  # of validation
            callback.on_validation_end(trainer, module)
    assert logged == [("train/images_per_s", 2 * 2 * 3 / 1.0)] * 2


def test_throughput_and_learning_rate_are_in_the_csv(trained):
    with (trained / "csv/version_0/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    speeds = [float(row["train/images_per_s"]) for row in rows if row["train/images_per_s"]]
    rates = [float(row["lr-Adam"]) for row in rows if row["lr-Adam"]]
    assert len(speeds) == len(rates) == 4
    assert min(speeds) > 0
    assert rates[0] == 1e-3
    assert rates == sorted(rates, reverse=True)


# ---------------------------------------------------------------- panel


@pytest.mark.parametrize(
    ("batches", "images", "expected"),
    [
        ([8, 8], 3, [{0, 5}, {2}]),
        ([3, 3], 3, [{0, 2}, {1}]),
        ([1, 1], 3, [{0}, {0}]),
        ([4], 2, [{0, 2}]),
        ([5, 5], 0, [set(), set()]),
        ([0, 0], 3, [set(), set()]),
    ],
)
def test_the_panel_takes_images_from_all_over_the_loaders(batches, images, expected):
    panel = Panel("images", images)
    assert [panel.chosen(batches, loader) for loader in range(len(batches))] == expected


def test_the_panel_shows_the_chosen_images_with_their_scores(configure, tmp_path, monkeypatch):
    drawn, draw = [], callbacks.panel
    monkeypatch.setattr(callbacks, "panel", lambda rows, *rest: (drawn.append(list(rows)), draw(rows, *rest))[1])
    train(configure(tmp_path, *SHORT, "panel_images=2", panel=True))
    validation, test = drawn
    for rows in (validation, test):
        assert [(row.name, row.noise_level) for row in rows] == [("photo0", 0), ("photo0", 10)]
        assert all(
            row.kernel.shape == row.true_kernel.shape == (9, *(side // 4 for side in row.hr.shape[1:])) for row in rows
        )
    with (tmp_path / "per_image.csv").open() as file:
        psnr = {(r["method"], r["name"], float(r["noise_level"])): float(r["psnr_rgb"]) for r in csv.DictReader(file)}
    for row in test:
        assert (row.psnr_bicubic, row.psnr_sr) == tuple(
            psnr[method, row.name, row.noise_level] for method in ("bicubic", "arcsr")
        )
    for name in ("val_0000002.png", "panel.png"):
        with Image.open(tmp_path / "images" / name) as picture:
            assert min(picture.size) > 100


# ---------------------------------------------------------------- loggers


def test_without_a_key_wandb_is_offline(no_key):
    assert wandb_offline()
    (no_key / ".netrc").write_text("machine example.org login user password secret\n")
    assert wandb_offline()
    (no_key / ".netrc").write_text("this is no netrc")
    assert wandb_offline()


def test_with_a_key_wandb_is_online(no_key, monkeypatch):
    netrc = no_key / ".netrc"
    netrc.write_text("machine api.wandb.ai login user password 0123456789\n")
    netrc.chmod(0o600)
    assert not wandb_offline()
    netrc.unlink()
    monkeypatch.setenv("WANDB_API_KEY", "0123456789")
    assert not wandb_offline()


def test_wandb_records_a_run_on_disk_without_asking(configure, no_key, tmp_path):
    try:
        train(configure(tmp_path, *SHORT, "logger=wandb", panel=True))
    finally:
        launch.close_loggers()
    (record,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    names = (b"val/psnr", b"train/loss", b"train/images_per_s", b"kernel_size")
    deadline = time.monotonic() + 20  # wandb's own process writes the last of it after finish() has returned
    while not all(name in record.read_bytes() for name in names) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [name for name in names if name not in record.read_bytes()] == []
    pictures = {path.name.rsplit("_", 2)[0] for path in tmp_path.glob("wandb/offline-run-*/files/media/images/*/*.png")}
    assert pictures == {"panel"}
    assert (tmp_path / "csv/version_0/metrics.csv").is_file()


def test_tensorboard_gets_scores_and_panel(configure, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(configure(tmp_path, *SHORT, "logger=tensorboard", panel=True))
    events = EventAccumulator(str(next(tmp_path.glob("tensorboard/version_0"))))
    events.Reload()
    assert set(events.Tags()["images"]) == {"val/panel", "test/panel"}
    assert {"val/psnr", "train/loss", "test/ssim_y"} <= set(events.Tags()["scalars"])
    assert len(events.Scalars("val/psnr")) == 1
