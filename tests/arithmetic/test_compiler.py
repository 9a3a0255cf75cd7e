"""Machine code that is kept: never stale, made again where it is damaged, and done without where there is no place."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pcmref

numba = pytest.importorskip("numba")
caching = pytest.importorskip("numba.core.caching")
compiler = pytest.importorskip("pcmref.arithmetic.fast.compiler")

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")
PACKAGE = Path(pcmref.__file__).parent

# Copies of the room, in processes of their own

#: A rule that has a constant of another file compiled into it, and a loop of a third file around another rule.
CODE = """
import json
import numpy as np
from pcmref.arithmetic.fast import conversion, rules
from pcmref.arithmetic.operands import Adc

codes = np.zeros((1, 2), np.int32)
adc = Adc(np.full((1, 2), 0.25), np.zeros((1, 2)), -127.0, 127.0, 0)
conversion.digitised(np.array([[3, 5]]), 2, adc, 0, codes)
found = {"noise": int(rules.read_noise(1.0, np.int64(4))), "codes": codes[0].tolist()}
hits = [sum(kernel.stats.cache_hits.values()) for kernel in (rules.read_noise, conversion.digitised)]
print(json.dumps([found, hits]))
"""
PLAIN = {"noise": 16, "codes": [1, 1]}


def run(folder):
    """Return what the copy of pcmref in a folder computes, and how much of the machine code it had kept."""
    done = subprocess.run(
        [sys.executable, "-B", "-W", "error", "-c", CODE],  # without byte code, which goes by times
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "NUMBA_CACHE_DIR": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def kept_files(folder):
    """Files of machine code, with time and content."""
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*.nb?")}


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A copy of the ground and of the room, whose machine code was made by a first run."""
    folder = tmp_path_factory.mktemp("copied")
    room = folder / "pcmref"
    shutil.copytree(PACKAGE / "arithmetic", room / "arithmetic", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("errors.py", "arrays.py", "profiling.py"):
        shutil.copy(PACKAGE / name, room)
    (room / "__init__.py").touch()  # without the rest of the package
    assert run(folder) == [PLAIN, [0, 0]]
    assert kept_files(folder)
    return folder


@pytest.fixture
def copy(copied, tmp_path):
    """One for each test: numba knows a file by its path, so that it must stay where it is."""
    shutil.copytree(copied, tmp_path / "saved")
    yield copied
    shutil.rmtree(copied)
    shutil.copytree(tmp_path / "saved", copied)


def test_machine_code_of_the_same_sources_is_used_again(copy):
    before = kept_files(copy)
    for path in copy.rglob("*.py"):
        os.utime(path, (1, 1))  # as a checkout or an installation would
    assert run(copy) == [PLAIN, [1, 1]]
    assert kept_files(copy) == before


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("codes.py", "VARIANCE_STEP = 64", "VARIANCE_STEP = 16", {"noise": 8}),
        ("fast/rules.py", "return np.rint(v)", "return np.floor(v)", {"codes": [0, 1]}),
    ],
    ids=["a constant", "a rule"],
)
def test_a_change_of_another_file_is_followed(copy, file, old, new, changed):
    path = copy / "pcmref/arithmetic" / file
    text, times = path.read_text(encoding="utf-8"), path.stat()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # time says nothing, the content does
    assert run(copy) == [PLAIN | changed, [0, 0]]


def test_the_digest_is_of_names_and_contents(tmp_path):
    def digest(**files):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        for name, text in files.items():
            path = folder / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".py").write_text(text)
        (folder / "notes.txt").write_text(str(folder))  # no source
        return compiler.digest_of(folder)

    one = digest(a="x = 1", sub__b="y = 2")
    assert one == digest(sub__b="y = 2", a="x = 1")
    others = [digest(a="x = 1"), digest(a="x = 2", sub__b="y = 2"), digest(a="x = 1", sub__c="y = 2"),
              digest(a="y = 2", sub__b="x = 1"), digest(a="x = 1", b="y = 2")]  # fmt: skip
    assert len({one, *others}) == 6


