"""The driver finds what it is there to find, and a first look at each reader."""

import itertools
import os
import random
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pcmref.errors import FileError
from tests.fuzz import driver
from tests.fuzz.mutations import changed_bytes, changed_json

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").is_file(), reason="readers are run in forked processes, measured as Linux does"
)


def fuzzed(read, tmp_path, runs=300):
    """What the driver finds in a reader of single bytes."""
    reader = SimpleNamespace(changed=lambda rng: {"file": bytes([rng.randrange(256)])}, read=read)
    return driver.fuzz(reader, seed="0", first=0, runs=runs, seconds=60, folder=tmp_path)


def numbers_of(byte, runs=300):
    """Inputs that are this byte."""
    return [k for k in range(runs) if random.Random(f"0/{k}").randrange(256) == byte]


def test_what_is_refused_and_what_is_read_is_counted(tmp_path):
    def read(folder):
        if (folder / "file").read_bytes() < b"\x80":
            raise FileError("file", "more", "less")

    count, found = fuzzed(read, tmp_path)
    assert found == []
    assert count["made"] == count["read"] + count["refused"] == 300
    assert 100 < count["refused"] < 200


class TwoLinesError(FileError):
    def __str__(self):
        return "a\nb"


def wordy(folder):
    raise TwoLinesError("", "", "")


def exhausted(folder):
    kept = np.ones(1 << 28)
    return kept.sum()


FAULTS = {
    "a traceback": lambda folder: {}["x"],
    "a crash": lambda folder: os.kill(os.getpid(), signal.SIGTERM),
    "an end": lambda folder: os._exit(1),
    "a message of two lines": wordy,
    "memory": exhausted,
    "work without end": lambda folder: [None for _ in itertools.count()],
    "waiting": lambda folder: time.sleep(60),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_one_bad_input_of_many_is_found_by_its_number(tmp_path, monkeypatch, fault, capfd):
    bad = numbers_of(7)
    assert bad
    monkeypatch.setattr(driver, "SECONDS", 0.2)

    def read(folder):
        if (folder / "file").read_bytes() == b"\x07":
            FAULTS[fault](folder)

    count, found = fuzzed(read, tmp_path)
    if fault == "memory":  # known at the end of the process only
        assert len(found) == 1
    else:
        assert found == bad
        assert count["made"] == 300
    assert (fault == "an end") == (not capfd.readouterr().out)


def test_what_the_process_held_before_does_not_count(tmp_path):
    kept = np.ones(1 << 28)  # 2 GB
    assert fuzzed(lambda folder: None, tmp_path)[1] == []
    assert kept[-1] == 1


@pytest.mark.parametrize("name", driver.READERS)
def test_a_first_look_at_a_reader(name, capfd):
    assert driver.main([name, "--runs", "100", "--seconds", "30"]) is False
    out = capfd.readouterr().out
    assert ", 0 findings" in out
    assert f"{name}: " in out


def test_the_same_number_is_the_same_input():
    made = {changed_bytes(random.Random(f"0/{k}"), bytes(100)) for k in range(50)}
    assert made == {changed_bytes(random.Random(f"0/{k}"), bytes(100)) for k in range(50)}
    assert len(made) > 30
    values = [str(changed_json(random.Random(k), {"a": [1, 2, {"b": "c"}]})) for k in range(50)]
    assert len(set(values)) > 20
