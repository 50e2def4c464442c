"""The fixture that says how much of each proof is run."""

import os
from pathlib import Path

import pytest
from ledger import WHERE, Ledger


@pytest.fixture(scope="session")
def ledger() -> Ledger:
    """What the proofs are to try, and where they write what they found."""
    out = os.environ.get(WHERE)
    return Ledger(Path(out) if out else None)
