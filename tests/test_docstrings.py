"""Public names have a docstring (perhaps that of an overridden method); examples hold."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

ROOMS = ("synth", "sweeps", "slurm", "analysis")


def public(holder: object, module: str) -> list[tuple[str, object]]:
    """Classes, functions, methods and properties that a module or class defines."""
    return [
        (name, value)
        for name, value in vars(holder).items()
        if not name.startswith("_")
        and (
            isinstance(value, property | classmethod | staticmethod)
            or inspect.isfunction(value)
            or inspect.isclass(value)
        )
        and getattr(value, "__module__", module) == module
    ]


def modules(room):
    """Every module of a room but notebooks and commands."""
    package = importlib.import_module(room)
    for found in pkgutil.walk_packages(package.__path__, f"{room}."):
        if not found.name.endswith("__main__") and ".notebooks." not in found.name:
            yield importlib.import_module(found.name)


@pytest.mark.parametrize("room", ROOMS)
def test_public_names_have_a_docstring(room):
    missing = []
    for module in modules(room):
        for name, value in public(module, module.__name__):
            where = f"{module.__name__}.{name}"
            if not inspect.getdoc(value):
                missing.append(where)
            if inspect.isclass(value):
                missing += [
                    f"{where}.{member}"
                    for member, _ in public(value, module.__name__)
                    if not inspect.getdoc(getattr(value, member))
                ]
    assert not missing


@pytest.mark.parametrize("room", ROOMS)
def test_the_examples_in_docstrings_hold(room):
    results = [doctest.testmod(module) for module in modules(room)]
    assert sum(result.failed for result in results) == 0
    assert sum(result.attempted for result in results) > 0
