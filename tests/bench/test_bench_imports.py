"""Benchmarks run rarely: what they import, also within functions, is still there."""

import ast
import importlib
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
BENCHES = {
    path.stem: path
    for path in sorted(HERE.glob("*.py"))
    if not path.stem.startswith(("_", "test_"))
}
OWN = ("synth", "sweeps", "slurm", "analysis", "tests")


@pytest.mark.parametrize("name", BENCHES)
def test_what_a_benchmark_imports_exists(name):
    importlib.import_module(f"tests.bench.{name}")
    for node in ast.walk(ast.parse(BENCHES[name].read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in OWN:
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")


def test_the_benchmarks_of_make_exist():
    makefile = (HERE.parents[1] / "Makefile").read_text()
    called = re.findall(r"-m tests\.bench\.(\w+)", makefile)
    assert len(called) > 15
    assert set(called) <= set(BENCHES)
    for name in called:
        assert callable(importlib.import_module(f"tests.bench.{name}").main), name