def test_the_room_is_all_of_the_arithmetic():
    assert compiler.ROOM == PACKAGE / "arithmetic"


# One small kernel, in this process


def triple(x):
    return 3 * x


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty folder for machine code."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def hits(function=triple):
    """Compile as if for the first time, use the kernel, and return whether its machine code had been kept."""
    kernel = compiler.compiled(function)
    assert kernel(np.int64(5)) == 15
    assert kernel(np.int64(-7)) == -21
    return sum(kernel.stats.cache_hits.values())


def test_machine_code_is_kept(cache):
    assert hits() == 0
    assert {path.suffix for path in kept_files(cache)} == {".nbi", ".nbc"}
    assert hits() == 1


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:20],
        lambda content: bytes(reversed(content)),
        lambda content: b"csys\nno_such_name\n.",  # a pickle of something that is not there
        lambda content: b"N.",  # a pickle of None
    ],
    ids=["empty", "half", "short", "reversed", "another's", "None"],
)
def test_damaged_machine_code_is_made_again(cache, suffix, damage):
    assert hits() == 0
    whole = kept_files(cache)
    for path, (_, content) in whole.items():
        if path.suffix == suffix:
            path.write_bytes(damage(content))
    assert hits() == 0
    assert hits() == 1  # kept again
    assert kept_files(cache).keys() == whole.keys()


def test_machine_code_that_has_gone_is_made_again(cache):
    assert hits() == 0
    for path in kept_files(cache):
        if path.suffix == ".nbc":
            path.unlink()
    assert hits() == 0
    assert hits() == 1


def test_no_place_that_numba_knows_of():
    namespace = {}
    exec(compile("def triple(x):\n    return 3 * x\n", "<a file that is not there>", "exec"), namespace)
    with pytest.raises(RuntimeError, match="cannot cache function"):
        numba.njit(cache=True)(namespace["triple"])
    assert hits(namespace["triple"]) == 0


def test_a_place_that_cannot_be_written_when_it_comes_to_it(cache):
    kernel = compiler.compiled(triple)
    shutil.rmtree(cache)
    cache.touch()  # a file where the folder was
    assert kernel(np.int64(5)) == 15


def test_a_numba_that_keeps_its_stamp_elsewhere_gets_no_cache(cache, monkeypatch):
    """Rather than machine code that might be stale."""
    original = caching.IndexDataCacheFile.__init__

    def otherwise(self, *arguments, **options):
        original(self, *arguments, **options)
        self._other_stamp = self.__dict__.pop("_source_stamp")

    monkeypatch.setattr(caching.IndexDataCacheFile, "__init__", otherwise)
    assert hits() == hits() == 0
    assert not kept_files(cache)


def test_the_policy(cache):
    """Never fastmath; no interpreter lock; a division by 0 gives what IEEE 754 says."""
    options = compiler.compiled(triple).targetoptions
    assert not options.get("fastmath")
    assert options["nogil"] is True
    assert options["error_model"] == "numpy"
    assert compiler.compiled(lambda x, y: x / y)(1.0, 0.0) == np.inf


def test_a_bound_kernel_is_of_the_types_of_its_arguments(cache):
    kernel = compiler.compiled(triple_all)
    numbers = np.arange(6)
    for kind in (np.int32, np.int64, np.float32, np.float64):
        values = numbers.astype(kind)
        for several in ((values, 1), (values.reshape(2, 3), 1), (values.reshape(2, 3).T, 1), (values[::2], 1)):
            found = compiler.bound(kernel, several)(several)
            assert found.dtype == kind
            assert np.array_equal(found, 3 * several[0])
    assert compiler.bound(kernel, (numbers, 1)) is compiler.bound(kernel, (numbers[::-1].copy(), 2))
    assert compiler.bound(triple, numbers) is triple  # as without JIT


def triple_all(several):
    return several[0] + several[0] + several[0]
