"""What CONTRIBUTING.md says a new method, data set, loss and normalisation touch is all that they need."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from arcsr_lightning.runs.weights import read_saved

ROOT = Path(__file__).parents[1]
NETWORK = """
from torch import nn
from torch.nn import functional as F

from arcsr_lightning.networks import Restoration


class Toy(nn.Module):
    def __init__(self, scale, width):
        super().__init__()
        self.scale = scale
        self.layers = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 3, 3, padding=1))

    def forward(self, lr):
        return Restoration(F.interpolate(self.layers(lr), scale_factor=self.scale))
"""
MODEL = """# @package _global_
method: toy
toy:
  width: 4
model:
  _target_: arcsr_lightning.rivals.toy.Toy
  scale: ${scale}
  width: ${toy.width}
stages:
  restore:
    share: 1
    loss:
      _target_: arcsr_lightning.losses.RestorationLoss
"""
LAYOUT = """

def toy_pairs(root: str, split: str) -> list[Pair]:
    files = sorted(Path(root).glob("*.png"))
    return [Pair(path.stem, path, path, False) for path in files]
"""
DATA = """name: toy
kernels: unknown
root: ???
noise_levels: [0]
batch_size: 2
num_workers: 0
store: null
train:
  _target_: arcsr_lightning.data.PairedTraining
  pairs:
    _target_: arcsr_lightning.data.layouts.toy_pairs
    root: ${data.root}
    split: train
  scale: ${scale}
  patch_size: 32
  noise_level: [0, 0]
  seed: ${seed}
val:
  _target_: arcsr_lightning.data.PairedEvaluation
  pairs: ${data.train.pairs}
  scale: ${scale}
test: ${data.val}
"""
LOSS = """

class ToyLoss(nn.Module):
    supervision = ("pairs",)

    def forward(self, network, batch):
        toy = F.mse_loss(network(batch["lr"]).sr, batch["hr"])
        return {"toy": toy, "loss": toy}
"""
SHORT = (
    "trainer.max_steps=2",
    "trainer.val_check_interval=2",
    "trainer.log_every_n_steps=1",
    "callbacks=none",
    "logger=csv",
    "++callbacks.best={_target_: arcsr_lightning.training.checkpoints.BestCheckpoint, "
    "dirpath: '${paths.checkpoints}', monitor: val/psnr}",
)


def files_of(new: str) -> list[Path]:
    """The files that the table names for something new, of the name ``toy``."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    (row,) = [line for line in text.splitlines() if line.startswith(f"| {new} |")]
    paths = [span for span in re.findall(r"`([^`]+)`", row) if "/" in span]
    return [Path(path.replace("<name>", "toy")) for path in paths]


@pytest.fixture
def tree(tmp_path):
    """A copy of the package and its configurations, to which a contributor adds."""
    for part in ("src", "conf"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__", "local"))
    return tmp_path


def contribute(tree: Path, new: str, contents: dict[str, str]) -> None:
    """Write new files, and append to those that are there; each is one that the table names, and all of them are."""
    named = files_of(new)
    assert sorted(path.name if path.name in contents else str(path) for path in named) == sorted(contents)
    for path in named:
        whole = tree / path
        whole.parent.mkdir(parents=True, exist_ok=True)
        before = whole.read_text("utf-8") if whole.is_file() else ""
        whole.write_text(before + contents[path.name], "utf-8")


def train(tree: Path, *arguments: str) -> Path:
    """The folder of a run of the copied package's own command."""
    code = f"import sys; sys.path.insert(0, {str(tree / 'src')!r}); from arcsr_lightning import train; train.main()"
    command = [sys.executable, "-c", code, "experiment=quickstart", *SHORT, *arguments]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    (folder,) = (tree / "logs/quickstart/runs").iterdir()
    return folder


def test_a_method_and_a_data_set(tree, photos):
    contribute(
        tree,
        "method",
        {
            "__init__.py": "from arcsr_lightning.rivals.toy.network import Toy\n",
            "network.py": NETWORK,
            "toy.yaml": MODEL,
        },
    )
    contribute(tree, "data set of pairs", {"layouts.py": LAYOUT, "toy.yaml": DATA})
    sizes = ["data.train.patch_size=32", "data.batch_size=2"]
    folder = train(tree, "model=toy", "data=toy", f"data.root={photos}", *sizes)
    assert read_saved(folder / "model.safetensors").config["method"] == "toy"
    assert '"method": "toy"' in (folder / "metrics.json").read_text()


@pytest.mark.slow
def test_a_loss_and_a_normalisation(tree, photos):
    contribute(tree, "loss", {"losses.py": LOSS, "toy.yaml": "_target_: arcsr_lightning.losses.ToyLoss\n"})
    (path,) = files_of("normalisation")
    text = (tree / path).read_text("utf-8")
    text = text.replace('"unit_energy")', '"unit_energy", "toy")')
    text = text.replace(
        '        case "softmax":\n', '        case "toy":\n            return 0 * kernel\n        case "softmax":\n'
    )
    (tree / path).write_text(text, "utf-8")
    sizes = ["model=arcsr", "arcsr.estimator_width=4", "arcsr.estimator_levels=2", "arcsr.width=4", "arcsr.blocks=1"]
    data = ["data=folder", f"data.root={photos}", f"data.val_root={photos}", "data.train.patch_size=32"]
    chosen = ["loss=toy", "model.restorer.normalisation=toy", "data.batch_size=2", "data.num_workers=0"]
    folder = train(tree, *sizes, *data, *chosen)
    metrics = next(folder.glob("csv/version_0/metrics.csv")).read_text()
    assert "train/toy" in metrics.splitlines()[0]
