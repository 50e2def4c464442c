import base64
import json
import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import fit
from image_sets import image_folder
from markdown_it import MarkdownIt

from flyweight import rules, schema
from flyweight.data import Dataset, Split, hold_out, subset
from flyweight.data import load as load_data
from flyweight.data.cifar10 import SPEC
from flyweight.errors import FlyweightError, RunError
from flyweight.evaluation import evaluate
from flyweight.machine import environment
from flyweight.networks.build import build
from flyweight.recipes import sections
from flyweight.recipes.network import Network, Row
from flyweight.report import pages, report
from flyweight.report.subject import Subject
from flyweight.runs.card import Card, load_trained
from flyweight.runs.environment import LABELS
from flyweight.runs.folder import Run

# a network that costs next to nothing, for images of any size
ROWS = [[{"width": 32, "stride": 2}, {"width": 8, "stride": 2}]]
RECORD = {
    **environment.describe(), "precision": "float32", "data_source": "images", "data_fingerprint": "0" * 64,
}  # fmt: skip
ODD = ("$x_1$", "<script>alert(1)</script>", "=1+1", "\x1b[31mred", "a|b `c`", "[日本](http://x.y)")

NETWORK = '''
"""A user's network, with a fence ``` in its text."""
from torch import nn


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1 = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.ReLU())
        self.head = nn.Conv2d(4, 6, 1)

    def forward(self, x):
        return self.head(self.c1(x).mean((2, 3), keepdim=True)).flatten(1)
'''


class Page(HTMLParser):
    """What an HTML page holds: its tags, its text, and every address that a browser would ask for."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.addresses = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for key, value in attributes if key in {"src", "href", "srcset", "action", "data"}]

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A run of a user's own network with fresh weights, on classes with odd names; no image is of the fifth."""
    folder = tmp_path_factory.mktemp("odd")
    file = folder / "my_net.py"
    file.write_text(NETWORK, encoding="utf-8")
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    split = Split(images, np.array([0, 1, 2, 3, 5] * 6, np.int64))
    dataset = Dataset("cifar10", split, split, ODD, (0.5,) * 3, (0.25,) * 3, "0" * 64, "made by the <b>tests</b>")
    recipe = schema.parse(
        sections.Recipe,
        {"name": "<i>odd</i> | `$run$`", "description": "a_b_c", "model": {"network": f"{file}:Tiny"}},
        "the tests",
    )
    run = Run.create(folder / "run", recipe)
    torch.manual_seed(0)
    network = build(recipe.model, SPEC)
    run.save_model(
        network, Card(f"{file}:Tiny", None, ODD, (3, 32, 32), (0.5,) * 3, (0.25,) * 3, "cifar10", "0" * 64, 1)
    )
    report.write(run, dataset)
    return run, dataset


@pytest.fixture(scope="module")
def trained(striped, tmp_path_factory):
    """A run of a network of the table, trained for two epochs on stripes that pose as digits."""
    recipe = schema.parse(
        sections.Recipe,
        {
            "name": "stripes",
            "data": {"name": "digits"},
            "model": {"network": "sprint"},
            "train": {"epochs": 2, "batch_size": 32, "learning_rate": 0.1, "precision": "float32", "workers": 0},
        },
        "the tests",
    )
    run = Run(tmp_path_factory.mktemp("trained") / "run")
    fit(recipe, striped, run.folder)
    note = "CIFAR-10 could not be had: <b>digits</b>"
    told = {"processor": "a fast one", "cores": 2, "data_note": note, "command": "flyweight train"}
    run.write_environment(RECORD | told)
    steps = []
    assert report.write(run, striped, lambda *step: steps.append(step)) == run.report_html
    assert steps == [("report", done, 6) for done in range(7)]
    return run


def html(run):
    return Page(run.report_html.read_text(encoding="utf-8"))


def words(run):
    """The text of a page, a space between any two words."""
    return " ".join(" ".join(html(run).text).split())


