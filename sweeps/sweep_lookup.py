"""Look up a sweep by its name in the catalogue, or in a Python file of the user."""

import contextlib
import sys
from pathlib import Path

from sweeps.sweep import Sweep
from synth.disk.places import expand, nothing_at
from synth.families.plugins import load
from synth.identity import nearest


def find_sweep(name: str) -> Sweep:
    """The sweep called `name` in the catalogue, or in a file: `my_sweep.py[:name]`.

    Raises `ValueError` when there is no such sweep, when the file fails to import, or
    when it defines several and the name chooses none.
    """
    path, colon, chosen = name.rpartition(":")
    if not colon or not path.endswith(".py"):
        path, chosen = name, ""
    if path.endswith(".py"):
        return _choose(sweeps_in_file(path), path, chosen)
    from sweeps.catalogue import CATALOGUE

    if name not in CATALOGUE:
        if said := nothing_at(name):
            raise ValueError(said)
        raise ValueError(
            f"No sweep is called {name!r}. {nearest(name, CATALOGUE)} A sweep of your "
            "own is named by its file, for instance path/to/my_sweep.py."
        )
    return CATALOGUE[name]


def _choose(sweeps: dict[str, Sweep], path: str, chosen: str) -> Sweep:
    if not chosen and len(sweeps) == 1:
        return next(iter(sweeps.values()))
    if chosen not in sweeps:
        wanted = f"no sweep {chosen!r}" if chosen else f"{len(sweeps)} sweeps"
        raise ValueError(
            f"{path} holds {wanted}. Choose one: "
            f"{', '.join(f'{path}:{name}' for name in sweeps)}."
        )
    return sweeps[chosen]


def sweeps_in_file(path: str) -> dict[str, Sweep]:
    """The sweeps that a file defines (not those that it imports from the catalogue).

    Raises `ValueError` when the file fails to import, holds no sweep, or one that has the
    name or a folder of another one.
    """
    from sweeps.catalogue import CATALOGUE

    try:
        file = Path(expand(path))
    except ValueError as error:
        raise ValueError(f"The path of a sweep {error}.") from None
    with contextlib.redirect_stdout(sys.stderr):  # stdout may hold JSON for a program
        module = load(file)
    shipped = set(map(id, CATALOGUE.values()))
    values = [value for value in vars(module).values() if isinstance(value, Sweep)]
    own = [value for value in dict.fromkeys(values) if id(value) not in shipped]
    owners = {name: one for one in CATALOGUE.values() for name in one.folders}
    for one in own:
        if shared := sorted(one.folders & owners.keys()):
            other = owners[shared[0]]
            where = "the catalogue" if id(other) in shipped else "this file"
            raise ValueError(
                f"{path} defines a sweep {one.name!r}, whose folder {shared[0]} is that "
                f"of {other.name!r} of {where} too. Give it another name."
            )
        owners |= dict.fromkeys(one.folders, one)
    sweeps = {one.name: one for one in own}
    if not sweeps:
        raise ValueError(
            f"{path} holds no sweep. Decorate a function of the scale that yields "
            "RunConfig objects with `@sweep(...)` from sweeps.sweep."
        )
    return sweeps
