"""A test for several cases: the runner calls it once for each, with the case's values."""


def cases(*values):
    def mark(function):
        function.cases = [value if isinstance(value, tuple) else (value,) for value in values]
        return function
    return mark
