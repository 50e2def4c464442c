from dataclasses import replace

import numpy as np
import torch
from conftest import change, fit, fresh, synthetic

from flyweight.data import hold_out
from flyweight.inference import classifier, confidence
from flyweight.runs.card import Card, load_trained
from flyweight.training.calibrate import calibrated


def card_of(dataset):
    return Card("sprint", None, dataset.classes, dataset.spec.shape, dataset.mean, dataset.std, "digits", "0" * 64, 1)


def test_a_training_ends_with_a_temperature_and_a_threshold_on_its_card(recipe, striped, tmp_path):
    made = fit(change(recipe, epochs=1), striped, tmp_path / "run").card
    assert 0 < made.temperature != 1
    assert 0.5 <= made.threshold <= 1  # of two classes the likelier one
    loaded = load_trained(tmp_path / "run").card
    assert (loaded.temperature, loaded.threshold) == (made.temperature, made.threshold)


def test_held_out_and_validation_images_are_what_is_asked_and_not_the_test_set(recipe):
    dataset = synthetic(4, 3, 32, 32, train=160, test=40)
    network = fresh(recipe, dataset).eval()
    held = hold_out(dataset, 40)
    watched = replace(dataset, validation=held.test)
    for given, split in ((held, held.test), (watched, held.test)):
        made = calibrated(network, card_of(given), given, recipe)
        logits = classifier.logits(network, np.asarray(split.images), given.mean, given.std).numpy()
        temperature = confidence.find_temperature(logits, split.labels)
        assert abs(made.temperature - temperature) < 1e-4
        assert 0 <= confidence.find_threshold(logits, made.temperature) - made.threshold < 2e-4


def test_the_test_set_gives_nothing(recipe):
    dataset = synthetic(4, 3, 32, 32, train=160, test=40)
    network = fresh(recipe, dataset).eval()
    with torch.no_grad():  # so that it is sure of what it says, and another image makes a difference
        network.classifier.weight.mul_(50)
    other = replace(dataset, test=replace(dataset.test, images=255 - np.asarray(dataset.test.images)))
    assert calibrated(network, card_of(dataset), dataset, recipe) == calibrated(network, card_of(other), other, recipe)


def test_a_network_that_gives_no_numbers_keeps_its_card(recipe, striped):
    network = fresh(recipe, striped).eval()
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    assert calibrated(network, card_of(striped), striped, recipe) == card_of(striped)
