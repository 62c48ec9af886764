import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from arcsr_lightning.data import (
    PairedTraining,
    folder_pairs,
    gopro_pairs,
    image_files,
    read_image,
    reds_pairs,
    sample_photos,
)
from arcsr_lightning.errors import InputError

REAL = Path(__file__).parents[2] / "../shared/data"


def write(path, height=8, width=8):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(path)


@pytest.fixture
def gopro(tmp_path):
    for split, sequence in (("train", "GOPR1"), ("train", "GOPR2"), ("test", "GOPR3")):
        for kind in ("blur", "blur_gamma", "sharp"):
            for frame in ("000002.png", "000001.png"):
                write(tmp_path / split / sequence / kind / frame)
    return tmp_path


@pytest.fixture
def reds(tmp_path):
    for split in ("train", "val"):
        for clip in ("001", "000"):
            write(tmp_path / split / f"{split}_sharp" / clip / "00000000.png")
            write(tmp_path / split / f"{split}_blur" / clip / "00000000.png")
            write(tmp_path / split / f"{split}_blur_bicubic/X4" / clip / "00000000.png", 2, 2)
    return tmp_path


def test_sample_photos_are_readable_colour_photographs_in_one_split_each():
    paths = [path for split in ("train", "val", "test") for path in sample_photos(split)]
    assert len(paths) == len(set(paths)) == 7
    assert all(read_image(path).shape[2] == 3 and min(read_image(path).shape[:2]) >= 256 for path in paths)
    with pytest.raises(InputError, match=r"'dev'.*train, val, test"):
        sample_photos("dev")


