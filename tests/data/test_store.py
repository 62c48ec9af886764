import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from arcsr_lightning.data import (
    Pair,
    PairedEvaluation,
    PairedTraining,
    SyntheticEvaluation,
    SyntheticTraining,
    gopro_pairs,
    image_files,
    read_image,
    reds_pairs,
    store,
)
from arcsr_lightning.data.store import StoredFrame, open_store, write_store
from arcsr_lightning.degradation import Degradation, MotionField
from arcsr_lightning.errors import InputError
from tests.conftest import slow
from tests.data.samples import contents, same


def save(path, seed=0, height=12, width=17):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def images(tmp_path):
    return [save(tmp_path / "images" / name, seed) for seed, name in enumerate(["a/x.png", "a/y.png", "b/x.png"])]


@pytest.fixture
def folder(tmp_path, images):
    """A finished store of ``images``."""
    write_store(tmp_path / "store", images)
    return tmp_path / "store"


@pytest.fixture
def decoded(monkeypatch):
    """The names of the files that were decoded into a store since the test began."""
    names = []

    def read(path):
        names.append(path.name)
        return read_image(path)

    monkeypatch.setattr(store, "read_image", read)
    return names


def test_a_stored_frame_is_what_reading_its_file_gives(tmp_path):
    files = [save(tmp_path / "images" / name, 1) for name in ("x.png", "x.jpg", "deep/er.webp")]
    Image.fromarray(np.arange(200, dtype=np.uint8).reshape(10, 20)).save(tmp_path / "images" / "grey.png")
    upright = Image.open(files[0])
    exif = upright.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    upright.save(tmp_path / "images" / "turned.jpg", exif=exif)
    files = image_files(tmp_path / "images", recursive=True)
    assert write_store(tmp_path / "store", files) == 5
    stored = open_store(tmp_path / "store", files)
    for path in files:
        np.testing.assert_array_equal(stored[path].pixels(), read_image(path))
        assert not stored[path].pixels().flags.writeable
    assert stored[tmp_path / "images" / "turned.jpg"].pixels().shape == (17, 12, 3)


@pytest.mark.parametrize("second_crop", [False, True])
@pytest.mark.parametrize("layout", ["gopro", "reds", "reds in one size", "folder"])
def test_samples_from_the_store_are_those_from_the_files(tmp_path, gopro_tree, reds_tree, photos, layout, second_crop):
    training = {"patch_size": 32, "seed": 5, "second_crop": second_crop}
    if layout == "folder":
        paths = image_files(photos)
        blur = (Degradation(MotionField(5, 4)), 4, 3)
        write_store(tmp_path, paths)
        sets = [
            (
                SyntheticTraining(paths, *blur, **training, store=where),
                SyntheticEvaluation(paths, *blur, 10, store=where),
            )
            for where in (None, tmp_path)
        ]
    else:
        pairs = reds_pairs(reds_tree, "train") if layout == "reds" else gopro_pairs(gopro_tree, "train")
        if layout == "reds in one size":
            pairs = [pair._replace(degraded=pair.hr) for pair in reds_pairs(reds_tree, "train")]
            pairs = [pair._replace(at_lr_size=False) for pair in pairs]
        write_store(tmp_path, [path for pair in pairs for path in (pair.hr, pair.degraded)])
        sets = [
            (PairedTraining(pairs, 4, **training, store=where), PairedEvaluation(pairs, 4, 10, store=where))
            for where in (None, tmp_path)
        ]
    (train, evaluation), (stored_train, stored_evaluation) = sets
    assert all(same(stored_train[number], train[number]) for number in range(12))
    assert all(same(one, other) for one, other in zip(stored_evaluation, evaluation, strict=True))


