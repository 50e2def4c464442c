"""The wheel in an empty virtual environment, far from the checkout: what a user has who installs it.

flyweight comes from the wheel alone. Its dependencies are those of the environment that runs the tests: a .pth file
names its folder, and Python reads no .pth files of such a folder, so that an editable flyweight there stays unseen.
`make wheel` names the wheel by FLYWEIGHT_WHEEL; without that, one is built here from a copy of the checkout.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from PIL import Image

import flyweight

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "flyweight"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel to try."""
    if "FLYWEIGHT_WHEEL" in os.environ:
        return Path(os.environ["FLYWEIGHT_WHEEL"]).resolve()
    folder = tmp_path_factory.mktemp("wheel")
    # a copy: what an older build left in build/ would get into the wheel
    copy = shutil.copytree(
        PACKAGE, folder / "source" / "flyweight", ignore=shutil.ignore_patterns("__pycache__")
    ).parent
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(copy)]
    subprocess.run(command, check=True)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Run a command of the installed flyweight in an empty folder: (exit code, standard output, standard error)."""
    folder = tmp_path_factory.mktemp("elsewhere")
    place, work = folder / "venv", folder / "work"
    work.mkdir()
    venv.create(place, with_pip=False, symlinks=True)
    command = [sys.executable, "-m", "pip", "--python", str(place / "bin" / "python"), "install", "-q", "--no-deps"]
    subprocess.run([*command, str(wheel)], check=True)
    [packages] = (place / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "FLYWEIGHT_"))}
    environment |= {"FLYWEIGHT_CACHE": str(folder / "cache")}

    def run(program, *arguments):
        call = [str(place / "bin" / program), *arguments]
        done = subprocess.run(call, cwd=work, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    run.work, run.place = work, place
    return run


def test_all_that_git_has_of_the_package_is_inside(wheel):
    listed = subprocess.run(["git", "ls-files", "flyweight"], cwd=ROOT, capture_output=True, text=True, check=True)
    with zipfile.ZipFile(wheel) as archive:
        assert set(listed.stdout.splitlines()) - set(archive.namelist()) == set()


def test_flyweight_comes_from_the_wheel(installed):
    code, out, err = installed("python", "-c", "import flyweight; print(flyweight.__file__, flyweight.__version__)")
    assert code == 0, err
    place, version = out.split()
    assert Path(place).is_relative_to(installed.place)
    assert version == flyweight.__version__


def test_it_checks(installed):
    code, out, err = installed("flyweight", "check", "dilated", "--json")
    assert code == 0, err
    assert json.loads(out)["passed"] is True


def test_it_predicts_with_what_ships(installed):
    Image.new("RGB", (40, 50), "navy").save(installed.work / "navy.png")
    code, out, err = installed("flyweight", "predict", "sprint", "navy.png", "--json")
    assert code == 0, err
    assert len(json.loads(out)[0]["predictions"]) == 3


def test_it_trains_reports_and_evaluates(installed):
    settings = ["--data", "digits", "--epochs", "1", "--set", "train.batch_size=64"]
    code, _, err = installed("flyweight", "train", "sprint", *settings, "--out", "run")
    assert code == 0, err
    assert (installed.work / "run" / "report.html").stat().st_size > 0
    code, out, err = installed("flyweight", "evaluate", "run", "--json")
    assert code == 0, err
    assert json.loads(out)["n"] == 360


def test_it_measures_itself_beside_the_peers(installed):
    options = ["training", "--rounds", "1", "--images", "256", "--data", "digits", "--json"]
    code, out, err = installed("flyweight", "bench", *options)
    assert code == 0, err
    assert [round(pair["ratio"], 9) > 0 for pair in json.loads(out)["training"]] == [True, True]
    code, out, err = installed(
        "python", "-m", "flyweight.bench.peers.resnet8_loop", "--epochs", "1", "--images", "256", "--data", "digits"
    )
    assert code == 0, err
    assert out.startswith("epoch 1: ")


def test_an_export_is_predicted_in_a_bare_environment(wheel, sprint_export, tmp_path):
    """The wheel with --no-deps beside numpy, Pillow and onnxruntime; then cyclopts, for the command line."""
    place, paths = tmp_path / "venv", [tmp_path / f"{colour}.png" for colour in ("navy", "green", "white", "maroon")]
    venv.create(place, with_pip=False, symlinks=True)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "FLYWEIGHT_"))}
    for path in paths:
        Image.new("RGB", (40, 50), path.stem).save(path)
    expected = [one.classes[0] for one in flyweight.predict("sprint", paths)]

    def run(*call):
        done = subprocess.run(
            list(map(str, call)), cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def install(*what):
        run(sys.executable, "-m", "pip", "--python", place / "bin" / "python", "install", "-q", *what)

    install("numpy", "pillow", "onnxruntime")
    told = run(place / "bin" / "python", sprint_export / "predict.py", *paths).splitlines()
    assert [name in line for name, line in zip(expected, told, strict=True)] == [True] * len(paths)
    install("--no-deps", wheel)
    say = "import sys, flyweight; print(*[one.classes[0] for one in flyweight.load(sys.argv[1]).predict(sys.argv[2:])])"
    assert run(place / "bin" / "python", "-c", say, sprint_export, *paths).split() == expected
    install("cyclopts")
    answers = json.loads(run(place / "bin" / "flyweight", "predict", sprint_export, *paths, "--json"))
    assert [one["predictions"][0]["class"] for one in answers] == expected