def test_the_page_asks_no_host_for_anything(trained, odd):
    for run in (trained, odd[0]):
        text, page = run.report_html.read_text(encoding="utf-8"), html(run)
        assert page.addresses
        assert all(address.startswith(("data:", "#")) for address in page.addresses)
        assert not {"iframe", "object", "embed", "base", "form"} & set(page.tags)
        style = text[text.index("<style>") : text.index("</style>")]
        assert "url(" not in style
        assert "@import" not in style
        assert "default-src 'none'" in text


def test_the_page_shows_what_was_found(trained):
    text = words(trained)
    last = trained.history()[-1]
    assert f"{last['test_accuracy']:.2f} % test accuracy of the last epoch" in text
    assert f"{last['test_correct']} of 64 images" in text
    content = json.loads(trained.evaluation.read_text(encoding="utf-8"))
    assert "{:.2f} to {:.2f} % (Wilson)".format(*content["interval"]) in text
    assert "ATTENTION CIFAR-10 could not be had: <b>digits</b>" in text
    # sprint for two classes: 170,720 parameters less 8 * 160 of the classifier
    assert "parameters 169,440" in text
    # three maps of 32x16x16 where C1 adds
    assert "memory for its maps in 8 bits 24.0 KiB" in text
    for phrase in (
        "R1 no max pooling pass",
        "R6 flip",
        "does not count",
        "Epoch 2/2 |",
        "learning_rate: 0.1",
        "a fast one",
    ):
        assert phrase in text
    assert f"flyweight train {trained.folder.name}/config.yaml" in text


def test_all_figures_are_files_of_their_own_too(trained, odd):
    names = ["augmentation", "metrics", "misclassified", "gradcam", "confusion", "calibration"]
    mistakes = json.loads(trained.evaluation.read_text(encoding="utf-8"))["mistakes"]
    for run, wanted in (
        (odd[0], names),
        (trained, names if mistakes else [name for name in names if name != "gradcam"]),
    ):
        assert sorted(path.name for path in run.images.iterdir()) == sorted(f"{name}.png" for name in wanted)
        inside = [address.partition(",")[2] for address in html(run).addresses if address.startswith("data:image/png")]
        pngs = [base64.b64decode(content) for content in inside]
        # the gallery says the same as some of them, and more
        figures = [(run.images / f"{name}.png").read_bytes() for name in wanted if name not in report.IN_GALLERY]
        assert [png for png in pngs if png in figures] == figures
        assert not any(
            (run.images / f"{name}.png").read_bytes() in pngs for name in set(wanted) & set(report.IN_GALLERY)
        )


def test_the_markdown_has_the_five_answers(trained):
    text = trained.report_markdown.read_text(encoding="utf-8")
    tokens = MarkdownIt().enable("table").parse(text)
    headings = [after.content for token, after in pairwise(tokens) if token.tag == "h2" and token.nesting == 1]
    assert [heading[0] for heading in headings] == ["1", "2", "3", "4", "5"]
    code = [token.content for token in tokens if token.type == "fence"]
    assert any("class TableNetwork" in block for block in code)
    assert any("def convolution_layer" in block for block in code)
    assert any("c3.conv1.layer.0.depthwise" in block and "PASS" in block for block in code)
    assert any("A.CoarseDropout(" in block for block in code)
    assert any(block == trained.log.read_text(encoding="utf-8") for block in code)
    assert "| c3.1 | 64 | separable 3x3 | 1 | 1 | 1 | yes |" in text
    links = re.findall(r"\]\(([^)]+)\)", re.sub(r"(?s)```.*?```", "", text))
    assert "images/metrics.png" in links
    assert all((trained.folder / link).is_file() for link in links)