@pytest.mark.skipif(sys.platform == "win32", reason="needs files with holes")
def test_a_crop_reads_nothing_but_its_rows(tmp_path):
    """Frames of 60 GB, which no memory holds, are cropped in no time."""
    height, width = 100_000, 200_000
    paths = [save(tmp_path / f"{name}.png") for name in ("sharp", "blur")]
    for path in paths:
        with path.with_suffix(".rgb").open("wb") as file:
            file.truncate(3 * height * width)
    stored = {path: StoredFrame(path.with_suffix(".rgb"), height, width) for path in paths}
    paired = PairedTraining([Pair("0", *paths, at_lr_size=False)], 4, 64, (0, 0))
    synthetic = SyntheticTraining(paths[:1], Degradation(MotionField(5, 4)), 4, 3, 64, (0, 0))
    for dataset in (paired, synthetic):
        dataset.read.stored = stored
        for number in range(3):
            assert dataset[number]["hr"].shape == (3, 64, 64)
            assert not dataset[number]["lr"].any()


def test_a_store_is_finished_once_and_then_left_alone(folder, images, decoded):
    before = contents(folder)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert write_store(folder, images) == 0
    assert write_store(folder, images, verify=True) == 0
    assert contents(folder) == before
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times
    assert decoded == []


def test_only_new_and_changed_images_are_decoded_again(folder, images, decoded):
    save(images[1], seed=8)
    more = [*images, save(images[0].with_name("z.png"), seed=9)]
    assert write_store(folder, more) == 2
    assert sorted(decoded) == ["y.png", "z.png"]
    stored = open_store(folder, more)
    assert all(np.array_equal(stored[path].pixels(), read_image(path)) for path in more)


def test_images_that_moved_with_their_times_are_not_decoded_again(folder, images, decoded, tmp_path):
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    moved = [tmp_path / "elsewhere" / path.relative_to(tmp_path / "images") for path in images]
    with pytest.raises(InputError, match="is not in the store"):
        open_store(folder, moved)
    assert write_store(folder, moved) == 0
    assert decoded == []
    np.testing.assert_array_equal(open_store(folder, moved)[moved[2]].pixels(), read_image(moved[2]))


def test_frames_of_another_folder_are_others_whatever_their_size_and_time(tmp_path):
    first, second = (save(tmp_path / name / "x.bmp", seed) for seed, name in enumerate("ab"))
    os.utime(second, ns=(0, first.stat().st_mtime_ns))
    assert first.stat().st_size == second.stat().st_size
    write_store(tmp_path / "store", [first])
    assert write_store(tmp_path / "store", [second]) == 1
    np.testing.assert_array_equal(open_store(tmp_path / "store", [second])[second].pixels(), read_image(second))


def test_what_the_store_holds_for_other_lists_of_images_stays(folder, images):
    more = [images[0], save(images[0].parents[1] / "c" / "x.png")]
    assert write_store(folder, more) == 1
    assert len(open_store(folder, [*images, *more])) == 4


def test_frames_stay_when_images_of_a_folder_beside_theirs_come_or_go(folder, images, decoded):
    more = [*images, save(images[0].parents[2] / "a/a/x.png")]
    assert write_store(folder, more) == 1
    assert decoded == ["x.png"]
    stored = open_store(folder, more)
    assert all(np.array_equal(stored[path].pixels(), read_image(path)) for path in more)
    assert len(list(folder.rglob("*.rgb"))) == 4
    assert write_store(folder, images) == 0


def test_frames_of_images_that_are_gone_are_removed(folder, images):
    images[0].unlink()
    new = save(images[0].with_name("new.png"))
    assert write_store(folder, [*images[1:], new]) == 1
    assert {path.stem for path in folder.rglob("*.rgb")} == {"new.png", "x.png", "y.png"}
    assert not (folder / "a/x.png.rgb").exists()


def test_paths_may_be_relative(tmp_path, monkeypatch, images, folder):
    monkeypatch.chdir(tmp_path / "images")
    (relative,) = open_store("../store", [image_files("a")[0]]).values()
    np.testing.assert_array_equal(relative.pixels(), read_image(images[0]))
    assert write_store("../store", image_files(".", recursive=True)) == 0


