"""A short look at what the programs of this folder do for long: kills, a soak, a cache that is shared."""

import os
import warnings
from pathlib import Path

import pytest

import pcmref

if not Path("/proc/self/statm").is_file() or not hasattr(os, "fork"):
    pytest.skip("processes are forked and measured as Linux does", allow_module_level=True)

from tests.load import kills, shared_cache, soak


def test_a_kill_leaves_the_old_or_the_new_and_the_next_run_ends_as_if_nothing_had_happened(capfd):
    assert kills.main(["--times", "16"]) is False
    assert capfd.readouterr().out.count(", 0 wrong") >= 7


def test_a_command_that_writes_under_the_final_name_is_found_out(tmp_path, monkeypatch):
    def careless(arguments):
        with Path("out").open("wb") as file:
            for _ in range(200):
                file.write(bytes(10_000))
                file.flush()
                os.fsync(file.fileno())
        return 0

    monkeypatch.setattr(kills.cli, "main", careless)
    _, _, wrong = kills.kill(("x",), "out", 20, kills.random.Random(0), tmp_path)
    assert wrong


def test_random_configurations_have_the_bits_of_their_twins():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pcmref.PcmrefWarning)
        runs, different, _ = soak.soak(5, 20)
    assert runs
    assert different == []


def test_other_bits_are_found(monkeypatch):
    several = iter(range(1000))
    monkeypatch.setattr(soak, "answered", lambda number, rng: str(next(several)))
    runs, different, _ = soak.soak(0.1, 3)
    assert len(different) == runs > 0


@pytest.mark.soak
def test_processes_share_one_cache():
    assert shared_cache.main([]) is False
