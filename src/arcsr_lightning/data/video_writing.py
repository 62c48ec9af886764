"""Video files, written through PyAV: segments of one, and segments joined with the sound of another."""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame

from arcsr_lightning.data.video import EXACT, Frame, Look, opened
from arcsr_lightning.errors import InputError, first_line
from arcsr_lightning.files import write_aside

WRITTEN = (".mp4", ".mov", ".mkv")  # formats, which hold H.264
LARGEST = 16384  # pixels a side, of the encoder
SEGMENT = 24  # frames: the most that a kill costs
# As good as lossless to the eye. Without B-frames, frames are stored in the order in which they are shown, so that
# segments can be joined packet by packet. Without mbtree no frame waits for others, and the same frames become the same
# bytes, so that an interrupted video ends as any other (with it, x264 wrote other bytes in one segment of a hundred).
ENCODER = {"crf": "14", "preset": "medium", "bf": "0", "mbtree": "0"}
MADE_BY = f"{ENCODER}, {EXACT}, PyAV {av.__version__}"  # segments of another kind cannot be joined to those of this
ITS_OWN = ("major_brand", "minor_version", "compatible_brands", "encoder")  # what a file says of itself only
APPLE = "com.apple.quicktime."
KNOWN_AS = {f"{APPLE}location.ISO6709": "location", f"{APPLE}creationdate": "date"}  # to MP4, which drops other names


def check_target(target: Path, source: Path, look: Look, scale: int) -> None:
    """Check that a file of that name can hold a video ``scale`` times as large, with the sound of the source.

    Raises:
        InputError: it cannot.
    """
    if target.suffix.lower() not in WRITTEN:
        raise InputError(f"{target} has no video format of ours; name a file ending in {' '.join(WRITTEN)}")
    height, width = scale * look.height, scale * look.width
    if max(height, width) > LARGEST:
        raise InputError(f"{target} would be {width}x{height}, and a video holds {LARGEST} a side; cut {source}")
    with opened(source) as container, TemporaryDirectory() as folder:
        for stream in container.streams.audio:
            try:
                with av.open(str(Path(folder, f"sound{target.suffix}")), "w") as trial:
                    trial.add_stream_from_template(stream)
                    trial.start_encoding()
            except (av.FFmpegError, ValueError):
                codec = stream.codec_context.name
                raise InputError(f"{target} cannot hold the sound of {source} ({codec}); name a .mkv file") from None


