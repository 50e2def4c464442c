"""`flyweight export --push`: the hub's real client against a stand-in that takes files."""

import json

import huggingface_hub.constants
import pytest
from conftest import synthetic
from exporting import DILATED, described, run_folder
from hub_taking import Taking
from torch import nn

from flyweight.cli import job  # noqa: F401 (its help names the readers: before a test adds one)
from flyweight.cli.app import run_command
from flyweight.data import online, registry
from flyweight.data.reader import Reader
from flyweight.export import gate, huggingface, model_card
from flyweight.export.subject import Subject, saved
from flyweight.runs.card import Trained

CALL = ["export", "net", "--to", "out", "--format", "huggingface", "--push"]


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The stand-in, and a user who is logged in to it as me."""
    taking = Taking()
    monkeypatch.setattr(online, "hub_address", lambda: taking.url)
    # its protocol for large files is HTTP; the other one is a program of its own that knows one server
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    monkeypatch.setenv("HF_TOKEN", "hf_write")
    yield taking
    taking.close()


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A trained network in the working directory, and a format that takes no time."""
    dataset = synthetic(4, 3, 16, 16)
    reader = Reader("synthetic", "Made", "made by the tests", lambda path, **options: dataset, spec=dataset.spec)
    monkeypatch.setattr(registry, "READERS", (reader, *registry.READERS))
    monkeypatch.chdir(tmp_path)
    run_folder(tmp_path / "net", DILATED, dataset)

    def write(subject, folder):
        found = [
            saved(folder, "README.md", b"---\nlicense: mit\n---\n"),
            saved(folder, "model.safetensors", b"w" * 999),
        ]
        return [*found, saved(folder, "web/onnx/model.onnx", b"graph"), saved(folder, "web/config.json", b"{}")]

    monkeypatch.setattr(huggingface, "write", write)
    return dataset


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_whole_folder_goes_up_by_one_commit_and_nobody_else_sees_it(hub, made, tmp_path, capsys):
    assert run_command([*CALL, "me/net"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [str(tmp_path / "out"), f"{hub.url}/me/net"]
    assert "pushing to me/net" in err
    assert hub.repositories == {"me/net": files(tmp_path / "out")}
    assert hub.private == {"me/net": True}
    assert len(hub.repositories["me/net"]) == 5
    (commit,) = hub.commits
    assert commit[:2] == ("me/net", "Export by flyweight")


def test_an_organisation_a_public_one_and_a_program_that_reads_the_address(hub, made, capsys):
    assert run_command([*CALL, "team/net", "--public", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pushed"] == f"{hub.url}/team/net"
    assert hub.private == {"team/net": False}


def test_one_that_is_there_gets_another_commit_only_by_force(hub, made, tmp_path, capsys):
    hub.repositories["me/net"], hub.private["me/net"] = {"notes.md": b"mine", "README.md": b"old"}, False
    assert run_command([*CALL, "me/net"]) == 2
    assert "it is there already" in capsys.readouterr().err
    assert hub.commits == []
    assert not (tmp_path / "out").exists()
    assert run_command([*CALL, "me/net", "--force"]) == 0
    assert hub.repositories["me/net"] == {"notes.md": b"mine", **files(tmp_path / "out")}
    assert hub.private["me/net"] is False


@pytest.mark.parametrize(
    ("call", "token", "words"),
    [
        ([*CALL, "net"], "hf_write", "write OWNER/NAME"),
        ([*CALL, "me/a b"], "hf_write", "write OWNER/NAME"),
        ([*CALL, "a/b/c"], "hf_write", "write OWNER/NAME"),
        ([*CALL, "me/net"], None, "nobody is logged in to the Hugging Face hub: run `hf auth login`, or set HF_TOKEN"),
        ([*CALL, "me/net"], "hf_gone", "the hub does not know the token: run `hf auth login`"),
        ([*CALL, "me/net"], "hf_read", "the hub's token may only read: run `hf auth login`"),
        (["export", "net", "--to", "out", "--push", "me/net"], "hf_write", "add --format huggingface"),
        ([*CALL[:-1], "--public"], "hf_write", "--public goes with --push OWNER/NAME"),
    ],
)
def test_what_cannot_work_is_told_before_anything_is_made(hub, made, tmp_path, monkeypatch, capsys, call, token, words):
    monkeypatch.delenv("HF_TOKEN")
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    assert run_command(call) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert words in err
    assert hub.repositories == {}
    assert not (tmp_path / "out").exists()


def test_without_network_it_is_told_at_once(hub, made, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(online, "hub_address", lambda: "http://127.0.0.1:9")
    assert run_command([*CALL, "me/net"]) == 2
    assert "the hub at http://127.0.0.1:9 cannot be reached: Connection refused" in capsys.readouterr().err
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert run_command([*CALL, "me/net"]) == 2
    assert "HF_HUB_OFFLINE is set" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("repository", "path", "status", "words"),
    [
        ("other/net", None, None, "the hub's token may not write to other"),
        ("me/net", "/commit/", 403, "the hub's token may not write to me"),
        ("me/net", "/commit/", 400, "the hub says no (400): so it is set in the test"),
        ("me/net", "/large/", 403, "the hub's token may not write to me"),
    ],
)
def test_what_the_hub_refuses_at_the_end_leaves_the_export(
    hub, made, tmp_path, capsys, repository, path, status, words
):
    if path is not None:
        hub.failing[path] = status
    assert run_command([*CALL, repository]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err.splitlines()[-1]
    assert f"`hf upload {repository} {tmp_path / 'out'}`" in err.splitlines()[-1]
    assert "model.safetensors" in files(tmp_path / "out")
    assert hub.commits == []


def test_what_did_not_pass_is_not_pushed(hub, made, monkeypatch, capsys):
    def closed(subject, folder):
        raise gate.GateError("it does not say the same")

    from flyweight.export import onnx_float

    monkeypatch.setattr(huggingface, "write", closed)
    monkeypatch.setattr(onnx_float, "write", lambda subject, folder: [saved(folder, "model.onnx", b"graph")])
    assert run_command([*CALL[:-1], "onnx", "--push", "me/net"]) == 1
    assert "--push me/net: nothing was pushed" in capsys.readouterr().err
    assert hub.repositories == {}


def test_a_class_of_the_users_own_is_told_to_be_missing(tmp_path):
    dataset = synthetic(3, 3, 16, 16, train=96, test=30)
    network = nn.Sequential(nn.Conv2d(3, 3, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    card = described(None, dataset, network="/home/me/secret_net.py:Own")
    subject = Subject(Trained(network, card, None), dataset)
    weights, _ = huggingface.weights(subject, tmp_path)
    assert weights.line().endswith("without the class secret_net.py:Own, which reads them: add its file yourself")
    text = model_card.text(subject, [weights])
    assert "a class of its author's own, secret\\_net.py:Own, which is not here" in text
    assert "flyweight predict FOLDER" not in text
    assert list(tmp_path.rglob("*.py")) == []
