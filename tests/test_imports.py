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


TREE = (ROOT / "synth" / "README.md").read_text().split("```")[1]
INSIDE_SYNTH = [
    line.split()[0].removesuffix(".py") for line in TREE.strip().split("\n")
]
"""Files and folders of `synth` as its README lists them: each imports those above it."""


def imported(path, in_functions=False):
    """Modules of the rooms that a file imports when it is imported, or at any time."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if in_functions else tree.body:
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
        for other in imported(path, in_functions=True):
            assert other.partition(".")[0] in known, f"{name} imports {other}"


def test_inside_synth_imports_point_up_the_tree_of_its_readme():
    places = [name.removesuffix("/") for name in INSIDE_SYNTH]
    parts = {name: name.split(".")[1] for name in FILES if name.startswith("synth.")}
    del parts["synth.__main__"]
    assert set(parts.values()) == set(places)
    for name, part in parts.items():
        known = places[: places.index(part) + 1]
        for other in imported(FILES[name], in_functions=True):
            assert parts.get(other) in known, f"{name} imports {other}"