def break_store(folder, images):
    frame = folder / "a" / "x.png.rgb"
    return {
        "no store": (lambda: shutil.rmtree(folder), "holds no finished store"),
        "no index": (lambda: (folder / "index.json").unlink(), "holds no finished store"),
        "cut index": (lambda: os.truncate(folder / "index.json", 100), "holds no finished store"),
        "foreign index": (lambda: (folder / "index.json").write_text("[1]"), "holds no finished store"),
        "unknown image": (lambda: images.append(save(images[0].with_name("new.png"))), r"new.png is not in the store"),
        "changed image": (lambda: save(images[0], seed=7, width=20), r"x.png changed after"),
        "touched image": (lambda: os.utime(images[0]), r"x.png changed after"),
        "missing image": (lambda: images[0].unlink(), r"x.png changed after"),
        "missing frame": (lambda: frame.unlink(), r"x.png.rgb is missing or cut"),
        "cut frame": (lambda: os.truncate(frame, 100), r"x.png.rgb is missing or cut"),
    }


@pytest.mark.parametrize("name", break_store(Path(), []))
def test_a_store_that_does_not_hold_the_images_as_they_are_is_refused(folder, images, name):
    harm, words = break_store(folder, images)[name]
    harm()
    with pytest.raises(InputError, match=words) as error:
        open_store(folder, images)
    assert f"run arcsr-prepare with the same data=, data.kernels= and scale=, and data.store={folder}" in str(
        error.value
    )
    assert "\n" not in str(error.value)
    if name != "missing image":
        write_store(folder, images)
        assert np.array_equal(open_store(folder, images)[images[0]].pixels(), read_image(images[0]))


def test_verifying_finds_a_damaged_frame_and_writes_it_anew(folder, images, decoded):
    before = contents(folder)
    frame = folder / "b" / "x.png.rgb"
    damaged = bytearray(frame.read_bytes())
    damaged[5] ^= 1
    frame.write_bytes(damaged)
    assert write_store(folder, images) == 0
    assert write_store(folder, images, verify=True) == 1
    assert contents(folder) == before
    assert decoded == ["x.png"]


def test_an_unreadable_image_is_named_and_the_others_are_kept(tmp_path, images, decoded):
    whole = images[2].read_bytes()
    images[2].write_bytes(whole[:100])
    with pytest.raises(InputError, match=r"b/x.png is truncated, damaged or not an image"):
        write_store(tmp_path / "store", images, num_workers=1)
    with pytest.raises(InputError, match="holds no finished store"):
        open_store(tmp_path / "store", images)
    images[2].write_bytes(whole)
    decoded.clear()
    assert write_store(tmp_path / "store", images, num_workers=1) == 1
    assert decoded == ["x.png"]


def test_room_is_asked_for_before_anything_is_written(tmp_path, images, monkeypatch):
    disk = namedtuple("disk", "free")
    needed = 3 * 12 * 17 * 3
    monkeypatch.setattr(shutil, "disk_usage", lambda path: disk(needed - 1))
    with pytest.raises(InputError, match=r"data.store=.* needs 0.0 GB more, but there are 0.0 GB free"):
        write_store(tmp_path / "store", images)
    assert not (tmp_path / "store").exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: disk(needed))
    assert write_store(tmp_path / "store", images) == 3


def test_a_line_that_was_being_written_when_the_run_was_killed_is_not_believed(folder, images, decoded):
    entries = json.loads((folder / "index.json").read_text())["frames"]
    lines = [json.dumps([name, *entry.values()]) for name, entry in entries.items()]
    (folder / "index.json").unlink()
    (folder / "unfinished.jsonl").write_text("\n".join(lines)[:-4])
    assert write_store(folder, images) == 1
    assert decoded == ["x.png"]
    assert not (folder / "unfinished.jsonl").exists()
    assert len(open_store(folder, images)) == 3


