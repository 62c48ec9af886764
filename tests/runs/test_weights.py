"""What checkpoints hold, that they come back as they were, and that nothing in them is ever run."""

import json
import os
import pickle
import re
import sys
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch

from arcsr_lightning import load_model
from arcsr_lightning.errors import InputError
from arcsr_lightning.launch import build_network, compose
from arcsr_lightning.runs.weights import find_weights, load_weights, read_saved, shipped, write_safetensors
from arcsr_lightning.train import train
from tests.training.interruptions import last_checkpoint

OUTSIDE = "is from outside this package's networks, blocks and rivals"
NO_CLASS = "is no class derived from nn.Module"
NO_MODULE = "No module named"
HOSTILE = {
    "os.system": OUTSIDE,
    "arcsr_lightning.launch.os.system": OUTSIDE,
    "arcsr_lightning.networks.restorer.os.system": NO_MODULE,
    "arcsr_lightning.networks.arcsr.nn.Linear": NO_MODULE,
    "arcsr_lightning.networks.restorer.normalise_kernel": NO_CLASS,
    "arcsr_lightning.networks.restoration.NamedTuple": NO_CLASS,
    "arcsr_lightning.networks.restoration.Tensor": NO_CLASS,
    "arcsr_lightning.networks.restorer": NO_CLASS,
    "arcsr_lightning.networks.no_such_part": NO_CLASS,
    "arcsr_lightning.networks.__class__": NO_CLASS,
    "arcsr_lightning.networksandmore.Net": OUTSIDE,
    "arcsr_lightning.blocks.dm_block.functools.partial": NO_MODULE,
    "functools.partial": OUTSIDE,
    "torch.nn.Linear": OUTSIDE,
    "arcsr_lightning.train.main": OUTSIDE,
    "logging.FileHandler": OUTSIDE,
    "eval": "must be a class path",
    "..os.system": "must be a class path",
    "os;system": "must be a class path",
}
GUEST = """
import torch
from torch import nn

from arcsr_lightning.networks import Restoration


class Net(nn.Module):
    def __init__(self, scale, tail):
        super().__init__()
        self.scale = scale
        self.head = nn.Conv2d(3, 3 * scale**2, 3, padding=1)
        self.tail = tail

    def forward(self, lr):
        return Restoration(self.tail(self.head(lr)), None)


class Shuffle(nn.PixelShuffle):
    pass


class NoScale(nn.Module):
    pass


class Sprung(nn.Module):
    def __init__(self):
        raise RuntimeError("two lines\\nof it")


def make():
    return Net(4, Shuffle(4))
"""


def lr_image():
    return torch.rand(1, 3, 9, 13, generator=torch.Generator().manual_seed(0))


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
    config = last_checkpoint(trained)["hyper_parameters"]["config"]
    assert json.loads(json.dumps(config)) == config
    assert (config["scale"], config["kernel_size"], config["model"]["restorer"]["scale"]) == (4, 3, 4)
    assert "${" not in json.dumps(config)


def test_checkpoint_and_export_give_the_network_that_was_trained(configure, tmp_path):
    cfg = configure(tmp_path, "callbacks.ema=null", "trainer.max_steps=2", "test=false")
    train(cfg)
    raw = build_network(cfg.model).eval()
    state = last_checkpoint(tmp_path)["state_dict"]
    raw.load_state_dict({key.removeprefix("network."): value for key, value in state.items()})
    expected = raw(lr_image())
    for file in ("checkpoints/last.ckpt", "model.safetensors"):
        network = load_model(tmp_path / file)
        restored = network(lr_image())
        assert not network.training
        assert network.scale == 4
        assert torch.equal(restored.sr, expected.sr)
        assert torch.equal(restored.kernel, expected.kernel)


def test_loading_and_using_a_network_imports_nothing_that_it_does_not_use(trained, loaded):
    light = f"""
from arcsr_lightning import load_model
from arcsr_lightning.inference import restore
import torch
network = load_model({str(trained / "model.safetensors")!r})
assert restore(network, torch.rand(1, 3, 9, 13), tile=8, overlap=4).sr.shape == (1, 3, 36, 52)
"""
    assert loaded(light, "omegaconf", "rich", "torch._dynamo") == []
    assert loaded("import omegaconf", "omegaconf") == ["omegaconf"]  # so the list says something