def test_sample_photos_to_train_on_are_of_several_colours():
    """Pixels with colour, by hue in steps of 30 degrees; the effective number of hues is the exponential of entropy."""
    hsv = np.concatenate(
        [cv2.cvtColor(read_image(p), cv2.COLOR_RGB2HSV).reshape(-1, 3) for p in sample_photos("train")]
    )
    coloured = hsv[(hsv[:, 1] > 80) & (hsv[:, 2] > 60)]
    shares = np.bincount(coloured[:, 0] // 15, minlength=12) / len(coloured)
    assert np.exp(-np.sum(shares * np.log(shares + 1e-12))) > 2.3  # retina alone: 1.1
    assert len(coloured) > 0.3 * len(hsv)  # galaxies: 0.04


def test_both_views_of_the_motorcycle_are_in_one_split():
    splits = [{path.stem for path in sample_photos(split)} for split in ("train", "val", "test")]
    assert sum("motorcycle_left" in split or "motorcycle_right" in split for split in splits) == 1


def test_a_recursive_listing_looks_into_folders_and_passes_over_other_and_hidden_files(tmp_path):
    for name in ("b.png", "a/c.JPG", "a/d/e.png", ".hidden.png", ".trash/f.png"):
        write(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    assert [str(path.relative_to(tmp_path)) for path in image_files(tmp_path, recursive=True)] == [
        "a/c.JPG",
        "a/d/e.png",
        "b.png",
    ]


def test_a_recursive_listing_looks_into_linked_folders(tmp_path):
    write(tmp_path / "other/b.png")
    (tmp_path / "pics").mkdir()
    (tmp_path / "pics/linked").symlink_to("../other")
    assert image_files(tmp_path / "pics", recursive=True) == [tmp_path / "pics/linked/b.png"]


def test_a_recursive_listing_names_a_missing_or_empty_folder(tmp_path):
    with pytest.raises(InputError, match="nowhere is missing"):
        image_files(tmp_path / "nowhere", recursive=True)
    with pytest.raises(InputError, match=f"{tmp_path} holds no images"):
        image_files(tmp_path, recursive=True)


def test_gopro_pairs_every_frame_with_its_twin(gopro):
    pairs = gopro_pairs(gopro, "train")
    assert [pair.name for pair in pairs] == ["GOPR1_000001", "GOPR1_000002", "GOPR2_000001", "GOPR2_000002"]
    assert [pair.sequence for pair in pairs] == ["GOPR1", "GOPR1", "GOPR2", "GOPR2"]
    assert pairs[0].hr == gopro / "train/GOPR1/sharp/000001.png"
    assert pairs[0].degraded == gopro / "train/GOPR1/blur/000001.png"
    assert not pairs[0].at_lr_size
    assert gopro_pairs(gopro, "test", blur="blur_gamma")[0].degraded == gopro / "test/GOPR3/blur_gamma/000001.png"


@pytest.mark.parametrize(("lonely", "lost"), [("blur", "sharp"), ("sharp", "blur")])
def test_gopro_names_the_frame_without_twin(gopro, lonely, lost):
    (gopro / "train/GOPR2" / lost / "000002.png").unlink()
    with pytest.raises(InputError, match=f"GOPR2/{lonely}/000002.png has no twin .*GOPR2/{lost}/000002.png"):
        gopro_pairs(gopro, "train")


def test_gopro_names_what_is_missing(gopro):
    with pytest.raises(InputError, match=r"elsewhere/train is missing; .*/elsewhere should hold train/<sequence>"):
        gopro_pairs(gopro / "elsewhere", "train")
    with pytest.raises(InputError, match="'gamma'; choose blur or blur_gamma"):
        gopro_pairs(gopro, "train", blur="gamma")
    shutil.rmtree(gopro / "test/GOPR3/blur_gamma")
    with pytest.raises(InputError, match="GOPR3/blur_gamma is missing"):
        gopro_pairs(gopro, "test", blur="blur_gamma")
    shutil.rmtree(gopro / "test/GOPR3")
    with pytest.raises(InputError, match="test is empty"):
        gopro_pairs(gopro, "test")


@pytest.mark.parametrize("split", ["train", "val"])
def test_reds_takes_the_bicubic_frames(reds, split):
    pairs = reds_pairs(reds, split)
    assert [pair.name for pair in pairs] == ["000_00000000", "001_00000000"]
    assert pairs[0].hr == reds / split / f"{split}_sharp/000/00000000.png"
    assert pairs[0].degraded == reds / split / f"{split}_blur_bicubic/X4/000/00000000.png"
    assert pairs[0].at_lr_size


def test_reds_without_bicubic_frames_of_the_scale_takes_the_blurred_ones(reds):
    pair = reds_pairs(reds, "val", scale=2)[0]
    assert pair.degraded == reds / "val/val_blur/000/00000000.png"
    assert not pair.at_lr_size


def test_reds_names_what_is_missing(reds):
    with pytest.raises(InputError, match=r"train_blur_bicubic/X4 nor .*train_blur is there; .*/elsewhere should hold"):
        reds_pairs(reds / "elsewhere", "train")
    (reds / "train/train_sharp/001/00000000.png").rename(reds / "train/train_sharp/001/00000001.png")
    with pytest.raises(InputError, match=r"X4/001/00000000.png has no twin .*train_sharp/001/00000000.png"):
        reds_pairs(reds, "train")
    shutil.rmtree(reds / "train/train_sharp/001")
    with pytest.raises(InputError, match=r"X4/001 has no twin .*train_sharp/001"):
        reds_pairs(reds, "train")
    shutil.rmtree(reds / "train/train_sharp")
    with pytest.raises(InputError, match="train_sharp is missing"):
        reds_pairs(reds, "train")


@pytest.fixture
def two_folders(tmp_path):
    for name in ("0002", "0001", "clip/0001"):
        write(tmp_path / "hr" / f"{name}.png", 8, 12)
        write(tmp_path / "lr" / f"{name}.png", 2, 3)
    return tmp_path / "hr", tmp_path / "lr"


def test_two_folders_are_paired_by_name(two_folders):
    hr, lr = two_folders
    pairs = folder_pairs(hr, lr)
    assert [pair.name for pair in pairs] == ["0001", "0002", "clip_0001"]
    assert [pair.sequence for pair in pairs] == ["", "", "clip"]
    assert [pair.hr for pair in pairs] == [hr / "0001.png", hr / "0002.png", hr / "clip/0001.png"]
    assert [pair.degraded for pair in pairs] == [lr / "0001.png", lr / "0002.png", lr / "clip/0001.png"]
    assert all(pair.at_lr_size for pair in pairs)
    assert not any(pair.at_lr_size for pair in folder_pairs(hr, hr))


def test_names_of_two_folders_may_differ_in_suffix_and_by_the_scale(two_folders):
    hr, lr = two_folders
    (lr / "0001.png").rename(lr / "0001x4.jpg")
    (lr / "clip/0001.png").rename(lr / "clip/0001x4.png")
    assert [pair.degraded.name for pair in folder_pairs(hr, lr)] == ["0001x4.jpg", "0002.png", "0001x4.png"]
    (hr / "0002.png").rename(hr / "fox2.png")  # a name that ends so by itself
    (lr / "0002.png").rename(lr / "fox2.png")
    assert folder_pairs(hr, lr)[-1].degraded == lr / "fox2.png"


def test_two_images_of_a_folder_that_would_have_one_name_are_named(two_folders):
    for folder in two_folders:
        shutil.copy(folder / "0001.png", folder / "clip_0001.png")
    with pytest.raises(InputError, match=r"clip.0001.png and .*clip.0001.png would have one name in tables"):
        folder_pairs(*two_folders)


def test_what_two_folders_lack_is_named(two_folders, tmp_path):
    hr, lr = two_folders
    with pytest.raises(InputError, match=r"nowhere is missing"):
        folder_pairs(hr, tmp_path / "nowhere")
    write(lr / "0001x4.png")
    with pytest.raises(InputError, match=r"lr/0001\.png and .*lr/0001x4\.png have one name; remove one"):
        folder_pairs(hr, lr)
    (lr / "0001x4.png").unlink()
    (lr / "0002.png").unlink()
    with pytest.raises(InputError, match=r"hr/0002\.png has no partner 0002\.\* in .*lr; add it or remove the first"):
        folder_pairs(hr, lr)
    (hr / "0002.png").unlink()
    (hr / "clip/0001.png").unlink()
    with pytest.raises(InputError, match=r"lr/clip/0001\.png has no partner clip/0001\.\* in .*hr; add"):
        folder_pairs(hr, lr)


def test_sizes_of_two_folders_that_do_not_fit_are_named(two_folders):
    hr, lr = two_folders
    write(lr / "0001.png", 4, 6)
    with pytest.raises(
        InputError, match=r"lr/0001.png is 6x4; with .*hr/0001.png at 12x8 and scale 4 it should be 3x2"
    ):
        PairedTraining(folder_pairs(hr, lr)[:1], 4, 8)[0]


@pytest.mark.skipif(not (REAL / "gopro").is_dir(), reason="no GoPro frames beside the repository")
def test_real_gopro_frames():
    for split in ("train", "test"):
        sharp = sorted((REAL / "gopro" / split).glob("*/sharp/*.png"))
        assert [pair.hr for pair in gopro_pairs(REAL / "gopro", split)] == sharp


@pytest.mark.skipif(not (REAL / "reds_small").is_dir(), reason="no REDS frames beside the repository")
def test_real_reds_frames():
    assert len(reds_pairs(REAL / "reds_small", "train")) == 20
    assert len(reds_pairs(REAL / "reds_small", "val")) == 10
