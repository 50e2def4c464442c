"""Data sets of the Hugging Face hub: its real client against a stand-in server on this machine."""

import json
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
from cifar10_sets import NOBODY, refused
from hub_server import Hub
from image_sets import npz_file, parquet_set, rows, write_rows

from flyweight import data, schema
from flyweight.cli import job
from flyweight.cli.app import run_command
from flyweight.data import hub as reader
from flyweight.data import online, registry
from flyweight.errors import FlyweightError
from flyweight.recipes.sections import DataConfig, Recipe

pytestmark = pytest.mark.usefixtures("own_places")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub(monkeypatch) as server:
        yield server


def test_a_set_is_downloaded_once_and_its_commit_is_told(hub: Hub, tmp_path: Path) -> None:
    commit = hub.publish("me/set", parquet_set(tmp_path / "set"))
    heard: list[str] = []
    dataset = data.load("hub:me/set", progress=lambda what, done, total: heard.append(what))
    assert dataset.classes == ("zebra", "ant")
    assert len(dataset.test) == 20
    assert dataset.source == f"parquet set hub:me/set@{commit}"
    assert "downloading from the Hugging Face hub" in heard
    assert (tmp_path / "hub" / "datasets--me--set" / "snapshots" / commit).is_dir()
    hub.mirror.requests.clear()
    assert data.load(f"hub:me/set@{commit}").fingerprint == dataset.fingerprint
    assert hub.requests == []
    assert data.load("hub:me/set").fingerprint == dataset.fingerprint  # whether there is a newer one
    assert hub.requests == ["/datasets/me/set", "/api/datasets/me/set"]
    # the same files in a folder are not converted again
    assert data.load(path=tmp_path / "set").fingerprint == dataset.fingerprint
    assert len(list((tmp_path / "cache").glob("parquet-set-*/"))) == 1


def test_a_pinned_name_means_the_same_when_the_set_has_changed(hub: Hub, tmp_path: Path) -> None:
    hub.publish("me/set", parquet_set(tmp_path / "old"))
    name = registry.pinned("hub:me/set")
    old = data.load(name)
    new = hub.publish("me/set", parquet_set(tmp_path / "new", each=12))
    assert registry.pinned("hub:me/set") == f"hub:me/set@{new}" != name
    assert registry.pinned(name) == name
    assert data.load(name).fingerprint == old.fingerprint
    assert data.load("hub:me/set").fingerprint != old.fingerprint


def test_a_branch_is_a_revision_too(hub: Hub, tmp_path: Path) -> None:
    commit = hub.publish("me/set", parquet_set(tmp_path / "set"), revision="a/branch")
    assert registry.pinned("hub:me/set@a/branch") == f"hub:me/set@{commit}"