def test_with_ema_the_averaged_weights_are_the_ones_that_load(trained):
    checkpoint = last_checkpoint(trained)
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
    write_safetensors(read_saved(trained / "model.safetensors"), tmp_path / "again.safetensors")
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
@pytest.mark.parametrize(("target", "reason"), HOSTILE.items(), ids=HOSTILE)
def test_a_class_path_of_a_file_leads_to_parts_of_this_package_only(trap, tmp_path, target, reason, suffix):
    calls = ({"_target_": target, "args": ["touch sprung"]}, {"_target_": target, "_partial_": True})
    nested = [{"_target_": "arcsr_lightning.networks.ArcSR", "estimator": None, "restorer": [call]} for call in calls]
    for model in (*calls, *nested):
        path = forge(tmp_path / f"forged{suffix}", model)
        with pytest.raises(InputError) as caught:
            load_model(path)
        assert str(caught.value).startswith(f"{path}: model.") and "\n" not in str(caught.value)
        assert f"_target_: '{target}'" in str(caught.value) or f"not '{target}'" in str(caught.value)
        assert reason in str(caught.value)


def test_a_module_that_is_not_trusted_is_not_even_imported(trap, tmp_path, monkeypatch):
    (tmp_path / "boobytrap.py").write_text("open('sprung', 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="outside this package"):
        load_model(forge(tmp_path / "forged.ckpt", {"_target_": "boobytrap.Net"}))


def deep(levels):
    node = 1
    for _ in range(levels):
        node = [node]
    return node


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"_args_": [4]}, "model._args_: a part has"),
        ({"_recursive_": "no"}, "model._recursive_: a part has"),
        ({"_convert_": "all"}, "model._convert_: a part has"),
        ({"_partial_": "yes"}, "model._partial_: must be true or false, not 'yes'"),
        ({"_partial_": True}, "is no network"),
        ({"_target_": ["a.B"]}, "must be a class path"),
        ({"_target_": None}, "must be a class path"),
        ({"scale": "two\nlines"}, "is no network"),
        ({"width": 4}, "TypeError: .* unexpected keyword argument 'width'"),
        ({"scale": deep(100)}, "plain data"),
        ({"scale": [0] * 20_000}, "plain data"),
    ],
)
@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_whatever_else_a_file_says_of_its_network_is_one_line(tmp_path, settings, words, suffix):
    path = forge(tmp_path / f"forged{suffix}", {"_target_": "arcsr_lightning.networks.Bicubic"} | settings)
    with pytest.raises(InputError, match=words) as caught:
        load_model(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_data_too_deep_to_read_or_without_an_end_are_one_line(tmp_path):
    path = tmp_path / "deep.safetensors"
    config = "[" * 100_000 + "]" * 100_000
    safetensors.torch.save_file({"x": torch.zeros(1)}, path, metadata={"config": config})
    with pytest.raises(InputError, match=r"deep\.safetensors: "):
        load_model(path)
    endless = []
    endless += [endless, endless]
    with pytest.raises(InputError, match="plain data"):
        load_model(forge(tmp_path / "endless.ckpt", endless))


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.zeros(2, 2).to_sparse(),
        lambda: torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.qint8),
        lambda: torch.zeros(1, device="meta"),
    ],
    ids=["sparse", "quantised", "meta"],
)
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_weights_that_are_no_ordinary_tensors_are_one_line(tmp_path, make):
    path = forge(tmp_path / "forged.ckpt", {"_target_": "arcsr_lightning.networks.Bicubic"})
    content = torch.load(path, weights_only=True)
    torch.save(content | {"state_dict": {"network.x": make()}}, path)
    with pytest.raises(InputError, match=r"forged\.ckpt: not a checkpoint"):
        load_model(path)


@pytest.fixture
def guest(tmp_path, monkeypatch):
    """A module ``mylab`` of the user's own."""
    monkeypatch.delenv("ARCSR_TRUSTED_MODULES", raising=False)
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "mylab.py").write_text(GUEST)
    monkeypatch.syspath_prepend(tmp_path / "path")
    yield tmp_path / "run"
    sys.modules.pop("mylab", None)


OWN_NETWORK = ("~model.estimator", "~model.restorer", "model._target_=mylab.Net", "+model.scale=${scale}")
OWN_PART = ("+model.tail._target_=mylab.Shuffle", "+model.tail.upscale_factor=${scale}")


