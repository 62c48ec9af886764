"""A store of decoded frames, of which a crop touches only its own rows.

The store mirrors the folders of the image files: ``<store>/<path of the image>.rgb`` holds the pixels of one, uint8
(H, W, 3) and nothing else, to be memory-mapped. ``index.json`` lists every frame with the size and time of its image
file, its shape and the SHA-256 of its pixels. It is written last, and removed before anything changes: a store without
it is not finished. Until then ``unfinished.jsonl`` lists the frames already there, so that a run that was killed can be
taken up.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from arcsr_lightning.data.images import header_size, read_image
from arcsr_lightning.errors import InputError
from arcsr_lightning.files import remove_leftovers, write_aside, write_text

INDEX, UNFINISHED = "index.json", "unfinished.jsonl"
_GARBLED = (ValueError, TypeError, RecursionError)  # what reading JSON of something else raises


class Entry(NamedTuple):
    """What the index says about a frame: size and time of its image file, its own size, the SHA-256 of its pixels."""

    file_size: int  # bytes
    mtime_ns: int
    height: int
    width: int
    sha256: str


Index = tuple[Path, dict[str, Entry]]  # the folder that names start from, and what is known of every frame by its name
Progress = Callable[[str, int, int], Any]  # told what is done to how many of how many frames


class StoredFrame(NamedTuple):
    """Where the pixels of a frame lie."""

    file: Path
    height: int
    width: int

    def pixels(self) -> np.ndarray:
        """Uint8 (H, W, 3), mapped and read-only: rows that are not looked at are not read."""
        return np.memmap(self.file, np.uint8, "r", shape=(self.height, self.width, 3)).view(np.ndarray)


def open_store(folder: str | Path, paths: Iterable[Path]) -> dict[Path, StoredFrame]:
    """Find frames in a finished store.

    Args:
        folder: of the store.
        paths: the image files.

    Returns:
        Where the pixels of each file lie.

    Raises:
        InputError: the store is not finished, or one of the frames is missing, was cut or is not what its file holds
            now.
    """
    folder = Path(folder)
    again = f"run arcsr-prepare with the same data=, data.kernels= and scale=, and data.store={folder}"
    index = _read_index(folder)
    if index is None:
        raise InputError(f"{folder} holds no finished store of frames; {again}")
    root, frames = index
    stored = {}
    for path in paths:
        name = _name(path, root)
        if name not in frames:
            raise InputError(f"{path} is not in the store {folder}; {again} again")
        if not _is_of_file(frames[name], path):
            raise InputError(f"{path} changed after it was written to the store {folder}; {again} again")
        if not _is_whole(frames[name], _file(folder, name)):
            raise InputError(f"{_file(folder, name)} is missing or cut; {again} again")
        stored[path] = StoredFrame(_file(folder, name), frames[name].height, frames[name].width)
    return stored


def write_store(
    folder: str | Path,
    paths: Iterable[Path],
    num_workers: int | None = None,
    verify: bool = False,
    progress: Progress = lambda task, done, total: None,
) -> int:
    """Bring a store up to date with image files; frames of other files below the same folder are kept in it.

    Args:
        folder: of the store; made if missing.
        paths: the image files.
        num_workers: threads (decoding, hashing and writing let each other run; a process killed leaves no others
            behind); None: four more than there are cores, at most 32.
        verify: also hash the pixels of the frames that it holds, and write those anew that are damaged.
        progress: told what is done to how many of how many frames.

    Returns:
        How many frames it had to write.

    Raises:
        InputError: the disk has no room, or a file cannot be read; frames written before are kept then.
    """
    folder = Path(folder)
    sources = {Path(path).absolute() for path in paths}
    root = Path(os.path.commonpath([path.parent for path in sources]))
    index = _read_index(folder)
    if index and any(_name(path, index[0]) in index[1] for path in sources):  # else the images may have moved
        root = Path(os.path.commonpath([root, index[0]]))
        index = _renamed(folder, root, index)
    frames = _held(folder, root, index)
    if verify:
        frames = _sound(folder, frames, num_workers, progress)
    missing = [name for name in sorted(_name(path, root) for path in sources) if name not in frames]
    if not missing and index == (root, frames):
        (folder / UNFINISHED).unlink(missing_ok=True)
        return 0
    _check_room(folder, [root / name for name in missing])
    gone = _recorded(folder, index).keys() - frames.keys() - set(missing)
    _write_missing(folder, root, frames, missing, num_workers, progress)
    for name in gone:
        _file(folder, name).unlink(missing_ok=True)
    return len(missing)


def _renamed(folder: Path, root: Path, index: Index) -> Index:
    """The index with names that start from ``root``, above its own, and the frames of the store named so."""
    before, frames = index
    if before == root:
        return index
    names = {name: _name(before / name, root) for name in frames}
    new = {names[name]: frame for name, frame in frames.items()}
    _begin(folder, new)
    for name in sorted(frames, key=len, reverse=True):  # a new name may be the old one of a longer name
        if _file(folder, name).is_file():
            _file(folder, names[name]).parent.mkdir(parents=True, exist_ok=True)
            _file(folder, name).replace(_file(folder, names[name]))
    _finish(folder, root, new)
    return root, new


def _held(folder: Path, root: Path, index: Index | None) -> dict[str, Entry]:
    """The frames that the store holds whole, of image files below ``root`` that have not changed since."""
    return {
        name: frame
        for name, frame in _recorded(folder, index).items()
        if _is_of_file(frame, root / name)
        and _is_whole(frame, _file(folder, name))
        # A frame of another folder that is still there is another one, though its size and time may be the same.
        and (index is None or index[0] == root or not (index[0] / name).exists())
    }


def _sound(folder: Path, frames: dict[str, Entry], num_workers: int | None, progress: Progress) -> dict[str, Entry]:
    """The frames whose pixels are those that were written."""
    sound = {}
    checks = _in_parallel(lambda name: _is_sound(frames[name], _file(folder, name)), frames, num_workers)
    for done, (name, is_sound) in enumerate(checks, 1):
        if is_sound:
            sound[name] = frames[name]
        progress("hashed", done, len(frames))
    return sound


def _write_missing(
    folder: Path,
    root: Path,
    frames: dict[str, Entry],
    missing: list[str],
    num_workers: int | None,
    progress: Progress,
) -> None:
    """Add the missing frames to those that the store holds, and finish it."""
    frames = dict(frames)
    remove_leftovers(folder, below=True)
    _begin(folder, frames)
    with (folder / UNFINISHED).open("a", encoding="utf-8") as unfinished:
        writes = _in_parallel(lambda name: _write_frame(root / name, _file(folder, name)), missing, num_workers)
        for done, (name, frame) in enumerate(writes, 1):
            frames[name] = frame
            unfinished.write(_line(name, frame))
            unfinished.flush()
            progress("written", done, len(missing))
    _finish(folder, root, frames)


def _begin(folder: Path, frames: dict[str, Entry]) -> None:
    """Mark the store as unfinished, with these frames in it."""
    write_text(folder / UNFINISHED, "".join(_line(name, frame) for name, frame in frames.items()))
    (folder / INDEX).unlink(missing_ok=True)


def _finish(folder: Path, root: Path, frames: dict[str, Entry]) -> None:
    index = {"root": str(root), "frames": {name: frames[name]._asdict() for name in sorted(frames)}}
    write_text(folder / INDEX, json.dumps(index, indent=1) + "\n")
    (folder / UNFINISHED).unlink()


def _name(path: Path, root: Path) -> str:
    """What the index calls the frame of a file."""
    return Path(os.path.relpath(path, root)).as_posix()


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.rgb"


def _line(name: str, frame: Entry) -> str:
    return json.dumps([name, *frame]) + "\n"


def _read_index(folder: Path) -> Index | None:
    """The folder that names start from, and the frames; None where the store is not finished."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        frames = {name: Entry(**entry) for name, entry in index["frames"].items()}
        return (Path(index["root"]), frames) if all(map(_is_sensible, frames.values())) else None
    except (FileNotFoundError, NotADirectoryError, *_GARBLED, KeyError, AttributeError):
        return None


