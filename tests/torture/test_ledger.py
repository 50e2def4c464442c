"""What the proofs found is kept, all of it, also where something was against the promise."""

import json

import pytest
from ledger import FOUND, Ledger, Part


def test_each_part_is_kept_before_one_of_them_fails(tmp_path):
    parts = [Part("one", 2, ["it ran"]), Part("two", 3, [], {"seconds_most": 1.5}), Part("three", 4, ["it hung"])]
    with pytest.raises(AssertionError, match="2 of 9: one: it ran\nthree: it hung"):
        Ledger(tmp_path).record_all("hostile-files", parts)
    rows = [json.loads(line) for line in (tmp_path / FOUND).read_text(encoding="utf-8").splitlines()]
    assert [(row["proof"], row["part"], row["tried"], row["broken"], row["figures"]) for row in rows] == [
        ("hostile-files", "one", 2, ["it ran"], {}),
        ("hostile-files", "two", 3, [], {"seconds_most": 1.5}),
        ("hostile-files", "three", 4, ["it hung"], {}),
    ]


def test_a_part_of_which_nothing_was_tried_fails(tmp_path):
    with pytest.raises(AssertionError, match="proves nothing: two"):
        Ledger(tmp_path).record_all("kills", [Part("one", 1, []), Part("two", 0, [])])
    assert len((tmp_path / FOUND).read_text(encoding="utf-8").splitlines()) == 2
