"""Marks a test for several cases: the runner calls it once for each, with the case's values."""


def cases(*values):
    def mark(function):
        function.cases = [value if isinstance(value, tuple) else (value,) for value in values]
        return function
    return mark


def topology(kind="bridge", **options):
    """Sets the topology of the test's lab. A test with several of these runs in each."""
    def mark(function):
        function.topologies = [{"kind": kind, **options}, *getattr(function, "topologies", [])]
        return function
    return mark
