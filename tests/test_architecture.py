"""Which file may import which, and what an import of pcmref costs; the choice of the kernels."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import pcmref
from pcmref import backend, kernels, kernels_numpy
from pcmref.errors import ParameterError

PACKAGE = Path(pcmref.__file__).parent
MODULES = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.glob("*.py")}


def imports(tree):
    """Every module that is imported anywhere in a file, in functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            parts = [alias.name for alias in node.names] if node.module == "pcmref" else []
            modules = [f"pcmref.{part}" for part in parts if part in MODULES]
            yield from modules or [node.module]


def inside(tree):
    """The files of the package that a file imports."""
    names = [name for name in imports(tree) if name.partition(".")[0] == "pcmref"]
    return {name.partition(".")[2] or "__init__" for name in names}


def test_imports_point_one_way():
    order = list(TopologicalSorter({name: inside(tree) for name, tree in MODULES.items()}).static_order())
    assert set(order) == set(MODULES)


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("arrays", {"errors"}),
        ("errors", set()),
        ("references", set()),
        ("elementary", set()),
        ("draws", {"elementary", "errors"}),
        ("pcm", {"elementary", "errors"}),
        ("layers", {"errors"}),
        ("network", {"converters", "errors", "layers"}),
        ("residual", {"errors", "layers", "network"}),
        ("files", {"errors"}),
        ("hdf5", {"errors"}),
        ("weights", {"converters", "errors", "files", "hdf5", "layers", "network"}),
    ],
)
def test_the_foundation_knows_nothing_of_what_stands_on_it(module, allowed):
    assert inside(MODULES[module]) <= {"arrays", *allowed}


@pytest.mark.parametrize("module", MODULES)
def test_third_parties(module):
    names = {name.partition(".")[0] for name in imports(MODULES[module])}
    used = names - {"pcmref"} - sys.stdlib_module_names
    assert used <= {"numpy"} | {
        "jit": {"numba"},
        "blocks": {"numba", "llvmlite"},
        "doubt": {"numba", "llvmlite"},
        "hdf5": {"h5py"},
        "weights": {"h5py"},
        "corrections": {"h5py"},
        "cli": {"tqdm"},  # if installed
    }.get(module, set())


def python(code):
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


def test_import_pcmref_is_light():
    loaded = set(python("import sys, pcmref; print(*sys.modules)"))
    assert "pcmref.simulate" in loaded
    assert not loaded & {"numba", "llvmlite", "h5py", "torch", "matplotlib", "tqdm", "pcmref.kernels", "pcmref.cli"}


@pytest.mark.parametrize("module", MODULES)
def test_values_between_stages_are_frozen_and_keyword_only(module):
    for node in MODULES[module].body:
        for mark in getattr(node, "decorator_list", []):
            if ast.unparse(mark).startswith("dataclass"):
                options = {keyword.arg for keyword in mark.keywords if ast.literal_eval(keyword.value)}
                law_or_private = (module == "pcm" and not node.name.endswith("Model")) or node.name.startswith("_")
                assert options == {"frozen"} | (set() if law_or_private else {"kw_only"}), node.name


def test_every_public_name_exists():
    assert sorted(pcmref.__all__) == sorted(set(pcmref.__all__))
    for name, tree in MODULES.items():
        if name == "__main__":
            continue
        listed = next(
            ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
        )
        module = pcmref if name == "__init__" else __import__(f"pcmref.{name}", fromlist=["x"])
        assert [x for x in listed if not hasattr(module, x)] == [], name


# Kernels


def test_the_twins_have_the_same_names_and_signatures():
    assert sorted(kernels.__all__) == sorted(kernels_numpy.__all__)
    for name in kernels_numpy.__all__:
        fast, plain = (list(inspect.signature(getattr(module, name)).parameters) for module in (kernels, kernels_numpy))
        assert fast == plain, name


@pytest.mark.parametrize(("choice", "module"), [("numpy", kernels_numpy), ("numba", kernels), ("", kernels)])
def test_the_kernels_that_are_asked_for(monkeypatch, choice, module):
    monkeypatch.setenv(backend.VARIABLE, choice)
    assert backend.kernels() is module


def test_numba_is_the_default(monkeypatch):
    monkeypatch.delenv(backend.VARIABLE, raising=False)
    assert backend.kernels() is kernels


@pytest.mark.parametrize("choice", ["Numba", "jax", " "])
def test_unknown_kernels(monkeypatch, choice):
    monkeypatch.setenv(backend.VARIABLE, choice)
    with pytest.raises(ParameterError, match="PCMREF_KERNELS: expected 'numba' or 'numpy', found "):
        backend.kernels()


WITHOUT_NUMBA = "import os, sys; sys.modules['numba'] = None; from pcmref import backend; "


def test_without_numba_the_numpy_kernels_serve():
    assert python(WITHOUT_NUMBA + "os.environ.pop('PCMREF_KERNELS', 0); print(backend.kernels().__name__)") == [
        "pcmref.kernels_numpy"
    ]


def test_without_numba_asking_for_it_is_an_error():
    code = """
os.environ["PCMREF_KERNELS"] = "numba"
from pcmref.errors import PcmrefError
try:
  backend.kernels()
except PcmrefError:
  print("refused")
"""
    assert python(WITHOUT_NUMBA + code) == ["refused"]
