"""Where the images of each data set lie: functions that list files, and say what is missing."""

import re
from collections.abc import Container
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from arcsr_lightning.data.images import image_files, read_image
from arcsr_lightning.errors import InputError

# What scikit-image and Matplotlib ship in everyday colours, split by photograph. Those to train on are sharp and soft,
# so that softness is not taken for motion. The two motorcycles are one scene and stay together.
SAMPLE_PHOTOS = {
    "train": (
        "skimage/data/chelsea.png",
        "skimage/data/motorcycle_left.png",
        "skimage/data/motorcycle_right.png",
        "matplotlib/mpl-data/sample_data/grace_hopper.jpg",
    ),
    "val": ("skimage/data/rocket.jpg",),
    "test": ("skimage/data/astronaut.png", "skimage/data/coffee.png"),
}


class Pair(NamedTuple):
    """A sharp image and its degraded twin, which is at LR size or still at HR size (then to be downsampled).

    ``sequence`` is the video that it is a frame of, empty where it stands by itself.
    """

    name: str
    hr: Path
    degraded: Path
    at_lr_size: bool
    sequence: str = ""


def sample_photos(split: str) -> list[Path]:
    """The colour photographs that ship inside packages installed with this one, of ``split`` train, val or test.

    Raises:
        InputError: another split.
    """
    if split not in SAMPLE_PHOTOS:
        raise InputError(f"no split {split!r} of the sample photographs; choose from {', '.join(SAMPLE_PHOTOS)}")
    return [_file_of_package(name) for name in SAMPLE_PHOTOS[split]]


def _file_of_package(name: str) -> Path:
    """Where ``<package>/<path of a file>`` lies; the package is not imported."""
    package, _, path = name.partition("/")
    return Path(find_spec(package).origin).parent / path


def gopro_pairs(root: str | Path, split: str, blur: str = "blur") -> list[Pair]:
    """GoPro: ``<root>/<split>/<sequence>/{<blur>,sharp}/<frame>.png``, both at HR size.

    Args:
        root: where the folders of GoPro lie.
        split: train or test.
        blur: ``blur`` (averaged as it is stored) or ``blur_gamma`` (averaged in linear light).

    Raises:
        InputError: a folder is missing or empty, or a frame has no twin.
    """
    if blur not in ("blur", "blur_gamma"):
        raise InputError(f"GoPro has no frames named {blur!r}; choose blur or blur_gamma")
    layout = f"{split}/<sequence>/{{{blur},sharp}}/<frame>.png"
    return [
        pair
        for sequence in _folders(Path(root) / split, root, layout)
        for pair in _twins(sequence.name, sequence / "sharp", sequence / blur, at_lr_size=False)
    ]


def reds_pairs(root: str | Path, split: str, scale: int = 4) -> list[Pair]:
    """REDS: ``<root>/<split>/<split>_sharp/<clip>/<frame>.png`` and its twins in ``<split>_blur_bicubic/X<scale>``.

    Where there is no such bicubic folder (REDS has X4 only), the twins are those of ``<split>_blur``, at HR size.

    Args:
        root: where the folders of REDS lie.
        split: train or val.
        scale: of the bicubic frames.

    Raises:
        InputError: a folder is missing or empty, or a clip or frame has no twin.
    """
    folder = Path(root) / split
    sharp, bicubic, blur = (folder / f"{split}_{name}" for name in ("sharp", f"blur_bicubic/X{scale}", "blur"))
    if not (bicubic.is_dir() or blur.is_dir()):
        raise InputError(f"neither {bicubic} nor {blur} is there; {root} should hold the folders of REDS")
    degraded = bicubic if bicubic.is_dir() else blur
    clips = {path.name for path in _folders(sharp, folder, f"{split}_sharp/<clip>/<frame>.png")}
    other = {path.name for path in _folders(degraded, folder, f"{degraded.name}/<clip>/<frame>.png")}
    _check_twins(clips, sharp, other, degraded)
    return [
        pair
        for clip in sorted(clips)
        for pair in _twins(clip, sharp / clip, degraded / clip, at_lr_size=degraded == bicubic)
    ]


def folder_pairs(hr_folder: str | Path, lr_folder: str | Path) -> list[Pair]:
    """Two folders of images, whose names are equal but for the suffix and an ending ``x4`` of LR names, say.

    Folders inside are looked into, and have to be equal too; the images of one are taken for a sequence. The degraded
    images are at LR size, or all still at HR size: the first pair tells.

    Raises:
        InputError: a folder is missing or empty, an image has no partner, or two of a folder have one name.
    """
    hr = _by_name(hr_folder)
    lr = _by_name(lr_folder, hr)
    for name in sorted(hr.keys() ^ lr.keys()):
        path, folder = (hr[name], lr_folder) if name in hr else (lr[name], hr_folder)
        raise InputError(f"{path} has no partner {name}.* in {folder}; add it or remove the first")
    first = next(iter(hr))
    at_lr_size = read_image(hr[first]).shape != read_image(lr[first]).shape
    words: dict[str, str] = {}
    for name in hr:
        if (other := words.setdefault(name.replace("/", "_"), name)) != name:
            raise InputError(f"{hr[other]} and {hr[name]} would have one name in tables; rename one of them")
    return [Pair(word, hr[name], lr[name], at_lr_size, name.rpartition("/")[0]) for word, name in words.items()]


def _by_name(folder: str | Path, partners: Container[str] | None = None) -> dict[str, Path]:
    """The images in and below ``folder`` by their path in it, without the suffix, and without x4 to find a partner."""
    named: dict[str, Path] = {}
    for path in image_files(folder, recursive=True):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if partners is not None and name not in partners:
            name = re.sub(r"x\d+$", "", name)
        if name in named:
            raise InputError(f"{named[name]} and {path} have one name; remove one of them")
        named[name] = path
    return named


def _folders(folder: Path, root: str | Path, layout: str) -> list[Path]:
    """The folders in ``folder``, sorted; InputError, which says the layout of ``root``, when there are none."""
    if not folder.is_dir():
        raise InputError(f"{folder} is missing; {root} should hold {layout}")
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not folders:
        raise InputError(f"{folder} is empty; {root} should hold {layout}")
    return folders


def _twins(prefix: str, sharp: Path, degraded: Path, at_lr_size: bool) -> list[Pair]:
    """The frames of one sequence, each with its twin."""
    frames, other = {path.name for path in image_files(sharp)}, {path.name for path in image_files(degraded)}
    _check_twins(frames, sharp, other, degraded)
    return [
        Pair(f"{prefix}_{Path(frame).stem}", sharp / frame, degraded / frame, at_lr_size, prefix)
        for frame in sorted(frames)
    ]


def _check_twins(names: set[str], folder: Path, other_names: set[str], other_folder: Path) -> None:
    for name in sorted(names ^ other_names):
        here, there = (folder, other_folder) if name in names else (other_folder, folder)
        raise InputError(f"{here / name} has no twin {there / name}; add it or remove the first")
