"""How much of each proof is run, and what is damaged."""

import os
from pathlib import Path
from typing import Any

import pytest
from ledger import WHERE, Ledger


@pytest.fixture(scope="session")
def ledger() -> Ledger:
    """What the proofs are to try, and where they write what they found."""
    out = os.environ.get(WHERE)
    return Ledger(Path(out) if out else None)


@pytest.fixture(scope="session")
def given(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Whole files of all that flyweight writes, made once a process."""
    from given import Given  # torch, which the other proofs' collection can do without

    return Given(tmp_path_factory.mktemp("given"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what belongs to proofs at the other length."""
    other = "sample" if WHERE in os.environ else "whole"
    left_out = [item for item in items if item.get_closest_marker(other)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
