import io

import matplotlib
import numpy as np
import pytest
from matplotlib import _pylab_helpers
from PIL import Image

from flyweight.data import Dataset, Split
from flyweight.evaluation import scores
from flyweight.images.augment import Augmenter
from flyweight.recipes.sections import AugmentConfig
from flyweight.report import augmentations, figures

ODD = (
    "$x_1$",
    "<script>alert(1)</script>",
    "=1+1",
    "\x1b[31mred",
    "a|b `c`",
    "日本",
    "$",
    "a very long name of a class",
)
ABOUT = {"network": "net", "data": "data", "split": "test", "fingerprint": "f", "weights": "w"}


def evaluation(n, classes, scale=1.0, seed=0):
    """Of random logits; the larger the scale, the more of them are right."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, len(classes), n)
    logits = generator.normal(0, 1, (n, len(classes))).astype(np.float32)
    logits[np.arange(n), labels] += scale
    return scores.score(logits, labels, classes, **ABOUT)


def history(epochs):
    return [
        {
            "epoch": epoch,
            "train_loss": 2 / epoch,
            "train_accuracy": 90 - 50 / epoch,
            "test_loss": 1.9 / epoch,
            "test_total": 10_000,
            "test_accuracy": 90.01 - 49 / epoch,
            "learning_rate": 0.4 / epoch,
        }
        for epoch in range(1, epochs + 1)
    ]


def drawn(figure):
    content = figures.png(figure)
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        assert max(image.size) <= 1600
    return content


def texts(figure):
    found = [text.get_text() for text in figure.texts] + [figure.get_suptitle()]
    for axes in figure.axes:
        found += [axes.get_title(), axes.get_title(loc="left"), axes.get_ylabel()]
        found += [text.get_text() for text in (*axes.texts, *axes.get_xticklabels(), *axes.get_yticklabels())]
    return found


def shown(axes):
    return np.asarray(axes.images[0].get_array())


def augmented(dataset, config, **options):
    return figures.augmentation(dataset, config, augmentations.listed(config, dataset), **options)


def test_the_augmentation_figure_shows_what_its_titles_say(striped):
    config = AugmentConfig(flip=0.9, shift_scale_rotate=0.9, cutout=0.9)
    figure = augmented(striped, config, seed=3, draws=3)
    rows = np.array(figure.axes, dtype=object).reshape(2, 7)  # two classes; original, three transforms, three draws
    # the first image of each class
    indices = [0, 1]
    images = striped.train.images[indices]
    hole = np.round(255 * np.array(striped.mean)).astype(int)
    for row, image in zip(rows, images, strict=True):
        assert (shown(row[0]) == image).all()
        assert (shown(row[1]) == image[:, ::-1]).all()
        assert (shown(row[2]) != image).any()
        holed = shown(row[3])
        assert (holed != image).any(-1).sum() <= 16 * 16
        assert (np.abs(holed.astype(int) - hole) <= 1).all(-1).sum() >= 16 * 16
    for epoch in range(3):
        seen = Augmenter(config, striped.mean, 3)(images, indices, epoch)
        assert all((shown(axes) == image).all() for axes, image in zip(rows[:, 4 + epoch], seen, strict=True))
    titles = [" ".join(axes.get_title().split()) for axes in rows[0]]
    sign = "\N{PLUS-MINUS SIGN}"
    assert titles[:3] == [
        "original",
        "HorizontalFlip p = 0.9",
        f"ShiftScaleRotate shift {sign}6.25 % scale {sign}10 % rotate {sign}15\N{DEGREE SIGN} p = 0.9",
    ]
    assert titles[3] == "CoarseDropout one hole of 16x16 filled with 128/128/128 p = 0.9"
    assert titles[4] == "all of them, as in epoch 1"


@pytest.mark.parametrize(
    ("on", "told"), [({}, ""), ({"flip": 0.5}, "column 2: "), ({"flip": 1, "cutout": 1}, "columns 2 to 3: ")]
)
def test_the_augmentation_figure_leaves_out_what_is_turned_off(striped, on, told):
    config = AugmentConfig(**{"flip": 0, "shift_scale_rotate": 0, "cutout": 0, **on})
    figure = augmented(striped, config, draws=1)
    assert len(figure.axes) == 2 * (2 + len(on))
    assert figure.get_supxlabel().startswith(told)
    assert bool(figure.get_supxlabel()) == bool(on)


def test_the_same_figure_twice_has_the_same_bytes(striped):
    first, second = (drawn(augmented(striped, AugmentConfig())) for _ in range(2))
    assert first == second


def test_a_file_shows_what_matplotlibs_own_way_to_save_shows():
    theirs = io.BytesIO()
    figures.metrics(history(3)).savefig(theirs, dpi=110)
    mine = drawn(figures.metrics(history(3)))
    with Image.open(theirs) as one, Image.open(io.BytesIO(mine)) as other:
        assert one.convert("RGB").tobytes() == other.tobytes()
        assert one.info["dpi"] == other.info["dpi"]


@pytest.mark.parametrize("shape", [(28, 28, 1), (64, 48, 3), (16, 96, 3), (200, 300, 3), (96, 16, 1)])
def test_images_of_any_size_and_proportion(shape):
    generator = np.random.default_rng(0)
    split = Split(generator.integers(0, 256, (40, *shape), np.uint8), np.arange(40) % 10)
    channels = shape[-1]
    dataset = Dataset("shapes", split, split, tuple("abcdefghij"), (0.5,) * channels, (0.2,) * channels, "0", "tests")
    # an image of one channel, moved by the batched augmentation, has tests of its own
    config = AugmentConfig(cutout_size=8, shift_scale_rotate=0)
    drawn(augmented(dataset, config))
    result = evaluation(40, dataset.classes, scale=-9)
    gallery = figures.misclassified(result, split.images)
    drawn(gallery)
    assert shown(gallery.axes[0]).shape == (shape if channels == 3 else shape[:2])
    assert gallery.axes[0].images[0].get_cmap().name == "gray"
    maps = generator.random((4, *shape[:2]))
    drawn(figures.gradcam(result, split.images[:4], result.mistakes[:4], maps, maps))


def test_at_least_25_mistakes_each_with_both_classes_and_confidence(striped):
    result = evaluation(64, ("left", "right", "up"), scale=-2)
    assert len(result.mistakes) > 30
    figure = figures.misclassified(result, striped.test.images)
    assert len(figure.axes) == 30
    chosen = figures.spread(result.mistakes, 30)
    assert chosen[0] == result.mistakes[0]
    assert len({mistake.index for mistake in chosen}) == 30
    assert [m.confidence for m in chosen] == sorted((m.confidence for m in chosen), reverse=True)
    for axes, mistake in zip(figure.axes, chosen, strict=True):
        true, predicted = result.classes[mistake.true], result.classes[mistake.predicted]
        assert axes.get_title() == f"true: {true}\npred: {predicted}, {mistake.confidence:.3g} %"
        assert (shown(axes) == striped.test.images[mistake.index]).all()
    drawn(figure)


@pytest.mark.parametrize(("count", "panels"), [(1, 1), (7, 12), (26, 30)])
def test_with_fewer_mistakes_the_gallery_is_smaller(striped, count, panels):
    result = evaluation(64, ("left", "right"), scale=-9)
    few = scores.Evaluation(**{**vars(result), "mistakes": result.mistakes[:count]})
    figure = figures.misclassified(few, striped.test.images)
    assert len(figure.axes) == panels
    assert sum(axes.axison for axes in figure.axes) == count
    drawn(figure)


def test_no_mistakes_are_said_in_words(striped):
    figure = figures.misclassified(evaluation(64, ("left", "right"), scale=99), striped.test.images)
    assert texts(figure)[0] == "no mistakes: all 64 images were recognised"
    drawn(figure)


def test_no_certainty_that_no_softmax_has(striped):
    figure = figures.misclassified(evaluation(9, ("left", "right"), scale=-99), striped.test.images)
    assert figure.axes[0].get_title().endswith("99.9 %")


@pytest.mark.parametrize("epochs", [0, 1, 2, 100])
def test_metrics_of_any_length(epochs):
    figure = figures.metrics(history(epochs), target=85, split="held-out")
    drawn(figure)
    if epochs == 0:
        assert "no epoch has ended yet" in texts(figure)
        return
    loss, accuracy = figure.axes[:2]
    assert [line.get_label() for line in loss.lines] == ["training (augmented)", "held-out"]
    assert [line.get_label() for line in accuracy.lines][2] == "the rule: 85 %"
    assert list(accuracy.lines[1].get_ydata()) == [row["test_accuracy"] for row in history(epochs)]
    assert {f"{history(epochs)[-1]['test_accuracy']:.2f} %", f"{2 / epochs:.3f}"} <= set(texts(figure))


@pytest.mark.parametrize("totals", [(1000, 1000, 10_000), (10_000, 1000, 10_000)], ids=["always", "since it went on"])
def test_metrics_of_few_test_images_until_the_last_epoch(totals):
    rows = [row | {"test_total": total} for row, total in zip(history(3), totals, strict=True)]
    labels = [line.get_label() for line in figures.metrics(rows).axes[0].lines]
    assert labels[1] == "test, 1,000 images before the end"


def test_equal_last_values_are_both_written():
    row = history(1)[0] | {"test_loss": 2.0, "test_accuracy": 40.0}
    figure = figures.metrics([row])
    written = [annotation for annotation in figure.axes[1].texts if annotation.get_text() == "40.00 %"]
    assert len({annotation.xyann for annotation in written}) == 2


@pytest.mark.parametrize("classes", [2, 10, 30])
def test_confusion_of_any_size(classes):
    result = evaluation(40 * classes, [f"class {number}" for number in range(classes)])
    figure = figures.confusion(result)
    drawn(figure)
    numbers = [text.get_text() for text in figure.axes[0].texts]
    assert numbers == [str(count) for count in result.confusion.flat if count]
    assert "most confused" not in figure.axes[0].get_title()


@pytest.fixture(scope="module")
def many():
    """Of 300 classes."""
    return evaluation(6000, [f"class {number}" for number in range(300)], scale=9)


def confused(result, confusion):
    """The figure of such counts, and the names of the classes that it draws."""
    figure = figures.confusion(scores.Evaluation(**{**vars(result), "confusion": confusion}))
    drawn(figure)
    return figure, [label.get_text() for axes in figure.axes for label in axes.get_xticklabels()]


def test_of_many_classes_those_of_the_most_frequent_confusions_are_drawn_and_their_number_is_said(many):
    confusion = np.diag(np.full(300, 20))
    for number in range(40):
        confusion[2 * number, 2 * number + 1] = 99 - number
    # in more mistakes than any other, but taken for one class after the other
    confusion[299, :290] += 1
    figure, classes = confused(many, confusion)
    assert figure.axes[0].get_title().startswith("the 20 most confused of 300 classes")
    assert classes == [f"class {number}" for number in range(20)]
    assert sorted(int(text.get_text()) for text in figure.axes[0].texts) == [20] * 20 + list(range(90, 100))


def test_of_many_classes_no_more_are_drawn_than_were_confused(many):
    confusion = np.diag(np.full(300, 20))
    confusion[7, 250], confusion[250, 7], confusion[30, 7] = 9, 8, 5
    figure, classes = confused(many, confusion)
    assert classes == ["class 7", "class 30", "class 250"]
    assert figure.axes[0].get_title().startswith("the 3 most confused of 300 classes")
    figure, _ = confused(many, np.diag(np.full(300, 20)))
    assert texts(figure)[0] == "no confusions: all 6000 images of 300 classes were recognised"


def test_the_diagonal_has_a_colour_of_its_own():
    colours = shown(figures.confusion(evaluation(200, ("a", "b", "c"))).axes[0])
    red, blue = colours[..., 0], colours[..., 2]
    assert ((blue > red) == np.eye(3, dtype=bool)).all()


def test_calibration_draws_the_bins():
    result = evaluation(300, ("a", "b", "c"))
    figure = figures.calibration(result.calibration, result.n)
    bars = figure.axes[0].containers[0]
    assert [bar.get_height() for bar in bars] == [bin.accuracy for bin in result.calibration.bins if bin.n]
    assert sum(bar.get_height() for bar in figure.axes[1].containers[0]) == pytest.approx(100)
    drawn(figure)


def test_names_are_drawn_as_they_are(striped):
    result = evaluation(64, ODD, scale=-1)
    maps = np.random.default_rng(0).random((3, 32, 32))
    few = result.mistakes[:3]
    gallery = figures.misclassified(result, striped.test.images)
    matrix = figures.confusion(result)
    looked = figures.gradcam(result, striped.test.images[:3], few, maps, maps)
    for figure in (gallery, matrix, looked):
        drawn(figure)
        assert not any("\x1b" in text for text in texts(figure))
    assert {"$x_1$", "\ufffd[31mred", "日本", "a very long nam\N{HORIZONTAL ELLIPSIS}"} <= set(texts(matrix))
    assert not any(text.get_parse_math() for text in matrix.axes[0].get_xticklabels())


def test_a_gallery_shows_the_end_of_an_images_name(striped):
    result = evaluation(64, ("left", "right", "up"), scale=-2)
    names = [f"a/very/long/$way$/to/\x1b/of {number}.jpg" for number in range(64)]
    named = scores.Evaluation(**{**vars(result), "names": names})
    gallery = figures.misclassified(named, striped.test.images)
    first = result.mistakes[0]
    title = gallery.axes[0].get_title().splitlines()
    assert title[0] == "…" + f"a/very/long/$way$/to/\ufffd/of {first.index}.jpg"[-23:]
    assert len(title) == 3
    maps = np.random.default_rng(0).random((3, 32, 32))
    looked = figures.gradcam(named, striped.test.images[:3], result.mistakes[:3], maps, maps)
    assert looked.axes[0].get_title().splitlines()[0].endswith(f"of {first.index}.jpg")
    for figure in (gallery, looked):
        drawn(figure)


def test_nothing_global_is_left_behind(striped):
    before, opened = dict(matplotlib.rcParams), set(_pylab_helpers.Gcf.figs)
    drawn(figures.metrics(history(3)))
    with pytest.raises(KeyError):
        figures.metrics([{}])
    assert dict(matplotlib.rcParams) == before
    assert set(_pylab_helpers.Gcf.figs) == opened
