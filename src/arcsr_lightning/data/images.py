"""Image files: fast reading for training, faithful reading and writing for prediction."""

import struct
import warnings
import zlib
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from torch import Tensor

from arcsr_lightning.errors import InputError, printable
from arcsr_lightning.files import write_bytes

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
DEEP_SUFFIXES = (".png", ".tif", ".tiff")  # can hold 16 bits
OPAQUE_SUFFIXES = (".jpg", ".jpeg", ".bmp")  # cannot hold transparency that others read

MOST_PIXELS = 2**30  # OpenCV's own limit; a larger picture would take 12 GB as RGB in float32
Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2  # above it Pillow warns, above twice as many it refuses
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")  # whatever a file's name says
LARGEST = {".webp": 16383, ".jpg": 65500, ".jpeg": 65500}  # sides in pixels
BYTES_32 = (".bmp", ".tif", ".tiff")  # formats that count bytes in 32 bits

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_JPEG_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"
_GREY_MODES = ("1", "L", "LA", "I;16", "I;16L", "I;16B")
_ORIENTATION, _ICC_PROFILE, _BITS, _SAMPLES, _SAMPLE_FORMAT = 274, 34675, 258, 277, 339  # TIFF tags
_PHOTOMETRIC, _WHITE_IS_ZERO, _PLANES, _APART = 262, 0, 284, 2  # and values of two of them
_COLOURS = {0: "grey", 1: "grey", 5: "CMYK"}
_SAMPLE_FORMATS = {1: "", 2: "signed ", 3: "floating-point ", 5: "complex ", 6: "complex "}
# lossless wherever the format can be: what a network restored should not be coded away again
_WRITE_OPTIONS = {
    ".jpg": {"quality": 95, "subsampling": 0},
    ".jpeg": {"quality": 95, "subsampling": 0},
    ".webp": {"lossless": True},
    ".tif": {"compression": "tiff_adobe_deflate"},
    ".tiff": {"compression": "tiff_adobe_deflate"},
}


