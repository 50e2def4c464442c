"""Several workers on one study in a real PostgreSQL server."""

import collections
import time
from contextlib import contextmanager

import pytest
from postgres import server
from searching import begun, ended, finished, study

from flyweight import rules
from flyweight.analysis import analyze
from flyweight.images.spec import Spec
from flyweight.networks.build import build
from flyweight.recipes.sections import ModelConfig
from flyweight.search.space import candidate

URL_OF_NOBODY = "postgresql://me:secret@127.0.0.1:9/flyweight"


@contextmanager
def kept_in(folder, url):
    """The study of a database, read by Optuna alone."""
    found = study(folder, url.replace("://", "+psycopg://"), "shared")
    try:
        yield found
    finally:
        found._storage.remove_session()
        found._storage._backend.engine.dispose()


def together(folder, url, count, *more):
    """Two workers, each with a folder of its own, as on two machines: how many trials each has finished."""
    call = ("--trials", count, "--epochs", 1, "--lengths", 1, "--storage", url, "--study", "shared", *more)
    workers = [begun(folder, *call, "--out", name) for name in ("one", "two")]
    codes, _, told = zip(*(ended(worker, 3000) for worker in workers), strict=True)
    assert codes == (0, 0), told
    return [int(err.rpartition(" trainings finished here")[0].rsplit("\n", 1)[-1]) for err in told]


def check(found, each, count):
    """No trial is lost or counted twice."""
    states = collections.Counter(trial.state.name for trial in found.trials if "repeated" not in trial.user_attrs)
    # two workers may both propose the last one: the surplus waits for a longer search
    assert (states.pop("COMPLETE"), set(states) - {"WAITING"}) == (count, set())
    assert len(finished(found)) == sum(each) == count


def legal(found, ruleset):
    spec = Spec.unnamed(10, (3, 32, 32))
    for trial in found.trials:
        network = build(ModelConfig(network="n", table=candidate(trial.user_attrs["network"]).network), spec)
        assert rules.check(analyze(network, spec.shape), ruleset, cures=False).passed


@pytest.mark.early
@pytest.mark.timeout(280)
def test_two_workers_share_a_study_and_one_of_them_is_killed(folder):
    with server(folder) as url:
        call = ("--trials", 6, "--epochs", 1, "--lengths", 1, "--storage", url, "--study", "shared")
        first = begun(folder, *call, "--out", "same")
        until = time.monotonic() + 200
        while not list((folder / "same").glob("trials/*/config.yaml")) and time.monotonic() < until:
            time.sleep(0.01)
        first.kill()
        first.communicate()
        second, third = begun(folder, *call, "--out", "same"), begun(folder, *call, "--out", "other")
        told = [ended(worker)[2] for worker in (second, third)]
        assert sum(text.count("is taken up again") for text in told) >= 1
        with kept_in(folder, url) as found:
            check(found, [int(text.rpartition(" trainings finished here")[0].rsplit("\n", 1)[-1]) for text in told], 6)
            legal(found, rules.load_ruleset(folder / "rules.yaml"))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_200_trials_of_two_workers_none_lost_or_counted_twice(folder):
    with server(folder) as url:
        each = together(folder, url, 200)
        with kept_in(folder, url) as found:
            check(found, each, 200)
            legal(found, rules.load_ruleset(folder / "rules.yaml"))


def test_a_database_that_cannot_be_reached_is_told_in_a_line_without_its_password(folder):
    code, out, err = ended(begun(folder, "--trials", 1, "--storage", URL_OF_NOBODY))
    last = err.strip().splitlines()[-1]
    assert (code, out) == (2, "")
    assert last.startswith("flyweight: --storage postgresql+psycopg://me:***@127.0.0.1:9/flyweight cannot be used: ")
    assert "refused" in last
    assert "secret" not in err
