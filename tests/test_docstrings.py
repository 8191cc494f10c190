"""Public names have a docstring; a method may have that of the method it overrides."""

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


@pytest.mark.parametrize("room", ROOMS)
def test_public_names_have_a_docstring(room):
    package = importlib.import_module(room)
    missing = []
    for found in pkgutil.walk_packages(package.__path__, f"{room}."):
        if found.name.endswith("__main__") or ".notebooks." in found.name:
            continue
        module = importlib.import_module(found.name)
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
