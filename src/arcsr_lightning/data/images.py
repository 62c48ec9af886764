"""Image files: fast reading for training, faithful reading and writing for prediction."""

import warnings
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from arcsr_lightning.errors import InputError
from arcsr_lightning.files import write_aside

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
DEEP_SUFFIXES = (".png", ".tif", ".tiff")  # can hold 16 bits
OPAQUE_SUFFIXES = (".jpg", ".jpeg")  # cannot hold transparency

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_PNG_END = b"IEND\xaeB`\x82"
_JPEG_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"
_GREY_MODES = ("1", "L", "LA", "I;16", "I;16L", "I;16B")
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
# lossless wherever the format can be: what a network restored should not be coded away again
_WRITE_OPTIONS = {
    ".jpg": {"quality": 95, "subsampling": 0},
    ".jpeg": {"quality": 95, "subsampling": 0},
    ".webp": {"lossless": True},
    ".tif": {"compression": "tiff_adobe_deflate"},
    ".tiff": {"compression": "tiff_adobe_deflate"},
}


def image_files(folder: str | Path, recursive: bool = False) -> list[Path]:
    """The image files of ``folder``, or of all folders below too, sorted. InputError when it is missing or has none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is {'not a folder' if folder.exists() else 'missing'}; name a folder of images")
    files = sorted(
        path
        for path in (folder.rglob("*") if recursive else folder.iterdir())
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )
    if not files:
        raise InputError(f"{folder} holds no images; expected files ending in {' '.join(SUFFIXES)}")
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
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise _damaged(path)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


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


def check_format(path: str | Path, picture: Picture) -> None:
    """InputError unless a file named ``path`` can hold ``picture``; for use before the pixels are computed."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path} has no image format of ours; name a file ending in {' '.join(SUFFIXES)}")
    if picture.alpha is not None and suffix in OPAQUE_SUFFIXES:
        raise InputError(f"{path} cannot hold the transparency of its input; name a .png file")


def save_picture(path: str | Path, picture: Picture) -> None:
    """Write ``picture`` in its mode; ``path`` appears whole or not at all.

    A grey picture is written with the mean of its three channels; 16 bits stay 16 in PNG and TIFF (grey with alpha
    as RGBA there) and become 8 in the other formats. InputError where :func:`check_format` says so.
    """
    check_format(path, picture)
    suffix = Path(path).suffix.lower()
    colour = picture.rgb.mean(0, keepdim=True) if picture.grey else picture.rgb
    deep = picture.bits == 16 and suffix in DEEP_SUFFIXES
    if deep and picture.grey and picture.alpha is not None:
        colour = colour.expand(3, -1, -1)
    planes = colour if picture.alpha is None else torch.cat([colour, picture.alpha])
    pixels = _quantize(planes, 65535 if deep else 255)
    with write_aside(path) as aside:
        if deep:
            aside.write_bytes(cv2.imencode(suffix, _swap_red_and_blue(pixels))[1].tobytes())
        else:
            options = _WRITE_OPTIONS.get(suffix, {})
            Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(
                aside, icc_profile=picture.profile, **options
            )


def to_tensor(array: np.ndarray) -> Tensor:
    """An uint8 or uint16 array (H, W) or (H, W, C) -> float32 tensor (C, H, W) in [0, 1]."""
    planes = torch.from_numpy(np.atleast_3d(array).astype(np.float32))
    return (planes / np.iinfo(array.dtype).max).permute(2, 0, 1).contiguous()  # (C, H, W)


def to_uint8(rgb: Tensor) -> np.ndarray:
    """An image (3, H, W) -> RGB uint8 array (H, W, 3), clamped to [0, 1] and rounded."""
    return _quantize(rgb, 255)


def _quantize(planes: Tensor, largest: int) -> np.ndarray:
    levels = planes.detach().float().clamp(0, 1).mul(largest).round().permute(1, 2, 0)  # (H, W, C)
    return np.ascontiguousarray(levels.cpu().numpy().astype(np.uint8 if largest == 255 else np.uint16))


def _swap_red_and_blue(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim == 2 or pixels.shape[-1] == 1:
        return pixels
    return np.ascontiguousarray(pixels[..., [2, 1, 0, 3][: pixels.shape[-1]]])


def _read_bytes(path: str | Path) -> bytes:
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} is missing; name an image file") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); name a readable image file") from None
    if data.startswith(_PNG) and _PNG_END not in data:
        raise _damaged(path)
    return data


def _damaged(path: str | Path) -> InputError:
    return InputError(f"{path} is truncated, damaged or not an image; replace or remove it")


def _is_cut_jpeg(data: bytes) -> bool:
    # OpenCV fills the rest of a truncated JPEG with grey and only prints a warning. The data of a scan can contain
    # neither marker, so the end of a whole picture follows the start of its last scan (a thumbnail's comes before).
    return data.startswith(_JPEG) and data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN)


def _open(path: str | Path, data: bytes) -> Image.Image:
    try:
        with warnings.catch_warnings(action="ignore"):
            image = Image.open(BytesIO(data))
            image.load()
    except _DECODE_ERRORS:
        raise _damaged(path) from None
    return image


def _decode(path: str | Path, data: bytes) -> Picture:
    image = _open(path, data)
    profile = image.info.get("icc_profile") if image.mode != "CMYK" else None
    # Pillow calls a PNG of 16-bit grey with alpha RGBA; the colour type in its header knows better
    grey = data[25] in (0, 4) if image.format == "PNG" else image.mode in _GREY_MODES
    if image.mode in ("I", "F"):
        raise InputError(f"{path} has 32 bits per sample; save it with 8 or 16")
    if _bits(image, data) == 16:
        pixels = _decode_deep(path, data)
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
        return max(image.tag_v2.get(258, (1,)))  # BitsPerSample
    return 8


def _decode_deep(path: str | Path, data: bytes) -> np.ndarray:
    # Pillow keeps only the high byte of 16-bit colour; OpenCV's log would repeat what the error says
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    cv2.utils.logging.setLogLevel(level)
    if pixels is None:
        raise _damaged(path)
    return _swap_red_and_blue(pixels)