def test_what_the_hub_has_converted_is_read_where_there_is_no_parquet(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    npz_file(tmp_path / "raw" / "x.npz")
    write_rows(tmp_path / "raw" / "metadata.parquet", {"file_name": ["x.npz"]})
    hub.publish("me/set", tmp_path / "raw")
    assert "hub:me/set has no parquet files, and the hub has made none: download it" in refused(
        lambda: data.load("hub:me/set")
    )
    for name in ("train/0000", "test/0000"):
        write_rows(tmp_path / "converted" / "default" / f"{name}.parquet", rows([0, 1] * 9), {"label": ("b", "a")})
    assert "no parquet files at this revision" in refused(lambda: data.load("hub:me/set@main"))
    commit = hub.publish("me/set", tmp_path / "converted", revision="refs/convert/parquet")
    dataset = data.load("hub:me/set")
    assert dataset.source.endswith(f"hub:me/set@{commit}")
    assert (dataset.classes, len(dataset.test)) == (("b", "a"), 18)


def test_one_of_several_sets_is_chosen_by_its_folder(hub: Hub, tmp_path: Path) -> None:
    for folder in ("cropped", "full"):
        parquet_set(tmp_path / "set" / folder)
        write_rows(tmp_path / "set" / folder / "extra-00000-of-00001.parquet", rows([0]), {"label": ("zebra", "ant")})
    hub.publish("me/set", tmp_path / "set")
    line = refused(lambda: data.load("hub:me/set"))
    assert "hub:me/set holds several sets (cropped, full): name one, hub:me/set/cropped" in line
    dataset = data.load("hub:me/set/full")
    assert len(dataset.test) == 20
    assert any("extra-00000-of-00001.parquet" in note for note in dataset.remarks)
    fetched = {path.rsplit("/", 2)[1] for path in hub.requests if path.endswith(".parquet")}
    assert fetched == {"full"}
    assert not any("extra" in path for path in hub.requests)
    assert data.load("hub:me/set/full").remarks == dataset.remarks


def test_without_network_what_is_here_is_read_and_all_else_is_one_line(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = hub.publish("me/set", parquet_set(tmp_path / "set"))
    dataset = data.load("hub:me/set")
    hub.publish("me/set", parquet_set(tmp_path / "new", each=12))
    registry.pinned("hub:me/set")  # it has been seen, but is not here
    monkeypatch.setattr(online, "hub_address", lambda: NOBODY)
    hub.mirror.requests.clear()
    for offline in (False, True):
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
        assert registry.pinned("hub:me/set") == f"hub:me/set@{commit}"
        assert data.load("hub:me/set").fingerprint == dataset.fingerprint
        why = "HF_HUB_OFFLINE is set" if offline else "the hub cannot be reached (Connection refused)"
        line = refused(lambda: data.load("hub:me/other"))
        assert line == f"hub:me/other is not on this machine, and {why}"
    assert "the network is not used" in refused(lambda: data.load("hub:me/other@" + "0" * 40, download=False))
    assert hub.requests == []


def test_what_the_hubs_own_client_has_brought_is_read_without_network(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = hub.publish("me/set", parquet_set(tmp_path / "set"))
    data.load("hub:me/set")
    (tmp_path / "hub" / "datasets--me--set" / "refs").mkdir()
    (tmp_path / "hub" / "datasets--me--set" / "refs" / "main").write_text(commit)
    monkeypatch.setenv("FLYWEIGHT_CACHE", str(tmp_path / "another"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for name in ("hub:me/set", f"hub:me/set@{commit}"):
        assert data.load(name).source.endswith(commit)


def test_a_download_that_was_cut_is_no_set(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = hub.publish("me/set", parquet_set(tmp_path / "set"))
    (lost,) = [path for path in hub.mirror.paths if path.endswith("train-00001-of-00002.parquet")]
    kept = hub.mirror.paths.pop(lost)
    assert f"hub:me/set@{commit} cannot be downloaded" in refused(lambda: data.load("hub:me/set"))
    assert (tmp_path / "hub" / "datasets--me--set" / "snapshots" / commit / "test-00000-of-00001.parquet").exists()
    for name in ("hub:me/set", f"hub:me/set@{commit}"):
        with monkeypatch.context() as patch:
            patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
            assert "is not on this machine" in refused(lambda name=name: data.load(name))
    hub.mirror.paths[lost] = kept
    assert len(data.load("hub:me/set").test) == 20


def test_a_tag_names_no_file_outside_of_the_hubs_cache(hub: Hub, tmp_path: Path) -> None:
    """The client itself would write what it downloads to wherever the server's tag leads."""
    hub.publish("owner/set", parquet_set(tmp_path / "published"))
    for name, plan in hub.mirror.paths.items():
        if "/resolve/" in name:
            plan["headers"]["ETag"] = '"../../../outside"'
    line = refused(lambda: data.load("hub:owner/set"))
    assert "names no file: it is no hub" in line
    assert [path.name for path in tmp_path.rglob("*outside*")] == []


def test_what_the_hub_says_against_it_is_one_line(hub: Hub, tmp_path: Path) -> None:
    hub.publish("me/set", parquet_set(tmp_path / "set"))
    hub.refuse("me/typo", "RepoNotFound", 401)
    hub.refuse("me/terms", "GatedRepo", 403)
    hub.refuse("me/set", "RevisionNotFound", revision="v9")
    assert "hub:me/typo: the hub has no such data set, or it is private" in refused(lambda: data.load("hub:me/typo"))
    assert f"accept its terms: do so on {hub.mirror.url}/datasets/me/terms" in refused(
        lambda: data.load("hub:me/terms")
    )
    assert "hub:me/set@v9: there is no revision 'v9'" in refused(lambda: data.load("hub:me/set@v9"))


def test_addresses() -> None:
    assert reader.parse("me/set") == ("me/set", "", None)
    assert reader.parse("me/set/a/b@refs/convert/parquet") == ("me/set", "a/b", "refs/convert/parquet")
    assert str(reader.parse("me/set/a@v1")) == "me/set/a@v1"
    for text in ("set", "me/", "me/set@", "me/se t", "/etc/passwd"):
        with pytest.raises(FlyweightError, match="write hub:OWNER/NAME"):
            reader.parse(text)
    for name in ("hub", "hub:"):
        with pytest.raises(FlyweightError, match="data set hub needs an address: write hub:OWNER/NAME"):
            data.load(name)
    assert job.data_of(None, "hub:me/set").name == "hub:me/set"
    with pytest.raises(FlyweightError, match="there is no data set 'folder:x'"):
        data.load("folder:x")
    with pytest.raises(FlyweightError, match="takes no path"):
        data.load("hub:me/set", Path("x"))


RECIPE = """
name: tiny
model:
  network: rows
  table: {blocks: [[{width: 8, stride: 2}]]}
rules: null
train: {epochs: 2, batch_size: 16, precision: float32, workers: 0, keep: 9}
"""


def test_a_run_stays_with_the_revision_that_it_began_with(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(RECIPE)
    commit = hub.publish("me/set", parquet_set(tmp_path / "set"))
    assert run_command(["train", "recipe.yaml", "--data", "hub:me/set", "--out", "run", "--no-report"]) == 0
    assert schema.parse(Recipe, schema.read_yaml(Path("run/config.yaml")), "").data.name == f"hub:me/set@{commit}"
    assert json.loads(Path("run/config.json").read_text())["data"] == f"hub:me/set@{commit}"
    weights = Path("run/model.safetensors").read_bytes()
    hub.publish("me/set", parquet_set(tmp_path / "new", each=12))
    for name in ("model.safetensors", "config.json", "history.csv", "history.jsonl", "train.log"):
        Path("run", name).unlink()
    sorted(Path("run/checkpoints").glob("*.pt"))[-1].unlink()
    hub.mirror.requests.clear()
    assert run_command(["train", "--resume", "run", "--no-report"]) == 0
    assert Path("run/model.safetensors").read_bytes() == weights
    capsys.readouterr()
    assert run_command(["evaluate", "run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 20
    assert hub.requests == []
    assert run_command(["evaluate", "run", "--data", "hub:me/set", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 24


def test_a_recipe_names_the_revision_of_today(hub: Hub, tmp_path: Path) -> None:
    commit = hub.publish("me/set", parquet_set(tmp_path / "set"))
    plan = Recipe(name="a", model={"network": "sprint"}, data=DataConfig(name="hub:me/set"))
    assert job.absolute(plan, tmp_path).data.name == f"hub:me/set@{commit}"
