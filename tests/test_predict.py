"""What is restored, what is refused before anything is, and that nothing else is lost."""

import errno
import json
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from arcsr_lightning import predict
from arcsr_lightning.data.images import SUFFIXES, to_uint8
from arcsr_lightning.data.pictures import load_picture
from arcsr_lightning.errors import InputError
from arcsr_lightning.inference import run_network
from arcsr_lightning.launch import as_plain_data, build_network, compose
from arcsr_lightning.runs.weights import load_model

TINY = ["arcsr.estimator_width=4", "arcsr.estimator_levels=1", "arcsr.width=4", "arcsr.blocks=1", "kernel_size=3"]


@pytest.fixture(scope="module")
def tiny_network():
    cfg = compose(["data=sample", *TINY])
    return build_network(cfg.model), as_plain_data(cfg)


@pytest.fixture(scope="module")
def weights_of(tiny_network, tmp_path_factory):
    """``weights_of(change)``: a file with the weights of a tiny network after ``change(weights)``."""
    network, config = tiny_network

    def file(change=lambda weights: None):
        weights = {key: value.clone() for key, value in network.state_dict().items()}
        change(weights)
        path = tmp_path_factory.mktemp("weights") / "w.safetensors"
        safetensors.torch.save_file(weights, path, metadata={"config": json.dumps(config)})
        return path

    return file


@pytest.fixture(scope="module")
def weights(weights_of):
    return weights_of()


@pytest.fixture
def refused(run, capsys):
    """``refused(*typed)``: the line that arcsr-predict ends with."""

    def line(*typed):
        with pytest.raises(SystemExit) as ended:
            run(predict, *typed)
        assert ended.value.code == 1
        *_, last = capsys.readouterr().err.strip().splitlines()
        assert last.startswith("error: ")
        return last

    return line


def picture(path, size=(8, 6), mode="RGB"):
    path.parent.mkdir(exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def complaints(said):
    """What stands among the progress bars."""
    return [line for line in said.splitlines() if line.startswith(("not restored: ", "error: "))]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_folder_goes_on_after_a_bad_picture_and_ends_with_a_list(run, weights, tmp_path, capsys):
    for name in ("a.png", "c.webp", "e.png"):
        picture(tmp_path / "in" / name)
    (tmp_path / "in" / "b.png").write_bytes(b"no picture")
    picture(tmp_path / "in" / "d.webp", (5000, 2))
    with pytest.raises(SystemExit) as ended:
        run(predict, "input=in", "output=out", f"weights={weights}")
    said = capsys.readouterr()
    assert ended.value.code == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.png", "c.webp", "e.png"}
    assert said.out.splitlines() == ["out/a.png", "out/c.webp", "out/e.png"]
    assert complaints(said.err) == [
        "not restored: in/b.png is truncated, damaged or not an image; replace or remove it",
        "not restored: out/d.webp would be 20000x8, and .webp holds 16383 a side; name a .png file",
        "error: 2 pictures were not restored, for the reasons above: b.png, d.webp",
    ]


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("out of memory"), RuntimeError("x: can't allocate memory: y")]
)
def test_a_picture_that_memory_does_not_suffice_for_does_not_stop_those_after_it(
    run, weights, tmp_path, monkeypatch, capsys, error
):
    for number, side in enumerate((8, 12, 8)):
        picture(tmp_path / f"in/{number}.png", (side, side))
    healthy = predict.restore

    def small(network, lr, **settings):
        if lr.shape[-1] > 8:
            raise error
        return healthy(network, lr, **settings)

    monkeypatch.setattr(predict, "restore", small)
    with pytest.raises(SystemExit):
        run(predict, "input=in", "output=out", f"weights={weights}")
    said = capsys.readouterr().err
    assert (
        "not restored: in/1.png: memory does not suffice to restore it so; set a smaller tile, or tile=auto\n" in said
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.png", "2.png"]


@pytest.mark.parametrize(
    ("names", "typed", "words"),
    [
        (
            ["a.png", "a.jpg"],
            ["input=in", "output=out", "kernels=true"],
            "in/a.jpg and in/a.png would both become out/a_k",
        ),
        (["a.png", "a_kernels.png"], ["input=in", "output=out", "kernels=true"], "would both become out/a_kernels.png"),
        (
            ["q_kernels.png"],
            ["input=in/q_kernels.png", "output=in/q.png", "kernels=true", "overwrite=true"],
            "in/q_kernels.png would replace the input in/q_kernels.png",
        ),
        (["a.png"], ["input=in/a.png", "output=in/../in/a.png", "overwrite=true"], "would replace the input in/a.png"),
    ],
)
def test_names_that_collide_are_refused_before_the_first_is_restored(refused, weights, tmp_path, names, typed, words):
    for name in names:
        picture(tmp_path / "in" / name)
    before = contents(tmp_path / "in")
    assert words in refused(f"weights={weights}", *typed)
    assert contents(tmp_path / "in") == before and not (tmp_path / "out").exists()


def test_links_in_a_circle_are_one_line(refused, weights, tmp_path):
    (tmp_path / "loop.png").symlink_to("loop.png")
    picture(tmp_path / "a.png")
    assert "loop.png" in refused(f"weights={weights}", "input=loop.png", "output=b.png")
    assert "loop.png exists" in refused(f"weights={weights}", "input=a.png", "output=loop.png")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(refused, weights_of, tmp_path, value):
    path = weights_of(lambda weights: next(iter(weights.values())).view(-1)[3:4].fill_(value))
    picture(tmp_path / "a.png")
    assert f"{path}: weights that are not finite" in refused(f"weights={path}", "input=a.png", "output=b.png")
    assert not (tmp_path / "b.png").exists()


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.uint16, torch.complex64])
def test_weights_of_another_kind_are_refused(weights_of, dtype):
    path = weights_of(lambda weights: weights.update({key: value.to(dtype) for key, value in weights.items()}))
    with pytest.raises(ValueError, match=rf"{path}: damaged, .* is of {dtype}, not of torch.float32"):
        load_model(path)