def test_odd_names_break_neither_page_nor_markdown(odd):
    run, _ = odd
    page, text = html(run), run.report_markdown.read_text(encoding="utf-8")
    assert page.tags.count("script") == 1  # the page's own
    assert "<script>alert(1)</script>" in "".join(page.text)
    assert "<i>odd</i> | `$run$`" in "".join(page.text)
    tokens = MarkdownIt().enable("table").parse(text)
    inside = [child for token in tokens for child in (token.children or [])]
    assert not any(token.type.startswith("html") for token in [*tokens, *inside])
    assert not any(child.type == "link_open" and "x.y" in child.attrs["href"] for child in inside)
    cells = [after.content for token, after in pairwise(tokens) if token.type == "td_open"]
    seen = ["".join(child.content for child in MarkdownIt().parseInline(cell)[0].children) for cell in cells]
    assert {name.replace("\x1b", "\ufffd") for name in ODD} <= set(seen)
    assert tokens[1].children[-1].content.endswith("$") or "$run$" in "".join(c.content for c in tokens[1].children)
    # the user's own source, whose fence is inside a longer one
    assert any(token.type == "fence" and token.content.strip() == NETWORK.strip() for token in tokens)
    for file in (run.report_html, run.report_markdown, run.mistakes):
        assert "\x1b" not in file.read_text(encoding="utf-8")


def test_uneven_classes_many_classes_and_named_images_are_in_the_page_and_the_markdown(odd, tmp_path):
    run, dataset = odd
    names = [f"<b>/{number}.png" for number in range(30)]
    # three images fewer of the first class
    chosen = np.flatnonzero((dataset.test.labels > 0) | (np.arange(30) > 14))
    part = Split(dataset.test.images[chosen], dataset.test.labels[chosen], [names[index] for index in chosen])
    copy = copied(run, tmp_path / "named")
    report.write(copy, Dataset(**{**vars(dataset), "test": part}))
    scores = json.loads(copy.evaluation.read_text(encoding="utf-8"))
    balanced, text, markdown = f"{scores['balanced_accuracy']:.2f} %", words(copy), copy.report_markdown.read_text()
    assert f"balanced accuracy, the mean of the classes' {balanced}" in text
    assert f"balanced accuracy, the mean of the classes' | {balanced} |" in markdown
    first = copy.mistakes.read_text(encoding="utf-8").splitlines()[1].rpartition(",")[2]
    assert first in names
    assert first in text
    assert "<b>/" not in copy.report_html.read_text(encoding="utf-8")
    # the run that it is a copy of has even classes and no names
    assert "balanced accuracy" not in words(run)
    assert "balanced accuracy" not in run.report_markdown.read_text(encoding="utf-8")
    low, high = scores["per_class"][1]["interval"]
    assert f"{low:.1f} to {high:.1f} %" in markdown


def test_a_run_without_history_or_machine_still_has_a_report(odd):
    text = "".join(html(odd[0]).text)
    assert "(the log is missing)" in text
    assert "time of all epochs" not in text
    assert "ATTENTION" not in text


def test_a_broken_rule_is_named_with_its_cure(odd):
    text = words(odd[0])
    assert re.search(r"R3 depthwise separable convolution FAIL 0 found, at least 1 needed; cure: ", text)
    assert re.search(
        r"R7 at least 85 % test accuracy FAIL \d+\.\d\d % at the last epoch: \d+\.\d\d points too few", text
    )


def test_without_rules_there_are_no_verdicts(odd, tmp_path):
    run, dataset = odd
    plain = copied(run, tmp_path / "plain", rules=None)
    plain.environment.write_text("[damaged", encoding="utf-8")
    report.write(plain, dataset)
    text = "".join(html(plain).text)
    assert "FAIL" not in text
    assert "R7" not in text


def test_no_escape_of_a_received_run_gets_into_its_page(odd, tmp_path):
    run, dataset = odd
    escape = "\x1b]0;title\x07\x9b2J"
    received = copied(run, tmp_path / f"run {escape}", rules=None)
    received.write_environment(
        RECORD | {"command": f"flyweight train {escape}", "data_note": f"note {escape}", "processor": f"fast {escape}"},
    )
    received.log.write_text(f"Epoch 1 {escape}\nEpoch 2\n", encoding="utf-8")
    report.write(received, dataset)
    text = "".join(html(received).text)
    for before in ("flyweight train", "note", "fast", "Epoch 1"):
        assert f"{before} \ufffd]0;title\ufffd\ufffd2J" in text
    assert "\nEpoch 2" in text
    for file in (received.report_html, received.report_markdown):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", file.read_text(encoding="utf-8"))


