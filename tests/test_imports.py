"""Imports run one way through the rooms of the package, and each framework is known where it is needed only."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from importlib.util import find_spec
from pathlib import Path

import pytest

import arcsr_lightning
from tests.conftest import HEAVY

ROOT = Path(arcsr_lightning.__file__).parent
FRAMEWORKS = {"pytorch_lightning", "lightning", "hydra", "omegaconf", "wandb"}
PAPER = ("operators", "degradation", "blocks", "networks", "losses")
ROOMS = (  # folders and single files: each may import those before it
    *("errors", "integers", "precision", "files", "processes", "worker", "parts"),
    *PAPER,
    "rivals",
    *("inference", "data", "figures", "videos", "scores", "runs", "hub", "training", "results", "launch"),
    *("prepare", "predict", "export", "closeup", "demo", "evaluate", "train", "side_by_side", "compare"),
)
SHARED = {"cmos": {"rrdb"}, "ikc": {"rrdb"}, "manet": {"rrdb"}}  # the rivals that build on another's trunk
FILES = sorted(ROOT.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def rooms_used(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(path) if name.startswith("arcsr_lightning.")} - {"CONF_DIR"}


def rivals_used(path: Path) -> set[str]:
    return {name.split(".")[2] for name in imports(path) if name.startswith("arcsr_lightning.rivals.")}


def module_name(path: Path) -> str:
    return ".".join(("arcsr_lightning", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_walk_sees_imports_in_functions_too(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("def f():\n    from a.b import c\n    import d.e as f\n")
    assert imports(path) == {"a.b", "a.b.c", "d.e"}


def test_every_file_has_a_room_in_the_order():
    assert {room(path) for path in FILES} - {"__init__"} == set(ROOMS)


@pytest.mark.parametrize("path", FILES, ids=label)
def test_imports_run_one_way(path):
    own = room(path)
    before = ROOMS[: ROOMS.index(own) + 1] if own in ROOMS else ()  # the package itself imports by name, when asked
    assert rooms_used(path) <= set(before)


def test_no_files_import_each_other_in_a_circle():
    modules = {module_name(path): path for path in FILES}
    graph = {}
    for name, path in modules.items():
        used = imports(path) & set(modules)
        # "from room import file" is an import of the file, whose room's __init__ runs before anyhow.
        graph[name] = {other for other in used if not any(more.startswith(f"{other}.") for more in used)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("rival", sorted(path.parent.name for path in ROOT.glob("rivals/*/__init__.py")))
def test_a_rival_stands_alone_but_for_the_trunk_that_it_declares(rival):
    used = set().union(*(rivals_used(path) for path in (ROOT / "rivals" / rival).rglob("*.py")))
    common = {path.stem for path in (ROOT / "rivals").glob("[!_]*.py")}
    assert used - {rival} - common == SHARED.get(rival, set())


@pytest.mark.parametrize("path", sorted((ROOT / "rivals").glob("*.py")), ids=label)
def test_what_rivals_share_knows_none_of_them(path):
    assert not rivals_used(path)


@pytest.mark.parametrize("path", [path for path in FILES if room(path) in (*PAPER, "rivals")], ids=label)
def test_the_mathematics_knows_no_framework(path):
    assert not {name.split(".")[0] for name in imports(path)} & FRAMEWORKS


def test_hydra_stops_at_one_room():
    users = {room(path) for path in FILES if any(name.split(".")[0] == "hydra" for name in imports(path))}
    assert users == {"launch"}


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import arcsr_lightning", {"torch", *FRAMEWORKS}),
        (f"import {', '.join(f'arcsr_lightning.{part}' for part in PAPER)}", FRAMEWORKS),
    ],
)
def test_a_part_can_be_had_without_the_rest(statement, absent):
    code = f"{statement}; import sys; print([name for name in {sorted(absent)} if name in sys.modules])"
    environment = {"PYTHONPATH": str(ROOT.parent), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_no_command_waits_for_lightning_before_it_needs_it(loaded):
    """Which takes longer to import than everything else: --help, complaints and completion do without."""
    commands = ("train", "evaluate", "predict", "export", "prepare", "demo", "compare", "closeup", "side_by_side")
    assert set(loaded(f"from arcsr_lightning import {', '.join(commands)}")) == {"hydra", "cv2", "matplotlib"}
    assert all(map(find_spec, HEAVY))  # what it looks for are no wrong names


def test_the_two_functions_for_notebooks_are_at_the_top():
    assert arcsr_lightning.compose.__module__ == "arcsr_lightning.launch.commands"
    assert arcsr_lightning.load_model.__module__ == "arcsr_lightning.runs.weights"
    with pytest.raises(AttributeError, match="no attribute 'train_all'"):
        _ = arcsr_lightning.train_all
