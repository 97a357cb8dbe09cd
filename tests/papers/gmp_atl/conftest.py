"""All tests of GMP-ATL draw the same random numbers in every run."""

import keras
import pytest


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(1)
