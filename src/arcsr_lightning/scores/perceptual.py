"""Scores by networks of others, through torchmetrics: LPIPS and DISTS to the ground truth, ARNIQA without it.

Nothing is downloaded: where torchvision or weights are not at hand a score is missing, and a line says what would help.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from arcsr_lightning.errors import InputError, first_line
from arcsr_lightning.precision import exact_float32
from arcsr_lightning.scores.metrics import as_scored
from arcsr_lightning.scores.protocol import TRUTH

Score = Callable[[Tensor, Tensor], Tensor]  # (sr, hr), RGB in [0, 1], (B, 3, H, W) twice -> (B,)

TORCHVISION = "https://download.pytorch.org/models"
ARNIQA = "https://github.com/miccunifi/ARNIQA/releases/download/weights"
FILES = {
    "lpips": (f"{TORCHVISION}/alexnet-owt-7be5be79.pth",),
    "dists": (f"{TORCHVISION}/vgg16-397923af.pth",),
    "arniqa": (f"{ARNIQA}/ARNIQA.pth", f"{ARNIQA}/regressor_koniq10k.pth"),
}
LEAST_SIDE = {"lpips": 31}  # pixels; of fewer AlexNet leaves none


class Measure(NamedTuple):
    """A perceptual score; without ``score`` it is missing, and ``missing`` says why in one line."""

    name: str
    score: Score | None
    missing: str | None = None


def load_measure(name: str) -> Measure:
    """The score of a name in ``protocol.PERCEPTUAL``, of the weights in torch.hub's folder (``$TORCH_HOME``)."""
    missing = what_is_missing(name)
    if missing:
        return Measure(name, None, missing)
    try:
        with no_downloads():
            return Measure(name, BUILDERS[name]())
    except FileNotFoundError as error:
        return Measure(name, None, first_line(error))
    except Exception as error:  # torchvision, torch and pickles fail each in their own ways
        reason = f"{type(error).__name__}: {first_line(error)}"
        return Measure(name, None, f"cannot be built from {' and '.join(map(str, paths_of(name)))} ({reason})")


def what_is_missing(name: str) -> str | None:
    """What to do before a score can be had, None where nothing is known to be missing."""
    if find_spec("torchvision") is None:
        return 'torchvision is not installed; pip install ".[metrics]" in the clone'
    urls = [url for url, path in zip(FILES[name], paths_of(name), strict=True) if not path.is_file()]
    return absent(" and ".join(urls), paths_of(name)[0].parent) if urls else None


def paths_of(name: str) -> list[Path]:
    """Where torch.hub keeps the files of a score."""
    return [Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2]) for url in FILES[name]]


def absent(urls: str, folder: Path) -> str:
    return f"its weights are not at hand; put {urls} into {folder}"


@contextmanager
def no_downloads() -> Iterator[None]:
    """Let torch.hub read files, but fetch none: other versions may ask for others than those in ``FILES``.

    Raises:
        FileNotFoundError: in place of a download; says which file is wanted.
    """

    def refuse(url: str, dst: str, *_: Any, **__: Any) -> None:
        raise FileNotFoundError(absent(url, Path(dst).parent))

    download = torch.hub.download_url_to_file
    torch.hub.download_url_to_file = refuse
    try:
        with redirect_stdout(io.StringIO()):  # which says "Downloading" before
            yield
    finally:
        torch.hub.download_url_to_file = download


def build_lpips() -> Score:
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    network = LearnedPerceptualImagePatchSimilarity("alex").net
    return lambda sr, hr: network.to(sr.device)(sr, hr, normalize=True).flatten()


def build_dists() -> Score:
    from torchmetrics.functional.image.dists import DISTSNetwork  # DISTS itself reads VGG16 anew for every image

    network = DISTSNetwork()
    return lambda sr, hr: network.to(sr.device)(sr, hr).reshape(-1)


def build_arniqa() -> Score:
    from torchmetrics.image.arniqa import ARNIQA

    network = ARNIQA("koniq10k").model
    return lambda sr, hr: network.to(sr.device)(sr, normalize=True).flatten()


BUILDERS: dict[str, Callable[[], Score]] = {"lpips": build_lpips, "dists": build_dists, "arniqa": build_arniqa}


@exact_float32()
@torch.no_grad()
def perceptual_scores(measures: Sequence[Measure], sr: Tensor, hr: Tensor, border: int) -> dict[str, Tensor]:
    """The scores of each image by those that are at hand, by name, each (B,); of ``TRUTH`` the ground truth's too.

    Args:
        measures: the scores.
        sr, hr: RGB in [0, 1], (B, 3, H, W).
        border: pixels cut from every side before scoring.

    Raises:
        InputError: the images are too small for one of them.
    """
    sr, hr = as_scored(sr, border), as_scored(hr, border)
    scores = {}
    for name, score, _ in measures:
        if score is None:
            continue
        least = LEAST_SIDE.get(name, 1)
        if min(sr.shape[-2:]) < least:
            size = "x".join(map(str, sr.shape[-2:]))
            raise InputError(f"perceptual: {name} needs sides of {least} px or more after the border crop, got {size}")
        scores[name] = score(sr, hr)
        if name in TRUTH:
            scores[TRUTH[name]] = score(hr, hr)
    return scores
