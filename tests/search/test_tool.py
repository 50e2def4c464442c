"""What a search is worth, measured by the tool that is named in the guide."""

import importlib.util
import sys
from pathlib import Path

import pytest
from searching import CALL

from flyweight import recipes

TOOL = Path(__file__).parents[2] / "tools" / "search_trial.py"


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_winners_beside_the_reference_for_equal_time(folder, monkeypatch, capfd):
    # the reference must obey the rules and lie in the space
    (folder / "rules.yaml").write_text(
        "title: light\nrules:\n  - {name: light, kind: parameters_below, limit: 200000}\n"
    )
    (folder / "space.yaml").write_text("{blocks: [4], rows: [3]}\n")
    spec = importlib.util.spec_from_file_location("search_trial", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    call = ["worth", "--rules", "rules.yaml", "--hours", "0.1", "--searches", "1", "--seeds", "2", "--hold-out", "100"]
    more = [part for part in CALL[2:] if part not in ("--hold-out", "100")]
    monkeypatch.setattr(sys, "argv", ["tool", *call, "--", *more, "--trials", "3", "--epochs", "2", "--lengths", "1"])
    tool.main()
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].count("|") == lines[1].count("|") == lines[-1].count("|")
    assert lines[2].startswith("| 0 | `sprint` | 18.0 M | 170,720 | 2 | ")
    assert len(lines) in (4, 5)
    name = lines[3].split("`")[1]
    assert (folder / "worth" / "search-0" / "winners" / f"{name}.yaml").is_file()
    trained = recipes.recorded(
        next((folder / "worth" / "search-0" / "trained").glob(f"{name}-*-seed-101")) / "config.yaml"
    )
    reference = recipes.recorded(folder / "worth" / "trained" / "sprint-2-seed-101" / "config.yaml")
    assert reference.model.network == "sprint"
    assert reference.data == trained.data
    assert (trained.data.hold_out, trained.train.seed) == (100, 101)