def image_files(folder: str | Path, recursive: bool = False) -> list[Path]:
    """The image files of ``folder``, or of all folders below too, sorted.

    Raises:
        InputError: it is missing or has none, one is a link to nothing, or its name is not UTF-8, which no table or log
            could hold.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is {'not a folder' if folder.exists() else 'missing'}; name a folder of images")
    files = sorted(
        path
        for path in (folder.rglob("*") if recursive else folder.iterdir())
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and (path.is_file() or (path.is_symlink() and not path.exists()))
    )
    if not files:
        raise InputError(f"{folder} holds no images; expected files ending in {' '.join(SUFFIXES)}")
    for path in files:
        if not path.is_file():
            raise InputError(f"{printable(path)} is a link to a file that is missing; mend or remove it")
        if (shown := printable(path)) != str(path):
            raise InputError(f"{shown}: this name is not UTF-8; rename the file")
    return files


def read_image(path: str | Path) -> np.ndarray:
    """Read an image for training: RGB uint8 (H, W, 3), upright by its EXIF orientation.

    Grey becomes three equal channels, alpha is dropped, 16 bits become 8. InputError names the file when it is
    missing, truncated, damaged or not an image.
    """
    data = _read_bytes(path)
    if not data.startswith((_PNG, _JPEG)):
        return to_uint8(_decode(path, data).rgb)
    if _is_cut_jpeg(data):
        _open(path, data)  # slow but sure: what follows the picture may look like a scan
    bgr = _decode_with_opencv(data, cv2.IMREAD_COLOR)
    if bgr is None:
        _open(path, data)  # names what is wrong, where Pillow knows
        raise _damaged(path)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def header_size(path: str | Path) -> tuple[int, int] | None:
    """The width and height of an image as it is stored, by its header alone; None where that cannot be read."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as image:
            return image.size
    except Exception:  # reading it all says better what is wrong
        return None


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

    A palette becomes RGB, with alpha where it has transparent entries. InputError names the file when it is missing,
    truncated, damaged, not an image, or of a sample format other than 8 or 16 bits.
    """
    return _decode(path, _read_bytes(path))


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
    pixels = _quantize(planes, 65535 if deep else 255)
    if deep:
        data = cv2.imencode(suffix, _swap_red_and_blue(pixels))[1].tobytes()
        return _with_profile(data, picture.profile) if picture.profile else data
    buffer = BytesIO()
    image = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
    image.save(
        buffer, Image.registered_extensions()[suffix], icc_profile=picture.profile, **_WRITE_OPTIONS.get(suffix, {})
    )
    return buffer.getvalue()


def _with_profile(data: bytes, profile: bytes) -> bytes:
    """A PNG or TIFF of OpenCV, which has no colour profile, with one."""
    if data.startswith(_PNG):
        chunk = b"iCCP" + b"ICC profile\0\0" + zlib.compress(profile)
        header = len(_PNG) + 25  # IHDR, which is the first
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


def to_tensor(array: np.ndarray) -> Tensor:
    """An uint8 or uint16 array (H, W) or (H, W, C) -> float32 tensor (C, H, W) in [0, 1]."""
    planes = torch.from_numpy(np.atleast_3d(array).astype(np.float32))
    return (planes / np.iinfo(array.dtype).max).permute(2, 0, 1).contiguous()  # (C, H, W)


def to_uint8(rgb: Tensor) -> np.ndarray:
    """An image (3, H, W) -> RGB uint8 array (H, W, 3), clamped to [0, 1] and rounded."""
    return _quantize(rgb, 255)


def to_uint16(rgb: Tensor) -> np.ndarray:
    """An image (3, H, W) -> RGB uint16 array (H, W, 3), clamped to [0, 1] and rounded."""
    return _quantize(rgb, 65535)


def _quantize(planes: Tensor, largest: int) -> np.ndarray:
    levels = planes.detach().float().clamp(0, 1).mul(largest).round().permute(1, 2, 0)  # (H, W, C)
    return np.ascontiguousarray(levels.cpu().numpy().astype(np.uint8 if largest == 255 else np.uint16))


def _swap_red_and_blue(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim == 2 or pixels.shape[-1] == 1:
        return pixels
    return np.ascontiguousarray(pixels[..., [2, 1, 0, 3][: pixels.shape[-1]]])


def _read_bytes(path: str | Path) -> bytes:
    path = Path(path)
    if path.exists() and not (path.is_file() or path.is_dir()):  # reading a pipe or a device may never end
        raise InputError(f"{path} is no file; name an image file")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} is missing; name an image file") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); name a readable image file") from None
    if data.startswith(_PNG) and not _is_whole_png(data):
        raise _damaged(path)
    return data


def _damaged(path: str | Path) -> InputError:
    return InputError(f"{path} is truncated, damaged or not an image; replace or remove it")


def _is_whole_png(data: bytes) -> bool:
    # OpenCV believes whatever length a chunk claims, and takes so much memory.
    place = len(_PNG)
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        place += 12 + length
        if kind == b"IEND":
            return place <= len(data)
    return False


def _is_cut_jpeg(data: bytes) -> bool:
    # OpenCV fills the rest of a truncated JPEG with grey and only prints a warning. The data of a scan can contain
    # neither marker, so the end of a whole picture follows the start of its last scan (a thumbnail's comes before).
    return data.startswith(_JPEG) and data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN)


def _open(path: str | Path, data: bytes) -> Image.Image:
    try:
        with warnings.catch_warnings(action="ignore"):
            image = Image.open(BytesIO(data), formats=FORMATS)
            image.load()
    except Image.DecompressionBombError:
        raise InputError(f"{path} has more than {MOST_PIXELS} pixels; cut it into smaller pictures") from None
    except Exception:  # each decoder fails in its own ways
        raise _unusable(path, data) from None
    return image


def _decode(path: str | Path, data: bytes) -> Picture:
    image = _open(path, data)
    try:
        picture = _picture(image, data)
    except Exception:  # what surrounds the pixels can be damaged, too
        raise _damaged(path) from None
    if picture is None:
        raise _unusable(path, data)
    return picture


def _picture(image: Image.Image, data: bytes) -> Picture | None:
    """What Pillow has opened; None where neither it nor OpenCV reads such samples rightly."""
    profile = image.info.get("icc_profile") if image.mode != "CMYK" else None
    # Pillow calls a PNG of 16-bit grey with alpha RGBA; the colour type in its header knows better
    grey = data[25] in (0, 4) if image.format == "PNG" else image.mode in _GREY_MODES
    bits = _bits(image, data)
    if image.mode in ("I", "F") or bits not in (1, 2, 4, 8, 16):
        return None
    if bits == 16 and (image.mode == "CMYK" or _has_planes(image)):
        return None
    if bits < 8 and image.format == "PNG" and image.mode != "P" and "transparency" in image.info:
        image.info["transparency"] *= 255 // (2**bits - 1)  # Pillow scales the pixels alone
    if bits == 16:
        pixels = _decode_deep(image, data)
    else:
        mode = ("L" if grey else "RGB") + ("A" if image.has_transparency_data else "")
        pixels = np.asarray(ImageOps.exif_transpose(image).convert(mode))
    planes = to_tensor(pixels)
    channels = planes.shape[0]
    alpha = planes[-1:] if channels in (2, 4) else None
    rgb = planes[:3] if channels > 2 else planes[:1].repeat(3, 1, 1)
    return Picture(rgb, alpha, grey, 16 if pixels.dtype == np.uint16 else 8, profile)


def _bits(image: Image.Image, data: bytes) -> int:
    if image.format == "PNG":
        return data[24]  # IHDR: the byte after width and height
    if image.format == "TIFF":
        return max(image.tag_v2.get(_BITS, (1,)))
    return 8


def _has_planes(image: Image.Image) -> bool:
    """Whether colours are stored plane by plane, which OpenCV reads as noise where they have 16 bits."""
    return image.format == "TIFF" and image.tag_v2.get(_PLANES) == _APART and image.tag_v2.get(_SAMPLES, 1) > 1


def _decode_deep(image: Image.Image, data: bytes) -> np.ndarray:
    # Pillow keeps only the high byte of 16-bit colour
    pixels = _swap_red_and_blue(_decode_with_opencv(data, cv2.IMREAD_UNCHANGED))
    if image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        pixels = np.iinfo(pixels.dtype).max - pixels
    if pixels.ndim == 2 and "transparency" in image.info:
        opaque = np.where(pixels == image.info["transparency"], 0, np.iinfo(pixels.dtype).max)
        pixels = np.stack([pixels, opaque.astype(pixels.dtype)], -1)
    turn = image.getexif().get(_ORIENTATION, 1) if image.format == "PNG" else 1  # OpenCV turns a TIFF by itself
    if turn in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _decode_with_opencv(data: bytes, flags: int) -> np.ndarray | None:
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # it would repeat what our errors say
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
    finally:
        cv2.utils.logging.setLogLevel(level)


def _unusable(path: str | Path, data: bytes) -> InputError:
    """What is said of a file that cannot be decoded: a TIFF may be whole, with samples that are not for us."""
    try:
        tags, file = ImageFileDirectory_v2(data[:8]), BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
        bits, form = max(tags.get(_BITS, (1,))), max(tags.get(_SAMPLE_FORMAT, (1,)))
        colours = _COLOURS.get(tags.get(_PHOTOMETRIC), "colour")
    except Exception:
        return _damaged(path)
    if bits <= 8:
        return _damaged(path)
    channels = f"{_SAMPLE_FORMATS.get(form, '')}{colours}, {tags.get(_SAMPLES, 1)} channels"
    channels += ", plane by plane" if tags.get(_PLANES) == _APART else ""
    return InputError(f"{path} has {bits} bits per sample ({channels}); save it as grey, RGB or RGBA of 8 or 16 bits")
