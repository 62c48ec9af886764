"""LPIPS, DISTS and ARNIQA as torchmetrics has them, of weights at hand; what is said where something is missing."""

import json
import os
import subprocess
import sys

import pytest
import torch

from arcsr_lightning import compose
from arcsr_lightning.errors import InputError
from arcsr_lightning.launch import build_data
from arcsr_lightning.networks import Restoration
from arcsr_lightning.scores import perceptual
from arcsr_lightning.scores.metrics import as_scored
from arcsr_lightning.scores.perceptual import FILES, Measure, load_measure, perceptual_scores
from arcsr_lightning.scores.protocol import PERCEPTUAL
from arcsr_lightning.scores.rows import mean_scores, rows_of

# What torchmetrics takes of torchvision: AlexNet and VGG16 in their layout, a ResNet of one convolution.
STAND_IN = {
    "__init__.py": "from torchvision import models, ops, transforms\n",
    "ops.py": "box_area = box_iou = box_convert = None\n"
    "generalized_box_iou = distance_box_iou = complete_box_iou = None\n",
    "transforms.py": """
from torch import tensor
from torch.nn.functional import interpolate

def Resize(size):
    return lambda image: interpolate(image, size, mode="bilinear", antialias=True)

def Normalize(mean, std):
    return lambda image: (image - tensor(mean)[:, None, None]) / tensor(std)[:, None, None]
""",
    "models.py": """
import torch
from torch import nn
from torch.nn import Conv2d, MaxPool2d, ReLU

class Weights:
    def __init__(self, file):
        self.url = f"https://download.pytorch.org/models/{file}"

class AlexNet_Weights:
    DEFAULT = Weights("alexnet-owt-7be5be79.pth")

class VGG16_Weights:
    DEFAULT = Weights("vgg16-397923af.pth")

def build(layers, weights):
    network = nn.Module()
    network.features = nn.Sequential(*layers)
    if weights is not None:
        network.load_state_dict(torch.hub.load_state_dict_from_url(weights.url))
    return network

def alexnet(weights=None):
    head = [Conv2d(3, 64, 11, 4, 2), ReLU(), MaxPool2d(3, 2), Conv2d(64, 192, 5, padding=2), ReLU(), MaxPool2d(3, 2)]
    sizes = (192, 384), (384, 256), (256, 256)
    return build(head + [layer for two in sizes for layer in (Conv2d(*two, 3, padding=1), ReLU())], weights)

def vgg16(weights=None):
    layers, channels = [], 3
    for width, convolutions in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(convolutions):
            layers += [Conv2d(channels, width, 3, padding=1), ReLU()]
            channels = width
        layers.append(MaxPool2d(2, 2))
    return build(layers, weights)

class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.pool, self.fc = Conv2d(3, 4, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Linear(4, 10)

resnet50 = ResNet

class Regressor(nn.Module):
    def __init__(self):
        super().__init__()
        self.weights, self.biases = nn.Parameter(torch.randn(1, 8)), nn.Parameter(torch.tensor(50.0))
""",
}
WRITE = """
import sys
from pathlib import Path
import torch
from torchvision import models

torch.manual_seed(0)
folder = Path(torch.hub.get_dir(), "checkpoints")
folder.mkdir(parents=True)
for network, weights in ((models.alexnet, models.AlexNet_Weights), (models.vgg16, models.VGG16_Weights)):
    torch.save(network().state_dict(), folder / weights.DEFAULT.url.rpartition("/")[2])
encoder = torch.nn.Sequential(*list(models.resnet50().children())[:-1]).state_dict()
torch.save({f"model.{key}": value for key, value in encoder.items()} | {"projector.0": None}, folder / "ARNIQA.pth")
torch.save(models.Regressor(), folder / "regressor_koniq10k.pth")
"""
SCORE = """
import json
from torchmetrics.functional.image.arniqa import arniqa
from torchmetrics.functional.image.dists import deep_image_structure_and_texture_similarity as dists
from torchmetrics.functional.image.lpips import learned_perceptual_image_patch_similarity as lpips
from arcsr_lightning.degradation import round_to_8bit
from arcsr_lightning.scores.perceptual import load_measure, paths_of, perceptual_scores

hr = torch.nn.functional.interpolate(torch.rand(2, 3, 12, 12), (56, 56), mode="bicubic").clamp(0, 1)
blurred = [torch.nn.functional.avg_pool2d(hr, size, 1, size // 2, count_include_pad=False) for size in (1, 3, 7)]
measures = [load_measure(name) for name in ("lpips", "dists", "arniqa")]
ours = [perceptual_scores(measures, sr, hr, 4) for sr in blurred]
with torch.no_grad():
    sr, hr = (round_to_8bit(image)[..., 4:-4, 4:-4] for image in (blurred[1], hr))
    theirs = {
        "lpips": lpips(sr, hr, "alex", reduction="none", normalize=True),
        "dists": dists(sr, hr),
        "arniqa": arniqa(sr, reduction="none"),
        "arniqa_hr": arniqa(hr, reduction="none"),
    }
models.AlexNet_Weights.DEFAULT.url += ".new"
newer = load_measure("lpips")
(path,) = paths_of("dists")
path.write_bytes(path.read_bytes()[:1000])
reasons = [[measure.name, measure.missing] for measure in (*measures, newer, load_measure("dists"))]
listed = [{name: scores.tolist() for name, scores in one.items()} for one in (*ours, theirs)]
print(json.dumps([listed, reasons]))
"""


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """(scores under three blurs and torchmetrics' own of the second, names and reasons), by the stand-in."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "torchvision").mkdir()
    for name, text in STAND_IN.items():
        (folder / "torchvision" / name).write_text(text)
    path = os.pathsep.join([str(folder), *(path for path in sys.path if path)])
    done = subprocess.run(
        [sys.executable, "-c", WRITE + SCORE],
        env={"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "TORCH_HOME": str(folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Downloading" not in done.stdout
    scores, reasons = json.loads(done.stdout)
    return scores, reasons, folder / "hub" / "checkpoints"


def test_scores_of_images_are_those_of_torchmetrics(computed):
    (_, blurred, _, theirs), reasons, _ = computed
    assert reasons[:3] == [["lpips", None], ["dists", None], ["arniqa", None]]
    assert blurred.keys() == theirs.keys()
    for name, values in theirs.items():
        assert len(set(values)) == 2
        assert blurred[name] == pytest.approx(values, rel=1e-4, abs=1e-6), name


def test_the_ground_truth_is_at_no_distance_and_more_blur_at_more(computed):
    (same, little, much, _), _, _ = computed
    for name in ("lpips", "dists"):
        assert same[name] == pytest.approx([0, 0], abs=1e-5)
        for values in zip(*(scores[name] for scores in (same, little, much)), strict=True):
            assert list(values) == sorted(values) and values[2] > 2 * values[1]
    assert same["arniqa"] == same["arniqa_hr"] == little["arniqa_hr"] != little["arniqa"]


def test_a_torchvision_that_wants_other_weights_fetches_none(computed):
    _, (*_, newer, _), folder = computed
    url = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth.new"
    assert newer == ["lpips", f"its weights are not at hand; put {url} into {folder}"]


def test_damaged_weights_are_named(computed):
    _, (*_, (name, damaged)), folder = computed
    assert name == "dists"
    assert damaged.startswith(f"cannot be built from {folder}/vgg16-397923af.pth (") and "\n" not in damaged


def test_without_torchvision_the_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(perceptual, "find_spec", lambda name: None)
    for name in PERCEPTUAL:
        line = 'torchvision is not installed; pip install ".[metrics]" in the clone'
        assert load_measure(name) == Measure(name, None, line)


def test_without_weights_the_line_says_which_from_where_and_whereto(monkeypatch, tmp_path):
    monkeypatch.setattr(perceptual, "find_spec", lambda name: name)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    for name, urls in FILES.items():
        assert load_measure(name).missing == f"its weights are not at hand; put {' and '.join(urls)} into {folder}"
    folder.mkdir(parents=True)
    (folder / "ARNIQA.pth").touch()
    assert load_measure("arniqa").missing == f"its weights are not at hand; put {FILES['arniqa'][1]} into {folder}"


def brightness(sr, hr):
    return sr.mean((1, 2, 3))


def test_a_row_has_the_scores_that_are_at_hand_of_what_is_scored():
    torch.manual_seed(0)
    sr, hr = torch.rand(2, 2, 3, 48, 48)
    batch = {"hr": hr, "name": ["a", "b"], "noise_level": torch.zeros(2)}
    measures = [Measure("lpips", None, "not here"), Measure("dists", brightness), Measure("arniqa", brightness)]
    rows = rows_of("net", Restoration(sr), batch, 4, measures)
    for number, row in enumerate(rows):
        for name, image in (("dists", sr), ("arniqa", sr), ("arniqa_hr", hr)):
            assert row[name] == pytest.approx(as_scored(image[number], 4).mean().item())
        assert "lpips" not in row
    assert {"dists", "arniqa", "arniqa_hr"} <= mean_scores(rows).keys()


def test_an_image_that_is_too_small_is_refused_in_one_line():
    image = torch.rand(1, 3, 38, 60)
    measures = [Measure("lpips", brightness)]
    with pytest.raises(InputError, match="^perceptual: lpips needs sides of 31 px or more after the border .* 30x52$"):
        perceptual_scores(measures, image, image, 4)
    assert perceptual_scores(measures, torch.rand(1, 3, 39, 60), torch.rand(1, 3, 39, 60), 4)


def test_images_are_large_enough_for_what_is_asked_for_before_hours_of_scoring():
    cfg = compose(["data=sample", "scale=4", "kernel_size=7", "method=any"], "evaluate")
    assert build_data(cfg).least_side == 20  # 11 for SSIM, twice 4 of the border, up to a multiple of 4
    cfg.perceptual = ["lpips", "dists"]
    assert build_data(cfg).least_side == 40
