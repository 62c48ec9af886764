"""Pictures of every mode, read and written again, against what was put into them."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from arcsr_lightning.data.images import SUFFIXES, read_image, to_tensor, to_uint8
from arcsr_lightning.data.pictures import Picture, check_format, load_picture, replace_pixels, save_picture
from arcsr_lightning.errors import InputError
from tests.data.samples import noise


def png(array, colour_type):
    """A PNG by hand: no library here writes 16-bit grey with alpha."""
    rows = array.astype(">u2" if array.dtype == np.uint16 else "u1")
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    return png_of(array.shape[1], array.shape[0], 8 * array.itemsize, colour_type, data)


def png_of(width, height, bits, colour_type, data, more=()):
    """A PNG of rows of bytes, with more chunks before them."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    body = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


WRITERS = {
    "1": lambda p: Image.fromarray(p[..., 0]).convert("1"),
    "L": lambda p: Image.fromarray(p[..., 0]),
    "LA": lambda p: Image.fromarray(p[..., [0, 3]]),
    "RGB": lambda p: Image.fromarray(p[..., :3]),
    "RGBA": lambda p: Image.fromarray(p),
    "P": lambda p: Image.fromarray(p[..., :3]).quantize(16),
}

RETURNED = {"1": "L", "P": "RGB"}


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("mode", WRITERS)
def test_every_mode_survives_the_round_trip(tmp_path, pixels, mode, suffix):
    image = WRITERS[mode](pixels)
    image.save(tmp_path / f"in{suffix}")
    save_picture(tmp_path / f"out{suffix}", load_picture(tmp_path / f"in{suffix}"))
    returned = Image.open(tmp_path / f"out{suffix}")
    assert returned.mode == RETURNED.get(mode, mode)
    np.testing.assert_array_equal(np.asarray(returned), np.asarray(image.convert(returned.mode)))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_survive_the_round_trip(tmp_path, channels, suffix, capfd):
    array = noise(9, 7, channels, dtype=np.uint16).squeeze()
    cv2.imwrite(str(tmp_path / f"in{suffix}"), array)
    picture = load_picture(tmp_path / f"in{suffix}")
    assert (picture.bits, picture.grey, picture.alpha is not None) == (16, channels == 1, channels == 4)
    save_picture(tmp_path / f"out{suffix}", picture)
    assert capfd.readouterr() == ("", "")
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / f"out{suffix}"), cv2.IMREAD_UNCHANGED), array)


def test_sixteen_bit_colours_are_in_rgb_order(tmp_path):
    array = noise(9, 7, 3, dtype=np.uint16)
    (tmp_path / "a.png").write_bytes(png(array, colour_type=2))
    torch.testing.assert_close(load_picture(tmp_path / "a.png").rgb, to_tensor(array), rtol=0, atol=0)


