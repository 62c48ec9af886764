"""Image files, whole and broken, against what was put into them."""

import os
import re
import struct
import zlib
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from arcsr_lightning.data import images
from arcsr_lightning.data.images import SUFFIXES, image_files, read_image, to_tensor, to_uint8
from arcsr_lightning.data.pictures import Picture, encode_picture, load_picture, save_picture
from arcsr_lightning.errors import InputError
from tests.data.samples import noise

# --- folders


def test_image_files_are_sorted_and_only_images(tmp_path):
    for name in ("b.PNG", "a.jpg", "c.tiff", "notes.txt", "._a.jpg", "metrics.json"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in image_files(tmp_path)] == ["a.jpg", "b.PNG", "c.tiff"]


def test_a_missing_empty_or_wrong_folder_is_named(tmp_path):
    (tmp_path / "file.png").touch()
    (tmp_path / "empty").mkdir()
    for name, complaint in [("none", "missing"), ("file.png", "not a folder"), ("empty", "no images")]:
        with pytest.raises(InputError, match=f"{name} .*{complaint}"):
            image_files(tmp_path / name)


@pytest.mark.parametrize("target", ["gone.png", "a.png"])  # and one to itself
def test_a_link_to_nothing_is_named_and_not_left_out(tmp_path, target):
    save_picture(tmp_path / "b.png", Picture(torch.zeros(3, 4, 4)))
    (tmp_path / "a.png").symlink_to(target)
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}/a.png is a link to a file that is missing")):
        image_files(tmp_path)
    (tmp_path / "a.png").unlink()
    (tmp_path / "a.png").symlink_to("b.png")
    assert [path.name for path in image_files(tmp_path)] == ["a.png", "b.png"]


def test_a_name_that_is_not_utf_8_is_named_in_utf_8(tmp_path):
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")).touch()
    with pytest.raises(InputError, match=r"caf\\xe9\.png: this name is not UTF-8; rename the file"):
        image_files(tmp_path)


# --- reading


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp"])
def test_lossless_rgb_is_read_exactly(tmp_path, pixels, suffix):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(pixels[..., :3]).save(path, **({"lossless": True} if suffix == ".webp" else {}))
    np.testing.assert_array_equal(read_image(path), pixels[..., :3])


def test_jpeg_is_read_in_rgb_order(tmp_path, pixels):
    Image.fromarray(pixels[..., :3]).save(tmp_path / "a.jpg", quality=98, subsampling=0)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - pixels[..., :3]).max() < 12


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_other_modes_become_rgb_for_training(tmp_path, pixels, suffix):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(pixels[..., 0]).save(path)
    np.testing.assert_array_equal(read_image(path), pixels[..., [0, 0, 0]])
    Image.fromarray(pixels).save(path)
    np.testing.assert_array_equal(read_image(path), pixels[..., :3])
    palette = Image.fromarray(pixels[..., :3]).quantize(16)
    palette.save(path)
    np.testing.assert_array_equal(read_image(path), np.asarray(palette.convert("RGB")))
    cv2.imwrite(str(path), pixels[..., 2::-1].astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_image(path), pixels[..., :3])


def encode(pixels, suffix):
    buffer = BytesIO()
    Image.fromarray(pixels[..., :3]).save(buffer, {".jpg": "JPEG", ".tif": "TIFF"}.get(suffix, suffix[1:].upper()))
    return buffer.getvalue()


@pytest.mark.parametrize("read", [read_image, load_picture])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.6, 0.99])
def test_a_truncated_file_is_named(tmp_path, capfd, read, suffix, kept):
    path = tmp_path / f"frame{suffix}"
    data = encode(noise(64, 64, 3), suffix)
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(InputError, match=f"frame{suffix} is truncated"):
        read(path)
    assert capfd.readouterr() == ("", "")  # the error is the one line that tells it


def test_a_truncated_jpeg_with_a_thumbnail_is_noticed(tmp_path):
    thumbnail = encode(noise(16, 16, 3), ".jpg")
    data = encode(noise(64, 64, 3), ".jpg")
    comment = b"\xff\xfe" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    whole = data[:2] + comment + data[2:]
    (tmp_path / "whole.jpg").write_bytes(whole)
    np.testing.assert_array_equal(
        read_image(tmp_path / "whole.jpg"), cv2.imdecode(np.frombuffer(data, np.uint8), 1)[..., ::-1]
    )
    (tmp_path / "cut.jpg").write_bytes(whole[:-200])
    with pytest.raises(InputError, match="cut.jpg is truncated"):
        read_image(tmp_path / "cut.jpg")


def test_bytes_after_a_whole_jpeg_do_no_harm(tmp_path):
    data = encode(noise(64, 64, 3), ".jpg")
    (tmp_path / "a.jpg").write_bytes(data + b"a film \xff\xda follows")
    assert read_image(tmp_path / "a.jpg").shape == (64, 64, 3)