def test_a_network_of_the_users_own_trains_exports_and_loads_where_it_is_trusted(guest, configure, monkeypatch):
    own = (*OWN_NETWORK, *OWN_PART, "loss=l1")
    cfg = configure(guest, *own, "trainer.max_steps=2", "callbacks.ema=null", sizes=False)
    train(cfg)
    files = (guest / "model.safetensors", guest / "checkpoints" / "last.ckpt")
    for path in files:
        with pytest.raises(InputError, match=r"'mylab\.Net' is from outside.* ARCSR_TRUSTED_MODULES=") as caught:
            load_model(path)
        assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    for others in ("mylab2", "my", "mylab.nets", "torch, other.mylab"):
        monkeypatch.setenv("ARCSR_TRUSTED_MODULES", others)
        with pytest.raises(InputError, match=r"'mylab\.Net' is from outside"):
            load_model(files[0])
    monkeypatch.setenv("ARCSR_TRUSTED_MODULES", "other, mylab,")
    state = last_checkpoint(guest)["state_dict"]
    for path in files:
        network = load_model(path)
        assert network(lr_image()).sr.shape == (1, 3, 36, 52)
        assert all(torch.equal(value, state[f"network.{key}"]) for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("mylab.NoScale", "'mylab.NoScale' is no network; a network is an nn.Module with `scale`"),
        ("mylab.make", "'mylab.make' is no class derived from nn.Module"),
        ("mylab.Missing", "'mylab.Missing' is no class derived from nn.Module"),
        ("mylabb.Net", "No module named 'mylabb'; is it installed, or on PYTHONPATH?"),
        ("mylab.Sprung", "mylab.Sprung: RuntimeError: two lines"),
        ("mylab.Net", "mylab.Net: TypeError: .*missing 2 required positional arguments: 'scale' and 'tail'"),
        ("broken.Net", "importing broken failed, SyntaxError: "),
        ("Net", "must be a class path such as mylab.nets.Net, not 'Net'"),
    ],
)
def test_what_is_no_network_of_the_users_own_is_one_line(guest, target, words):
    (guest.parent / "path" / "broken.py").write_text("def :")
    with pytest.raises(InputError, match=f"^model.*{words}") as caught:
        build_network({"_target_": target})
    assert "\n" not in str(caught.value)


def test_even_in_a_trusted_module_only_networks_are_called(trap, tmp_path, monkeypatch):
    monkeypatch.setenv("ARCSR_TRUSTED_MODULES", "os,subprocess")
    for model in (
        {"_target_": "os.system", "command": "touch sprung"},
        {"_target_": "subprocess.Popen", "args": "touch sprung", "shell": True},
    ):
        with pytest.raises(InputError, match=NO_CLASS):
            load_model(forge(tmp_path / "forged.ckpt", model))


@pytest.mark.parametrize("umask", [0o022, 0o027])
def test_an_export_is_as_readable_as_any_other_file(trained, tmp_path, umask):
    before = os.umask(umask)
    try:
        write_safetensors(read_saved(trained / "checkpoints" / "last.ckpt"), tmp_path / "model.safetensors")
    finally:
        os.umask(before)
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("pattern", ["**/*.ckpt", "**/*.csv", "**/*.json", "**/*.yaml", "**/*.safetensors"])
def test_whatever_a_run_writes_can_be_read_by_whom_the_umask_lets(trained, pattern):
    os.umask(umask := os.umask(0))  # it can only be read by setting it
    files = list(trained.glob(pattern))
    assert files
    assert {path.stat().st_mode & 0o777 for path in files} == {0o666 & ~umask}


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


# ---------------------------------------------------------------- which of them


def a_run(trained, folder, time, finished=True, tags=()):
    folder.mkdir(parents=True)
    saved = read_saved(trained / "model.safetensors")
    write_safetensors(saved._replace(config=saved.config | {"tags": list(tags)}), folder / "model.safetensors")
    os.utime(folder / "model.safetensors", (time, time))
    if finished:
        (folder / "finished.json").write_text("{}")
    return folder / "model.safetensors"


