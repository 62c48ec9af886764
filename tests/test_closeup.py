"""What the page makes of a picture and of a click, without the page."""

import json

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image, ImageCms
from torch import nn

from arcsr_lightning import closeup
from arcsr_lightning.blocks import DMConv
from arcsr_lightning.closeup import Job, Limits, answer, built_in, cells_of, colours, examine, mosaic, noisy, shown
from arcsr_lightning.data.images import to_uint8
from arcsr_lightning.data.pictures import load_picture
from arcsr_lightning.degradation import upsample
from arcsr_lightning.errors import InputError
from arcsr_lightning.inference import run_network
from arcsr_lightning.launch import as_plain_data, build_network, compose
from arcsr_lightning.runs.weights import load_model

TINY = ["arcsr.estimator_width=4", "arcsr.estimator_levels=1", "arcsr.width=4", "arcsr.blocks=1", "kernel_size=3"]
LIMITS = Limits(megabytes=1, pixels=2000)


def save_network(path, *typed):
    cfg = compose(["data=sample", *typed])
    network = build_network(cfg.model)
    for layer in network.modules():
        if isinstance(layer, DMConv):
            nn.init.normal_(layer.offset[-1].weight, std=0.1)
    safetensors.torch.save_file(network.state_dict(), path, metadata={"config": json.dumps(as_plain_data(cfg))})
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_network(tmp_path_factory.mktemp("weights") / "w.safetensors", *TINY)


@pytest.fixture
def job(weights, tmp_path):
    """``job(picture, **changes)``: to restore a picture, uint8."""

    def one(picture, name="a.png", **changes):
        cv2.imwrite(str(tmp_path / name), picture)
        return Job(tmp_path / name, str(weights), 0, 64, 8, "cpu", LIMITS, tmp_path)._replace(**changes)

    return one


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype)


def test_a_closeup_is_what_the_network_makes_of_the_picture(job, weights, tmp_path):
    tiles = []
    found = examine(job(noise(20, 30, 3)), lambda *counts: tiles.append(counts))
    rgb = load_picture(tmp_path / "a.png").rgb
    expected = run_network(load_model(weights), rgb[None])
    np.testing.assert_array_equal(found.lr, to_uint8(rgb))
    np.testing.assert_array_equal(found.restored, to_uint8(expected.sr[0]))
    np.testing.assert_array_equal(np.asarray(Image.open(found.restored_file)), found.restored)
    np.testing.assert_array_equal(np.asarray(Image.open(found.bicubic_file)), to_uint8(upsample(rgb[None], 4)[0]))
    np.testing.assert_allclose(found.kernel, expected.kernel[0], atol=1e-3)
    assert (found.scale, found.offset.shape, tiles) == (4, (18, 20, 30), [(1, 1)])


def test_the_download_keeps_the_mode_of_the_picture(job):
    found = examine(job(noise(9, 8, 4, dtype=np.uint16), "deep.png"), lambda *_: None)
    assert found.restored_file.name == "deep_restored.png"
    assert cv2.imread(str(found.restored_file), cv2.IMREAD_UNCHANGED).dtype == np.uint16
    assert cv2.imread(str(found.restored_file), cv2.IMREAD_UNCHANGED).shape == (36, 32, 4)


def test_both_sides_of_the_slider_are_files_of_one_kind(job):
    """A browser manages colours by the profile of each, and shows what is transparent."""
    wide = job(noise(9, 8, 4), "wide.png")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    with Image.open(wide.source) as picture:
        picture.save(wide.source, icc_profile=profile)
    found = examine(wide, lambda *_: None)
    kinds = [
        (side.mode, side.info.get("icc_profile")) for side in map(Image.open, (found.bicubic_file, found.restored_file))
    ]
    assert kinds == [("RGBA", profile)] * 2


def test_a_picture_that_is_gone_is_named(job, tmp_path):
    gone = job(noise(9, 8, 3))._replace(source=tmp_path / "gone.png")
    with pytest.raises(InputError, match=r"^gone.png is no longer here; drop it again$"):
        examine(gone, lambda *_: None)