# A process that forks writers and lets each be killed at a later touch of a file in the store than the one before it.
# What it prints per writer: the state of the store then, and how many frames the next run had to write.
KILLED = """
import json, os, shutil, signal, sys
from pathlib import Path

import numpy as np

from arcsr_lightning.data.store import open_store, write_store
from arcsr_lightning.errors import InputError

begin, folder, images = Path(sys.argv[1]), Path(sys.argv[2]), [Path(name) for name in sys.argv[3:]]


def write(moment=None):
    touches = 0

    def watch(event, arguments):
        nonlocal touches
        if event in ("open", "os.rename", "os.remove", "os.mkdir") and str(arguments[0]).startswith(str(folder)):
            touches += 1
            if touches == moment:
                os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        sys.addaudithook(watch)
        os._exit(write_store(folder, images, num_workers=2))
    return os.waitpid(child, 0)[1]


def state():
    try:
        stored = open_store(folder, images)
    except InputError:
        return "refused"
    right = (np.array_equal(frame.pixels(), np.load(f"{path}.npy")) for path, frame in stored.items())
    return "complete" if all(right) else "wrong"


def recorded():
    lines = folder / "unfinished.jsonl"
    return len(lines.read_text().splitlines()) if lines.is_file() else None


moment, status = 0, signal.SIGKILL
while status == signal.SIGKILL:
    moment += 1
    shutil.rmtree(folder, ignore_errors=True)
    if begin.is_dir():
        shutil.copytree(begin, folder)
    status = write(moment)
    then, lines = state(), recorded()
    again = os.waitstatus_to_exitcode(write())
    left = [path.name for pattern in ("*.jsonl", ".part-*") for path in folder.rglob(pattern)]
    print(json.dumps([then, lines, again, state(), left]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the writers are forked")
@pytest.mark.parametrize("kind", [slow("new store"), "one image of a store changed"])
def test_a_run_killed_at_any_touch_of_a_file_is_never_taken_for_complete(tmp_path, images, kind):
    images = images[1:]
    begin = tmp_path / "begin"
    if kind != "new store":
        write_store(begin, images)
        save(images[0], seed=11)
    for path in images:
        np.save(f"{path}.npy", read_image(path))
    command = [sys.executable, "-c", KILLED, *map(str, (begin, tmp_path / "store", *images))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    moments = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(moments) > 12
    for then, lines, written, afterwards, left in moments:
        assert then in ("refused", "complete")
        assert (written == 0) == (lines == 2 or then == "complete")
        if lines is not None:
            assert written == 2 - lines  # what was finished is not decoded again
        assert (afterwards, left) == ("complete", [])
    assert moments[0][0] == "refused" and moments[-1][0] == "complete"


@pytest.mark.parametrize(
    "change",
    [
        {"height": 64.0},
        {"height": None},
        {"height": -64},
        {"width": "17"},
        {"width": True},
        {"mtime_ns": []},
        {"more": 1},
    ],
    ids=repr,
)
def test_an_index_with_impossible_sizes_is_no_index_and_is_repaired(folder, images, change):
    whole = json.loads((folder / "index.json").read_text())
    broken = json.loads((folder / "index.json").read_text())
    broken["frames"]["b/x.png"] |= change
    (folder / "index.json").write_text(json.dumps(broken))
    with pytest.raises(InputError, match="holds no finished store of frames; run arcsr-prepare"):
        open_store(folder, images)
    write_store(folder, images)
    assert json.loads((folder / "index.json").read_text()) == whole


def test_an_index_of_endless_brackets_is_repaired(folder, images):
    (folder / "index.json").write_text("[" * 100_000)
    (folder / "unfinished.jsonl").write_text("[" * 100_000 + "\n[1, 2, 3, 4, 5, 6]\n")
    write_store(folder, images)
    assert open_store(folder, images).keys() == set(images)