def test_what_must_not_be_mistaken_is_said_loudly(odd):
    run, dataset = odd
    card = load_trained(run.folder)

    def banners(environment=None, **changes):
        return report._banners(environment or {}, card, Dataset(**{**vars(dataset), **changes}))

    assert banners() == []
    # the note of a stand-in is in the record of the run, and in the data of the process that trained
    assert banners({"data_note": "a note"}, notes=("a note", "another\x1b")) == ["a note", "another\ufffd"]
    for part, told in (
        (subset(dataset, 20, 10), "20 training and 10 test images"),
        (hold_out(dataset, 10), "10 images held out of the training set"),
    ):
        assert told in banners(notes=part.notes)[0]
    assert "other data than it was trained on" in banners(fingerprint="1" * 64)[0]


def test_the_best_epoch_is_called_optimistic_and_another_count_is_told(trained, striped, tmp_path):
    copy = copied(trained, tmp_path / "copy")
    rows = trained.history()
    rows[0]["test_accuracy"], rows[1]["test_accuracy"], rows[1]["test_correct"] = 99.99, 10.0, -1
    copy.write_history(rows, ["a line"])
    report.write(copy, striped)
    text = words(copy)
    assert "optimistic because it is picked by them: 99.99 % (epoch 1)" in text
    assert "test pass counted -1 of 64" in text
    assert (
        "optimistic" not in "".join(html(trained).text)
        or trained.history()[0]["test_accuracy"] > rows[1]["test_accuracy"]
    )


def test_epochs_that_were_tested_on_few_images_are_no_best_ones(trained, striped, tmp_path):
    copy = copied(trained, tmp_path / "copy")
    rows = trained.history()
    rows[0] |= {"test_total": 8, "test_accuracy": 99.99}
    copy.write_history(rows, ["a line"])
    report.write(copy, striped)
    assert "optimistic" not in words(copy)


def test_a_run_that_has_not_ended_says_how_to_go_on(odd, tmp_path):
    run, dataset = odd
    unfinished = Run.create(tmp_path / "a run", run.recipe())
    with pytest.raises(RunError, match=r"has not ended; go on with: flyweight train --resume '.*/a run'$"):
        report.write(unfinished, dataset)
    assert not unfinished.images.exists()


def test_nothing_is_written_through_a_link(trained, striped, tmp_path):
    copy, theirs = copied(trained, tmp_path / "copy"), tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "metrics.png").write_bytes(b"somebody's own")
    shutil.rmtree(copy.images, ignore_errors=True)
    copy.images.symlink_to(theirs)
    with pytest.raises(RunError, match=r"copy/images is a link to .*/theirs: .* so remove the link$"):
        report.write(copy, striped)
    assert {file.name: file.read_bytes() for file in theirs.iterdir()} == {"metrics.png": b"somebody's own"}


def test_what_has_changed_since_the_training_is_told(trained, striped, tmp_path):
    copy, told = Run(shutil.copytree(trained.folder, tmp_path / "copy")), []
    report.write(copy, striped, tell=told.append)
    assert told == []
    copy.write_environment(copy.read_environment() | {"finished": "now", "seconds": 1.0}, ended=True)
    copy.history_jsonl.write_text(copy.history_jsonl.read_text().replace('"epoch": 2', '"epoch": 9'))
    copy.log.write_bytes(b"Epoch 1\xff\x1b[2J")
    report.write(copy, striped, tell=told.append)
    end = "has changed since the training ended; the report is of what is there now"
    assert told == [f"{copy.history_jsonl} {end}", f"{copy.log} {end}"]
    assert "Epoch 1\\xff\ufffd[2J" in copy.report_markdown.read_text(encoding="utf-8")
    copy.environment.write_text(copy.environment.read_text().replace('"cores": 2', '"cores": 3'))
    assert copy.changed() == [f"{copy.environment} is damaged"]


def test_other_data_is_refused(odd, striped):
    with pytest.raises(FlyweightError, match="knows the 6 classes"):
        report.write(odd[0], striped)


