import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from arcsr_lightning.data import gopro_pairs, image_files, read_image, reds_pairs, sample_photos
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
    assert len(paths) == len(set(paths)) == 9
    assert all(read_image(path).shape[2] == 3 and min(read_image(path).shape[:2]) >= 256 for path in paths)
    with pytest.raises(InputError, match=r"'dev'.*train, val, test"):
        sample_photos("dev")


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


def test_a_recursive_listing_names_a_missing_or_empty_folder(tmp_path):
    with pytest.raises(InputError, match="nowhere is missing"):
        image_files(tmp_path / "nowhere", recursive=True)
    with pytest.raises(InputError, match=f"{tmp_path} holds no images"):
        image_files(tmp_path, recursive=True)


def test_gopro_pairs_every_frame_with_its_twin(gopro):
    pairs = gopro_pairs(gopro, "train")
    assert [pair.name for pair in pairs] == ["GOPR1_000001", "GOPR1_000002", "GOPR2_000001", "GOPR2_000002"]
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
    with pytest.raises(InputError, match=r"train is missing; data.root should hold train/<sequence>"):
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
    with pytest.raises(InputError, match=r"train_blur_bicubic/X4 nor .*train_blur is there; data.root"):
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


@pytest.mark.skipif(not (REAL / "gopro").is_dir(), reason="no GoPro frames beside the repository")
def test_real_gopro_frames():
    assert len(gopro_pairs(REAL / "gopro", "train")) == 14
    assert len(gopro_pairs(REAL / "gopro", "test")) == 2


@pytest.mark.skipif(not (REAL / "reds_small").is_dir(), reason="no REDS frames beside the repository")
def test_real_reds_frames():
    assert len(reds_pairs(REAL / "reds_small", "train")) == 20
    assert len(reds_pairs(REAL / "reds_small", "val")) == 10