def _recorded(folder: Path, index: Index | None) -> dict[str, Entry]:
    """The frames that a finished store, or a run that was killed, says to have written."""
    frames = dict(index[1]) if index else {}
    if (folder / UNFINISHED).is_file():
        for line in (folder / UNFINISHED).read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                name, *entry = json.loads(line)
                frame = Entry(*entry)
            except _GARBLED:  # the line that was being written
                break
            if not (isinstance(name, str) and _is_sensible(frame)):
                break
            frames[name] = frame
    return frames


def _is_sensible(frame: Entry) -> bool:
    """Whether an entry that was read back could have been written."""
    return all(type(value) is int for value in frame[:4]) and frame.height > 0 < frame.width


def _is_of_file(frame: Entry, path: Path) -> bool:
    try:
        now = path.stat()
    except OSError:
        return False
    return (now.st_size, now.st_mtime_ns) == (frame.file_size, frame.mtime_ns)


def _is_whole(frame: Entry, file: Path) -> bool:
    return file.is_file() and file.stat().st_size == 3 * frame.height * frame.width


def _is_sound(frame: Entry, file: Path) -> bool:
    return _sha256(StoredFrame(file, frame.height, frame.width).pixels()) == frame.sha256


def _write_frame(source: Path, target: Path) -> Entry:
    before = source.stat()  # not after reading: a file that changes meanwhile is then seen to have changed
    pixels = read_image(source)
    with write_aside(target) as aside:
        aside.write_bytes(np.ascontiguousarray(pixels).data)  # tofile hides that a disk is full
    return Entry(before.st_size, before.st_mtime_ns, *pixels.shape[:2], _sha256(pixels))


def _sha256(pixels: np.ndarray) -> str:
    return hashlib.sha256(pixels.reshape(-1)).hexdigest()


def _check_room(folder: Path, sources: list[Path]) -> None:
    needed = sum(map(_decoded_bytes, sources))
    existing = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise InputError(
            f"data.store={folder} needs {needed / 1e9:.1f} GB more, but there are {free / 1e9:.1f} GB free; "
            "name a folder on a larger disk"
        )


def _decoded_bytes(source: Path) -> int:
    width, height = header_size(source) or (0, 0)
    return 3 * width * height


def _in_parallel(
    work: Callable[[str], Any], names: Iterable[str], num_workers: int | None
) -> Iterator[tuple[str, Any]]:
    """Each name and ``work(name)``, in the order in which they are done; after an error no other is begun."""
    pool = ThreadPoolExecutor(num_workers)
    try:
        futures = {pool.submit(work, name): name for name in names}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)