@pytest.mark.parametrize("text", [*ODD[:3], *ODD[4:], "# a", "*a*", "a\\|b", "&lt;", "~~a~~", "![a](b)", "<!-- a"])
def test_markdown_text_comes_out_as_it_went_in(text):
    parser = MarkdownIt().enable(["table", "strikethrough"])
    tokens = parser.parse(f"| a | b |\n| - | - |\n| {pages.markdown(text)} | x |\n")
    cells = [after for token, after in pairwise(tokens) if token.type == "td_open"]
    assert len(cells) == 2
    assert "".join(child.content for child in cells[0].children) == text


def test_small_things():
    assert pages.fenced("a ```` b") == "`````\na ```` b\n`````"
    assert pages.count(1234567) == "1,234,567"
    assert pages.count((51, 47)) == "51 x 47"
    assert pages.count(None) == "unknown"
    assert [pages.duration(seconds) for seconds in (0.2, 59.7, 3723)] == ["0 s", "1 min", "1 h 2 min 3 s"]


def test_the_table_of_the_machine_shows_what_is_recorded():
    recorded = set(environment.describe()) | {"precision"}  # the training adds how it calculated
    assert set(LABELS) <= recorded
    assert {"albumentations", "opencv", "numpy", "accelerate"} <= set(LABELS)


def test_the_commands_name_the_rules_and_the_images_of_the_run(odd, tmp_path):
    assert "--classes 6" in words(odd[0])
    assert "--rules" not in words(odd[0])
    rules_file = tmp_path / "my rules.yaml"
    rules_file.write_text("title: mine\nrules:\n  - {name: few, kind: parameters_below, limit: 9}\n")
    run = copied(odd[0], tmp_path / "run", rules=str(rules_file))
    report.write(run, odd[1])
    assert f"--rules '{rules_file}' --input 3,32,32 --classes 6" in words(run)
    assert "few FAIL" in words(run)


def test_the_commands_check_rows_of_a_recipes_own_by_the_recipe(odd, tmp_path):
    rows = Network(blocks=((Row(width=4),),))
    model = odd[0].recipe().model.model_copy(update={"network": "rows", "table": rows})
    run = copied(odd[0], tmp_path / "a run", model=model)
    subject = Subject(
        run, run.recipe(), load_trained(odd[0].folder), odd[1], None, rules.load_ruleset(run.recipe().rules)
    )
    assert report._commands(subject)[0] == "flyweight check 'a run'/config.yaml --classes 6"


# --- any images, any classes, no rules


def copied(run, folder, **changes):
    """A run with the weights of another one, and its recipe changed."""
    copy = Run.create(folder, run.recipe().model_copy(update=changes))
    for file in ("model.safetensors", "config.json"):
        (copy.folder / file).write_bytes((run.folder / file).read_bytes())
    return copy


def foreign(folder, classes, shape, augment=None):
    """A run of a network with fresh weights, on noise: no rules, no name that anybody knows."""
    return untrained(folder, noise(classes, shape), augment)


def noise(classes, shape):
    """Images of noise, two a class."""
    channels, height, width = shape
    generator = np.random.default_rng(0)
    count = 2 * classes
    split = Split(generator.integers(0, 256, (count, height, width, channels), np.uint8), np.arange(count) % classes)
    mean, std = (0.5,) * channels, (0.25,) * channels
    names = tuple(f"shape {number}" for number in range(classes))
    return Dataset("shapes", split, split, names, mean, std, "1" * 64, "noise of the tests")


def untrained(folder, dataset, augment=None):
    """A run without rules of a network with fresh weights, and its report."""
    recipe = schema.parse(
        sections.Recipe,
        {
            "name": "shapes",
            "data": {"name": "digits"},
            "rules": None,
            "model": {"network": "rows", "table": {"blocks": ROWS}},
            "augment": augment or {},
        },
        "the tests",
    )
    run = Run.create(folder, recipe)
    torch.manual_seed(0)
    card = Card(
        "rows", None, dataset.classes, dataset.spec.shape, dataset.mean, dataset.std, dataset.name,
        dataset.fingerprint, 1, table=recipe.model.table,
    )  # fmt: skip
    run.save_model(build(recipe.model, dataset.spec), card)
    run.write_history(
        [
            dict.fromkeys(("train_loss", "test_loss", "seconds", "train_accuracy", "test_accuracy"), 1.0)
            | {"epoch": 1, "learning_rate": 0.1, "test_correct": 0, "test_total": len(dataset.test)}
        ],
        ["Epoch 1/1"],
    )
    report.write(run, dataset)
    return run


