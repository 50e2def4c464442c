"""What a scan found, in words for a person and as JSON for a program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flyweight.data.copies import WORDS, Copies, Leak, Member
from flyweight.data.scan import Scan
from flyweight.text import aligned, ending, printable, short

CLASSES_SHOWN, FILES_SHOWN, COPIES_SHOWN = 20, 20, 10
"""The most rows of a table in a terminal; --json has all."""
UNEVEN = 3
"""From this ratio of the largest class to the smallest on a remedy is named."""


def render(scan: Scan) -> str:
    """The findings as aligned plain text for a terminal."""
    wide = max(len(label) for label, _ in facts(scan))
    head = [f"{printable(scan.name)}: {printable(scan.source)}"]
    head += [f"  {label:<{wide}}  {text}" for label, text in facts(scan)]
    parts = [
        head,
        [f"note: {printable(note)}" for note in scan.notes],
        _classes(scan),
        _left_out(scan),
        _misnamed(scan),
    ]
    parts.append(_copies("Equal images", scan.equal))
    parts.append(_copies("Nearly equal images", scan.near))
    parts.append([f"LEAK: {sentence}" for sentence in leaks(scan)])
    return "\n\n".join("\n".join(part) for part in parts if part)


def facts(scan: Scan) -> list[tuple[str, str]]:
    """(label, text) of what can be said in a line each, printable."""
    sizes = scan.sizes
    rows = [
        ("images", f"{scan.images:,}: {', '.join(f'{sum(n):,} {WORDS[split]}' for split, n in scan.counts.items())}"),
        ("classes", _balance(scan)),
        ("sizes", f"{_range(sizes.width)} wide, {_range(sizes.height)} high, in pixels"),
    ]
    if sizes.kinds > 1:
        frequent = ", ".join(f"{width}x{height} ({number:,})" for (width, height), number in sizes.frequent)
        rows.append(
            ("most frequent", frequent + (f" of {sizes.kinds:,} sizes" if sizes.kinds > len(sizes.frequent) else ""))
        )
        low, middle, high = sizes.proportion
        rows.append(
            (
                "proportions",
                f"width to height {low:.2f} to {high:.2f}, median {middle:.2f}; {sizes.square:,} are square",
            )
        )
    channels, height, width = scan.shape
    rows.append(("for a network", f"{width}x{height} {'grey' if channels == 1 else 'RGB'}, {scan.resize}"))
    if scan.formats:
        formats = ", ".join(f"{name} {number:,}" for name, number in scan.formats.items())
        rows.append(("formats", formats + (f"; {len(scan.misnamed):,} with another's suffix" if scan.misnamed else "")))
        rows.append(("left out", _counted(len(scan.left_out), "file") if scan.left_out else "nothing"))
    rows.append(("mean", _levels(scan.mean)))
    rows.append(("deviation", _levels(scan.std)))
    rows.append(("equal", _marks(scan.equal, "group")))
    rows.append(("nearly equal", _marks(scan.near, "pair")))
    return rows


def leaks(scan: Scan) -> list[str]:
    """A sentence for each split that training images leak into; printable."""
    return [_leak(leak) for leak in scan.leaks if leak.equal or leak.near]


def _leak(leak: Leak) -> str:
    found, share = leak.equal + leak.near, 100 * (leak.equal + leak.near) / leak.images
    return (
        f"{found:,} of {leak.images:,} {leak.split} images ({share:.2g} %) have a copy among the training images,"
        f" {leak.equal:,} an equal one, {leak.near:,} a nearly equal one: accuracy on them says little of new images."
    )


def where(copies: Copies) -> str:
    """What is notable about images that show the same."""
    marks = [
        *(["across splits"] if copies.across_splits else []),
        *(["across classes"] if copies.across_classes else []),
    ]
    return ", ".join(marks) or "within a class"


def as_json(scan: Scan) -> dict[str, Any]:
    """All of it for a program."""
    sizes, (most, fewest) = scan.sizes, scan.balance
    return {
        "name": scan.name,
        "source": scan.source,
        "images": scan.images,
        "classes": [
            {"name": name, **{split: counts[place] for split, counts in scan.counts.items()}}
            for place, name in enumerate(scan.classes)
        ],
        "balance": {"largest": most[1], "smallest": fewest[1]},
        "sizes": {
            "width": _low_to_high(sizes.width),
            "height": _low_to_high(sizes.height),
            "proportion": _low_to_high(sizes.proportion),
            "square": sizes.square,
            "different": sizes.kinds,
            "frequent": [
                {"width": width, "height": height, "images": number} for (width, height), number in sizes.frequent
            ],
        },
        "network": {"shape": list(scan.shape), "resize": scan.resize},
        "formats": scan.formats,
        "misnamed": [{"name": name, "format": kind} for name, kind in scan.misnamed],
        "left_out": [{"name": one.name, "reason": one.reason} for one in scan.left_out],
        "equal": [_json_copies(copies) for copies in scan.equal],
        "near": [_json_copies(copies) for copies in scan.near],
        "leaks": [leak._asdict() for leak in scan.leaks],
        "mean": list(scan.mean),
        "std": list(scan.std),
        "notes": list(scan.notes),
    }


def _json_copies(copies: Copies) -> dict[str, Any]:
    members = [
        {"name": one.name, "split": one.split, "index": one.number, "class": one.label} for one in copies.members
    ]
    return {"across_splits": copies.across_splits, "across_classes": copies.across_classes, "images": members}


def _low_to_high(values: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip(("smallest", "median", "largest"), values, strict=True))


def _balance(scan: Scan) -> str:
    (most, many), (fewest, few) = scan.balance
    if many == few:
        return f"{len(scan.classes):,} of {many:,} training images each"
    ratio = f"{many / few:.3g} : 1" if few else "one without any"
    span = f"{few:,} ({short(fewest, 30)}) to {many:,} ({short(most, 30)})"
    text = f"{len(scan.classes):,}, of {span} training images: {ratio}"
    return text + ("; consider train.class_weights=balanced" if few and many >= UNEVEN * few else "")


def _range(values: tuple[float, float, float]) -> str:
    low, middle, high = values
    return f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f} (median {middle:,.0f})"


def _levels(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


def _marks(found: Sequence[Copies], word: str) -> str:
    if not found:
        return "none"
    images = f" of {sum(len(copies.members) for copies in found):,} images" if word == "group" else ""
    splits, classes = sum(one.across_splits for one in found), sum(one.across_classes for one in found)
    return f"{_counted(len(found), word)}{images}: {splits:,} across splits, {classes:,} across classes"


def _counted(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def ordered(found: Sequence[Copies]) -> list[Copies]:
    """What matters most first: across splits, then across classes."""
    return sorted(found, key=lambda copies: (not copies.across_splits, not copies.across_classes))


def shown_classes(scan: Scan, most: int = CLASSES_SHOWN) -> list[int]:
    """Labels of the classes to show; of more than so many the largest and the smallest ones."""
    labels = list(range(len(scan.classes)))
    if len(labels) <= most:
        return labels
    by_size = sorted(labels, key=lambda label: -sum(counts[label] for counts in scan.counts.values()))
    return by_size[: most // 2] + by_size[-(most // 2) :]


def _classes(scan: Scan) -> list[str]:
    shown = shown_classes(scan)
    rows = [
        [short(scan.classes[label], 40), *(f"{counts[label]:,}" for counts in scan.counts.values())] for label in shown
    ]
    note = [f"The largest and smallest of {len(scan.classes):,} classes"] if len(shown) < len(scan.classes) else []
    return [*note, *aligned(["class", *(WORDS[split] for split in scan.counts)], rows)]


def _left_out(scan: Scan) -> list[str]:
    rows = [[ending(one.name, 60), short(one.reason, 80)] for one in scan.left_out[:FILES_SHOWN]]
    return _table("Left out", ["file", "reason"], rows, len(scan.left_out))


def _misnamed(scan: Scan) -> list[str]:
    rows = [[ending(name, 60), f"is {kind}"] for name, kind in scan.misnamed[:FILES_SHOWN]]
    return _table(
        "Of another format than their suffix says; they are read all the same", ["file", ""], rows, len(scan.misnamed)
    )


def _copies(title: str, found: Sequence[Copies]) -> list[str]:
    rows = [[*map(_called, copies.pair), _more(copies), where(copies)] for copies in ordered(found)[:COPIES_SHOWN]]
    return _table(title, ["image", "and", "", ""], rows, len(found))


def _more(copies: Copies) -> str:
    return f"and {len(copies.members) - 2:,} more" if len(copies.members) > 2 else ""


def _called(member: Member) -> str:
    return ending(member.called, 50)


def _table(title: str, head: list[str], rows: list[list[str]], total: int) -> list[str]:
    if not rows:
        return []
    count = (
        f"{title} ({total:,})" if len(rows) == total else f"{title} (the first {len(rows)} of {total:,}; --json: all)"
    )
    return [count, *aligned(head, rows, left=len(head))]
