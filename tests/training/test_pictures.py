"""What pictures show, and which loggers get them."""

import csv
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from arcsr_lightning.blocks import OrdinaryConv, dm_block
from arcsr_lightning.networks import ArcSR, KernelEstimator, Restoration, Restorer
from arcsr_lightning.train import train
from arcsr_lightning.training import pictures
from arcsr_lightning.training.pictures import KernelFieldPictures, OffsetPictures, PanelPictures

SHORT = ("trainer.max_steps=2", "callbacks.ema=null")


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
    panel = PanelPictures("images", images)
    assert [panel.chosen(batches, loader) for loader in range(len(batches))] == expected


def test_the_panel_shows_the_chosen_images_with_their_scores(configure, tmp_path, monkeypatch):
    drawn, draw = [], pictures.panel_picture
    monkeypatch.setattr(pictures, "panel_picture", lambda rows, *rest: (drawn.append(list(rows)), draw(rows, *rest))[1])
    others = ("callbacks.kernel_field=null", "callbacks.offsets=null")
    train(configure(tmp_path, *SHORT, *others, "panel_images=2", panel=True))
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


# ---------------------------------------------------------------- kernel field, offsets


@pytest.fixture
def drawn(monkeypatch):
    """``drawn(callback, network, batch, ...)``: what a callback draws, as the arguments of its figure, and publishes of
    one validation batch."""
    got = []
    monkeypatch.setattr(pictures, "kernel_field_picture", lambda *arguments: arguments)
    monkeypatch.setattr(pictures, "offsets_picture", lambda *arguments: arguments)
    monkeypatch.setattr(pictures, "publish", lambda trainer, key, figure, path: got.append((key, path.name, *figure)))
    trainer = SimpleNamespace(is_global_zero=True, fast_dev_run=False, sanity_checking=False, global_step=30)

    def validate(callback, network, batch, batch_idx=0, dataloader_idx=0, restore=None):
        got.clear()
        module = SimpleNamespace(network=network, method="arcsr")
        callback.on_validation_batch_start(trainer, module, batch, batch_idx, dataloader_idx)
        outputs = {"arcsr": (restore or network)(batch["lr"])}
        callback.on_validation_batch_end(trainer, module, outputs, batch, batch_idx, dataloader_idx)
        return list(got), outputs["arcsr"]

    return validate


@pytest.fixture
def batch():
    """Two LR images whose sides the estimator has to pad."""
    return {"lr": torch.rand(2, 3, 9, 11), "name": ["a", "b"], "noise_level": torch.tensor([10.0, 0.0])}


def arcsr(**estimator):
    torch.manual_seed(0)
    network = ArcSR(
        KernelEstimator(kernel_size=3, width=4, levels=2, **estimator), Restorer(width=4, blocks=1, kernel_size=3)
    )
    for layer in network.modules():
        if isinstance(layer, dm_block.DMConv):
            torch.nn.init.normal_(layer.offset[-1].weight)
    return network.eval().requires_grad_(False)


def test_the_kernel_field_drawn_is_that_of_the_first_image(drawn, batch):
    truth = torch.rand(2, 9, 9, 11)
    ((key, file, kernel, image, caption, true),), restored = drawn(
        KernelFieldPictures("images"), arcsr(), batch | {"kernel": truth}
    )
    assert (key, file, caption) == ("val/kernel_field", "kernel_field_0000030.png", "a, noise 10, step 30")
    torch.testing.assert_close((kernel, image, true), (restored.kernel[0], restored.sr[0], truth[0]))


def test_an_unknown_true_kernel_is_not_drawn(drawn, batch):
    ((*_, truth),), _ = drawn(KernelFieldPictures("images"), arcsr(), batch)
    assert truth is None


def test_a_network_without_kernels_has_no_kernel_field(drawn, batch):
    assert drawn(KernelFieldPictures("images"), lambda lr: Restoration(lr), batch)[0] == []


def test_the_offsets_drawn_are_those_that_the_last_dmconv_used(drawn, batch, monkeypatch):
    used, convolve = [], dm_block.deform_conv2d
    monkeypatch.setattr(
        dm_block,
        "deform_conv2d",
        lambda x, offset, *rest, **how: (used.append(offset), convolve(x, offset, *rest, **how))[1],
    )
    ((key, file, offset, image, _),), _ = drawn(OffsetPictures("images"), arcsr(), batch)
    assert (key, file) == ("val/offsets", "offsets_0000030.png")
    assert used[-1].shape[-2:] == (10, 12)
    torch.testing.assert_close((offset, image), (used[-1][0, :, :9, :11], batch["lr"][0]))


def test_drawing_offsets_leaves_the_network_as_it_was(drawn, batch):
    network = arcsr()
    drawn(OffsetPictures("images"), network, batch)
    assert not any(layer._forward_hooks for layer in network.modules())


@pytest.mark.parametrize("where", [(1, 0), (0, 1)])
@pytest.mark.parametrize("kind", [KernelFieldPictures, OffsetPictures])
def test_other_images_than_the_first_are_not_drawn(drawn, batch, kind, where):
    assert drawn(kind("images"), arcsr(), batch, *where)[0] == []


def test_a_dmconv_that_does_not_run_has_no_offsets(drawn, batch):
    """As where the network is given the kernels."""
    network, given = arcsr(), torch.rand(2, 9, 9, 11)
    assert drawn(OffsetPictures("images"), network, batch, restore=lambda lr: network(lr, kernel=given))[0] == []


def test_a_network_without_dmconvs_has_no_offsets(drawn, batch):
    assert drawn(OffsetPictures("images"), arcsr(convolution=OrdinaryConv), batch)[0] == []


# ---------------------------------------------------------------- loggers


def test_tensorboard_gets_scores_and_pictures(configure, tmp_path):
    pytest.importorskip("tensorboard", reason='needs "arcsr-lightning[tensorboard]"')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(configure(tmp_path, *SHORT, "logger=tensorboard", panel=True))
    events = EventAccumulator(str(next(tmp_path.glob("tensorboard/version_0"))))
    events.Reload()
    assert set(events.Tags()["images"]) == {"val/panel", "val/kernel_field", "val/offsets", "test/panel"}
    assert {"val/psnr", "train/loss", "test/ssim_y"} <= set(events.Tags()["scalars"])
    assert len(events.Scalars("val/psnr")) == 1
