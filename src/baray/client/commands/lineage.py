"""`baray lineage`: where a thing comes from, as text, DOT, JSON or a drawing of our own."""

from __future__ import annotations

from dataclasses import replace
from html import escape

import click

from baray.client.cli import Cli, Leaf, argument, option
from baray.client.output import width
from baray.client.sdk.transport import Json

_BOX_WIDTH, _BOX_HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 210, 54, 70, 22, 20
_COLOURS = {
    "source": "#e8f1e4",
    "dataset": "#e3eef9",
    "index": "#e9e5f6",
    "model": "#f8ecdc",
    "service": "#fbe7e7",
    "run": "#f1f1ef",
    "answer": "#fdf6d8",
}
_TITLE_CELLS = 30


def _lineage(cli: Cli, ref: str, form: str) -> None:
    graph = cli.client.lineage(ref)
    if form == "json":
        replace(cli.screen, as_json=True).show(graph, list)
        return
    draw = {"text": text_lines, "dot": dot_lines, "svg": svg_lines}[form]
    cli.screen.show(graph, lambda: draw(graph))


def text_lines(graph: Json) -> list[str]:
    """A tree: what was made, and below it what it was made of; a thing met again is only named."""
    parents = _parents(graph)
    nodes = {node["id"]: node for node in graph["nodes"]}
    children = {edge["parent"] for edge in graph["edges"]}
    roots = [node["id"] for node in graph["nodes"] if node["id"] not in children] or list(nodes)[:1]
    seen: set[str] = set()
    lines: list[str] = []

    def walk(node_id: str, role: str, depth: int) -> None:
        node = nodes[node_id]
        again = node_id in seen
        seen.add(node_id)
        head = "  " * depth + (f"<- {role}: " if role else "")
        digest = f"  {node['digest'][:19]}" if node.get("digest") else ""
        lines.append(f"{head}{node['ref']}  [{node['label']}]{digest}{'  (above)' if again else ''}")
        for parent, parent_role in [] if again else parents.get(node_id, []):
            walk(parent, parent_role, depth + 1)

    for root in roots:
        walk(root, "", 0)
    return lines


def dot_lines(graph: Json) -> list[str]:
    """Graphviz."""
    lines = ["digraph lineage {", '  rankdir="RL"; node [shape=box, fontname="sans-serif"];']
    lines += [
        f"  {_quoted(node['id'])} [label={_quoted(node['ref'] + chr(10) + node['label'])}];" for node in graph["nodes"]
    ]
    lines += [
        f"  {_quoted(edge['child'])} -> {_quoted(edge['parent'])} [label={_quoted(edge['role'])}];"
        for edge in graph["edges"]
    ]
    return [*lines, "}"]


def svg_lines(graph: Json) -> list[str]:
    """Boxes in columns: what was made on the left, the files it came from on the right."""
    places = _places(graph)
    wide = max((x for x, _ in places.values()), default=0) + _BOX_WIDTH + _MARGIN
    high = max((y for _, y in places.values()), default=0) + _BOX_HEIGHT + _MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" '
        'font-family="Noto Sans Khmer, Khmer OS, sans-serif" font-size="12" role="img">',
        f"<title>{escape(str(graph['nodes'][0]['ref'])) if graph['nodes'] else 'lineage'}</title>",
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    lines += [_arrow(places[edge["child"]], places[edge["parent"]], edge["role"]) for edge in graph["edges"]]
    lines += [_box(node, *places[node["id"]]) for node in graph["nodes"]]
    return [*lines, "</svg>"]


def _places(graph: Json) -> dict[str, tuple[int, int]]:
    """Top left corner of every node: its column is the longest way from the start."""
    depth = {node["id"]: 0 for node in graph["nodes"]}
    for _ in range(len(depth)):  # a graph without cycles settles within as many passes as it has nodes
        moved = False
        for edge in graph["edges"]:
            if depth[edge["parent"]] <= depth[edge["child"]] < len(depth):
                depth[edge["parent"]] = depth[edge["child"]] + 1
                moved = True
        if not moved:
            break
    rows: dict[int, int] = {}
    places = {}
    for node_id, column in depth.items():
        row = rows.get(column, 0)
        rows[column] = row + 1
        places[node_id] = (_MARGIN + column * (_BOX_WIDTH + _GAP_X), _MARGIN + row * (_BOX_HEIGHT + _GAP_Y))
    return places


def _box(node: Json, x: int, y: int) -> str:
    colour = _COLOURS.get(node["kind"], "#f4f4f4")
    label = f"{node['label']} · {node['digest'][7:19]}" if node.get("digest") else str(node["label"])
    title = node.get("title") or node["ref"]
    return (
        f'<g><rect x="{x}" y="{y}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="6" fill="{colour}" stroke="#888"/>'
        f'<text x="{x + 10}" y="{y + 22}" font-weight="bold">{escape(_short(node["ref"]))}</text>'
        f'<text x="{x + 10}" y="{y + 41}" fill="#555">{escape(_short(label))}</text>'
        f"<title>{escape(str(title))}</title></g>"
    )


def _arrow(start: tuple[int, int], end: tuple[int, int], role: str) -> str:
    x1, y1 = start[0] + _BOX_WIDTH, start[1] + _BOX_HEIGHT // 2
    x2, y2 = end[0], end[1] + _BOX_HEIGHT // 2
    middle = (x1 + x2) // 2
    return (
        f'<path d="M{x1} {y1} C{middle} {y1} {middle} {y2} {x2} {y2}" fill="none" stroke="#888">'
        f"<title>{escape(role)}</title></path>"
    )


def _short(text: str) -> str:
    cut = text
    while width(cut) > _TITLE_CELLS:
        cut = cut[:-1]
    return cut if cut == text else cut + "…"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _parents(graph: Json) -> dict[str, list[tuple[str, str]]]:
    parents: dict[str, list[tuple[str, str]]] = {}
    for edge in graph["edges"]:
        parents.setdefault(edge["child"], []).append((edge["parent"], edge["role"]))
    return parents


LINEAGE = Leaf(
    run=_lineage,
    params=(
        argument("ref"),
        option(
            "--format",
            "form",
            type=click.Choice(["text", "dot", "json", "svg"]),
            default="text",
            help="How to draw it.",
        ),
    ),
    example="baray lineage answer:a_01... --format svg > lineage.svg",
)