def test_a_picture_that_is_not_finite_is_not_written(refused, weights_of, tmp_path):
    path = weights_of(lambda weights: [value.fill_(1e38) for value in weights.values() if value.is_floating_point()])
    picture(tmp_path / "a.png")
    assert "a.png: what the network makes of it is not finite" in refused(
        f"weights={path}", "input=a.png", "output=b.png"
    )
    assert not (tmp_path / "b.png").exists()


def test_a_network_without_kernels_is_refused_before_the_first_picture(refused, tmp_path):
    cfg = compose(["data=sample", "model=rrdb", "rrdb.width=4", "rrdb.growth=2", "rrdb.blocks=1"])
    state = build_network(cfg.model).state_dict()
    safetensors.torch.save_file(state, "w.safetensors", metadata={"config": json.dumps(as_plain_data(cfg))})
    picture(tmp_path / "a.png")
    line = refused("weights=w.safetensors", "input=a.png", "output=b.png", "kernels=true")
    assert line == "error: kernels=true: this network estimates no kernels; leave it out"
    assert not (tmp_path / "b.png").exists()


def test_a_picture_that_cannot_be_written_does_not_stop_those_after_it(run, weights, tmp_path, capsys):
    for name in ("a.png", "b.png", "c.png"):
        picture(tmp_path / "in" / name)
    (tmp_path / "out" / "b.png").mkdir(parents=True)
    with pytest.raises(SystemExit):
        run(predict, "input=in", "output=out", f"weights={weights}", "overwrite=true")
    said = capsys.readouterr()
    assert said.out.splitlines() == ["out/a.png", "out/c.png"]
    assert complaints(said.err) == [
        "not restored: out/b.png cannot be written (Is a directory)",
        "error: 1 picture was not restored, for the reason above: b.png",
    ]


def test_a_place_where_nothing_can_be_written_is_refused_before_the_first_picture(refused, weights, tmp_path):
    picture(tmp_path / "in" / "a.png")
    (tmp_path / "file").touch()
    line = refused("input=in", "output=file/out", f"weights={weights}")
    assert line == "error: file/out cannot be written (Not a directory); name another output"


def test_an_output_that_ends_with_a_slash_is_a_folder(run, weights, tmp_path):
    picture(tmp_path / "a.png")
    run(predict, "input=a.png", "output=new/", f"weights={weights}")
    assert (tmp_path / "new" / "a.png").is_file()


