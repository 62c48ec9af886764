"""Image files as training reads them: which there are, and the pixels of any mode. ``pictures`` has more of a file."""

import struct
import warnings
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from torch import Tensor

from arcsr_lightning.errors import InputError, printable
from arcsr_lightning.files import files_below

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")

MOST_PIXELS = 2**30  # OpenCV's own limit; a larger picture would take 12 GB as RGB in float32
Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2  # above it Pillow warns, above twice as many it refuses
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")  # whatever a file's name says

PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"  # what such files start with
_JPEG_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"
_GREY_MODES = ("1", "L", "LA", "I;16", "I;16L", "I;16B")
_ORIENTATION, _BITS, _SAMPLES, _SAMPLE_FORMAT = 274, 258, 277, 339  # TIFF tags
_PHOTOMETRIC, _WHITE_IS_ZERO, _PLANES, _APART = 262, 0, 284, 2  # and values of two of them
_COLOURS = {0: "grey", 1: "grey", 5: "CMYK"}
_SAMPLE_FORMATS = {1: "", 2: "signed ", 3: "floating-point ", 5: "complex ", 6: "complex "}


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
        for path in (files_below(folder) if recursive else folder.iterdir())
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

    Grey becomes three equal channels, alpha is dropped, 16 bits become 8.

    Raises:
        InputError: names the file, which is missing, truncated, damaged, not an image, or of a sample format other than
            8 or 16 bits.
    """
    data = read_bytes(path)
    if not data.startswith((PNG, _JPEG)):
        return to_uint8(rgb_of(to_tensor(decode(path, data)[1])))
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


def to_tensor(array: np.ndarray) -> Tensor:
    """An uint8 or uint16 array (H, W) or (H, W, C) -> float32 tensor (C, H, W) in [0, 1]."""
    planes = torch.from_numpy(np.atleast_3d(array).astype(np.float32))
    return (planes / np.iinfo(array.dtype).max).permute(2, 0, 1).contiguous()  # (C, H, W)


def rgb_of(planes: Tensor) -> Tensor:
    """Grey or RGB, with or without alpha, (C, H, W) -> RGB, (3, H, W)."""
    return planes[:3] if len(planes) > 2 else planes[:1].repeat(3, 1, 1)


def to_uint8(planes: Tensor) -> np.ndarray:
    """An image (C, H, W) -> uint8 array (H, W, C), clamped to [0, 1] and rounded."""
    return _quantize(planes, 255)


def to_uint16(planes: Tensor) -> np.ndarray:
    """An image (C, H, W) -> uint16 array (H, W, C), clamped to [0, 1] and rounded."""
    return _quantize(planes, 65535)


def _quantize(planes: Tensor, largest: int) -> np.ndarray:
    levels = planes.detach().float().clamp(0, 1).mul(largest).round().permute(1, 2, 0)  # (H, W, C)
    return np.ascontiguousarray(levels.cpu().numpy().astype(np.uint8 if largest == 255 else np.uint16))


def swap_red_and_blue(pixels: np.ndarray) -> np.ndarray:
    """Between RGB and the BGR of OpenCV, (H, W) or (H, W, C); grey stays."""
    if pixels.ndim == 2 or pixels.shape[-1] == 1:
        return pixels
    return np.ascontiguousarray(pixels[..., [2, 1, 0, 3][: pixels.shape[-1]]])


def read_bytes(path: str | Path) -> bytes:
    """What is in an image file.

    Raises:
        InputError: it is missing, cannot be read, or is a PNG that is cut.
    """
    path = Path(path)
    if path.exists() and not (path.is_file() or path.is_dir()):  # reading a pipe or a device may never end
        raise InputError(f"{path} is no file; name an image file")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} is missing; name an image file") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); name a readable image file") from None
    if data.startswith(PNG) and not _is_whole_png(data):
        raise _damaged(path)
    return data


def _damaged(path: str | Path) -> InputError:
    if Path(path).suffix.lower() in SUFFIXES:
        return InputError(f"{path} is truncated, damaged or not an image; replace or remove it")
    return InputError(f"{path} is not of a format that is read; save it as one of {' '.join(SUFFIXES)}")


def _is_whole_png(data: bytes) -> bool:
    # OpenCV believes whatever length a chunk claims, and takes so much memory.
    place = len(PNG)
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


def decode(path: str | Path, data: bytes) -> tuple[Image.Image, np.ndarray]:
    """The image of a file's ``data`` as Pillow opens it, and its pixels, upright by its EXIF orientation.

    The pixels are uint8 or uint16: (H, W) or (H, W, C), grey or RGB, with or without alpha; 16-bit grey with alpha is
    RGB with alpha, too.

    Raises:
        InputError: names ``path``; the data are damaged, not an image, or of a sample format that is not read rightly.
    """
    image = _open(path, data)
    try:
        pixels = _pixels(image, data)
    except Exception:  # what surrounds the pixels can be damaged, too
        raise _damaged(path) from None
    if pixels is None:
        raise _unusable(path, data)
    return image, pixels


def _pixels(image: Image.Image, data: bytes) -> np.ndarray | None:
    """Of what Pillow has opened; None where neither it nor OpenCV reads such samples rightly."""
    bits = _bits(image, data)
    if image.mode in ("I", "F") or bits not in (1, 2, 4, 8, 16):
        return None
    if bits == 16:
        return None if image.mode == "CMYK" or _has_planes(image) else _decode_deep(image, data)
    if bits < 8 and image.format == "PNG" and image.mode != "P" and "transparency" in image.info:
        image.info["transparency"] *= 255 // (2**bits - 1)  # Pillow scales the pixels alone
    mode = ("L" if is_grey(image, data) else "RGB") + ("A" if image.has_transparency_data else "")
    return np.asarray(ImageOps.exif_transpose(image).convert(mode))


def is_grey(image: Image.Image, data: bytes) -> bool:
    """Whether the file of an image that Pillow has opened has one colour channel."""
    # Pillow calls a PNG of 16-bit grey with alpha RGBA; the colour type in its header knows better.
    return data[25] in (0, 4) if image.format == "PNG" else image.mode in _GREY_MODES


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
    pixels = swap_red_and_blue(_decode_with_opencv(data, cv2.IMREAD_UNCHANGED))
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