@pytest.mark.parametrize("read", [read_image, load_picture])
def test_missing_files_folders_and_other_files_are_named(tmp_path, read):
    (tmp_path / "text.png").write_text("hello")
    damaged = bytearray(encode(noise(64, 64, 3), ".png"))
    damaged[5000] ^= 0xFF
    (tmp_path / "bits.png").write_bytes(damaged)
    for name, complaint in [("none.png", "missing"), ("text.png", "not an image"), ("bits.png", "damaged")]:
        with pytest.raises(InputError, match=f"{name} .*{complaint}"):
            read(tmp_path / name)
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("array", "photometric", "words"),
    [
        (np.zeros((4, 4, 3), np.float32), "rgb", "32 bits per sample (floating-point colour, 3 channels)"),
        (np.zeros((4, 4), np.float16), "minisblack", "16 bits per sample (floating-point grey, 1 channels)"),
        (np.zeros((4, 4), np.float64), "minisblack", "64 bits per sample (floating-point grey, 1 channels)"),
        (np.zeros((4, 4), np.int16), "minisblack", "16 bits per sample (signed grey, 1 channels)"),
        (np.zeros((4, 4), np.uint32), "minisblack", "32 bits per sample (grey, 1 channels)"),
        (np.zeros((4, 4, 2), np.uint16), "minisblack", "16 bits per sample (grey, 2 channels)"),
        (np.zeros((4, 4, 4), np.uint16), "separated", "16 bits per sample (CMYK, 4 channels)"),
    ],
)
@pytest.mark.parametrize("read", [read_image, load_picture])
def test_samples_that_are_not_for_us_are_named_for_what_they_are(tmp_path, read, array, photometric, words):
    tifffile.imwrite(tmp_path / "a.tif", array, photometric=photometric, planarconfig="contig")
    with pytest.raises(InputError, match=re.escape(f"a.tif has {words}; save it as grey, RGB or RGBA of 8 or 16 bits")):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("read", [read_image, load_picture])
def test_what_no_decoder_here_reads_rightly_is_named(tmp_path, read):
    """Planes of 16 bits one after the other, and grey of 12 bits."""
    tifffile.imwrite(tmp_path / "a.tif", noise(3, 4, 4, dtype=np.uint16), photometric="rgb", planarconfig="separate")
    with pytest.raises(InputError, match=re.escape("16 bits per sample (colour, 3 channels, plane by plane); save it")):
        read(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "b.tif", noise(4, 4, dtype=np.uint16))
    with tifffile.TiffFile(tmp_path / "b.tif", mode="r+b") as file:
        file.pages[0].tags["BitsPerSample"].overwrite(12)
    with pytest.raises(InputError, match=re.escape("12 bits per sample (grey, 1 channels); save it")):
        read(tmp_path / "b.tif")


def test_planes_of_eight_bits_are_read_exactly(tmp_path, pixels):
    planes = np.ascontiguousarray(pixels[..., :3].transpose(2, 0, 1))
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), pixels[..., :3])


def test_a_large_picture_is_opened(monkeypatch):
    header = b"IHDR" + struct.pack(">IIBBBBB", 13_500, 13_500, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    monkeypatch.setattr(PngImageFile, "load", lambda image: None)  # which takes seconds
    data = start + struct.pack(">I4sI", 0, b"IDAT", zlib.crc32(b"IDAT"))
    assert images._open("large.png", data).size == (13_500, 13_500)


@pytest.mark.parametrize("read", [read_image, load_picture])
def test_a_picture_of_too_many_pixels_is_named(tmp_path, read):
    whole = encode(noise(8, 8, 3), ".jpg")
    place = whole.index(b"\xff\xc0") + 5
    (tmp_path / "a.jpg").write_bytes(whole[:place] + struct.pack(">HH", 40_000, 40_000) + whole[place + 4 :])
    with pytest.raises(InputError, match=r"a\.jpg has more than 1073741824 pixels"):
        read(tmp_path / "a.jpg")


@pytest.mark.parametrize("read", [read_image, load_picture])
def test_a_chunk_that_claims_more_than_the_file_holds_is_damage(tmp_path, read):
    whole = encode(noise(8, 8, 3), ".png")
    claimed = struct.pack(">I", 2**31 - 1) + b"PLTE"
    (tmp_path / "a.png").write_bytes(whole[:33] + claimed + whole[33:])
    with pytest.raises(InputError, match="damaged"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("read", [read_image, load_picture])
def test_what_is_no_file_is_not_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "a.png")
    for path in (tmp_path / "a.png", Path("/dev/zero")):
        with pytest.raises(InputError, match="is no file"):
            read(path)


@pytest.mark.parametrize("start", [b"DDS |\0\0\0", b"\0\0\0 ftypavif\0\0\0\0avifmif1", b"GIF89a", b"%!PS-Adobe-3.0"])
def test_formats_that_are_not_ours_are_not_opened(tmp_path, start):
    (tmp_path / "a.png").write_bytes(start + bytes(200))
    with pytest.raises(InputError, match="not an image"):
        load_picture(tmp_path / "a.png")


@given(seed=st.integers(0, 2**32 - 1), suffix=st.sampled_from(SUFFIXES), deep=st.booleans())
@settings(
    max_examples=100, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_is_in_a_file_is_read_or_named(tmp_path, seed, suffix, deep):
    rng = np.random.default_rng(seed)
    picture = Picture(torch.from_numpy(rng.random((3, 12, 9), np.float32)), bits=16 if deep else 8, profile=b"profile")
    data = bytearray(encode_picture(picture, suffix))
    for _ in range(rng.integers(1, 6)):
        where = int(rng.integers(min(len(data), 200) if rng.random() < 0.7 else len(data)))
        data[where] = int(rng.integers(256))
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    for read in (read_image, load_picture):
        with suppress(InputError):
            read(path)


def test_tensors_and_arrays_agree():
    array = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    tensor = to_tensor(array)
    assert tensor.shape == (3, 16, 16) and tensor.dtype == torch.float32
    assert tensor[0, 3, 5] == pytest.approx((3 * 16 + 5) / 255)
    np.testing.assert_array_equal(to_uint8(tensor), array)
    assert to_uint8(torch.tensor([-0.5, 0.5, 1.5]).view(3, 1, 1)).tolist() == [[[0, 128, 255]]]
