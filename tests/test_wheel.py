"""The built wheel in an environment of its own: its commands, its configuration, away from any checkout."""

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import cv2
import pytest

from tests.conftest import WITHOUT_PICTURES

ROOT = Path(__file__).parents[1]
pytest.importorskip("hatchling")


def run(*command, **settings) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, stdin=subprocess.DEVNULL, **settings
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(target: str, tree: Path, folder: Path) -> Path:
    run(sys.executable, "-m", "hatchling", "build", "-t", target, "-d", folder, cwd=tree)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A copy of the checkout as somebody has it at work: with settings of their own machine."""
    folder = tmp_path_factory.mktemp("checkout")
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    for part in ("src", "conf", "tests", "docs"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "local"))
    (folder / "conf" / "local").mkdir()
    (folder / "conf" / "local" / "default.yaml").write_text("# @package _global_\nseed: 7\n")
    return folder


@pytest.fixture(scope="module")
def wheel(tree, tmp_path_factory) -> Path:
    return build("wheel", tree, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def commands(wheel, tmp_path_factory) -> Path:
    """The folder of the commands of an environment that holds the wheel, and sees this one's other packages."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--quiet", wheel)
    (packages,) = folder.glob("lib/python*/site-packages")
    # Only the folders themselves: what their own .pth files add, such as an editable install, stays unseen.
    parents = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages / "parent.pth").write_text("\n".join(parents))
    return python.parent


def test_the_wheel_ships_the_configuration_and_the_mark_of_types_and_nothing_beside_the_package(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    files = {
        f"arcsr_lightning/{path.relative_to(ROOT)}"
        for path in (ROOT / "conf").rglob("*.yaml")
        if "local" not in path.parts
    }
    assert files
    assert files <= names
    assert {"arcsr_lightning/py.typed", "arcsr_lightning/weights/arcsr_small.safetensors"} <= names
    folders = {name.split("/")[0] for name in names}
    assert {name for name in folders if not name.endswith(".dist-info")} == {"arcsr_lightning"}
    assert not any("benchmark" in name for name in names)
    assert not any("conf/local" in name for name in names)


def test_the_sdist_holds_what_the_wheel_is_built_of_and_no_tests_that_need_more(tree, wheel, tmp_path):
    with tarfile.open(build("sdist", tree, tmp_path / "sdist")) as file:
        file.extractall(tmp_path, filter="data")
    (unpacked,) = (path.parent for path in tmp_path.glob("*/PKG-INFO"))
    assert not (unpacked / "conf" / "local").exists()
    assert not (unpacked / "tests").exists()
    again = build("wheel", unpacked, tmp_path / "wheel")
    assert set(zipfile.ZipFile(again).namelist()) == set(zipfile.ZipFile(wheel).namelist())


def test_the_installed_commands_train_and_predict_from_any_folder(commands, photos, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    environment |= {"HOME": str(tmp_path)}
    settings = {"cwd": tmp_path, "env": environment}
    home = run(
        commands / "python", "-c", "import arcsr_lightning as a; print(a.__file__); print(a.CONF_DIR)", **settings
    )
    assert all(Path(line).is_relative_to(commands.parent.resolve()) for line in home.split())

    picture = photos / "photo0.png"
    run(commands / "arcsr-predict", f"input={picture}", "output=at_once.png", **settings)
    run(
        commands / "arcsr-train",
        "experiment=quickstart",
        "data=folder",
        f"data.root={photos}",
        f"data.val_root={photos}",
        "data.batch_size=2",
        "data.num_workers=0",
        "data.train.patch_size=32",
        "model.estimator.width=4",
        "model.restorer.width=4",
        "model.restorer.blocks=1",
        "trainer.max_steps=2",
        "trainer.val_check_interval=2",
        *WITHOUT_PICTURES,
        **settings,
    )
    (run_folder,) = tmp_path.glob("logs/quickstart/runs/*")
    assert (run_folder / "metrics.json").is_file()

    run(commands / "arcsr-predict", f"input={picture}", "output=restored.png", "weights=latest", **settings)
    height, width = cv2.imread(str(picture)).shape[:2]
    at_once, restored = (cv2.imread(str(tmp_path / name)) for name in ("at_once.png", "restored.png"))
    assert at_once.shape == restored.shape == (4 * height, 4 * width, 3)
    assert (at_once != restored).any()
