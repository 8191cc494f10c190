"""Imports at module level follow the rooms, and no two files import each other."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("synth", "slurm", "sweeps", "analysis")
"""Each imports only itself and those before it."""


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {
    module_of(path): path for room in ROOMS for path in (ROOT / room).rglob("*.py")
}


def imported(path):
    """Modules of the rooms that a file imports when it is imported."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in FILES)
        elif isinstance(node, ast.ImportFrom) and node.module in FILES:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in FILES else node.module


def test_no_files_import_each_other():
    graph = {name: set(imported(path)) for name, path in FILES.items()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(FILES) > 250


def test_every_room_knows_only_those_before_it():
    for name, path in FILES.items():
        known = ROOMS[: ROOMS.index(name.partition(".")[0]) + 1]
        for other in imported(path):
            assert other.partition(".")[0] in known, f"{name} imports {other}"
