"""Marks of tests."""
import inspect

import pytest

# The topology of the test's lab; a test with several of these marks runs in each.
topology = pytest.mark.topology

# Marks a test that takes more than 20 s: it begins before the others, see conftest.py.
long = pytest.mark.long


def cases(*values):
    """The test runs once for each value (or tuple of values) of its parameters after `lab`. Further
    parameters are fixtures."""

    def mark(function):
        count = len(values[0]) if isinstance(values[0], tuple) else 1
        names = list(inspect.signature(function).parameters)[1 : 1 + count]
        return pytest.mark.parametrize(",".join(names), values, ids=str)(function)

    return mark
