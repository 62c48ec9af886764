"""Installs every extra alone, each in an empty environment, and runs there the tests of what it is for.

``python tests/extras.py``, or ``make test-extras``; ``python tests/extras.py demo video`` for some. An extra that lacks
a package shows here only: the environment of development has all of them. Needs some GB on disk at a time, and a
package index.
"""

import argparse
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OURS = {"docs", "dev"}  # for those who work on the package
TESTS = {
    "none": ["tests/test_predict.py", "tests/runs/test_weights.py", "tests/launch/test_messages.py"],
    "tensorboard": ["tests/training/test_pictures.py"],
    "notebook": ["tests/test_notebooks.py"],
    "cluster": ["tests/launch/test_cluster.py"],
    "demo": ["tests/test_closeup.py", "tests/test_demo.py", "tests/test_worker.py"],
    "video": ["tests/test_videos.py", "tests/test_predict.py"],
    "sweep": ["tests/launch/test_search.py"],
    "export": ["tests/test_export.py"],
    "hub": ["tests/test_hub.py"],
    "metrics": ["tests/scores/test_perceptual.py"],
}
FOR_TESTS = ["pytest", "hypothesis"]
FOR_EXPORT = ["onnxruntime"]  # what exported networks are checked in


def extras() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["optional-dependencies"].keys() - OURS | {"none"}


def fails(extra: str, folder: Path) -> str | None:
    """What is wrong with an extra, which is installed into a new environment in ``folder``; None: nothing is."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    package = str(ROOT) if extra == "none" else f"{ROOT}[{extra}]"
    more = FOR_EXPORT if extra == "export" else []
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    installed = subprocess.run([python, "-m", "pip", "install", "--quiet", *constraints, package, *FOR_TESTS, *more])
    if installed.returncode:
        return "does not install"
    for command in sorted((folder / "bin").glob("arcsr-*")):
        if subprocess.run([command, "--help"], stdout=subprocess.DEVNULL).returncode:
            return f"{command.name} --help fails"
    done = subprocess.run([python, "-m", "pytest", "-q", *TESTS[extra]], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    print(done.stdout, flush=True)
    if done.returncode:
        return "its tests fail"
    return "its tests are skipped" if f"arcsr-lightning[{extra}]" in done.stdout else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("extras", nargs="*", metavar="EXTRA", help=f"all, or some of: {' '.join(sorted(extras()))}")
    wanted = parser.parse_args().extras or sorted(extras())
    if unknown := set(wanted) - TESTS.keys():
        parser.error(f"{', '.join(sorted(unknown))}: no such extra, or no tests for it are named in {__file__}")
    faults = {}
    for extra in wanted:
        with tempfile.TemporaryDirectory(prefix=f"arcsr-{extra}-") as folder:
            if fault := fails(extra, Path(folder)):
                faults[extra] = fault
    for extra in wanted:
        print(f"{extra}: {faults.get(extra, 'passes')}")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