def test_a_full_disk_ends_a_folder(run, weights, tmp_path, monkeypatch, capsys):
    for name in ("a.png", "b.png", "c.png"):
        picture(tmp_path / "in" / name)

    def full(path, picture):
        raise InputError(f"{path} cannot be written") from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(predict, "save_picture", full)
    with pytest.raises(SystemExit):
        run(predict, "input=in", "output=out", f"weights={weights}")
    assert complaints(capsys.readouterr().err) == [
        "not restored: out/a.png cannot be written",
        "error: 3 pictures were not restored, for the reasons above: a.png, b.png, c.png",
    ]


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("load_picture", "in/a.png: memory does not suffice to read it"),
        ("save_picture", "out/a.png: memory does not suffice to write it"),
    ],
)
def test_lack_of_memory_for_a_file_does_not_stop_those_after_it(
    run, weights, tmp_path, monkeypatch, capsys, step, said
):
    for name in ("a.png", "b.png"):
        picture(tmp_path / "in" / name)
    healthy = getattr(predict, step)

    def small(path, *inputs):
        if path.name == "a.png":
            raise MemoryError
        return healthy(path, *inputs)

    monkeypatch.setattr(predict, step, small)
    with pytest.raises(SystemExit):
        run(predict, "input=in", "output=out", f"weights={weights}")
    assert f"not restored: {said}" in complaints(capsys.readouterr().err)
    assert (tmp_path / "out" / "b.png").is_file()


def test_a_picture_of_another_format_is_answered_with_those_that_are_read(refused, weights, tmp_path):
    picture(tmp_path / "a.gif")
    line = refused("input=a.gif", "output=b.png", f"weights={weights}")
    assert line == "error: a.gif is not of a format that is read; save it as one of " + " ".join(SUFFIXES)


def test_a_picture_of_kernels_that_cannot_be_written_does_not_stop_those_after_it(run, weights, tmp_path, capsys):
    for name in ("a.png", "b.png"):
        picture(tmp_path / "in" / name)
    (tmp_path / "out" / "a_kernels.png").mkdir(parents=True)
    with pytest.raises(SystemExit):
        run(predict, "input=in", "output=out", f"weights={weights}", "overwrite=true", "kernels=true")
    assert "not restored: out/a_kernels.png cannot be written (Is a directory)" in capsys.readouterr().err
    assert (tmp_path / "out" / "b_kernels.png").is_file()


def test_kernels_are_drawn_whatever_a_picture_is_called_and_however_slender_it_is(run, weights, tmp_path):
    picture(tmp_path / "in" / "x$_$y.png", (600, 2))
    run(predict, "input=in", "output=out", f"weights={weights}", "kernels=true")
    assert Image.open(tmp_path / "out" / "x$_$y_kernels.png").height < 10_000


def test_a_folder_does_not_hide_the_weights_that_come_with_the_package(run, tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "arcsr_small").mkdir()
    run(predict, "input=a.png", "output=b.png", "weights=arcsr_small")
    assert (tmp_path / "b.png").is_file()


@pytest.mark.parametrize(("ensemble", "precision"), [(8, 32), (1, "bf16"), (8, "bf16")])
def test_what_is_set_is_what_the_network_is_asked_for(run, weights, tmp_path, ensemble, precision):
    picture(tmp_path / "a.png", (40, 30))
    settings = [f"ensemble={ensemble}", f"precision={precision}", "tile=auto"]
    run(predict, f"weights={weights}", "input=a.png", "output=b.png", *settings)
    lr = load_picture(tmp_path / "a.png").rgb[None]
    expected = run_network(load_model(weights), lr, ensemble, precision).sr[0]
    np.testing.assert_array_equal(np.asarray(Image.open("b.png")), to_uint8(expected))


def test_tile_auto_is_refused_where_nothing_fits_and_has_a_size_where_nothing_is_told(
    run, refused, weights, tmp_path, monkeypatch, capsys
):
    picture(tmp_path / "a.png")
    typed = [f"weights={weights}", "input=a.png", "output=b.png", "tile=auto"]
    monkeypatch.setattr(predict, "free_memory", lambda device: 1_000_000)
    assert "tile=auto: 1 MB are free, and a tile of twice overlap=32 wants" in refused(*typed)
    assert not (tmp_path / "b.png").exists()
    monkeypatch.setattr(predict, "free_memory", lambda device: None)
    run(predict, *typed)
    assert "tile=auto: 256, as this system does not tell" in capsys.readouterr().err
    assert (tmp_path / "b.png").exists()