class Segments:
    """A video that is being written, in segments of ``SEGMENT`` frames, each of which is there whole or not at all.

    As a context manager, it ends the last segment with the block, unless an error ends it.

    Args:
        folder: of the segments, made if missing.
        look: of what is written, but for its size.
    """

    def __init__(self, folder: Path, look: Look) -> None:
        self.folder, self.look = folder, look
        self.current: tuple[ExitStack, Callable[[np.ndarray, Frame], None]] | None = None

    @property
    def paths(self) -> list[Path]:
        """The segments that are there, in their order, up to the first that is missing."""
        paths = sorted(self.folder.glob("[0-9]*.mp4"))
        return [path for number, path in enumerate(paths) if path == self.path(number)]

    def path(self, number: int) -> Path:
        return self.folder / f"{number:06}.mp4"

    def add(self, number: int, pixels: np.ndarray, frame: Frame) -> None:
        """Write ``pixels`` (H, W, 3), RGB uint8 or uint16, as frame ``number``, shown when ``frame`` was."""
        if self.current is None:
            with ExitStack() as stack:
                aside = stack.enter_context(write_aside(self.path(number // SEGMENT)))
                encode = stack.enter_context(encoder(aside, self.look, *pixels.shape[:2]))
                self.current = stack.pop_all(), encode
        self.current[1](pixels, frame)
        if number % SEGMENT == SEGMENT - 1:
            self.end_segment()

    def end_segment(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        """Have the segment in its place, or after an error nothing of it."""
        if self.current is not None:
            (stack, _), self.current = self.current, None
            stack.__exit__(kind, error, trace)

    def __enter__(self) -> Self:
        return self

    __exit__ = end_segment


@contextmanager
def encoder(path: Path, look: Look, height: int, width: int) -> Iterator[Callable[[np.ndarray, Frame], None]]:
    """A function that adds pixels, shown when a frame was, to a new video file."""
    planes = "444" if height % 2 or width % 2 else "420"  # halved colours want even sides
    pixel_format = f"yuv{planes}p10le" if look.deep else f"yuv{planes}p"
    with av.open(str(path), "w", options=timescale(path, look)) as container:
        stream = container.add_stream("libx264", rate=look.rate, options=ENCODER)
        stream.height, stream.width, stream.pix_fmt = height, width, pixel_format
        context = stream.codec_context
        context.time_base = stream.time_base = look.tick
        context.sample_aspect_ratio = look.aspect
        context.color_range, context.colorspace = look.color_range, look.matrix
        context.color_primaries, context.color_trc = look.primaries, look.transfer

        def encode(pixels: np.ndarray, frame: Frame) -> None:
            rgb = VideoFrame.from_ndarray(pixels, format="rgb48le" if look.deep else "rgb24")
            colours = {"dst_colorspace": look.matrix, "dst_color_range": look.color_range}
            coded = rgb.reformat(format=pixel_format, **colours, interpolation=EXACT)
            coded.pts, coded.time_base, coded.duration = frame.time, look.tick, frame.duration
            container.mux(stream.encode(coded))

        yield encode
        container.mux(stream.encode(None))


def timescale(path: Path, look: Look) -> dict[str, str]:
    """The option by which MP4 keeps the time of the first frame to the tick."""
    return {} if path.suffix.lower() == ".mkv" else {"movie_timescale": str(look.tick.denominator)}


def join(segments: Sequence[Path], target: Path, look: Look, source: Path | None = None, whole: bool = True) -> None:
    """Write segments as one video, which appears whole or not at all.

    Args:
        segments: in their order, one or more.
        target: the file to write.
        look: of the video.
        source: a file, whose sound and description are copied; None for none.
        whole: copy all of its sound, not only as much as there are frames.

    Raises:
        InputError: the target cannot hold that.
    """
    with ExitStack() as stack, naming(target):
        aside = stack.enter_context(write_aside(target))
        first = stack.enter_context(av.open(str(segments[0])))
        out = stack.enter_context(av.open(str(aside), "w", options=timescale(aside, look)))
        video = out.add_stream_from_template(first.streams.video[0])
        video.time_base = look.tick
        if look.rotation:
            video.set_display_rotation(look.rotation)
        streams: list[Iterable[Packet]] = [packets_of_segments(segments, video)]
        if source is not None:
            other = stack.enter_context(opened(source))
            said = {key: text for key, text in other.metadata.items() if key not in ITS_OWN}
            out.metadata.update({KNOWN_AS[key]: said[key] for key in KNOWN_AS.keys() & said} | said)
            copies = {}
            for stream in other.streams.audio:
                copies[stream.index] = out.add_stream_from_template(stream)
                copies[stream.index].metadata.update(stream.metadata)
            if copies:
                streams.append(packets_of_sound(other, copies, None if whole else end_of(segments[-1])))
        for packet in heapq.merge(*streams, key=lambda packet: packet.dts * packet.time_base):
            out.mux(packet)


@contextmanager
def naming(target: Path) -> Iterator[None]:
    """Name the file in what FFmpeg says of it."""
    try:
        yield
    except av.FFmpegError as error:
        raise InputError(f"{target} cannot be written ({error.strerror or first_line(error)})") from error


def end_of(segment: Path) -> Fraction:
    """When the last frame of a segment is over, in seconds."""
    with av.open(str(segment)) as container:
        stream = container.streams.video[0]
        return (stream.start_time + stream.duration) * stream.time_base


def packets_of_segments(segments: Sequence[Path], video: Stream) -> Iterator[Packet]:
    for path in segments:
        with av.open(str(path)) as container:
            for packet in container.demux(video=0):
                if packet.dts is not None:  # the last is empty
                    packet.stream = video
                    yield packet


def packets_of_sound(source: InputContainer, copies: dict[int, Stream], end: Fraction | None) -> Iterator[Packet]:
    """The sound up to ``end``, without what steps back in time, as where recordings were appended to each other."""
    now: dict[int, int] = {}
    with suppress(av.FFmpegError):  # the frames before the damage have their sound
        for packet in source.demux(source.streams.audio):
            index = packet.stream.index
            if packet.dts is None or packet.dts <= now.get(index, packet.dts - 1):
                continue
            if end is None or packet.dts * packet.time_base < end:
                now[index] = packet.dts
                packet.stream = copies[index]
                yield packet
