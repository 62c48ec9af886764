"""What many tests share: trainings of seconds, and miniature data sets in the official layouts."""

import ast
import os
import pickle
import signal
import subprocess
import sys
from unittest import mock

# Threads that wait for each other on busy cores make small operations many times slower; commands inherit this.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import pytest

TINY = (
    "experiment=quickstart",
    "model=arcsr",  # one stage
    "data=folder",
    "data.batch_size=2",
    "data.num_workers=0",
    "data.train.patch_size=32",
    "kernel_size=3",
    "arcsr.estimator_width=4",
    "arcsr.estimator_levels=2",
    "arcsr.width=4",
    "arcsr.blocks=1",
    "trainer.max_steps=4",
    "trainer.max_time=null",
    "trainer.val_check_interval=2",
    "trainer.log_every_n_steps=1",
    "callbacks.best.monitor=val/psnr",
    "++trainer.enable_model_summary=false",
    "++trainer.enable_progress_bar=false",
    "callbacks.progress=null",
    "callbacks.summary=null",
    "print_config=false",
)
WITHOUT_PICTURES = ("callbacks.panel=null", "callbacks.kernel_field=null", "callbacks.offsets=null")  # half of the time
SMALL_BLUR = ("degradation.blur.kernel_size=5", "degradation.blur.max_length=4")  # what kernel_size=3 holds


def slow(*values):
    """Values of a test that ``make test-slow`` tries alone."""
    return pytest.param(*values, marks=pytest.mark.slow)


def some(value, *fast):
    """A value, or a tuple of them, that ``make test`` tries if it is among ``fast``, and ``make test-slow`` if not."""
    return value if value in fast else slow(*value) if isinstance(value, tuple) else slow(value)


def picture(height: int, width: int, seed: int) -> np.ndarray:
    """A colour picture with structure at several sizes, uint8."""
    rng = np.random.default_rng(seed)
    layers = [
        cv2.resize(rng.random((side, side, 3)), (width, height), interpolation=cv2.INTER_CUBIC) for side in (3, 9)
    ]
    return np.rint(255 * np.mean(layers, axis=0).clip(0, 1)).astype(np.uint8)


