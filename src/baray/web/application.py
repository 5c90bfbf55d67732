"""Puts routes, pages and the boundary together."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from baray import __version__
from baray.web import boundary
from baray.web.api import (
    account,
    admin,
    evaluations,
    hosting,
    itself,
    labels,
    leaves,
    ledger,
    nodes,
    queries,
    reports,
    runs,
    services,
    sources,
    system,
    tokens,
)
from baray.web.console import doorway, hosted, pages, people, rendering, report
from baray.web.console import labels as label_pages
from baray.web.console import runs as run_pages
from baray.web.house import House


def make_app(house: House) -> FastAPI:
    """The control application: API below `/api/v1`, the ledger's public files, the console."""
    app = FastAPI(
        title="Baray",
        version=__version__,
        summary="Datasets, Models, Services and their ledger on your own machines.",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.house = house
    app.state.error_page = rendering.error_page
    boundary.install(app)
    # Order matters: `/datasets` and the like are the last, as they also match a plural that nobody has.
    for routes in (
        system.api,
        admin.router,
        tokens.router,
        account.router,
        ledger.api,
        labels.router,
        leaves.router,
        nodes.router,
        reports.router,
        itself.router,  # before the others: `self` is no id of a Run
        runs.router,
        evaluations.router,
        queries.router,
        services.router,
        hosting.router,
        sources.router,
    ):
        app.include_router(routes, prefix="/api/v1")
    app.include_router(system.router)
    app.include_router(ledger.router)
    for site in (
        doorway.router,
        label_pages.router,
        people.router,
        report.router,
        run_pages.router,
        hosted.router,
        pages.router,
    ):
        app.include_router(site, include_in_schema=False)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "console" / "static"), name="static")
    return app
