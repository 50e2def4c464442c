import csv
import json
from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch
from torch import nn

from flyweight.data import Dataset, Split
from flyweight.errors import FlyweightError, RunError
from flyweight.evaluation import evaluate, scores, unknown
from flyweight.runs.card import Card, Trained

ODD = ("$x_1$", "<script>alert(1)</script>", "=1+1", "\x1b[31mred", "a|b `c`", "日本")


class Lookup(nn.Module):
    """Says the row of a table whose number is the image's first pixel (mean 0, std 1)."""

    def __init__(self, table):
        super().__init__()
        self.table = nn.Parameter(torch.tensor(table, dtype=torch.float32))

    def forward(self, x):
        return self.table[(x[:, 0, 0, 0] * 255).round().long()]


def world(table, labels, classes, folder):
    """A network that says row i of the table about test image i, and the data it does so on."""
    images = np.zeros((len(labels), 4, 4, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(len(labels))
    split = Split(images, np.array(labels, np.int64))
    zero, one = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    dataset = Dataset("digits", split, split, tuple(classes), zero, one, "f" * 64, "made by hand")
    card = Card("net", None, tuple(classes), (3, 4, 4), zero, one, "digits", "f" * 64, 1, "w" * 64)
    return Trained(Lookup(table).train(), card, folder), dataset


def by_hand(folder, classes=ODD):
    """Five images, the fourth and fifth of them mistakes; nothing is of class 4 and nothing is taken for class 5."""
    p = [
        [0.6, 0.1, 0.1, 0.1, 0.05, 0.05],
        [0.1, 0.5, 0.1, 0.1, 0.1, 0.1],
        [0.1, 0.1, 0.6, 0.1, 0.05, 0.05],
        [0.3, 0.1, 0.1, 0.4, 0.05, 0.05],  # is 0, which comes second
        [0.7, 0.1, 0.1, 0.05, 0.03, 0.02],  # is 5, which comes last
    ]
    return world(np.log(p), [0, 1, 2, 0, 5], classes, folder)


def test_all_scores_of_a_hand_made_example(tmp_path):
    result = evaluate.evaluate(*by_hand(tmp_path))
    assert (result.n, result.correct, result.accuracy) == (5, 3, 60)
    assert result.loss == pytest.approx(-(log(0.6) + log(0.5) + log(0.6) + log(0.3) + log(0.02)) / 5, rel=1e-6)
    expected = np.zeros((6, 6), int)
    for true, predicted in [(0, 0), (1, 1), (2, 2), (0, 3), (5, 0)]:
        expected[true, predicted] += 1
    assert (result.confusion == expected).all()
    # the most confident first
    assert [(m.index, m.true, m.predicted, m.true_rank) for m in result.mistakes] == [(4, 5, 0, 6), (3, 0, 3, 2)]
    assert [m.confidence for m in result.mistakes] == pytest.approx([70, 40])
    assert [m.true_probability for m in result.mistakes] == pytest.approx([2, 30])
    assert result.near_misses == 1
    assert scores.confusions(result, 10) == [(0, 3, 1), (5, 0, 1)]


def test_a_class_without_images_has_no_accuracy_and_keeps_its_place(tmp_path):
    per_class = evaluate.evaluate(*by_hand(tmp_path)).per_class
    assert [score.name for score in per_class] == list(ODD)
    assert [score.n for score in per_class] == [2, 1, 1, 0, 0, 1]
    assert [score.accuracy for score in per_class] == [50, 100, 100, None, None, 0]
    assert [score.precision for score in per_class] == [50, 100, 100, 0, None, None]
    assert per_class[4].interval is None


def test_the_network_keeps_its_mode(tmp_path):
    trained, dataset = by_hand(tmp_path)
    evaluate.evaluate(trained, dataset)
    assert trained.model.training


def test_data_that_does_not_fit_is_refused_in_one_line(tmp_path):
    trained, _ = by_hand(tmp_path)
    _, other = by_hand(tmp_path, classes=("a", "b", "c", "d", "e", "f"))
    with pytest.raises(
        FlyweightError, match=r"knows the 6 classes .* has the 6 classes \(a, b, c, d and 2 more\)"
    ) as error:
        evaluate.evaluate(trained, other)
    assert "\n" not in str(error.value)
    assert "\x1b" not in str(error.value)
    _, dataset = by_hand(tmp_path)
    large = Split(np.zeros((5, 8, 8, 3), np.uint8), dataset.test.labels)
    with pytest.raises(FlyweightError, match=r"takes images of \(3, 4, 4\).* are \(3, 8, 8\)"):
        evaluate.evaluate(trained, Dataset(**{**vars(dataset), "train": large, "test": large}))
    empty = Split(dataset.test.images[:0], dataset.test.labels[:0])
    with pytest.raises(FlyweightError, match="no images in its test split"):
        evaluate.evaluate(trained, Dataset(**{**vars(dataset), "test": empty}))


def test_a_network_that_says_something_else_is_refused(tmp_path):
    with pytest.raises(FlyweightError, match=r"says \(3,\) numbers an image: 2 classes"):
        evaluate.evaluate(*world(np.zeros((4, 3)), [0, 1, 0, 1], ("a", "b"), tmp_path))
    table = np.zeros((4, 2))
    table[2] = np.nan
    with pytest.raises(FlyweightError, match="for 1 of 4 images the network's output is not finite"):
        evaluate.evaluate(*world(table, [0, 1, 0, 1], ("a", "b"), tmp_path))


def test_files_are_safe_to_open_in_a_spreadsheet(tmp_path):
    result = evaluate.evaluate(*by_hand(tmp_path, classes=("=1+1", "-2", "@sum", "+3", "\x1b[31mred", "a,\nb")))
    evaluate.write(result, tmp_path)
    content = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    assert (content["accuracy"], content["n"], content["mistakes"]) == (60, 5, 2)
    assert content["classes"][0] == "=1+1"
    text = (tmp_path / "mistakes.csv").read_text(encoding="utf-8")
    assert "\x1b" not in text
    rows = list(csv.reader(text.splitlines()))
    assert rows[0] == ["index", "true", "predicted", "confidence", "true_probability", "true_rank"]
    assert rows[1] == ["4", "a,\ufffdb", "'=1+1", "70.0000", "2.0000", "6"]
    assert rows[2] == ["3", "'=1+1", "'+3", "40.0000", "30.0000", "2"]
    with pytest.raises(RunError, match="cannot write"):
        evaluate.write(result, tmp_path / "nowhere")


def test_a_mistake_is_called_by_its_file_where_the_images_have_names(tmp_path):
    trained, dataset = by_hand(tmp_path)
    names = ["0.png", "1.png", "2.png", "=cmd/3.png", "\x1b[31m" + "folder/" * 9 + "4.png"]
    named = replace(dataset, test=replace(dataset.test, names=names))
    result = evaluate.evaluate(trained, named)
    assert "names" not in result.as_json()
    json.dumps(result.as_json())
    evaluate.write(result, tmp_path)
    rows = list(csv.DictReader((tmp_path / "mistakes.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["name"] for row in rows] == ["\ufffd[31m" + "folder/" * 9 + "4.png", "'=cmd/3.png"]
    text = evaluate.render(result)
    assert f"  …{'folder/' * 6}4.png " in text
    assert "=cmd/3.png" in text
    # without mistakes the table has the same columns
    evaluate.write(replace(result, mistakes=()), tmp_path)
    assert (tmp_path / "mistakes.csv").read_text(encoding="utf-8").endswith("true_rank,name\n")


def test_the_balanced_accuracy_is_told_where_it_says_something_else(tmp_path):
    trained, dataset = by_hand(tmp_path)  # two images of one class, one of the others
    assert "  balanced     62.50 %: mean of the classes' accuracies" in evaluate.render(
        evaluate.evaluate(trained, dataset)
    )
    even = evaluate.render(evaluate.evaluate(*world(np.eye(3) * 9, [0, 1, 2], ("a", "b", "c"), tmp_path)))
    assert "balanced" not in even


def test_the_text_is_aligned_and_safe_for_a_terminal(tmp_path):
    text = evaluate.render(evaluate.evaluate(*by_hand(tmp_path)))
    assert "accuracy     60.00 % (3 of 5); 95 % interval 23.07 to 88.24 %" in text
    assert "\x1b" not in text
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("  class"))
    table = lines[start : start + 7]
    # a Japanese letter is two cells wide
    assert {len(line) + 2 * ("日本" in line) for line in table} == {len(table[0])}
    assert table[4 + 1].split()[-3:] == ["-", "-", "-"]


def test_no_mistakes_no_confusions(tmp_path):
    trained, dataset = world(np.eye(3) * 9, [0, 1, 2], ("a", "b", "c"), tmp_path)
    result = evaluate.evaluate(trained, dataset)
    assert (result.accuracy, result.mistakes, result.confusion.trace()) == (100, (), 3)
    assert "taken for" not in evaluate.render(result)
    assert evaluate.evaluate(trained, dataset, "train").split == "train"


def test_of_many_classes_the_text_has_those_with_the_lowest_accuracy(tmp_path):
    # class 7 is taken for class 8; class 39 has no images
    table = np.eye(40)[[8 if number == 7 else number for number in range(39)]] * 9
    result = evaluate.evaluate(*world(table, range(39), [f"name{number}" for number in range(40)], tmp_path))
    text = evaluate.render(result)
    assert "The 20 of 40 classes with the lowest accuracy" in text
    shown = [line.split() for line in text.splitlines() if line.startswith("  name")]
    assert [row[0] for row in shown[:2]] == ["name7", "name0"]
    assert len([row for row in shown if len(row) > 5]) == 20
    assert "name39" not in text
    # of image 7 the six classes before the true one are as likely as it and come first
    assert "top 5        97.44 %" in text


def test_of_few_classes_the_text_has_all_in_their_order(tmp_path):
    text = evaluate.render(
        evaluate.evaluate(*world(np.eye(20) * 9, range(20), [str(number) for number in range(20)], tmp_path))
    )
    assert "lowest accuracy" not in text
    rows = text.partition("precision\n")[2].splitlines()
    assert [row.split()[0] for row in rows] == [str(number) for number in range(20)]


def test_the_temperature_changes_what_is_told_and_neither_accuracy_nor_loss(tmp_path):
    trained, dataset = by_hand(tmp_path)
    plain = evaluate.evaluate(trained, dataset)
    warm = replace(trained, card=replace(trained.card, temperature=2.0, threshold=0.45))
    result = evaluate.evaluate(warm, dataset)
    assert (result.accuracy, result.loss, result.calibration) == (plain.accuracy, plain.loss, plain.calibration)
    assert plain.scaled == plain.calibration
    # the square root of each probability, as shares of their sum
    roots = [[p**0.5 for p in row] for row in ([0.7, 0.1, 0.1, 0.05, 0.03, 0.02], [0.3, 0.1, 0.1, 0.4, 0.05, 0.05])]
    told = [100 * max(row) / sum(row) for row in roots]
    assert [one.confidence for one in result.mistakes] == pytest.approx(told)
    assert result.unknown == 100 * (result.confidence < 0.45).mean() > 0
    assert plain.unknown is None
    content = result.as_json()
    assert (content["temperature"], content["threshold"]) == (2, 0.45)
    assert "confidence" not in content
    text = evaluate.render(result)
    assert f"as told      off by {result.scaled.error:.2f} points" in text
    assert f"refused      {result.unknown:.2f} %, as none of its classes" in text
    # of the three below 45 %, by hand: the square roots leave the second image, right, and both mistakes
    assert result.unknown_wrong == pytest.approx(
        100 * np.mean(np.isin(np.flatnonzero(result.confidence < 0.45), [3, 4]))
    )
    assert "as told" not in evaluate.render(plain)


def test_images_of_none_of_the_classes_are_told_from_its_own(tmp_path):
    trained, dataset = by_hand(tmp_path)
    trained = replace(trained, card=replace(trained.card, threshold=0.55))
    scores_ = evaluate.evaluate(trained, dataset)
    # rows 1 and 3 of the table: confidences of 50 and 40 % against 60, 50, 60, 40 and 70 %
    others = dataset.test.images[[1, 3]]
    result = unknown.measure(trained, scores_, others, "others")
    # of the ten pairs the network's own is higher in 3 + 3, level in 1 of each, and in 50 > 40 once
    assert result.auroc == pytest.approx(100 * (3 + 0.5 + 4 + 0.5) / 10)
    assert (result.n, result.own, result.unknown) == (2, 5, 100)
    assert "2 others); 100.0 % of them are called none of its classes" in unknown.render(result)


def test_other_images_are_brought_to_what_the_network_takes(tmp_path):
    trained, _ = by_hand(tmp_path)
    split = Split(np.full((3, 8, 6, 1), 7, np.uint8), np.zeros(3, np.int64))
    other = Dataset("grey", split, split, ("a",), (0.5,), (0.5,), "0" * 64, "made by hand")
    assert unknown.images_of(other, trained.card).shape == (6, 4, 4, 3)
    five = Split(np.zeros((3, 4, 4, 5), np.uint8), np.zeros(3, np.int64))
    with pytest.raises(FlyweightError, match="takes images of 3 channels, these have 5"):
        unknown.images_of(Dataset(**{**vars(other), "train": five, "test": five}), trained.card)
