"""An exported network gives what the network gives, whatever the size of the image, in another program."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from arcsr_lightning import CONF_DIR, compose, export
from arcsr_lightning.blocks import DMConv, OrdinaryConv
from arcsr_lightning.export import Program, program_of, save_onnx, save_torch
from arcsr_lightning.launch import as_plain_data, build_network
from arcsr_lightning.networks import KernelEstimator, Restoration
from arcsr_lightning.runs import weights
from arcsr_lightning.runs.weights import Saved
from tests.conftest import slow

pytest.importorskip("onnxscript", reason='needs "arcsr-lightning[export]"')
onnxruntime = pytest.importorskip("onnxruntime", reason='needs "arcsr-lightning[dev]"')

TINY = {
    "arcsr": ["arcsr.estimator_width=4", "arcsr.estimator_levels=2", "arcsr.width=4", "arcsr.blocks=1"],
    "rrdb": ["rrdb.width=8", "rrdb.growth=4", "rrdb.blocks=1"],
    "dasr": ["dasr.width=8", "dasr.groups=1", "dasr.blocks=1", "dasr.queue_size=4"],
    "manet": [
        "manet.estimator_width=4",
        "manet.width=4",
        "manet.growth=4",
        "manet.blocks=1",
        "manet.kernel_size=5",
        "manet.code=5",
    ],
    "redegnet": ["redegnet.sr_width=4", "redegnet.sr_growth=4", "redegnet.sr_blocks=1"],
    "rdn": ["rdn.width=4", "rdn.growth=3", "rdn.blocks=2", "rdn.layers=2"],
    "ikc": ["ikc.width=4", "ikc.blocks=1", "ikc.code=5", "ikc.iterations=2"],
}
SIZES = [(40, 52), (33, 47), (3, 5)]  # multiples of everything, of nothing, and smaller than the margins
DOCS = Path(__file__).parents[1] / "docs" / "export.md"


def table() -> dict[str, list[str]]:
    """The cells of docs/export.md by method; a row may speak for several."""
    rows = [line.strip("| ").split(" | ") for line in DOCS.read_text("utf-8").splitlines() if line.startswith("| `")]
    return {name: cells for first, *cells in rows for name in re.findall(r"`(\w+)`", first)}


def tiny(method: str, *settings: str) -> tuple[nn.Module, Saved]:
    """A small network with weights that are no longer fresh, and what a file would hold of it."""
    cfg = compose(["data=sample", f"model={method}", *TINY.get(method.split("_")[0], []), "kernel_size=3", *settings])
    torch.manual_seed(0)
    network = build_network(cfg.model).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return network, Saved(network.state_dict(), as_plain_data(cfg))


def run_onnx(path: Path, lr: torch.Tensor) -> list[torch.Tensor]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return [torch.from_numpy(output) for output in session.run(None, {"lr": lr.numpy()})]


def run_torch(path: Path, lr: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.export.load(path).module()(lr))


def assert_equal(run, path: Path, network: nn.Module) -> None:
    for height, width in SIZES:
        lr = torch.rand(1, 3, height, width)
        with torch.no_grad():
            expected = list(Program(network)(lr))
            torch.testing.assert_close(run(path, lr), expected, rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def arcsr():
    """With one kernel for all pixels: everything of ArcSR but the U-Net, which takes longest to follow."""
    network, saved = tiny("arcsr", "model/estimator=constant")
    return network, saved, program_of(network)


@pytest.fixture(scope="module")
def weights_file(arcsr, tmp_path_factory):
    _, saved, _ = arcsr
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    weights.write_safetensors(saved, path)
    return path


@pytest.fixture
def refused(run, capsys, monkeypatch, tmp_path):
    """``refused(*typed)``: the line that arcsr-export ends with."""
    monkeypatch.chdir(tmp_path)

    def line(*typed):
        with pytest.raises(SystemExit) as ended:
            run(export, *typed)
        assert ended.value.code == 1
        *_, last = capsys.readouterr().err.strip().splitlines()
        return last

    return line


def test_onnx_gives_what_the_network_gives(arcsr, tmp_path):
    network, saved, program = arcsr
    save_onnx(program, saved, tmp_path / "net.onnx")
    assert_equal(run_onnx, tmp_path / "net.onnx", network)
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    assert [output.name for output in session.get_outputs()] == ["sr", "kernel"]
    assert json.loads(session.get_modelmeta().custom_metadata_map["config"]) == saved.config


class Deformed(nn.Module):
    """A deformed convolution with offsets of pixels, also out of the image."""

    scale = 1

    def __init__(self):
        super().__init__()
        self.head, self.convolution = nn.Conv2d(3, 8, 1), DMConv(8, 1)
        nn.init.normal_(self.convolution.offset[-1].weight, std=3)

    def forward(self, lr):
        return Restoration(self.convolution(self.head(lr)))


class Estimated(nn.Module):
    """The U-Net, which pads images to multiples, without deformed convolutions."""

    scale = 1

    def __init__(self):
        super().__init__()
        self.estimator = KernelEstimator(3, 4, levels=3, convolution=OrdinaryConv)
        nn.init.normal_(self.estimator.tail.weight)

    def forward(self, lr):
        return Restoration(lr, self.estimator(lr))


@pytest.mark.parametrize("part", [Deformed, slow(Estimated)])
def test_parts_are_standard_operators(part, tmp_path):
    torch.manual_seed(0)
    network = part().eval()
    program = program_of(network)
    for run, save, name in ((run_onnx, save_onnx, "net.onnx"), (run_torch, save_torch, "net.pt2")):
        save(program, Saved({}, {}), tmp_path / name)
        assert_equal(run, tmp_path / name, network)


def test_the_command_writes_a_program_for_torch(run, arcsr, weights_file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run(export, f"weights={weights_file}", "output=net.pt2", "format=torch")
    assert capsys.readouterr().out.splitlines()[-1] == "net.pt2"
    assert_equal(run_torch, tmp_path / "net.pt2", arcsr[0])
    kept = {"config.json": ""}
    torch.export.load("net.pt2", extra_files=kept)
    assert json.loads(kept["config.json"]) == arcsr[1].config
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["net.pt2"]


def test_what_is_there_is_kept(refused, weights_file, tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"mine")
    assert "net.onnx exists; choose another output, or allow it with overwrite=true" in refused(
        f"weights={weights_file}", "output=net.onnx"
    )
    assert (tmp_path / "net.onnx").read_bytes() == b"mine"
    assert "a file of format=torch ends in .pt2" in refused(
        f"weights={weights_file}", "output=net.onnx", "format=torch", "overwrite=true"
    )


def test_a_missing_extra_says_what_to_install(refused, weights_file, monkeypatch):
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnxscript" else sys)
    assert 'format=onnx needs onnxscript: pip install ".[export]" in the clone' in refused(
        f"weights={weights_file}", "output=net.onnx"
    )


def test_what_torch_cannot_follow_is_one_line(refused, weights_file, tmp_path, monkeypatch):
    def forward(self, lr):
        return Restoration(lr if lr.mean() > 0 else -lr)

    monkeypatch.setattr("arcsr_lightning.networks.ArcSR.forward", forward)
    line = refused(f"weights={weights_file}", "output=net.pt2", "format=torch")
    assert f"{weights_file}: method=arcsr cannot be exported: torch.export: " in line
    assert not (tmp_path / "net.pt2").exists()


def test_every_method_has_a_row():
    assert set(table()) == {path.stem for path in CONF_DIR.glob("model/*.yaml")}


@pytest.mark.parametrize("method", [name for name, cells in table().items() if cells[0] == "no"])
def test_a_method_that_cannot_be_exported_says_why(method):
    with torch.device("meta"):
        network = build_network(compose(["data=sample", f"model={method}"]).model)
    with pytest.raises(ValueError) as refusal:  # noqa: PT011
        program_of(network)
    assert table()[method] == ["no", "no", str(refusal.value)]


@pytest.mark.slow
@pytest.mark.parametrize("method", [name for name, cells in table().items() if cells[0] == "yes"])
def test_a_method_that_can_be_exported_gives_what_the_network_gives(method, tmp_path):
    network, saved = tiny(method)
    program = program_of(network)
    for run, save, name in ((run_onnx, save_onnx, "net.onnx"), (run_torch, save_torch, "net.pt2")):
        save(program, saved, tmp_path / name)
        assert_equal(run, tmp_path / name, network)