def write(path, pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


HEAVY = (
    "pytorch_lightning",
    "lightning_fabric",
    "hydra",
    "albumentations",
    "torchmetrics",
    "wandb",
    "kornia",
    "cv2",
    "scipy",
    "skimage",
    "matplotlib",
)


@pytest.fixture
def loaded(tmp_path):
    """``loaded(code)``: which packages that take long to import a fresh process that runs ``code`` has imported."""

    def fresh(code: str, *more: str) -> list[str]:
        path = os.pathsep.join(path for path in sys.path if path)
        code += f"\nimport sys; print([name for name in {(*HEAVY, *more)} if name in sys.modules])"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return ast.literal_eval(done.stdout.splitlines()[-1])

    return fresh


@pytest.fixture(autouse=True)
def numbers_depend_on_no_other_test():
    if torch := sys.modules.get("torch"):  # what imports it in the midst of a test finds it fresh
        torch.manual_seed(0)


@pytest.fixture(autouse=True)
def a_handler_of_sigterm_is_put_back():
    """One that a test leaves would swallow what is to end the tests, and stand in for none in all that follow."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    left = signal.getsignal(signal.SIGTERM)
    if left != before:
        signal.signal(signal.SIGTERM, before)
    assert left == before, "the test left a handler of SIGTERM"


@pytest.fixture(scope="session", autouse=True)
def what_is_chosen_is_composed_once():
    """Hydra reads and merges the same files anew for each of the suite's thousand configurations, a third of its time.

    What is typed for single values comes after that, and is shared by none. Commands in processes of their own compose
    as they do for users.
    """
    from hydra._internal import defaults_list
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.config_repository import ConfigRepository
    from omegaconf import OmegaConf

    parse, merge = ConfigRepository.load_config, ConfigLoaderImpl._compose_config_from_defaults_list
    name, find = defaults_list._create_interpolation_map, ConfigLoaderImpl.get_group_options
    made: dict[tuple, bytes] = {}

    def load(repository, config_path):
        key = (*(source.path for source in repository.sources), config_path)
        if key not in made:
            found = parse(repository, config_path)
            if found is None or found.path.startswith("structured:"):  # plugins are registered when they are asked for
                return found
            made[key] = pickle.dumps(found)  # composing changes what it is given
        return pickle.loads(made[key])

    def compose(loader, defaults, repo):
        chosen = [(default.config_path, default.package, default.primary) for default in defaults]
        key = (*(source.path for source in repo.get_sources()), *chosen)
        if key not in made:
            made[key] = pickle.dumps(merge(loader, defaults, repo))
        return pickle.loads(made[key])

    def names(overrides, defaults, self_added):  # thirty maps for a configuration, of which one is read
        needed = any(default.is_interpolation() for default in defaults)
        return name(overrides, defaults, self_added) if needed else OmegaConf.create()

    def options(loader, *given, **named):  # help asks for a hundred of them
        key = (*(source.path for source in loader.get_sources()), repr((given, named)))
        if key not in made:
            made[key] = pickle.dumps(find(loader, *given, **named))
        return pickle.loads(made[key])

    with (
        mock.patch.object(ConfigRepository, "load_config", load),
        mock.patch.object(ConfigLoaderImpl, "_compose_config_from_defaults_list", compose),
        mock.patch.object(ConfigLoaderImpl, "get_group_options", options),
        mock.patch.object(defaults_list, "_create_interpolation_map", names),
    ):
        yield


@pytest.fixture
def run(monkeypatch):
    """``run(module, *arguments)``: a command in this process, as typed; SystemExit is its exit."""

    def command(module, *arguments):
        monkeypatch.setattr(sys, "argv", [f"arcsr-{module.__name__}", *map(str, arguments)])
        with mock.patch.dict(os.environ):  # what a command sets is its own
            module.main()

    return command


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """A folder of three sharp pictures of different sizes."""
    folder = tmp_path_factory.mktemp("photos")
    for number, (height, width) in enumerate([(64, 72), (80, 64), (64, 64)]):
        write(folder / f"photo{number}.png", picture(height, width, number))
    return folder


@pytest.fixture(scope="session")
def gopro_tree(tmp_path_factory):
    """GoPro's layout: one sequence of two frames in either split."""
    root = tmp_path_factory.mktemp("gopro")
    for seed, split in enumerate(("train", "test")):
        for frame in ("000001.png", "000002.png"):
            sharp = picture(64, 80, seed)
            write(root / split / "GOPR0001_11_00" / "sharp" / frame, sharp)
            for blur in ("blur", "blur_gamma"):
                write(root / split / "GOPR0001_11_00" / blur / frame, cv2.blur(sharp, (5, 1)))
    return root


@pytest.fixture(scope="session")
def reds_tree(tmp_path_factory):
    """REDS' layout with its bicubic set: one clip of two frames in either split."""
    root = tmp_path_factory.mktemp("reds")
    for seed, split in enumerate(("train", "val")):
        for frame in ("00000000.png", "00000001.png"):
            sharp = picture(64, 80, seed)
            write(root / split / f"{split}_sharp" / "000" / frame, sharp)
            shrunk = cv2.resize(cv2.blur(sharp, (5, 1)), (20, 16), interpolation=cv2.INTER_AREA)
            write(root / split / f"{split}_blur_bicubic" / "X4" / "000" / frame, shrunk)
    return root


@pytest.fixture(scope="session")
def tiny(photos):
    """What to type for a training of a second."""
    return (*TINY, *WITHOUT_PICTURES, f"data.root={photos}", f"data.val_root={photos}", *SMALL_BLUR)


@pytest.fixture(scope="session")
def configure(tiny):
    """``configure(folder, *overrides)``: the configuration of a training of a second, which writes into ``folder``."""
    from arcsr_lightning import compose  # here, as many tests need neither Hydra nor Lightning

    def configuration(folder, *overrides, data=None, panel=False, sizes=True):
        paths = (f"paths.output_dir={folder}", f"paths.log_dir={folder}")
        typed = (*TINY, *WITHOUT_PICTURES, *data) if data else tiny
        kept = [one for one in typed if not (panel and one in WITHOUT_PICTURES)]
        return compose([*(one for one in kept if sizes or not one.startswith("arcsr.")), *paths, *overrides])

    return configuration


@pytest.fixture(scope="session")
def trained(configure, tmp_path_factory):
    """The folder of a finished training: four steps, EMA weights, true kernels."""
    from arcsr_lightning.train import train

    folder = tmp_path_factory.mktemp("trained")
    train(configure(folder))
    return folder
