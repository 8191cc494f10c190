"""The example of a sweep in the README is one that can be planned and run."""

import re

import pytest

from sweeps.loading import find
from tests.sweeps.conftest import REPOSITORY, call


def example():
    """The Python block of the README that declares a sweep."""
    text = (REPOSITORY / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    return next((block for block in blocks if "@sweep(" in block), None)


@pytest.mark.skipif(example() is None, reason="the README shows no sweep")
def test_the_example_of_the_readme(tmp_path):
    path = tmp_path / "my_sweep.py"
    path.write_text(example())
    found = find(str(path))
    configs = found(found.scales[0])
    assert len(configs) >= 2
    out = call("plan", path, cwd=tmp_path)
    assert f"{len(configs)} runs ({len(configs)} new)" in out
