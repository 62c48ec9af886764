"""The built wheel in an environment of its own: its commands, its configuration, away from any checkout."""

import os
import subprocess
import sys
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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


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
