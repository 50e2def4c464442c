"""The guide to continuous integration, tried: its test, its hook by pre-commit itself, the steps of its workflow."""

import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

GUIDE = (Path(__file__).parents[1] / "docs" / "guides" / "check-in-ci.md").read_text(encoding="utf-8")
SOUND = (
    "from torch import nn\nclass Net(nn.Sequential):\n    def __init__(self):\n"
    "        super().__init__(nn.Conv2d(3, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
)
LARGE = SOUND.replace("nn.Conv2d(3, 10, 3)", "nn.Conv2d(3, 800, 9), nn.Conv2d(800, 10, 9)")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture
def project(tmp_path):
    """A folder with the network and the rules of the guide, and a `flyweight` to call there."""
    rules, hooks, workflow = blocks("yaml")
    (tmp_path / "rules.yaml").write_text(rules)
    (tmp_path / "network.py").write_text(SOUND)
    (tmp_path / ".pre-commit-config.yaml").write_text(hooks)
    (tmp_path / "bin").mkdir()
    call = tmp_path / "bin" / "flyweight"
    call.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m flyweight "$@"\n')
    call.chmod(0o755)
    root = str(Path(__file__).parents[1])
    environment = {
        **os.environ,
        "PATH": f"{call.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": root,
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
    }
    return tmp_path, environment, yaml.safe_load(workflow)


def test_the_test_of_the_guide(project):
    folder, environment, _ = project
    (folder / "my_package").mkdir()
    shutil.copy(folder / "network.py", folder / "my_package" / "network.py")
    (folder / "test_rules.py").write_text(blocks("python")[0])
    environment["PYTHONPATH"] += f"{os.pathsep}{folder}"
    call = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_rules.py"]
    done = subprocess.run(call, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("network", "code"), [(SOUND, 0), (LARGE, 1)])
def test_the_steps_of_the_workflow(project, network, code):
    folder, environment, workflow = project
    (folder / "network.py").write_text(network)
    steps = workflow["jobs"]["check"]["steps"]
    runs = [step for step in steps if "run" in step and not step["run"].startswith("pip install")]
    codes = []
    for step in runs:
        if codes and any(codes) and step.get("if") != "always()":
            continue
        call = ["bash", "-e", "-c", step["run"]]
        codes.append(subprocess.run(call, cwd=folder, env=environment, capture_output=True, check=False).returncode)
    assert codes == [code, 0]
    root = ET.parse(folder / "rules.xml").getroot()
    assert root[0].attrib["failures"] == ("0" if code == 0 else "2")
    word = "obeys" if code == 0 else "breaks"
    assert f"network.py {word} ours" in (folder / "summary.md").read_text().replace("\\", "")


@pytest.mark.long
def test_the_hook_is_run_by_pre_commit(project):
    pre_commit = shutil.which("pre-commit")
    if pre_commit is None:
        pytest.skip("pre-commit is not installed, so nobody tried the hook of the guide: pip install pre-commit")
    folder, environment, _ = project
    environment |= {"PRE_COMMIT_HOME": str(folder / "cache"), "GIT_CONFIG_GLOBAL": os.devnull}
    for call in ("git init -q", "git config user.email a@b.c", "git config user.name a", "git add -A"):
        subprocess.run(call.split(), cwd=folder, env=environment, check=True)
    subprocess.run([pre_commit, "install"], cwd=folder, env=environment, check=True, capture_output=True)
    commit = ["git", "commit", "-q", "-m", "one"]
    done = subprocess.run(commit, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "network.py").write_text(LARGE)
    commit = ["git", "commit", "-q", "-a", "-m", "two"]
    done = subprocess.run(commit, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "few parameters" in done.stdout + done.stderr