def test_a_click_is_answered_with_the_kernel_and_the_offsets_of_that_pixel(job):
    found = examine(job(noise(20, 30, 3)), lambda *_: None)
    streak = np.zeros((3, 3), np.float16)
    streak[1] = 1 / 3
    found.kernel[:, 7, 11] = streak.flatten()
    answered = answer(found, (7, 11))
    assert answered.words.startswith("Kernel of LR pixel (7, 11): 2.8 LR pixels long (11 in")  # sqrt(12 * 2/3)
    assert ", at 0°" in answered.words
    _, kernel, taps = answered.picture.axes
    np.testing.assert_allclose(kernel.images[0].get_array(), streak)
    regular = np.array([(11 + dx, 7 + dy) for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
    shift = found.offset[:, 7, 11].reshape(9, 2)[:, ::-1].astype(np.float32)
    np.testing.assert_allclose(taps.collections[2].get_offsets(), regular + shift, atol=1e-5)
    assert mosaic(found).shape[0] > 100 and cells_of(found) == (11, 16)
    zoom = colours(found).shape[0] // 20
    red, green, blue = colours(found)[zoom * 7, zoom * 11]
    assert red == pytest.approx(255 * (2 / 3) ** 0.5, abs=1) and green == blue == 0  # horizontal, as long as that


def test_a_network_without_kernels_restores_and_says_that_it_has_none(job, tmp_path):
    plain = save_network(tmp_path / "rrdb.safetensors", "model=rrdb", "rrdb.width=4", "rrdb.growth=2", "rrdb.blocks=1")
    found = examine(job(noise(8, 8, 3), weights=str(plain)), lambda *_: None)
    assert found.kernel is found.offset is mosaic(found) is colours(found) is None
    with pytest.raises(InputError, match="this network estimates no kernels; choose other weights"):
        answer(found, (0, 0))


def test_too_large_a_file_or_picture_is_refused_before_its_pixels_are_read(job, monkeypatch):
    monkeypatch.setattr(closeup, "load_picture", None)
    with pytest.raises(InputError, match=r"^a.png has 1.2 MB; this page takes 1 MB at most$"):
        examine(job(noise(640, 640, 3)), None)
    huge = job(noise(2, 2, 3), "huge.png")
    Image.new("1", (30_000, 30_000)).save(huge.source)
    with pytest.raises(InputError, match=r"^huge.png is 30000x30000, and this page takes 2000 pixels at most; cut"):
        examine(huge, None)


def test_a_damaged_picture_and_missing_weights_are_said(job):
    bad = job(noise(2, 2, 3))
    bad.source.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"a.png is truncated, damaged or not an image"):
        examine(bad, None)
    with pytest.raises(InputError, match="nowhere.safetensors: no such file"):
        examine(job(noise(2, 2, 3), weights="nowhere.safetensors"), None)


def test_noise_has_its_level_and_none_is_none():
    lr = torch.full((3, 100, 100), 0.5)
    assert noisy(lr, 0) is lr
    added = 255 * (noisy(lr, 10) - lr)
    assert added.std().item() == pytest.approx(10, rel=0.03)
    np.testing.assert_allclose(np.asarray(255 * noisy(lr, 10)) % 1, 0, atol=1e-4)  # as a file would hold it


def test_the_built_in_pictures_are_small_and_blurred(tmp_path):
    files = built_in(tmp_path, 4)
    assert list(files) == ["astronaut, blurred here", "coffee, blurred here"]
    assert [Image.open(path).size for path in files.values()] == [(128, 128), (150, 100)]


def test_what_is_clicked_is_no_larger_than_a_screen():
    wide = np.zeros((30, 3000, 3), np.uint8)
    assert shown(wide).shape == (12, 1200, 3)
    assert shown(wide[:, :50]).shape == (30, 50, 3)