# --- videos


@pytest.fixture
def clip(tmp_path):
    """Six frames, 32 x 24."""
    av = pytest.importorskip("av", reason='needs "arcsr-lightning[video]"')
    with av.open("clip.mp4", "w", options={"movflags": "faststart"}) as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "1", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for number in range(6):
            frame = np.random.default_rng(number).integers(0, 256, (3, 4, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode(None))
    return tmp_path / "clip.mp4"


@pytest.mark.parametrize(("suffix", "coding"), [("flv", "flv1"), ("mxf", "mpeg2video"), ("vob", "mpeg2video")])
def test_videos_of_other_formats_are_restored(run, weights, clip, suffix, coding):
    import av

    with av.open(f"clip.{suffix}", "w") as out:
        stream = out.add_stream(coding, rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for pixels in frames(clip):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode(None))
    run(predict, f"weights={weights}", f"input=clip.{suffix}", "output=restored.mp4")
    assert len(frames("restored.mp4")) == 6


def frames(path):
    import av

    from arcsr_lightning.data.video import EXACT

    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24", interpolation=EXACT) for frame in container.decode(video=0)]


def test_a_video_is_what_the_network_makes_of_its_frames_and_is_not_replaced_without_leave(
    run, refused, weights, clip, capsys
):
    typed = [f"weights={weights}", "input=clip.mp4", "output=restored.mp4", "kernels=true"]
    run(predict, *typed)
    assert capsys.readouterr().out.splitlines()[-2:] == ["restored.mp4", "restored_kernels.mp4"]
    network = load_model(weights)
    for before, after in zip(frames(clip), frames("restored.mp4"), strict=True):
        lr = torch.from_numpy(before).permute(2, 0, 1)[None] / 255
        expected = to_uint8(run_network(network, lr).sr[0]).astype(int)
        assert np.abs(expected - after).mean() < 6  # of coding, which halves the colours
    assert [frame.shape for frame in frames("restored_kernels.mp4")] == 6 * [(24, 32, 3)]
    assert "restored.mp4 exists; choose another output" in refused(*typed)
    run(predict, *typed, "overwrite=true")


def test_a_damaged_video_is_restored_up_to_the_damage_and_said_so(run, weights, clip, capsys):
    data = clip.read_bytes()
    clip.write_bytes(data[: len(data) * 3 // 4])
    with pytest.raises(SystemExit) as ended:
        run(predict, f"weights={weights}", "input=clip.mp4", "output=restored.mp4")
    said = capsys.readouterr()
    assert ended.value.code == 1
    assert "restored.mp4" in said.out.splitlines()
    done = len(frames("restored.mp4"))
    last = said.err.splitlines()[-1]
    assert 1 < done < 6
    assert last.startswith(f"error: clip.mp4 is damaged after frame {done}: ")
    assert last.endswith("; restored.mp4 ends there")


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["output=restored.png"], "restored.png has no video format of ours; name a file ending in .mp4 .mov .mkv"),
        (["output=./clip.mp4", "overwrite=true"], "clip.mp4 would replace the input clip.mp4"),
        (["output=frames.mp4", "input=gone.mp4"], "gone.mp4 is missing; name a video"),
    ],
)
def test_what_is_refused_of_a_video_leaves_nothing_behind(refused, weights, clip, typed, words):
    before = contents(clip.parent)
    assert words in refused(f"weights={weights}", "input=clip.mp4", *typed)
    assert contents(clip.parent) == before and not list(clip.parent.glob("*.segments"))


def test_without_the_extra_a_video_says_what_to_install(refused, weights, clip, monkeypatch):
    class Without:
        def find_spec(self, name, path=None, target=None):
            if name == "av":
                raise ModuleNotFoundError("No module named 'av'")

    ours = ("arcsr_lightning.videos", "arcsr_lightning.data.video")
    for name in [name for name in sys.modules if name.split(".")[0] == "av" or name in ours]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Without(), *sys.meta_path])
    assert refused(f"weights={weights}", "input=clip.mp4", "output=restored.mp4") == (
        'error: a video needs more packages; pip install ".[video]" in the clone'
    )
