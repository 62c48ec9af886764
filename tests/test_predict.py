"""What is restored, what is refused before anything is, and that nothing else is lost."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from arcsr_lightning import predict
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
    assert [line for line in said.out.splitlines() if line.startswith("out/")] == [
        "out/a.png",
        "out/c.webp",
        "out/e.png",
    ]
    assert said.err.splitlines()[-3:] == [
        "not restored: in/b.png is truncated, damaged or not an image; replace or remove it",
        "not restored: out/d.webp would be 20000x8, and .webp holds 16383 a side; name a .png file",
        "error: 2 pictures were not restored, for the reasons above: b.png, d.webp",
    ]


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