def test_sixteen_bit_grey_with_alpha_keeps_its_values(tmp_path):
    array = noise(9, 7, 2, dtype=np.uint16)
    (tmp_path / "a.png").write_bytes(png(array, colour_type=4))
    picture = load_picture(tmp_path / "a.png")
    assert picture.grey and picture.bits == 16
    save_picture(tmp_path / "b.png", picture)
    returned = cv2.imread(str(tmp_path / "b.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(returned, array[..., [0, 0, 0, 1]])


def test_grey_whose_zero_is_white_is_read_as_it_looks(tmp_path):
    array = noise(9, 7, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="miniswhite")
    torch.testing.assert_close(load_picture(tmp_path / "a.tif").rgb[:1], 1 - to_tensor(array))


def test_sixteen_bits_become_eight_where_the_format_has_no_more(tmp_path, pixels):
    save_picture(tmp_path / "a.bmp", Picture(to_tensor(pixels[..., :3]), bits=16))
    np.testing.assert_array_equal(read_image(tmp_path / "a.bmp"), pixels[..., :3])


@pytest.mark.parametrize("keyed", ["P", "RGB", "L"])
def test_a_transparent_colour_becomes_alpha(tmp_path, keyed):
    array = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    image = Image.fromarray(array) if keyed == "L" else Image.fromarray(array).convert(keyed)
    image.save(tmp_path / "a.png", transparency=(1, 1, 1) if keyed == "RGB" else 1)
    picture = load_picture(tmp_path / "a.png")
    assert picture.alpha.tolist() == [[[1, 0, 1], [1, 0, 1]]]
    assert picture.grey is (keyed == "L")


@pytest.mark.parametrize("bits", [2, 4, 16])
def test_a_transparent_grey_becomes_alpha_at_every_depth(tmp_path, bits):
    """A row of four greys, the second of which is transparent."""
    levels = [level * (2**bits - 1) // 3 for level in range(4)]
    row = int("".join(f"{level:0{bits}b}" for level in levels), 2).to_bytes(4 * bits // 8, "big")
    key = struct.pack(">H", levels[1])
    (tmp_path / "a.png").write_bytes(png_of(4, 1, bits, 0, b"\0" + row, [(b"tRNS", key)]))
    picture = load_picture(tmp_path / "a.png")
    torch.testing.assert_close(picture.rgb[0, 0], torch.arange(4) / 3)
    assert picture.alpha.tolist() == [[[1, 0, 1, 1]]]
    assert (picture.grey, picture.bits) == (True, max(bits, 8))


def turned(a, orientation):
    transposed = a.swapaxes(0, 1)
    return [
        a,
        a[:, ::-1],
        a[::-1, ::-1],
        a[::-1],
        transposed,
        transposed[:, ::-1],
        transposed[::-1, ::-1],
        transposed[::-1],
    ][orientation - 1]


def exif_of(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_is_turned_upright(tmp_path, pixels, orientation):
    image = Image.fromarray(pixels[..., :3])
    image.save(tmp_path / "a.jpg", quality=100, subsampling=0, exif=exif_of(orientation))
    upright = turned(pixels[..., :3], orientation)
    for found in (read_image(tmp_path / "a.jpg"), to_uint8(load_picture(tmp_path / "a.jpg").rgb)):
        assert found.shape == upright.shape
        assert np.abs(found.astype(int) - upright).max() < 8


def with_orientation(data, orientation):
    """A PNG or a TIFF of OpenCV with an orientation."""
    if data[:4] == b"\x89PNG":
        chunk = b"eXIf" + exif_of(orientation).tobytes().removeprefix(b"Exif\0\0")
        return data[:33] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]
    (directory,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, directory)
    entries = [data[directory + 2 + 12 * i :][:12] for i in range(count)]
    entries = [entry for entry in entries if entry[:2] != b"\x12\x01"] + [struct.pack("<HHII", 274, 3, 1, orientation)]
    entries.sort(key=lambda entry: struct.unpack_from("<H", entry))
    last = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + last


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_sixteen_bits_are_turned_upright(tmp_path, suffix, orientation):
    array = noise(8, 6, 3, dtype=np.uint16)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(with_orientation(cv2.imencode(suffix, array[..., ::-1])[1].tobytes(), orientation))
    upright = to_tensor(np.ascontiguousarray(turned(array, orientation)))
    torch.testing.assert_close(load_picture(path).rgb, upright, rtol=0, atol=0)


def test_grey_is_written_as_the_mean_of_what_the_network_returns(tmp_path):
    rgb = torch.tensor([0.2, 0.4, 0.9]).view(3, 1, 1).expand(3, 4, 5)
    save_picture(tmp_path / "a.png", Picture(rgb, grey=True))
    written = Image.open(tmp_path / "a.png")
    assert written.mode == "L" and set(np.asarray(written).flat) == {round(0.5 * 255)}


def test_the_colour_profile_is_kept(tmp_path, pixels):
    Image.fromarray(pixels[..., :3]).save(tmp_path / "a.jpg", icc_profile=b"a profile")
    save_picture(tmp_path / "b.png", load_picture(tmp_path / "a.jpg"))
    assert Image.open(tmp_path / "b.png").info["icc_profile"] == b"a profile"


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_colour_profile_of_sixteen_bits_is_kept(tmp_path, suffix, channels):
    rgb = torch.rand(3, 5, 7)
    picture = Picture(rgb, rgb[:1] if channels == 4 else None, channels == 1, bits=16, profile=b"an odd profile!")
    save_picture(tmp_path / f"plain{suffix}", picture._replace(profile=None))
    save_picture(tmp_path / f"a{suffix}", picture)
    again = load_picture(tmp_path / f"a{suffix}")
    assert (again.profile, again.bits) == (b"an odd profile!", 16)
    without = load_picture(tmp_path / f"plain{suffix}")
    assert without.profile is None
    torch.testing.assert_close(again.rgb, without.rgb, rtol=0, atol=0)
    np.testing.assert_array_equal(
        *(cv2.imread(str(tmp_path / f"{name}{suffix}"), cv2.IMREAD_UNCHANGED) for name in ("a", "plain"))
    )


def test_alpha_follows_the_new_size():
    opaque = Picture(torch.rand(3, 6, 5), alpha=torch.ones(1, 6, 5))
    larger = replace_pixels(opaque, torch.rand(3, 24, 20))
    torch.testing.assert_close(larger.alpha, torch.ones(1, 24, 20))
    half = Picture(torch.rand(3, 6, 6), alpha=torch.tensor([0.0, 1.0]).repeat_interleave(3).expand(1, 6, 6))
    alpha = replace_pixels(half, torch.rand(3, 12, 12)).alpha
    assert alpha[..., :4].max() < 0.1 and alpha[..., -4:].min() > 0.9
    assert alpha.min() >= 0 and alpha.max() <= 1


def test_a_format_that_cannot_hold_the_picture_is_refused_and_keeps_the_old_file(tmp_path):
    picture = Picture(torch.rand(3, 6, 5), alpha=torch.ones(1, 6, 5))
    (tmp_path / "a.jpg").write_text("old")
    for name, complaint in [("a.jpg", "transparency"), ("a.bmp", "transparency"), ("a.gif", "format"), ("a", "format")]:
        with pytest.raises(InputError, match=complaint):
            check_format(tmp_path / name, picture)
        with pytest.raises(InputError, match=complaint):
            save_picture(tmp_path / name, picture)
    assert (tmp_path / "a.jpg").read_text() == "old"


@pytest.mark.parametrize(
    ("name", "height", "width"),
    [("a.webp", 2, 4200), ("a.jpg", 20_000, 1), ("a.jpeg", 1, 16_400), ("a.tif", 12_000, 12_000)],
)
def test_a_picture_too_large_for_its_format_is_refused_before_it_is_restored(tmp_path, name, height, width):
    picture = Picture(torch.zeros(1).expand(3, height, width))
    with pytest.raises(InputError, match=rf"{name} would be {4 * width}x{4 * height}.*\.png"):
        check_format(tmp_path / name, picture, scale=4)
    check_format(tmp_path / "a.png", picture, scale=4)


@pytest.mark.parametrize("suffix", [".webp", ".png", ".tif"])
@pytest.mark.parametrize("bits", [8, 16])
def test_grey_with_alpha_can_be_written_wherever_alpha_can(tmp_path, suffix, bits):
    picture = Picture(torch.rand(1, 6, 5).expand(3, -1, -1), torch.rand(1, 6, 5), grey=True, bits=bits)
    save_picture(tmp_path / f"a{suffix}", picture)
    again = load_picture(tmp_path / f"a{suffix}")
    torch.testing.assert_close(again.rgb, picture.rgb, rtol=0, atol=0.6 / 255)
    torch.testing.assert_close(again.alpha, picture.alpha, rtol=0, atol=0.6 / 255)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_leaves_the_old_file_and_is_named(tmp_path, monkeypatch, suffix):
    """Encoders that write files themselves do not all notice that a write was short."""
    (tmp_path / f"a{suffix}").write_text("old")

    def full(path, data):
        with path.open("wb") as file:
            file.write(bytes(data)[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=rf"a\{suffix} cannot be written \(No space left on device\)"):
        save_picture(tmp_path / f"a{suffix}", Picture(torch.rand(3, 40, 40)))
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]
    assert (tmp_path / f"a{suffix}").read_text() == "old"
