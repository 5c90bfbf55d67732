"""A small home for the tests of the lower rooms: rows, bytes, a real ledger, a clock moved by hand."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from baray import access, signin
from baray.access import Actor, Site
from baray.core import Ids, TestClock
from baray.ledger import FileArtifactSigner, FileSigner, Ledger
from baray.store import DiskBlobs, migrate, open_store

ORIGIN = "baray.example/rooms"


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with tables and nothing in them, to copy."""
    path = tmp_path_factory.mktemp("migrated") / "baray.db"
    migrate(path)
    return path


@pytest.fixture
def database(tmp_path: Path, migrated: Path) -> Path:
    """A database of this test's own."""
    return Path(shutil.copy(migrated, tmp_path / "baray.db"))


@pytest.fixture
def site(tmp_path: Path, database: Path) -> Iterator[Site]:
    """An open home with the project `main` and its owner `operator`; `site.clock` is a TestClock."""
    clock = TestClock()
    signer = FileSigner(tmp_path / "ledger.key", name=ORIGIN)
    ledger = Ledger(origin=ORIGIN, signer=signer, clock=clock)
    store = open_store(database, sealer=ledger)
    blobs, artifacts = DiskBlobs(tmp_path / "blobs"), FileArtifactSigner(tmp_path / "artifacts.key")
    site = Site(store=store, blobs=blobs, ledger=ledger, artifacts=artifacts, clock=clock, ids=Ids(clock))
    store.write(lambda tx: access.bootstrap(tx, site))
    yield site
    store.close()


@pytest.fixture
def main_project(site: Site) -> str:
    """Id of the project `main`."""
    return str(site.store.read(lambda tx: access.project_named(tx, "main")).id)


@pytest.fixture
def operator(site: Site) -> Actor:
    """The owner of `main`."""
    return site.store.read(lambda tx: access.load_actor(tx, access.actor_named(tx, "operator").id))


@pytest.fixture
def seal(tmp_path: Path) -> signin.SealKey:
    """The home's key for stored secrets."""
    return signin.SealKey(tmp_path / "seal.key")
