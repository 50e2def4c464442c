"""A folder for a search, and the digits in a cache that all searches of a session share."""

import pytest
from searching import place


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def folder(tmp_path, monkeypatch, digits):
    monkeypatch.setenv("FLYWEIGHT_CACHE", str(digits))
    monkeypatch.chdir(place(tmp_path))
    return tmp_path
