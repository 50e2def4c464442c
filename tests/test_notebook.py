"""The notebook runs from its first cell to its last."""

import os
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "quickstart.ipynb"


# as it stands it trains longer
@pytest.mark.early
@pytest.mark.parametrize("epochs", [1, pytest.param(None, marks=pytest.mark.long)])
def test_the_quickstart_runs(tmp_path, monkeypatch, epochs):
    # as in a shell in which this environment is active
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit it without outputs"
    if epochs is not None:
        [training] = [cell for cell in notebook.cells if "--epochs 10" in cell.source and cell.cell_type == "code"]
        training.source = training.source.replace("--epochs 10", f"--epochs {epochs}")
    client = nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    told = "".join(
        output.get("text", "") for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
    )
    assert "PASS" in told
    assert "test accuracy" in told
    assert "3.png" in told
    assert (tmp_path / "run" / "report.html").is_file()
    # the shell's own words for a command that failed go unnoticed by the kernel
    assert "flyweight: " not in told
