"""How many examples: a few in CI, always the same; many with ``HYPOTHESIS_PROFILE=torture``."""

import os
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

from seglab.types import SeglabError

COMMON = {
    "deadline": None,
    "database": None,
    # fixtures that hold files are written anew by each example
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
}
settings.register_profile("ci", max_examples=30, derandomize=True, **COMMON)
settings.register_profile("torture", max_examples=1000, **COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def named() -> Callable[..., object]:
    """Call a function; it works, or raises a ``SeglabError`` of one line or more that names the culprit."""

    def call(function: Callable[[], object], *culprits: object) -> object:
        try:
            return function()
        except SeglabError as error:
            message = str(error)
            assert message.strip()
            assert not culprits or any(str(culprit) in message for culprit in culprits), message
            return error

    return call