def test_the_latest_weights_are_those_of_the_newest_finished_run_that_was_meant(trained, tmp_path, caplog):
    a_run(trained, tmp_path / "task/runs/1", 1)
    meant = a_run(trained, tmp_path / "task/runs/2", 2)
    a_run(trained, tmp_path / "task/runs/3", 3, finished=False)
    a_run(trained, tmp_path / "task/runs/4", 4, tags=compose(["data=sample", "debug=limit", "task_name=mine"]).tags)
    with caplog.at_level("INFO"):
        assert find_weights("latest", tmp_path) == meant
    assert caplog.messages == [f"weights=latest: {meant}"]


def test_the_latest_run_may_lie_in_a_linked_folder(trained, tmp_path):
    a_run(trained, tmp_path / "scratch/runs/1", 1)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/task").symlink_to("../scratch")
    assert find_weights("latest", tmp_path / "logs") == tmp_path / "logs/task/runs/1/model.safetensors"


def test_where_nothing_is_said_the_latest_or_else_those_of_the_package_are_taken(trained, tmp_path, caplog):
    with caplog.at_level("INFO"):
        assert find_weights(None, tmp_path) == find_weights("arcsr_small", tmp_path) == shipped()["arcsr_small"]
    assert caplog.messages == [f"no finished run below {tmp_path}: weights=arcsr_small, which comes with the package"]
    assert (
        find_weights(None, tmp_path.parent)
        != a_run(trained, tmp_path / "task/runs/1", 1)
        == find_weights(None, tmp_path)
    )


def test_weights_of_the_package_go_by_their_name_unless_a_file_has_it(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_saved("arcsr_small").config["task_name"] == "arcsr_small"
    (tmp_path / "arcsr_small").write_bytes((trained / "model.safetensors").read_bytes())
    assert read_saved("arcsr_small").config["task_name"] != "arcsr_small"
    with pytest.raises(InputError, match=r"arcsr_smal: no such file; .* or a name \(arcsr_small\)"):
        load_model("arcsr_smal")


def test_a_cut_checkpoint_is_named_wherever_it_is_cut(trained, tmp_path):
    whole = (trained / "checkpoints" / "last.ckpt").read_bytes()
    path = tmp_path / "cut.ckpt"
    for part in range(60):
        path.write_bytes(whole[: len(whole) * part // 60])
        with pytest.raises(
            InputError, match=f"^{re.escape(str(path))}: not a checkpoint of this package, or a damaged"
        ):
            read_saved(path)


def test_a_pickle_that_torch_does_not_foresee_is_one_line(trained, tmp_path):
    with zipfile.ZipFile(trained / "checkpoints/last.ckpt") as whole, zipfile.ZipFile(tmp_path / "a.ckpt", "w") as file:
        for name in whole.namelist():
            refers_to_a_number = b"\x80\x02K\x05Q."
            file.writestr(name, refers_to_a_number if name.endswith("data.pkl") else whole.read(name))
    with pytest.raises(InputError, match="not a checkpoint of this package, or a damaged one"):
        read_saved(tmp_path / "a.ckpt")


@pytest.mark.parametrize("name", ["a.ckpt", "a.SAFETENSORS", "a"])
def test_a_safetensors_file_is_known_by_what_is_in_it(trained, tmp_path, name):
    (tmp_path / name).write_bytes((trained / "model.safetensors").read_bytes())
    assert read_saved(tmp_path / name).config == read_saved(trained / "model.safetensors").config


def test_nothing_recommends_to_load_what_is_in_a_foreign_file(tmp_path):
    with (tmp_path / "a.ckpt").open("wb") as file:
        pickle.dump(os.system, file)
    with pytest.raises(InputError) as caught:
        read_saved(tmp_path / "a.ckpt")
    assert "weights_only" not in str(caught.value) and "\x1b" not in str(caught.value)
    with pytest.raises(InputError, match="a folder, not a file"):
        read_saved(tmp_path)


@pytest.mark.parametrize("lacking", ["model.safetensors", "optimizer_states", "loops"])
def test_a_training_goes_on_only_from_what_has_its_state(configure, trained, tmp_path, lacking):
    path = trained / lacking
    if lacking != "model.safetensors":
        path = tmp_path / "a.ckpt"
        checkpoint = last_checkpoint(trained)
        checkpoint[lacking] = {}
        if lacking == "optimizer_states":
            del checkpoint[lacking]
        torch.save(checkpoint, path)
    with pytest.raises(InputError, match=f"has weights, but no state of a training; start from it with weights={path}"):
        train(configure(tmp_path, f"ckpt_path={path}"))
