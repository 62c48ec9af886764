"""What checkpoints hold, that they come back as they were, and that nothing in them is ever run."""

import json
import os
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch

from arcsr_lightning import load_model
from arcsr_lightning.errors import InputError
from arcsr_lightning.launch import build_network
from arcsr_lightning.runs.weights import export, load_weights, read_saved
from arcsr_lightning.train import train

HOSTILE = [
    "os.system",
    "arcsr_lightning.launch.os.system",
    "arcsr_lightning.networks.arcsr.nn.Linear",
    "arcsr_lightning.networks.restorer.normalise_kernel",
    "arcsr_lightning.networks.no_such_part",
    "torch.nn.Linear",
    "arcsr_lightning.train.main",
    "logging.FileHandler",
]


def lr_image():
    return torch.rand(1, 3, 9, 13, generator=torch.Generator().manual_seed(0))


def checkpoint_of(run: Path) -> dict:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def forge(path: Path, model, kernel_size=3) -> Path:
    """A file that looks like a checkpoint of this package, with ``model`` as its network's configuration."""
    config = {"model": model, "method": "arcsr", "scale": 4, "kernel_size": kernel_size}
    if path.suffix == ".safetensors":
        safetensors.torch.save_file({"x": torch.zeros(1)}, path, metadata={"config": json.dumps(config)})
    else:
        torch.save({"state_dict": {"network.x": torch.zeros(1)}, "hyper_parameters": {"config": config}}, path)
    return path


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A file that any of the hostile calls would make."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "sprung"
    assert not (tmp_path / "sprung").exists()


def test_a_checkpoint_holds_its_configuration_as_plain_data(trained):
    config = checkpoint_of(trained)["hyper_parameters"]["config"]
    assert json.loads(json.dumps(config)) == config
    assert (config["scale"], config["kernel_size"], config["model"]["restorer"]["scale"]) == (4, 3, 4)
    assert "${" not in json.dumps(config)


def test_checkpoint_and_export_give_the_network_that_was_trained(configure, tmp_path):
    cfg = configure(tmp_path, "callbacks.ema=null", "trainer.max_steps=2", "test=false")
    train(cfg)
    raw = build_network(cfg.model).eval()
    state = checkpoint_of(tmp_path)["state_dict"]
    raw.load_state_dict({key.removeprefix("network."): value for key, value in state.items()})
    expected = raw(lr_image())
    for file in ("checkpoints/last.ckpt", "model.safetensors"):
        network = load_model(tmp_path / file)
        restored = network(lr_image())
        assert not network.training
        assert network.scale == 4
        assert torch.equal(restored.sr, expected.sr)
        assert torch.equal(restored.kernel, expected.kernel)


def test_with_ema_the_averaged_weights_are_the_ones_that_load(trained):
    checkpoint = checkpoint_of(trained)
    averaged, raw = checkpoint["state_dict"], checkpoint["current_model_state"]
    own = load_model(trained / "checkpoints" / "last.ckpt").state_dict()
    assert any(not torch.equal(averaged[key], raw[key]) for key in raw)
    assert all(torch.equal(own[key], averaged[f"network.{key}"]) for key in own)


def test_the_export_holds_the_best_checkpoint(trained):
    (best,) = (trained / "checkpoints").glob("best_*.ckpt")
    saved, exported = read_saved(best), read_saved(trained / "model.safetensors")
    assert exported.config == saved.config
    assert exported.weights.keys() == saved.weights.keys()
    assert all(torch.equal(exported.weights[key], value) for key, value in saved.weights.items())


def test_an_export_can_be_exported_again(trained, tmp_path):
    export(trained / "model.safetensors", tmp_path / "again.safetensors")
    first, again = (
        load_model(path)(lr_image()).sr for path in (trained / "model.safetensors", tmp_path / "again.safetensors")
    )
    assert torch.equal(first, again)


def missing(path, good):
    return path


def text(path, good):
    path.write_text("no checkpoint")
    return path


def empty(path, good):
    path.touch()
    return path


def truncated(path, good):
    path.write_bytes(good.with_suffix(path.suffix).read_bytes()[:-3000])
    return path


def cut_to_a_header(path, good):
    path.write_bytes(good.with_suffix(path.suffix).read_bytes()[:100])
    return path