# an image of one channel, moved by the batched augmentation, has tests of its own
@pytest.mark.early
@pytest.mark.parametrize(
    ("classes", "shape", "augment"),
    [(3, (1, 28, 28), {"cutout_size": 14}), (300, (3, 64, 48), {"flip": 0, "shift_scale_rotate": 0, "cutout": 0})],
)
def test_any_images_and_classes_without_rules_get_a_report_without_a_word_of_the_brief(
    tmp_path, classes, shape, augment
):
    run = foreign(tmp_path / "run", classes, shape, augment)
    for file in (run.report_html, run.report_markdown):
        content = re.sub(r'"data:image[^"]*"', "", file.read_text(encoding="utf-8"))
        assert re.search(r"brief|\bR\d\b|CIFAR|README", content, re.IGNORECASE) is None
    assert run.report_html.stat().st_size < 5e6
    text = run.report_markdown.read_text(encoding="utf-8")
    assert text.startswith("# Report of shapes")
    assert "| c1.1 | 32 | dense 3x3 | 2 | 1 | 1 |  |" in text
    assert ("None: the network is trained on the images as they are." in text) == ("flip" in augment)
    page = words(run)
    shown = min(classes, 20)
    assert text.partition("### Classes")[2].count("\n| shape") == shown
    assert run.report_html.read_text(encoding="utf-8").count('<td class="text">shape') >= shown
    assert ("true class among the five likeliest" in page) == (classes >= 20)
    assert ("true class among the five likeliest" in text) == (classes >= 20)
    assert ("The 20 of 300 classes with the lowest accuracy" in page) == (classes > 20)
    assert len(json.loads(run.evaluation.read_text(encoding="utf-8"))["per_class"]) == classes
    assert {path.stem for path in run.images.iterdir()} == {
        "augmentation", "metrics", "misclassified", "gradcam", "confusion", "calibration",
    }  # fmt: skip
    assert "flyweight check" not in page


@pytest.mark.usefixtures("own_places")
def test_what_a_scan_found_in_the_images_stands_beside_the_result(tmp_path):
    folder = image_folder(tmp_path / "photos", ("cat", "dog"), 4, ("train", "test"))
    (folder / "train/dog/broken.png").write_text("no image")
    for place in range(3):
        (folder / f"train/dog/{place}.png").rename(folder / f"train/cat/dog{place}.png")
    shutil.copy(folder / "train/dog/3.png", folder / "test/dog/seen.png")
    run = untrained(tmp_path / "run", load_data(path=folder))
    for text in (words(run), run.report_markdown.read_text(encoding="utf-8")):
        assert "ATTENTION" in text
        assert "1 of 9 test images" in text
        assert "1 group of 2 images: 1 across splits, 0 across classes" in text.replace("&#95;", "_")
        assert "1 files" not in text
        assert "1 file" in text
        assert re.search(r"2, of 1 \(dog\) to \d \(cat\) training images", text)
        assert re.search(r"brief|\bR\d\b", text) is None


def test_the_weakest_classes_come_first_and_those_without_images_last(odd):
    scores = evaluate.evaluate(load_trained(odd[0].folder), odd[1])
    assert [score for _, score in report.weakest(scores)] == list(scores.per_class)
    few = report.weakest(scores, most=5)
    accuracies = [score.accuracy for _, score in few]
    assert len(few) == 5
    assert accuracies == sorted(accuracies)
    assert None not in accuracies


def test_a_row_of_any_kind_is_described():
    row = Row(width=1024, kind="mine", kernel=5, dilation=2, stride=3, residual=True)
    assert list(report.describe_row("c9", 2, row).values()) == ["c9.2", "1,024", "mine 5x5", "3", "2", "4", "yes"]


def test_rules_that_are_not_judged_are_no_pass():
    judgement = rules.Judgement("mine", (rules.Verdict("a", None, "b"),), (), ("c",))
    assert [row["verdict"] for row in report._verdicts(judgement)] == ["does not count", "not judged"]
