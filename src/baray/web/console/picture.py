"""Draws lineage as SVG: one column for each kind of thing, newest left, what it was made of to the right."""

from __future__ import annotations

from html import escape
from typing import Any

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 168, 56, 30, 18, 12  # pixels
_MAX_IN_COLUMN = 12
_TITLE_CHARACTERS = 20


def lineage_svg(graph: dict[str, Any]) -> str:
    """SVG of `{nodes, edges}`; every text escaped. Columns are depths from the first node."""
    nodes = {node["id"]: node for node in graph["nodes"]}
    columns = _columns(list(nodes), graph["edges"])
    places: dict[str, tuple[int, int]] = {}
    for number, column in enumerate(columns):
        for row, node_id in enumerate(column[:_MAX_IN_COLUMN]):
            places[node_id] = (_MARGIN + number * (_WIDTH + _GAP_X), _MARGIN + row * (_HEIGHT + _GAP_Y))
    width = _MARGIN * 2 + len(columns) * (_WIDTH + _GAP_X) - _GAP_X
    height = _MARGIN * 2 + max(min(len(column), _MAX_IN_COLUMN) for column in columns) * (_HEIGHT + _GAP_Y) - _GAP_Y
    parts = [f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" class="lineage">']
    parts.append("<title>Lineage</title>")
    parts += [
        _arrow(places[edge["child"]], places[edge["parent"]])
        for edge in graph["edges"]
        if {edge["child"], edge["parent"]} <= places.keys()
    ]
    parts += [_box(nodes[node_id], place) for node_id, place in places.items()]
    return "".join([*parts, "</svg>"])


def _columns(order: list[str], edges: list[dict[str, str]]) -> list[list[str]]:
    """Nodes by their greatest distance from the first, so that no arrow points back."""
    depth = dict.fromkeys(order, 0)
    for _ in order:
        changed = False
        for edge in edges:
            if depth.get(edge["parent"], 0) < depth.get(edge["child"], 0) + 1 <= len(order):
                depth[edge["parent"]] = depth[edge["child"]] + 1
                changed = True
        if not changed:
            break
    columns: list[list[str]] = [[] for _ in range(max(depth.values(), default=0) + 1)]
    for node_id in order:
        columns[depth[node_id]].append(node_id)
    return [column for column in columns if column]


def _arrow(child: tuple[int, int], parent: tuple[int, int]) -> str:
    start_x, start_y = child[0] + _WIDTH, child[1] + _HEIGHT // 2
    end_x, end_y = parent[0], parent[1] + _HEIGHT // 2
    middle = (start_x + end_x) // 2
    return f'<path class="arrow" d="M{start_x} {start_y} C{middle} {start_y} {middle} {end_y} {end_x} {end_y}"/>'


def _box(node: dict[str, Any], place: tuple[int, int]) -> str:
    x, y = place
    title = str(node["title"] or node["ref"])
    shown = title if len(title) <= _TITLE_CHARACTERS else title[: _TITLE_CHARACTERS - 1] + "…"
    kind = escape(str(node["kind"]))
    return (
        f'<a href="/lineage?ref={escape(str(node["ref"]), quote=True)}"><g class="node {kind}">'
        f"<title>{escape(str(node['ref']))} {escape(title)}</title>"
        f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="8"/>'
        f'<text x="{x + 12}" y="{y + 21}" class="kind">{kind} · {escape(str(node["label"]))}</text>'
        f'<text x="{x + 12}" y="{y + 42}">{escape(shown)}</text></g></a>'
    )
