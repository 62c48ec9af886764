"""The run-time dependencies: each has a use, and the oldest versions that are tried are those that are allowed."""

import ast
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement

import arcsr_lightning

ROOT = Path(__file__).parents[1]
REQUIREMENTS = [
    Requirement(line)
    for line in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
]
NOT_IMPORTED = {
    "wandb",  # Lightning imports it where logger=wandb asks for it
    "scikit-image",  # its photographs are read
}


def imported() -> set[str]:
    """The top-level names of everything that the package imports."""
    names = set()
    for path in Path(arcsr_lightning.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module)
    return {name.partition(".")[0] for name in names}


def test_every_dependency_is_used():
    homes = packages_distributions()
    used = {name.lower() for module in imported() for name in homes.get(module, ())}
    assert {one.name for one in REQUIREMENTS} - used - NOT_IMPORTED == set()


def test_the_lower_bounds_that_are_tried_are_those_that_are_allowed():
    lines = (ROOT / "constraints-lower.txt").read_text(encoding="utf-8").splitlines()
    tried = dict(line.split("==") for line in lines if not line.startswith("#"))
    for one in REQUIREMENTS:
        (lowest,) = (bound.version for bound in one.specifier if bound.operator == ">=")
        assert tried[one.name] in one.specifier
        if one.name != "torch":  # older builds without CUDA are not on the package index
            assert (tried[one.name] + ".").startswith(lowest + "."), one.name
    assert tried.keys() == {one.name for one in REQUIREMENTS}
