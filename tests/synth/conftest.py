"""Derived files of the tests go to a folder of their own."""

import pytest


@pytest.fixture(autouse=True, scope="session")
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYNTH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
