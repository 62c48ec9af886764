"""Whole files or none."""

import os
import stat

import pytest
from matplotlib.figure import Figure

from arcsr_lightning.data.pictures import load_picture, save_picture
from arcsr_lightning.errors import InputError
from arcsr_lightning.figures.style import save_figure
from arcsr_lightning.files import alone_in, files_below, remove_leftovers, write_aside, write_csv, write_text


def test_the_file_appears_whole_and_nothing_else_stays(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with write_aside(path) as aside:
        aside.write_text("new")
        assert not path.exists()
        assert aside.parent == path.parent and aside.suffix == path.suffix
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_keeps_the_old_file_and_removes_the_new_one(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), write_aside(path) as aside:  # noqa: PT012
        aside.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_writes_nothing_is_an_error_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), write_aside(path):
        pass
    assert path.read_text() == "old"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), OSError("3 requested and 2 written")])
def test_an_error_of_the_disk_names_the_file_that_was_meant(tmp_path, error):
    with pytest.raises(OSError, match=r"(No space|3 requested).*: '.*/a\.txt'"), write_aside(tmp_path / "a.txt"):
        raise error
    with pytest.raises(FileNotFoundError, match="elsewhere"), write_aside(tmp_path / "a.txt"):
        (tmp_path / "elsewhere").read_text()


def test_write_text_replaces_and_is_utf8(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    write_text(path, "σ = 10\n")
    assert path.read_bytes() == "σ = 10\n".encode()


def test_the_bytes_are_on_the_disk_before_the_name_and_the_name_before_it_returns(tmp_path, monkeypatch):
    path, synced = tmp_path / "a.txt", []
    fsync = os.fsync

    def recorded(descriptor):
        fsync(descriptor)
        synced.append(("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file", path.exists()))

    monkeypatch.setattr(os, "fsync", recorded)
    write_text(path, "new")
    assert synced == [("file", False), ("folder", True)]


def test_the_lock_of_a_folder_in_use_is_named(tmp_path):
    """Where a file system knows no locks, a killed process of another machine leaves it."""
    with (
        alone_in(tmp_path, "busy"),
        pytest.raises(InputError, match=f"busy; if no process is left, remove {tmp_path}/.lock$"),
    ):
        alone_in(tmp_path, "busy").__enter__()


def test_what_a_killed_process_was_writing_is_removed(tmp_path):
    process = os.fork()
    if not process:
        with write_aside(tmp_path / "a.txt"), write_aside(tmp_path / "b.txt") as aside:
            aside.write_text("half")
            os._exit(1)
    os.waitpid(process, 0)
    write_text(tmp_path / "c.txt", "whole")
    assert len(list(tmp_path.iterdir())) == 2
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "c.txt"]


@pytest.mark.parametrize("umask", [0o022, 0o027])
def test_whatever_is_written_can_be_read_by_whom_the_umask_lets(photos, tmp_path, umask):
    picture = load_picture(photos / "photo0.png")
    before = os.umask(umask)
    try:
        write_text(tmp_path / "a.txt", "text")
        write_csv(tmp_path / "a.csv", [{"a": 1}])
        save_figure(Figure(), tmp_path / "figure.png", dpi=50)
        for suffix in ("png", "jpg", "tif", "webp"):
            save_picture(tmp_path / f"picture.{suffix}", picture)
    finally:
        os.umask(before)
    files = list(tmp_path.iterdir())
    assert len(files) == 7
    assert {path.stat().st_mode & 0o777 for path in files} == {0o666 & ~umask}


def test_files_below_links_are_found_and_each_folder_once_though_links_run_in_a_circle(tmp_path):
    for name in ("pics/real/a.png", "other/deep/b.png"):
        write_text(tmp_path / name, "")
    links = {"pics/by_link": "../other", "pics/again": "../other", "pics/a_real": "real", "other/deep/up": "../../pics"}
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    found = sorted(str(path.relative_to(tmp_path)) for path in files_below(tmp_path / "pics"))
    assert found == ["pics/again/deep/b.png", "pics/real/a.png"]
