import json
import os
import sys
from pathlib import Path

import pytest

pytest.importorskip("ipykernel", reason='needs "arcsr-lightning[notebook]"')
nbclient = pytest.importorskip("nbclient", reason='needs "arcsr-lightning[notebook]"')

import nbformat  # noqa: E402
from jupyter_client.manager import AsyncKernelManager  # noqa: E402

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


class ThisPython(AsyncKernelManager):
    """Starts the kernel with the Python that runs the tests, whatever kernels are installed."""

    def format_kernel_cmd(self, extra_arguments=None):
        return [sys.executable, "-m", "ipykernel_launcher", "-f", self.connection_file]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_from_top_to_bottom(path, tmp_path, monkeypatch):
    monkeypatch.setenv("ARCSR_NOTEBOOK_STEPS", "2")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # measured: on a busy machine several threads take ten times as long
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(entry for entry in sys.path if entry))
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=120, kernel_manager_class=ThisPython, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()  # raises with the traceback of the first cell that fails
    assert "GPU available" not in str(notebook.cells)  # which Lightning says at level INFO
    kinds = [kind for cell in notebook.cells for output in cell.get("outputs", []) for kind in output.get("data", {})]
    assert kinds.count("image/png") == 7


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_kept_as_it_ran_from_top_to_bottom_with_its_pictures(path):
    notebook = json.loads(path.read_text())
    nbformat.validate(notebook)
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"execute_result", "display_data"}  # no errors, no logs
    assert sum("image/png" in output["data"] for output in outputs) == 7
    assert path.stat().st_size < 3e6
