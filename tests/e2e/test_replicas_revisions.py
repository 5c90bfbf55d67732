"""Revisions that come and go under load: no request fails, and each is in the books as its caller saw it."""

from __future__ import annotations

import random
import time

import pytest

from baray import serve
from completion_load import PROMPT_TOKENS, Load
from replica_hosting import open_hosting
from runs_home import wait_until
from serve_house import running_router


@pytest.fixture
def hosting(tmp_path):
    with open_hosting(tmp_path / "h") as made:
        yield made


def change(hosting, known, rng):
    """Deploy a new Revision, or go back to one that there was; returns the number that answers after it."""
    before = hosting.service()
    earlier = [number for number in known if number != before.revision]
    if earlier and rng.random() < 0.5:
        wanted, actor = rng.choice(earlier), hosting.home.actor
        hosting.site.store.write(lambda tx: serve.roll_back(tx, hosting.site, before, wanted, actor_id=actor))
    else:
        wanted = max(known) + 1
        hosting.deploy(hosting.model(wanted, pause_seconds=0.01))
        known.append(wanted)
    wait_until(lambda: hosting.service().revision == wanted, f"revision {wanted}", 60)


@pytest.mark.parametrize(
    "changes", [3, pytest.param(20, marks=pytest.mark.slow), pytest.param(200, marks=pytest.mark.soak)]
)
def test_revisions_change_and_roll_back_under_load_without_a_failed_request(hosting, changes):
    hosting.deploy(hosting.model(1, pause_seconds=0.01))
    wait_until(lambda: hosting.standing()["state"] == "ready", "the first replica")
    known, rng, began = [1], random.Random(changes), time.monotonic()
    with running_router(hosting.home.path) as router, Load(port=router.port) as load:
        for _ in range(changes):
            change(hosting, known, rng)
            asked = len(load.told)
            wait_until(lambda asked=asked: len(load.told) > asked + 4, "requests to the new revision")
            assert load.failed() == []
        load.stop()
    seconds = time.monotonic() - began
    print(f"{changes} changes, {len(load.told)} requests, {len(load.failed())} failed, {seconds:.0f} s")
    assert load.failed() == []
    assert load.unreached == 0
    service = hosting.service().id
    books = wait_until(lambda: counted(hosting, service, len(load.told)), "the receipts")
    tokens = sum(one.tokens for one in load.told)
    assert books == [(len(load.told), PROMPT_TOKENS * len(load.told), tokens)]
    assert hosting.site.store.read(lambda tx: serve.count_answers(tx, service)) == {"completed": len(load.told)}


def counted(hosting, service, least):
    found = hosting.site.store.read(lambda tx: serve.usage(tx, hosting.home.project, services=[service]))
    rows = [(row["requests"], row["tokens_in"], row["tokens_out"]) for row in found]
    return rows if sum(row[0] for row in rows) >= least else None