def state_dict_of_another_program(path, good):
    weights = torch.nn.Linear(2, 2).state_dict()
    (safetensors.torch.save_file if path.suffix == ".safetensors" else torch.save)(weights, path)
    return path


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
@pytest.mark.parametrize("spoil", [missing, text, empty, truncated, cut_to_a_header, state_dict_of_another_program])
def test_a_file_that_is_no_checkpoint_is_named_in_one_line(trained, tmp_path, spoil, suffix):
    for file in ("checkpoints/last.ckpt", "model.safetensors"):
        (tmp_path / f"good{Path(file).suffix}").write_bytes((trained / file).read_bytes())
    path = spoil(tmp_path / f"weights{suffix}", tmp_path / "good.ckpt")
    with pytest.raises(InputError, match=f"weights{suffix}: ") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        torch.zeros(3),
        [1, 2],
        {"state_dict": [1], "hyper_parameters": {"config": {"model": {}}}},
        {"state_dict": {"network.x": 1}, "hyper_parameters": {"config": {"model": {}}}},
        {"state_dict": {"network.x": torch.zeros(1)}, "hyper_parameters": None},
        {"state_dict": {"network.x": torch.zeros(1)}, "hyper_parameters": {"config": None}},
        {"state_dict": {"network.x": torch.zeros(1)}, "hyper_parameters": {"config": {"model": None}}},
        {"state_dict": {"network.x": torch.zeros(1)}, "hyper_parameters": {"config": {"model": {"width": 4}}}},
    ],
)
def test_other_data_saved_by_torch_is_named_in_one_line(tmp_path, content):
    path = tmp_path / "weights.ckpt"
    torch.save(content, path)
    with pytest.raises(InputError, match="weights.ckpt: ") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("model.restorer.width=8", "another architecture"),
        ("model.restorer.blocks=2", "another architecture"),
        ("ablation=no_kernel", "another architecture"),
        ("scale=2", "scale"),
    ],
)
def test_weights_of_another_architecture_or_scale_are_named(configure, trained, tmp_path, override, reason):
    path = trained / "model.safetensors"
    network = build_network(configure(tmp_path, override).model)
    with pytest.raises(InputError, match=rf"model.safetensors: .*{reason}.*scale=4, kernel_size=3") as caught:
        load_weights(network, read_saved(path), path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
@pytest.mark.parametrize("target", HOSTILE)
def test_a_class_path_from_outside_the_networks_is_refused(trap, tmp_path, target, suffix):
    call = {"_target_": target, "_args_": ["touch sprung"]}
    for model in (call, {"_target_": "arcsr_lightning.networks.ArcSR", "estimator": None, "restorer": [call]}):
        path = forge(tmp_path / f"forged{suffix}", model)
        with pytest.raises(
            InputError, match=rf"forged{suffix}: .*'{target}' is not a network or block of this package"
        ):
            load_model(path)


@pytest.mark.parametrize(
    "restorer",
    [
        ({"_target_": "logging.FileHandler", "filename": "sprung"},),  # a tuple, which becomes a list
        "${oc.create:{_target_:logging.FileHandler,filename:sprung}}",  # an interpolation, which becomes a call
        "${oc.env:HOME}",
    ],
)
def test_a_configuration_that_is_not_plain_data_is_refused(trap, tmp_path, restorer):
    model = {"_target_": "arcsr_lightning.networks.ArcSR", "estimator": None, "restorer": restorer}
    with pytest.raises(InputError, match="forged.ckpt: .*plain data"):
        load_model(forge(tmp_path / "forged.ckpt", model))


def test_nor_may_any_other_setting_build_something(trap, tmp_path):
    setting = (
        "${oc.create:{_target_:logging.FileHandler,filename:sprung}}"  # evaluate hands kernel_size to the data sets
    )
    with pytest.raises(InputError, match="forged.safetensors: .*plain data"):
        load_model(forge(tmp_path / "forged.safetensors", {"_target_": "arcsr_lightning.networks.Bicubic"}, setting))


class Sprung:
    """Makes the trap's file when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch sprung",)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_with_side_effects_is_refused(trap, tmp_path, legacy):
    path = tmp_path / "weights.ckpt"
    content = {"state_dict": {"network.x": torch.zeros(1)}, "hyper_parameters": {"config": Sprung()}}
    if legacy:
        path.write_bytes(pickle.dumps(Sprung()))
    else:
        torch.save(content, path)
    with pytest.raises(InputError, match="weights.ckpt: not a checkpoint"):
        load_model(path)
