"""Imports run one way: operators -> blocks -> networks, degradation -> data, and Hydra is known to one module."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import arcsr_lightning

ROOT = Path(arcsr_lightning.__file__).parent
FRAMEWORKS = {"pytorch_lightning", "lightning", "hydra", "omegaconf", "wandb"}
ALLOWED = {  # of this package, beside itself and errors
    "operators": set(),
    "degradation": set(),
    "blocks": {"operators"},
    "networks": {"operators", "blocks", "degradation"},
    "data": {"degradation", "files"},
}


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


def own(names: set[str]) -> set[str]:
    """The parts of this package among them."""
    return {name.split(".")[1] for name in names if name.startswith("arcsr_lightning.")}


def test_the_walk_sees_imports_in_functions_too(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("def f():\n    from a.b import c\n    import d.e as f\n")
    assert imports(path) == {"a.b", "a.b.c", "d.e"}


@pytest.mark.parametrize("part", ["operators", "blocks", "networks", "degradation"])
def test_the_mathematics_knows_no_framework(part):
    files = sorted((ROOT / part).rglob("*.py"))
    assert files
    for path in files:
        assert not {name.split(".")[0] for name in imports(path)} & FRAMEWORKS, path


@pytest.mark.parametrize("part", sorted(ALLOWED))
def test_imports_run_one_way(part):
    for path in sorted((ROOT / part).rglob("*.py")):
        assert own(imports(path)) <= ALLOWED[part] | {part, "errors"}, path


def test_hydra_stops_at_one_part():
    users = {path for path in ROOT.rglob("*.py") if any(name.split(".")[0] == "hydra" for name in imports(path))}
    assert {path.relative_to(ROOT).parts[0] for path in users} == {"launch"}


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import arcsr_lightning", {"torch", *FRAMEWORKS}),
        ("import arcsr_lightning.operators", FRAMEWORKS),
        ("import arcsr_lightning.networks", FRAMEWORKS),
        ("import arcsr_lightning.degradation", FRAMEWORKS),
    ],
)
def test_a_part_can_be_had_without_the_rest(statement, absent):
    code = f"{statement}, sys; print([name for name in {sorted(absent)} if name in sys.modules])"
    environment = {"PYTHONPATH": str(ROOT.parent), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_the_two_functions_for_notebooks_are_at_the_top():
    assert arcsr_lightning.compose.__module__ == "arcsr_lightning.launch.commands"
    assert arcsr_lightning.load_model.__module__ == "arcsr_lightning.runs.weights"
    with pytest.raises(AttributeError, match="no attribute 'train_all'"):
        _ = arcsr_lightning.train_all
