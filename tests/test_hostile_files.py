"""Files with a few bytes changed, cut or moved: every reader reads them or names them in one line.

A few seconds here; ``make test-slow`` tries 10,000.
"""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from arcsr_lightning import load_model
from arcsr_lightning.data.images import read_image
from arcsr_lightning.data.layouts import Pair
from arcsr_lightning.data.measured import KernelStore, kernel_folder, write_kernels
from arcsr_lightning.data.pictures import Picture, encode_picture, load_picture
from arcsr_lightning.data.store import INDEX, UNFINISHED, open_store, write_store
from arcsr_lightning.degradation.kernel_files import read_kernels
from arcsr_lightning.errors import InputError

NUMBERS = (0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1)


def spoilt(data: bytes, rng: np.random.Generator) -> bytes:
    """One to four changes: a byte, a bit, a number, a piece lost, doubled, moved or cut off; mostly near the start."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        near = len(changed) if rng.random() < 0.5 else min(len(changed), 200)
        at = int(rng.integers(near + 1))
        piece = slice(at, at + int(rng.integers(1, 40)))
        match rng.integers(7):
            case 0:
                changed[at : at + 1] = rng.bytes(1)
            case 1 if at < len(changed):
                changed[at] ^= 1 << rng.integers(8)
            case 2:
                changed[at : at + 4] = struct.pack(rng.choice(["<I", ">I"]), NUMBERS[rng.integers(len(NUMBERS))])
            case 3:
                del changed[piece]
            case 4:
                changed[at:at] = changed[piece]
            case 5:
                elsewhere = int(rng.integers(len(changed) + 1))
                changed[elsewhere : elsewhere + len(changed[piece])] = changed[piece]
            case 6 if rng.random() < 0.3:
                del changed[at:]
    return bytes(changed)


def as_it_is(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    return change(data)


def inside_a_chunk(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """A PNG in which one chunk is changed and has the checksum of what it holds, else no reader looks into it."""
    chunks, at = [], 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    sizes = np.array([len(content) for _, content in chunks])
    filled = np.flatnonzero(sizes)
    chosen = filled[zlib.crc32(change(b"which")) % len(filled)]
    chunks = [(kind, change(content) if n == chosen else content) for n, (kind, content) in enumerate(chunks)]
    body = [struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks]
    return data[:8] + b"".join(body)


def inside_an_archive(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """An archive that is sound, the first of whose files is changed: a checkpoint's pickle, an array's header."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for number, name in enumerate(old.namelist()):
            new.writestr(name, old.read(name) if number else change(old.read(name)))
    return out.getvalue()


def complaint(read: Callable[[], object]) -> str:
    """What is said against a file, nothing where it is read."""
    try:
        read()
    except InputError as error:
        return str(error)
    return ""


Read = Callable[[Path], object]


def pictures(suffix: str, bits: int = 8) -> Callable[[Path, Path], tuple[Path, Read]]:
    def make(folder: Path, trained: Path) -> tuple[Path, Read]:
        pixels = torch.from_numpy(np.random.default_rng(0).random((3, 12, 9), np.float32))
        path = folder / f"a{suffix}"
        path.write_bytes(encode_picture(Picture(pixels, bits=bits, profile=b"profile"), suffix))
        return path, lambda path: (read_image(path), load_picture(path))

    return make


def weights(name: str) -> Callable[[Path, Path], tuple[Path, Read]]:
    def make(folder: Path, trained: Path) -> tuple[Path, Read]:
        (folder / "a").write_bytes((trained / name).read_bytes())
        return folder / "a", load_model

    return make


def photograph(folder: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 36, 3), dtype=np.uint8)
    (folder / "photos").mkdir()
    Image.fromarray(pixels).save(folder / "photos/a.png")
    return folder / "photos/a.png"


def finished_store(folder: Path, trained: Path) -> tuple[Path, Read]:
    photo, store = photograph(folder), folder / "store"
    write_store(store, [photo])
    return store / INDEX, lambda _: open_store(store, [photo])[photo].pixels()


def store_to_repair(folder: Path, trained: Path) -> tuple[Path, Read]:
    index, _ = finished_store(folder, trained)
    photo, store = folder / "photos/a.png", index.parent
    frame = json.loads(index.read_text(encoding="utf-8"))["frames"]["a.png"]
    (store / UNFINISHED).write_text(json.dumps(["a.png", *frame.values()]) + "\n", encoding="utf-8")

    def repair(_: Path) -> None:
        index.unlink(missing_ok=True)
        write_store(store, [photo])
        assert np.array_equal(open_store(store, [photo])[photo].pixels(), read_image(photo))

    return store / UNFINISHED, repair


def measured_kernels(folder: Path, trained: Path) -> tuple[Path, Read]:
    photo, store = photograph(folder), folder / "store"
    pair = Pair("a", photo, photo, at_lr_size=False)
    write_kernels(store, [pair], 2, 3)
    (path,) = kernel_folder(store, 2, 3).iterdir()
    return path, lambda _: KernelStore(store, [pair], 2, 3)(pair, 16, 18)


def kernel_file(folder: Path, trained: Path) -> tuple[Path, Read]:
    np.savez(folder / "k.npz", kernels=np.random.default_rng(0).random((2, 5, 5)))
    return folder / "k.npz", read_kernels


CASES = {
    **{suffix: (pictures(suffix), as_it_is) for suffix in (".png", ".jpg", ".bmp", ".tif", ".webp")},
    "chunk of a .png": (pictures(".png"), inside_a_chunk),
    "16-bit .png": (pictures(".png", bits=16), inside_a_chunk),
    "16-bit .tif": (pictures(".tif", bits=16), as_it_is),
    "checkpoint": (weights("checkpoints/last.ckpt"), as_it_is),
    "pickle of a checkpoint": (weights("checkpoints/last.ckpt"), inside_an_archive),
    "export": (weights("model.safetensors"), as_it_is),
    "index of a store": (finished_store, as_it_is),
    "store to repair": (store_to_repair, as_it_is),
    "measured kernels": (measured_kernels, as_it_is),
    "kernels in an archive": (measured_kernels, inside_an_archive),
    "kernel file": (kernel_file, as_it_is),
    "kernel file in an archive": (kernel_file, inside_an_archive),
}


@pytest.mark.filterwarnings("ignore")  # of libraries, about what is in the files
@pytest.mark.parametrize("count", [20, pytest.param(600, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", CASES)
def test_a_spoilt_file_is_read_or_named_in_one_line(name, count, tmp_path, trained):
    make, inside = CASES[name]
    path, read = make(tmp_path, trained)
    sound = path.read_bytes()
    read(path)

    @settings(max_examples=count, derandomize=True, deadline=None, database=None)
    @given(seed=st.integers(0, 2**32 - 1))
    def try_one(seed):
        path.write_bytes(inside(sound, lambda data: spoilt(data, np.random.default_rng(seed))))
        assert "\n" not in complaint(lambda: read(path))

    try_one()
