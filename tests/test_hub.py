"""A network goes to the Hub's libraries and torch.hub, and comes back as it was."""

import json
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch

from arcsr_lightning import compose, load_model
from arcsr_lightning.launch import as_plain_data, build_network
from arcsr_lightning.runs import weights
from arcsr_lightning.runs.weights import Saved, write_safetensors

huggingface_hub = pytest.importorskip("huggingface_hub", reason='needs "arcsr-lightning[hub]"')

from arcsr_lightning import hub  # noqa: E402
from arcsr_lightning.hub import HubNetwork  # noqa: E402

ROOT = Path(__file__).parents[1]
TINY = ["arcsr.estimator_width=4", "arcsr.estimator_levels=1", "arcsr.width=4", "arcsr.blocks=1", "kernel_size=3"]
LR = torch.rand(1, 3, 9, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def config():
    return as_plain_data(compose(["data=sample", *TINY]))


@pytest.fixture(scope="module")
def network(config):
    return build_network(config["model"]).eval()


@pytest.fixture
def file(network, config, tmp_path):
    write_safetensors(Saved(network.state_dict(), config), tmp_path / "shipped" / "arcsr_small.safetensors")
    return tmp_path / "shipped" / "arcsr_small.safetensors"


@pytest.fixture
def repository(file, tmp_path):
    """A folder as a repository of the Hub would be."""
    HubNetwork.from_weights(file).save_pretrained(tmp_path / "repository")
    return tmp_path / "repository"


@pytest.fixture
def downloads(repository, monkeypatch):
    """The calls of huggingface_hub's download, which serves that repository."""
    calls = []

    def serve(name, file, **where):
        calls.append((name, file, where))
        return str(repository / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", serve)
    return calls


def test_a_folder_gives_back_the_network(network, repository):
    with torch.no_grad():
        for there, here in zip(HubNetwork.from_pretrained(repository)(LR), network(LR), strict=True):
            assert torch.equal(there, here)


def test_a_folder_holds_what_the_hub_shows(config, repository):
    assert json.loads((repository / "config.json").read_text()) == config
    card = huggingface_hub.ModelCard.load(repository / "README.md")
    assert card.data.library_name == "arcsr-lightning" and card.data.pipeline_tag == "image-to-image"
    assert "`arcsr`" in card.text and "kernels of 3x3 LR pixels" in card.text


def test_a_name_on_the_hub_is_downloaded(network, downloads):
    with torch.no_grad():
        assert torch.equal(load_model("hf:owner/name")(LR).sr, network(LR).sr)
    assert downloads == [("owner/name", "model.safetensors", {})]


def test_a_revision_of_a_repository_is_asked_for(network, repository, monkeypatch):
    asked = []

    def serve(repo_id="", filename="", revision=None, **_):
        asked.append((repo_id, filename, revision))
        return str(repository / filename)

    monkeypatch.setattr(huggingface_hub.hub_mixin, "hf_hub_download", lambda **where: serve(**where))
    monkeypatch.setattr(hub, "hf_hub_download", serve)
    model = HubNetwork.from_pretrained("owner/name", revision="v2")
    assert asked == [("owner/name", "config.json", "v2"), ("owner/name", "model.safetensors", "v2")]
    with torch.no_grad():
        assert torch.equal(model(LR).sr, network(LR).sr)


def test_what_is_uploaded_is_a_repository(file, monkeypatch):
    uploaded = {}

    class Api(huggingface_hub.HfApi):
        def create_repo(self, repo_id, **_):
            return mock.Mock(repo_id=repo_id)

        def upload_folder(self, *, folder_path, repo_id, **_):
            uploaded.update({path.name: path.read_bytes() for path in Path(folder_path).iterdir()})

    monkeypatch.setattr(huggingface_hub.hub_mixin, "HfApi", Api)
    HubNetwork.from_weights(file).push_to_hub("owner/name")
    assert uploaded.keys() == {"README.md", "config.json", "model.safetensors"}
    assert uploaded["model.safetensors"] == file.read_bytes()


def test_what_is_not_on_the_hub_is_one_line(monkeypatch):
    def nothing(*_):
        raise FileNotFoundError("no network\nand more")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", nothing)
    with pytest.raises(ValueError, match=r"^hf:owner/name: no model.safetensors .* \(no network\); .* owner/name$"):
        load_model("hf:owner/name")


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r'pip install "\.\[hub\]" in the clone'):
        load_model("hf:owner/name")
    monkeypatch.delitem(sys.modules, "arcsr_lightning.hub")
    with pytest.raises(ModuleNotFoundError, match=r'pip install "\.\[hub\]" in the clone'):
        __import__("arcsr_lightning.hub")


def test_torch_hub_finds_what_comes_with_the_package_and_other_weights(network, file, monkeypatch):
    monkeypatch.setattr(weights, "SHIPPED", file.parent)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for loaded in (
        torch.hub.load(str(ROOT), "arcsr_small", source="local"),
        torch.hub.load(str(ROOT), "load_model", str(file), source="local"),
    ):
        with torch.no_grad():
            assert torch.equal(loaded(LR).sr, network(LR).sr)
