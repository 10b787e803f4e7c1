"""Draws docs/rooms.svg, the rooms of the package and which imports which, from the imports themselves.

python docs/rooms.py

A line from a room goes to a room below it that it imports; lines that follow from others are left out.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "rooms.svg"
WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 132, 40, 28, 46, 16
COLUMNS = {"envs": -1, "actions": -1, "evaluation": 1, "controllers": 1, "sandbox": 1, "models": 2, "collection": 2}
"""Where rooms stand beside the middle, so that no line runs behind a room."""


def rooms() -> dict[str, Path]:
    """The folders that are rooms, by name; files beside them are tools that every room may use."""
    package = ROOT / "autotts_gym"
    found = {path.parent.name: path.parent for path in package.glob("*/__init__.py")}
    return {**found, "agents": ROOT / "agents", "explorer": ROOT / "agents" / "explorer"}


def room_of(module: str, known: dict[str, Path]) -> str | None:
    """The room that a module is in."""
    parts = module.split(".")
    if parts[0] == "agents":
        return "explorer" if parts[1:2] == ["explorer"] else "agents"
    return parts[1] if parts[0] == "autotts_gym" and len(parts) > 1 and parts[1] in known else None


def imports() -> dict[str, set[str]]:
    """The rooms that each room imports, wherever in its files."""
    known = rooms()
    graph: dict[str, set[str]] = {name: set() for name in known}
    for name, folder in known.items():
        for path in folder.rglob("*.py"):
            if name == "agents" and "explorer" in path.relative_to(folder).parts:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                modules = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
                modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                graph[name] |= {room for module in modules if (room := room_of(module, known))} - {name}
    return graph


def reach(graph: dict[str, set[str]], name: str) -> set[str]:
    """All rooms that a room needs, directly or not."""
    return set(graph[name]).union(*(reach(graph, other) for other in graph[name]))


def reduced(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The graph without what follows from the rest of it."""
    return {name: needs - {far for near in needs for far in reach(graph, near)} for name, needs in graph.items()}


def height(graph: dict[str, set[str]], name: str) -> int:
    """Rooms on the longest way down from a room."""
    return max((1 + height(graph, other) for other in graph[name]), default=0)


def picture(graph: dict[str, set[str]]) -> str:
    """The SVG."""
    levels: dict[int, list[str]] = {}
    for name in sorted(graph):
        users = [height(graph, user) for user, needs in reduced(graph).items() if name in needs]
        levels.setdefault(min(users, default=height(graph, name) + 1) - 1, []).append(name)  # just below who uses it
    columns = 2 + max(COLUMNS.values())
    top, full = max(levels), columns * WIDTH + (columns - 1) * GAP_X + 2 * MARGIN
    places = {
        name: (MARGIN + (1 + COLUMNS.get(name, 0)) * (WIDTH + GAP_X), MARGIN + (top - level) * (HEIGHT + GAP_Y))
        for level, names in levels.items()
        for name in names
    }
    assert len({*places.values()}) == len(places), "two rooms in one place: give one of them another column"
    tall = 2 * MARGIN + (top + 1) * HEIGHT + top * GAP_Y
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {full} {tall}" font-family="sans-serif" font-size="15">',
        f'<rect width="{full}" height="{tall}" fill="white"/>',
    ]
    for name, needs in sorted(reduced(graph).items()):
        for other in sorted(needs):
            (x, y), (u, v) = places[name], places[other]
            x, y, u = x + WIDTH / 2, y + HEIGHT, u + WIDTH / 2
            low, bend = v - GAP_Y, GAP_Y / 2  # straight down beside the rooms, and over in the last gap
            lines.append(
                f'<path d="M{x} {y} L{x} {low} C{x} {low + bend} {u} {v - bend} {u} {v}" fill="none" stroke="#667" '
                f'stroke-width="1.3"><title>{name} imports {other}</title></path>'
            )
    for name, (x, y) in sorted(places.items()):
        fill = "#fff3e0" if name in ("agents", "explorer") else "#e8f1fb"
        lines += [
            f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="{fill}" stroke="#446"/>',
            f'<text x="{x + WIDTH / 2}" y="{y + HEIGHT / 2 + 5}" text-anchor="middle">{name}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(picture(imports()))
    print(f"wrote {PICTURE}")
