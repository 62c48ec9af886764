"""Pictures of any mode: read, written again in the same mode, with transparency, depth and colour profile."""

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import cv2
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from arcsr_lightning.data.images import (
    PNG,
    SUFFIXES,
    decode,
    is_grey,
    read_bytes,
    rgb_of,
    swap_red_and_blue,
    to_tensor,
    to_uint8,
    to_uint16,
)
from arcsr_lightning.errors import InputError
from arcsr_lightning.files import write_bytes

DEEP_SUFFIXES = (".png", ".tif", ".tiff")  # can hold 16 bits
OPAQUE_SUFFIXES = (".jpg", ".jpeg", ".bmp")  # cannot hold transparency that others read
LARGEST = {".webp": 16383, ".jpg": 65500, ".jpeg": 65500}  # sides in pixels
BYTES_32 = (".bmp", ".tif", ".tiff")  # formats that count bytes in 32 bits

_ICC_PROFILE = 34675  # a TIFF tag
# lossless wherever the format can be: what a network restored should not be coded away again
_WRITE_OPTIONS = {
    ".jpg": {"quality": 95, "subsampling": 0},
    ".jpeg": {"quality": 95, "subsampling": 0},
    ".webp": {"lossless": True},
    ".tif": {"compression": "tiff_adobe_deflate"},
    ".tiff": {"compression": "tiff_adobe_deflate"},
}


class Picture(NamedTuple):
    """An image with what is needed to write another one in the same mode.

    ``rgb`` (3, H, W) and ``alpha`` (1, H, W) or None are float32 in [0, 1]; ``grey`` says that the file has one
    colour channel, ``bits`` (8 or 16) how deep each channel is; ``profile`` is its ICC colour profile.
    """

    rgb: Tensor
    alpha: Tensor | None = None
    grey: bool = False
    bits: int = 8
    profile: bytes | None = None


def load_picture(path: str | Path) -> Picture:
    """Read an image of any mode for prediction, upright by its EXIF orientation.

    A palette becomes RGB, with alpha where it has transparent entries.

    Raises:
        InputError: names the file, which is missing, truncated, damaged, not an image, or of a sample format other than
            8 or 16 bits.
    """
    data = read_bytes(path)
    image, pixels = decode(path, data)
    planes = to_tensor(pixels)
    alpha = planes[-1:] if len(planes) in (2, 4) else None
    profile = image.info.get("icc_profile") if image.mode != "CMYK" else None
    return Picture(rgb_of(planes), alpha, is_grey(image, data), 8 * pixels.itemsize, profile)


def replace_pixels(picture: Picture, rgb: Tensor) -> Picture:
    """``picture`` with the pixels ``rgb`` (3, sH, sW), its alpha resized bicubically to their size."""
    alpha = picture.alpha
    if alpha is not None:
        alpha = F.interpolate(alpha[None], rgb.shape[-2:], mode="bicubic", antialias=True)[0].clamp(0, 1)
    return picture._replace(rgb=rgb, alpha=alpha)


def check_format(path: str | Path, picture: Picture, scale: int = 1) -> None:
    """Check that a file named ``path`` can hold a picture; for use before its pixels are computed.

    Args:
        path: its ending is its format.
        picture: of the size that it has now.
        scale: how many times as high and wide it will be.

    Raises:
        InputError: the format does not exist here, or is too small for such a picture.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path} has no image format of ours; name a file ending in {' '.join(SUFFIXES)}")
    if picture.alpha is not None and suffix in OPAQUE_SUFFIXES:
        raise InputError(f"{path} cannot hold the transparency of its input; name a .png file")
    height, width = (scale * side for side in picture.rgb.shape[-2:])
    largest = LARGEST.get(suffix, max(height, width))
    if max(height, width) > largest:
        raise InputError(f"{path} would be {width}x{height}, and {suffix} holds {largest} a side; name a .png file")
    if suffix in BYTES_32 and 8 * height * width >= 2**32:
        raise InputError(f"{path} would be {width}x{height}, too much for {suffix}; name a .png file")


def save_picture(path: str | Path, picture: Picture) -> None:
    """Write ``picture`` in its mode; ``path`` appears whole or not at all.

    A grey picture is written with the mean of its three channels; 16 bits stay 16 in PNG and TIFF (grey with alpha
    as RGBA there) and become 8 in the other formats. Its colour profile is kept.

    Raises:
        InputError: :func:`check_format` says so, or there is no room for the file.
    """
    check_format(path, picture)
    write_bytes(path, encode_picture(picture, Path(path).suffix.lower()))


def encode_picture(picture: Picture, suffix: str) -> bytes:
    """A picture as the file that :func:`save_picture` writes: encoders that write files leave broken ones on a full
    disk."""
    colour = picture.rgb.mean(0, keepdim=True) if picture.grey else picture.rgb
    deep = picture.bits == 16 and suffix in DEEP_SUFFIXES
    if deep and picture.grey and picture.alpha is not None:
        colour = colour.expand(3, -1, -1)
    planes = colour if picture.alpha is None else torch.cat([colour, picture.alpha])
    pixels = to_uint16(planes) if deep else to_uint8(planes)
    if deep:
        data = cv2.imencode(suffix, swap_red_and_blue(pixels))[1].tobytes()
        return _with_profile(data, picture.profile) if picture.profile else data
    buffer = BytesIO()
    image = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
    image.save(
        buffer, Image.registered_extensions()[suffix], icc_profile=picture.profile, **_WRITE_OPTIONS.get(suffix, {})
    )
    return buffer.getvalue()


def _with_profile(data: bytes, profile: bytes) -> bytes:
    """A PNG or TIFF of OpenCV, which has no colour profile, with one."""
    if data.startswith(PNG):
        chunk = b"iCCP" + b"ICC profile\0\0" + zlib.compress(profile)
        header = len(PNG) + 25  # IHDR, which is the first
        framed = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        return data[:header] + framed + data[header:]
    (directory,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, directory)
    entries = [data[directory + 2 + 12 * number :][:12] for number in range(count)]
    profile_at = len(data) + len(data) % 2
    entries.append(struct.pack("<HHII", _ICC_PROFILE, 7, len(profile), profile_at))
    entries.sort(key=lambda entry: struct.unpack_from("<H", entry))
    head, body = data[:4], data[8:].ljust(profile_at - 8, b"\0") + profile + b"\0" * (len(profile) % 2)
    offset = struct.pack("<I", len(body) + 8)
    return head + offset + body + struct.pack("<H", count + 1) + b"".join(entries) + b"\0" * 4
