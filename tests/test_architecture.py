"""The rooms of the package, in the one order in which they may import; what an import of pcmref costs."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import pcmref
from pcmref.arithmetic import choice, fast, reference
from pcmref.errors import ParameterError

PACKAGE = Path(pcmref.__file__).parent
#: A file imports its own room and those before it, nothing else.  Files beside the rooms are named themselves.
ORDER = (
    ("startup", "errors", "arrays", "references", "profiling"),
    ("arithmetic",),
    ("network",),
    ("devices",),
    ("crossbar",),
    ("inference",),
    ("files",),
    ("importers",),
    ("golden",),
    ("studies",),
    ("testing",),
    ("__init__",),
    ("console",),
    ("cli",),
    ("__main__",),
)
#: Third parties besides NumPy, and who may import them.
THIRD_PARTIES = {
    "arithmetic.fast.compiler": {"numba"},
    "arithmetic.fast.multiply_add": {"numba", "llvmlite"},
    "arithmetic.fast.noisy_adc": {"numba", "llvmlite"},
    "files.datasets": {"h5py"},
    "files.hdf5": {"h5py"},
    "files.networks": {"h5py"},
    "files.corrections": {"h5py"},
    "files.samples": {"h5py"},
    "golden.selfcheck": {"llvmlite"},  # if installed, for the name of the processor
    **{name: {"hypothesis"} for name in ("testing", "testing.converters", "testing.networks", "testing.tiles")},
    "console": {"tqdm"},  # if installed
    "importers.onnx_file": {"onnx"},  # if installed
}


def module_name(path):
    """Name of a file below ``pcmref``: that of its package for an ``__init__``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


MODULES = {module_name(path): ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")}
ROOMS = sorted({name.partition(".")[0] for name in MODULES if (PACKAGE / name.partition(".")[0]).is_dir()})


def imports(tree):
    """Every module that a file imports anywhere: in functions, for type checks, and by name (importlib)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name for name in below if name.removeprefix("pcmref.") in MODULES]
            yield from modules or [node.module]
        elif isinstance(node, ast.Constant) and str(node.value) in {f"pcmref.{name}" for name in MODULES}:
            yield node.value


def inside(tree):
    """The files of the package that a file imports."""
    names = [name for name in imports(tree) if name.partition(".")[0] == "pcmref"]
    return {name.partition(".")[2] or "__init__" for name in names}


def level(module):
    """Position of a file's room in the order."""
    return next(number for number, names in enumerate(ORDER) if module.partition(".")[0] in names)


def test_every_file_has_its_place_and_no_place_is_empty():
    assert sorted(name for names in ORDER for name in names) == sorted({name.partition(".")[0] for name in MODULES})
    assert len(ROOMS) <= 11


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_file_imports_its_own_room_and_those_before_it(module):
    for other in inside(MODULES[module]):
        assert level(other) <= level(module), f"{module} imports {other}"


def test_no_circle_of_files():
    # a package's own name stands for its __init__, which may gather what lies below it
    order = list(TopologicalSorter({name: inside(tree) for name, tree in MODULES.items()}).static_order())
    assert set(order) == set(MODULES)


def test_the_fast_kernels_are_imported_where_they_are_chosen_and_nowhere_else():
    for name, tree in MODULES.items():
        if any(other.startswith("arithmetic.fast") for other in inside(tree)):
            assert name.startswith("arithmetic.fast") or name == "arithmetic.choice"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pcmref.network.graph", {"network.graph"}),
        ("def f():\n from pcmref.network import graph", {"network.graph"}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n from pcmref.cli import main", {"cli"}),
        ("import importlib\nimportlib.import_module('pcmref.arithmetic.fast')", {"arithmetic.fast"}),
        ("M = {'numba': 'pcmref.arithmetic.reference'}", {"arithmetic.reference"}),
        ("import pcmref", {"__init__"}),
        ('"""See `pcmref.cli`."""', set()),
    ],
)
def test_the_check_sees_every_kind_of_import(source, found):
    assert inside(ast.parse(source)) == found


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_in_three_lines_what_it_holds_imports_and_never_knows(room):
    lines = ast.get_docstring(MODULES[room]).splitlines()
    assert len([line for line in lines if line]) == 3
    assert lines[-2].startswith("Imports ")
    assert lines[-1].startswith("Never knows ")


