"""No version is below the join of what it was made of, unless two people signed for it: random lineages."""

from __future__ import annotations

import json
import random

import pytest

from baray import catalog
from baray.access import flows, join, parse_label
from label_house import LabelHouse, Signer, lift


@pytest.fixture
def house(site, tmp_path):
    return LabelHouse(site=site, home=tmp_path)


@pytest.fixture
def sok(house):
    return Signer(house, "sok")


@pytest.fixture
def dara(house):
    return Signer(house, "dara")


@pytest.fixture
def lin(house):
    return Signer(house, "lin", role="owner")


LABELS = [
    parse_label(text) for text in ("public", "internal", "restricted", "secret", "internal:land", "public@a,main")
]


SOAK = [pytest.param(range(first, first + 500), marks=pytest.mark.soak) for first in range(0, 10_000, 500)]


@pytest.mark.parametrize("seeds", [range(40), *SOAK], ids=lambda seeds: f"{seeds.start}-{seeds.stop}")
def test_no_version_is_below_the_join_of_what_it_was_made_of(house, sok, dara, lin, seeds):
    """What Runs make of random inputs, raised, lowered and published in random order, on the real catalog."""
    below = set()
    for seed in seeds:
        below |= grow(house, (sok, dara, lin), random.Random(seed), f"g{seed}-")
    assert len(below) > len(seeds) / 10, "some were lowered: the exception is tried too"
    lowered = 'SELECT data FROM entry WHERE CAST(data AS TEXT) LIKE \'%"kind":"label.lowered"%\''
    told = house.site.store.read(lambda tx: [json.loads(row.data)["subject"] for row in tx.hot(lowered)])
    assert below <= set(told)


def grow(house, people, chance, prefix):
    """One graph of a dozen acts, looked at in its end; the versions in it that are below what they were made of."""
    versions = [house.source(f"{prefix}s{number}", str(chance.choice(LABELS))) for number in range(2)]
    grants = []
    for step in range(12):
        act = chance.choice(("make", "make", "make", "begin", "end", "raise", "lower"))
        some = chance.sample(versions, k=min(len(versions), chance.randint(1, 3)))
        some = [house.version(one.id) for one in some]
        if act in ("make", "begin"):
            house.submit(f"{prefix}d{step}", some)
            grants.append(house.lease())
        if act in ("make", "end") and grants:
            versions.append(house.finish(grants.pop(chance.randrange(len(grants)))))
        if act == "raise":
            lift_if_higher(house, some[0], str(chance.choice(LABELS)))
        if act == "lower" and some[0].label != "public":
            versions.append(lowered(people, some[0]))
    versions += [house.finish(grant) for grant in grants]
    return below_their_origins(house, [house.version(one.id) for one in versions])


def lift_if_higher(house, version, to):
    both = join([parse_label(to), parse_label(version.label)])
    if str(both) != version.label or any(found.changed for found in reach(house, version, to)):
        lift(house, version, to)


def reach(house, version, to):
    return house.site.store.read(lambda tx: catalog.impact(tx, version, parse_label(to)))


def lowered(people, version):
    asker, first, second = people
    asked = asker.ask(version, "public")
    first.give(asked)
    return second.give(asked)[1]


def below_their_origins(house, versions):
    labels = {one.id: parse_label(one.label) for one in versions}

    def origins(node_id):
        sql = "SELECT parent FROM edge WHERE child = ?"
        return house.site.store.read(lambda tx: [row.parent for row in tx.hot(sql, (node_id,))])

    below = set()
    for one in versions:
        made_of = [up for near in origins(one.id) for up in ([near] if near in labels else origins(near))]
        below |= {one.id for up in made_of if not flows(labels[up], labels[one.id])}
    return below
