"""Settings of all tests."""

import os

import pytest
from hypothesis import settings

# the same examples in every run; ``HYPOTHESIS_PROFILE=soak`` looks for new ones
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.register_profile("soak", max_examples=5000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@pytest.fixture
def torch():
    """PyTorch on one thread; without it the test is skipped."""
    module = pytest.importorskip("torch")
    module.set_num_threads(1)
    return module