@pytest.mark.parametrize("module", sorted(MODULES))
def test_third_parties(module):
    names = {name.partition(".")[0] for name in imports(MODULES[module])}
    assert names - {"pcmref"} - sys.stdlib_module_names <= {"numpy"} | THIRD_PARTIES.get(module, set())


def python(code):
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


def test_import_pcmref_is_light():
    loaded = set(python("import sys, pcmref; print(*sys.modules)"))
    assert "pcmref.inference.run" in loaded
    heavy = {"numba", "llvmlite", "h5py", "torch", "matplotlib", "tqdm", "pcmref.arithmetic.fast", "pcmref.cli"}
    assert not loaded & heavy


@pytest.mark.parametrize("module", sorted(MODULES))
def test_values_between_stages_are_frozen_and_keyword_only(module):
    for node in MODULES[module].body:
        for mark in getattr(node, "decorator_list", []):
            if ast.unparse(mark).startswith("dataclass"):
                options = {keyword.arg for keyword in mark.keywords if ast.literal_eval(keyword.value)} - {"order"}
                number_or_private = module == "devices.laws" or node.name == "FixedPoint" or node.name.startswith("_")
                assert options == {"frozen"} | (set() if number_or_private else {"kw_only"}), node.name


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"__main__", *ROOMS}))
def test_every_public_name_exists(module):
    listed = next(
        ast.literal_eval(node.value)
        for node in MODULES[module].body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
    )
    found = pcmref if module == "__init__" else importlib.import_module(f"pcmref.{module}")
    assert sorted(listed) == sorted(set(listed))
    assert [name for name in listed if not hasattr(found, name)] == []


def parameters(node):
    return len(node.args.posonlyargs) + len(node.args.args) + len(node.args.kwonlyargs)


def test_nothing_is_too_long_to_read():
    functions = [
        (module, node)
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    ]
    assert [f"{module}.{node.name}" for module, node in functions if parameters(node) > 10] == []
    assert [f"{module}.{node.name}" for module, node in functions if node.end_lineno - node.lineno >= 75] == []
    assert [name for name, tree in MODULES.items() if tree.body and tree.body[-1].end_lineno > 350] == []


# Kernels


def test_the_twins_have_the_same_names_and_signatures():
    assert sorted(fast.__all__) == sorted(reference.__all__)
    for name in reference.__all__:
        quick, plain = (list(inspect.signature(getattr(module, name)).parameters) for module in (fast, reference))
        assert quick == plain, name


@pytest.mark.parametrize(("asked", "module"), [("numpy", reference), ("numba", fast), ("", fast)])
def test_the_kernels_that_are_asked_for(monkeypatch, asked, module):
    monkeypatch.setenv(choice.VARIABLE, asked)
    assert choice.kernels() is module


def test_numba_is_the_default(monkeypatch):
    monkeypatch.delenv(choice.VARIABLE, raising=False)
    assert choice.kernels() is fast


@pytest.mark.parametrize("asked", ["Numba", "jax", " "])
def test_unknown_kernels(monkeypatch, asked):
    monkeypatch.setenv(choice.VARIABLE, asked)
    with pytest.raises(ParameterError, match="PCMREF_KERNELS: expected 'numba' or 'numpy', found "):
        choice.kernels()


WITHOUT_NUMBA = "import os, sys; sys.modules['numba'] = None; from pcmref.arithmetic import choice; "


def test_without_numba_the_numpy_kernels_serve():
    asked = "os.environ.pop('PCMREF_KERNELS', 0); print(choice.kernels().__name__)"
    assert python(WITHOUT_NUMBA + asked) == ["pcmref.arithmetic.reference"]


def test_without_numba_asking_for_it_is_an_error():
    code = """
os.environ["PCMREF_KERNELS"] = "numba"
from pcmref.errors import PcmrefError
try:
  choice.kernels()
except PcmrefError:
  print("refused")
"""
    assert python(WITHOUT_NUMBA + code) == ["refused"]
