"""A process in which every reader is held to its promise."""

import pytest

from tests.helpers.promise import Worker


@pytest.fixture(scope="module")
def worker():
    with Worker() as worker:
        yield worker
