"""What the page says of the network."""

from __future__ import annotations

from flyweight import recipes, rules
from flyweight.errors import FlyweightError
from flyweight.export import model_card
from flyweight.export.subject import Subject
from flyweight.runs.card import ships
from flyweight.runs.folder import Run
from flyweight.text import printable


def facts(subject: Subject) -> list[dict[str, str]]:
    """Names and values, each with a note where one is needed."""
    known, scores, found = subject.facts, subject.scores, []
    low, high = scores.interval
    found.append(
        _fact(
            "Accuracy", f"{scores.accuracy:.2f} %",
            f"of {scores.n:,} {subject.dataset.tested} images; 95 % interval {low:.2f} to {high:.2f}",
        )
    )  # fmt: skip
    if known is not None:
        found.append(_fact("Parameters", f"{known.parameters:,}"))
        if known.macs is not None:
            found.append(_fact("Arithmetic", f"{known.macs / 1e6:.1f} M", "multiply-accumulates an image"))
        if known.peak is not None:
            found.append(_fact("Memory", f"{known.peak.numbers / 1024:.1f} KiB", "of maps at once, in 8 bits"))
        if known.receptive_field.value is not None:
            side = known.receptive_field.value
            found.append(_fact("Receptive field", f"{side} \N{MULTIPLICATION SIGN} {side}", "pixels, at most"))
    label, _ = model_card.data_set(subject.card.data)
    found.append(_fact("Trained on", printable(label), f"{subject.card.epochs} epochs"))
    return found


def _fact(name: str, value: str, note: str = "") -> dict[str, str]:
    return {"name": name, "value": value, "note": note}


def verdicts(subject: Subject) -> list[dict[str, str]]:
    """What its recipe's rules say of it; nothing where it has none, or they cannot be read any more."""
    folder = subject.trained.folder
    judgement = _judged(subject) if folder is not None else None
    if judgement is None:
        return []
    found = [("pass" if one.passed else "fail", "met" if one.passed else "broken", one) for one in judgement.verdicts]
    found += [("pass", "met", one) for one in judgement.bonuses if one.passed]
    return [
        {"mark": mark, "verdict": word, "name": printable(one.name), "detail": printable(one.detail)}
        for mark, word, one in found
    ]


def _judged(subject: Subject) -> rules.Judgement | None:
    trained, known = subject.trained, subject.facts
    run = Run(trained.folder)
    try:
        recipe = recipes.load(trained.folder.name) if ships(trained.folder) else run.recipe()
        if known is None or recipe.rules is None:
            return None
        score = rules.Score(subject.scores.accuracy, subject.dataset.name)
        return rules.check(known, rules.load_ruleset(recipe.rules), recipe.augment, score, cures=False)
    except (OSError, FlyweightError):
        return None
