"""Video files, read through PyAV: how one is to be shown, and its frames in their order.

Times are counted in the ticks of the source, which a restored video keeps.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from torch import Tensor

from arcsr_lightning.data.images import to_tensor
from arcsr_lightning.errors import InputError, first_line

log = logging.getLogger(__name__)

MATRICES = (1, 4, 5, 6, 7, 9)  # from RGB to YUV: those that are known how to compute
EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT  # else colours are darker
BT601, BT709 = 6, 1
HD = 720  # lines, from which on BT.709 is meant where a file does not say
UNSPECIFIED, LIMITED_RANGE, FULL_RANGE = 2, 1, 2
LATE = 0.5  # seconds: a file that ends so much before the time that it states has been cut


class Look(NamedTuple):
    """How a video is to be shown; colours by their numbers in ITU-T H.273."""

    height: int
    width: int
    frames: int  # as many as it states, or 0
    rate: Fraction  # frames a second, on average
    tick: Fraction  # seconds
    aspect: Fraction  # width of a pixel over its height
    rotation: int  # degrees counter-clockwise
    deep: bool  # more than 8 bits
    matrix: int
    primaries: int
    transfer: int
    color_range: int


class Frame(NamedTuple):
    """A picture, (3, H, W), RGB in [0, 1]; the tick at which it is shown, and for how many."""

    rgb: Tensor
    time: int
    duration: int


class DamagedError(InputError):
    """A video cannot be read to its end."""


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """A video file to read.

    Raises:
        InputError: it is missing, or no video.
    """
    if not path.is_file():
        raise InputError(f"{path} is {'no file' if path.exists() else 'missing'}; name a video")
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError):
        raise InputError(f"{path} is truncated, damaged or not a video; replace it") from None
    with container:
        if not container.streams.video:
            raise InputError(f"{path} holds no video; name a file that does")
        yield container


def look_of(path: Path) -> Look:
    """How a video is to be shown, by its header and its first frame; warns where that is interlaced.

    Raises:
        InputError: it cannot be opened, or not even that frame be decoded.
    """
    with opened(path) as container:
        stream = container.streams.video[0]
        stated = len(stream.index_entries) or stream.frames
        first = next(decoded(container, path), None)
        if first is None:
            raise InputError(f"{path} has no frame that can be decoded; replace it")
        if first.interlaced_frame:
            log.warning(
                "%s is interlaced, and the combs where something moves are enlarged, too; deinterlace it first: "
                "ffmpeg -i %s -vf bwdif progressive.mp4",
                path, path,
            )  # fmt: skip
        return Look(
            height=first.height,
            width=first.width,
            frames=stated,
            rate=stream.average_rate or Fraction(25),
            tick=stream.time_base,
            aspect=stream.sample_aspect_ratio or Fraction(1),
            rotation=first.rotation,
            deep=max(component.bits for component in first.format.components) > 8,
            matrix=matrix_of(first),
            primaries=int(first.color_primaries),
            transfer=int(first.color_trc),
            color_range=range_of(first),
        )


def matrix_of(frame: VideoFrame) -> int:
    """The matrix that a frame names, or the one that players take where it names none."""
    if frame.colorspace in MATRICES:
        return int(frame.colorspace)
    return BT709 if frame.height >= HD else BT601


def range_of(frame: VideoFrame) -> int:
    """Whether black and white of a frame are 0 and 255; what does not say is limited, but for the pixels of JPEG."""
    full = frame.color_range == FULL_RANGE or frame.format.name.startswith("yuvj")
    return FULL_RANGE if full else LIMITED_RANGE


def frames_of(path: Path, look: Look, start: int = 0) -> Iterator[Frame]:
    """Yield the frames of a video from number ``start`` on; those before are decoded and dropped.

    Raises:
        InputError: it cannot be opened.
        DamagedError: in the place of the first frame that is damaged or missing.
    """
    ticks = max(1, round(1 / (look.rate * look.tick)))  # of a frame that does not say
    now = -1
    with opened(path) as container:
        for number, frame in enumerate(decoded(container, path)):
            if (frame.height, frame.width) != (look.height, look.width):
                raise damaged(path, number, "its pictures are of another size from there on")
            time = frame.pts if frame.pts is not None else now + ticks if number else 0
            now = max(time, now + 1) if number else time  # no two at once
            if number >= start:
                yield Frame(picture_of(frame, look), now, frame.duration or ticks)


def picture_of(frame: VideoFrame, look: Look) -> Tensor:
    """The pixels of a frame, (3, H, W), RGB in [0, 1]."""
    frame.colorspace = look.matrix
    return to_tensor(frame.to_ndarray(format="rgb48le" if look.deep else "rgb24", interpolation=EXACT))


def decoded(container: InputContainer, path: Path) -> Iterator[VideoFrame]:
    """Yield the frames of an opened video; DamagedError in the place of the first that is damaged or missing.

    What cannot be decoded before the first frame is passed over: recordings may begin between two whole pictures.
    """
    stream = container.streams.video[0]
    stated = len(stream.index_entries)
    number = packets = now = 0
    end = Fraction(0)
    try:
        for packet in container.demux():
            if packet.pts is not None:
                lasts = packet.duration or 0
                if packet.stream.index == stream.index:
                    lasts, now = lasts or max(0, packet.pts - now), packet.pts  # ASF does not say
                end = max(end, (packet.pts + lasts) * packet.time_base)
            if packet.stream.index == stream.index:
                packets += packet.size > 0
                # The last packet is empty. What the decoder still has then may come after frames that are missing.
                if not packet.size and (packets < stated or end + Fraction(LATE) < end_stated(container)):
                    raise damaged(path, number, "it ends there, before the time that it states")
                for frame in frames_in(packet, begun=number > 0):
                    yield frame
                    number += 1
    except av.FFmpegError as error:
        raise damaged(path, number, error.strerror or first_line(error)) from None


def frames_in(packet: Packet, begun: bool) -> list[VideoFrame]:
    """The frames that a packet brings; av.FFmpegError where it is damaged, none before the first frame."""
    try:
        frames = packet.decode()
    except av.FFmpegError:
        if begun:
            raise
        return []
    if begun and (packet.is_corrupt or any(frame.is_corrupt for frame in frames)):
        raise av.InvalidDataError(0, "data are missing")
    return frames


def end_stated(container: InputContainer) -> Fraction:
    """When a file says that it ends, in seconds; 0 where it does not."""
    if not container.duration:
        return Fraction(0)
    start = 0 if "matroska" in container.format.name else container.start_time or 0  # Matroska counts from zero on
    return Fraction(start + container.duration, av.time_base)


def damaged(path: Path, number: int, why: str) -> DamagedError:
    return DamagedError(f"{path} is damaged after frame {number}: {why}")
