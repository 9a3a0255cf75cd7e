"""Runs a test with one place of the package's source changed: python -m tests.helpers.mutated FILE OLD NEW TEST

FILE is below ``pcmref/`` and holds OLD once.  The changed source is imported instead of the file, which stays as it is;
machine code that numba keeps is of the file, so mutants are run with NumPy's kernels or with ``NUMBA_DISABLE_JIT``.
"""

import sys
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "pcmref"
#: Exit status where the text to change is not there once: the mutant is none.
NO_MUTANT = 100


class Changed(SourceFileLoader):
    """Loads a source with one text replaced by another."""

    old, new = "", ""

    def get_code(self, fullname):
        source = Path(self.path).read_text(encoding="utf-8").replace(self.old, self.new)
        return self.source_to_code(source.encode(), self.path)


class Finder:
    """Finds the one module that is changed."""

    def __init__(self, path, old, new):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        self.name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        self.loader = type("Mutant", (Changed,), {"old": old, "new": new})(self.name, str(path))

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        spec = PathFinder.find_spec(name, path, target)
        spec.loader = self.loader
        return spec


def main(file, old, new, test):
    path = PACKAGE / file
    if path.read_text(encoding="utf-8").count(old) != 1:
        return NO_MUTANT
    sys.meta_path.insert(0, Finder(path, old, new))
    return pytest.main([test, "-n0", "-x", "--no-header", "-p", "no:cacheprovider"])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
