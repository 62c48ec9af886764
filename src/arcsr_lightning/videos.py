"""From a video to a restored one, in segments, so that a command that was killed goes on where it was."""

import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from arcsr_lightning.data.images import to_uint8, to_uint16
from arcsr_lightning.data.video import (
    BT709,
    LIMITED_RANGE,
    UNSPECIFIED,
    DamagedError,
    Frame,
    Look,
    frames_of,
    look_of,
)
from arcsr_lightning.data.video_writing import MADE_BY, SEGMENT, Segments, check_target, join
from arcsr_lightning.errors import InputError, first_line
from arcsr_lightning.figures.kernels import kernel_colours
from arcsr_lightning.files import alone_in, remove_leftovers, write_text
from arcsr_lightning.inference import ahead, behind
from arcsr_lightning.networks.restoration import Restoration

log = logging.getLogger(__name__)

RESTORED, KERNELS = PARTS = ("restored", "kernels")  # folders of segments


class Video(NamedTuple):
    """One that is written, and its pixels, RGB (H, W, 3), of a restored frame."""

    segments: Segments
    draw: Callable[[Restoration], np.ndarray]


def restore_video(
    source: Path,
    target: Path,
    kernels: Path | None,
    restore_lr: Callable[[Tensor], Restoration],
    scale: int,
    job: Mapping[str, Any],
    start_anew: bool = False,
    on_frame: Callable[[int, int], None] = lambda done, stated: None,
) -> DamagedError | None:
    """Restore a video frame by frame; until all of it is done, what is done lies in a folder beside ``target``.

    Args:
        source: the video.
        target: what it becomes, in H.264, with the times, colours, rotation and sound of the source.
        kernels: a second video, of the kernels of each frame as colours; None for none.
        restore_lr: (1, 3, H, W), RGB in [0, 1], to what it is restored as.
        scale: of the restoration.
        job: what the result depends on beside the source, as plain data: only the same job is gone on with.
        start_anew: whether what another job has left may be removed.
        on_frame: called with (frames done, as many as the source states, or 0).

    Returns:
        What is wrong with the source, where it cannot be read to its end; the frames before that are restored.

    Raises:
        InputError: the source cannot be opened, the target not be written, or another job has begun it.
    """
    look = look_of(source)
    check_target(target, source, look, scale)
    job = {"source": [source.stat().st_size, source.stat().st_mtime_ns], "encoder": MADE_BY, **job}
    folder = target.with_name(f"{target.name}.segments")
    with alone_in(folder, "another process is restoring this video; wait until it ends, or name another output"):
        claim(folder, job, start_anew)
        videos = {target: Video(Segments(folder / RESTORED, look), partial(pixels_of, deep=look.deep))}
        if kernels is not None:
            videos[kernels] = Video(Segments(folder / KERNELS, look_of_colours(look)), colours_of)
        damage = restore_frames(source, look, list(videos.values()), restore_lr, on_frame)
        for file, (segments, _) in videos.items():
            join(segments.paths, file, segments.look, source if file == target else None, whole=damage is None)
        shutil.rmtree(folder)
    return damage


def pixels_of(restored: Restoration, deep: bool) -> np.ndarray:
    return to_uint16(restored.sr[0]) if deep else to_uint8(restored.sr[0])


def colours_of(restored: Restoration) -> np.ndarray:
    return kernel_colours(restored.kernel[0])


def look_of_colours(look: Look) -> Look:
    """How a video of colours that are not those of the source is to be shown."""
    plain = {"matrix": BT709, "primaries": UNSPECIFIED, "transfer": UNSPECIFIED, "color_range": LIMITED_RANGE}
    return look._replace(deep=False, **plain)


def restore_frames(
    source: Path,
    look: Look,
    videos: Sequence[Video],
    restore_lr: Callable[[Tensor], Restoration],
    on_frame: Callable[[int, int], None],
) -> DamagedError | None:
    """Restore the frames whose segments are not there yet; one is read ahead and one written behind.

    Returns:
        What is wrong with the source, where it cannot be read to its end.
    """
    start = SEGMENT * min(len(video.segments.paths) for video in videos)
    if start:
        log.info("%s: goes on after frame %d", source, start)
    damage: list[DamagedError] = []

    def frames() -> Iterator[Frame]:
        try:
            yield from frames_of(source, look, start)
        except DamagedError as error:
            damage.append(error)

    def write(number: int, frame: Frame, restored: Restoration) -> None:
        for video in videos:
            video.segments.add(number, video.draw(restored), frame)

    def writes() -> Iterator[Callable[[], None]]:
        for number, frame in enumerate(ahead(frames()), start):
            yield partial(write, number, frame, restore_lr(frame.rgb[None]))

    with ExitStack() as stack:
        for video in videos:
            stack.enter_context(video.segments)
        for done, _ in enumerate(behind(writes()), start + 1):
            on_frame(done, look.frames)
    return damage[0] if damage else None


def claim(folder: Path, job: Mapping[str, Any], start_anew: bool) -> None:
    """Note which job the segments of a folder belong to.

    Raises:
        InputError: they belong to another, and that may not be given up, or the note is damaged.
    """
    note = folder / "job.json"
    begun: dict[str, Any] = {}
    try:
        if note.is_file():
            begun = dict(json.loads(note.read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError) as error:
        if not start_anew:
            raise InputError(f"{note}: damaged ({first_line(error)}); overwrite=true starts the video anew") from error
    if begun and begun != job and not start_anew:
        other = ", ".join(key for key in sorted(begun | job) if begun.get(key) != job.get(key))
        raise InputError(
            f"{folder} holds what a command with another {other} began; name another output, or replace that with "
            "overwrite=true"
        )
    if begun != job:
        remove_segments(folder)
    write_text(note, json.dumps(job, indent=2) + "\n")
    for part in PARTS:
        remove_leftovers(folder / part)


def remove_segments(folder: Path) -> None:
    """Remove all segments, but not yet the note of whose they are."""
    for part in PARTS:
        shutil.rmtree(folder / part, ignore_errors=True)
