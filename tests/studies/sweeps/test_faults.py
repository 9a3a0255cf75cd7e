"""Faults for real: processes that are killed, a cluster whose scheduler dies, a client that dies again and again.

Whatever happens, the database ends with the same rows, by digest.
"""

import concurrent.futures
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pcmref.errors import ParameterError, PcmrefError
from pcmref.studies.sweeps import executors
from pcmref.studies.sweeps.found import results
from pcmref.studies.sweeps.sweep import sweep
from tests.studies.sweeps.asking import SMALL, question, swept

#: Long enough that something can happen: a few seconds.
TEXT = SMALL.replace("chips = 2", "chips = 20").replace("images = 5", "images = 40") + "preset = ['paper', 'chip8']\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The digest of all rows, as threads of this process find them."""
    folder = tmp_path_factory.mktemp("whole")
    _, found = swept(question(folder, TEXT), folder / "s.db")
    assert found.rows == found.wanted == 160
    return found.digest


@pytest.fixture
def asked(tmp_path):
    return question(tmp_path, TEXT)


def command(folder, *options):
    """Start the sweep as a user does, in a process group of its own."""
    arguments = [sys.executable, "-m", "pcmref", "sweep", "study.toml", "--out", "s.db", *options]
    return subprocess.Popen(
        arguments, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def landed(path):
    """How many rows there are; none while there is no database."""
    with contextlib.suppress(PcmrefError):
        return results(path).rows
    return 0


def until(condition, limit_s=120.0):
    """Wait for something to be so."""
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def children(process):
    """The processes that a process has started, resource tracker included."""
    with open(f"/proc/{process}/task/{process}/children") as file:
        return [int(number) for number in file.read().split()]


def workers_of(process):
    """The processes that do its tasks."""
    found = []
    for child in children(process):
        with contextlib.suppress(OSError), open(f"/proc/{child}/cmdline") as file:
            if "spawn_main" in file.read():
                found.append(child)
    return found


linux = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="looks for processes in /proc")


@pytest.mark.parametrize("count", [1, 2])
def test_processes_find_the_same_rows(asked, tmp_path, whole, count):
    with executors.processes(count) as workers:
        outcome = sweep(asked, tmp_path / "s.db", workers)
    assert outcome.failures == ()
    assert results(tmp_path / "s.db").digest == whole


@linux
def test_a_process_that_is_killed(asked, tmp_path, whole):
    """Others do its tasks; no row fails."""
    path, running = tmp_path / "s.db", command(tmp_path, "--processes", "2")
    until(lambda: landed(path) > 10)
    os.kill(workers_of(running.pid)[0], signal.SIGKILL)
    _, said = running.communicate()
    assert (running.returncode, "failed" in said) == (0, False)
    assert results(path).digest == whole


@linux
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=["int", "term", "kill"])
def test_workers_end_with_the_sweep(asked, tmp_path, end):
    running = command(tmp_path, "--processes", "2")
    until(lambda: landed(tmp_path / "s.db") > 0)
    mine = workers_of(running.pid)
    assert len(mine) == 2
    (os.killpg if end == signal.SIGINT else os.kill)(running.pid, end)
    _, said = running.communicate()
    assert running.returncode == (130 if end == signal.SIGINT else -end)
    if end == signal.SIGINT:
        assert said.splitlines() == [
            "pcmref: what is finished is in s.db; the same command goes on from there",
            "pcmref: interrupted",
        ]
    until(lambda: not any(os.path.exists(f"/proc/{process}") for process in mine), 10.0)


def killed_and_resumed(folder, kills, *options):
    """Kill the sweep so often at random moments of its work, then let it end; return what it says."""
    rng, hit = random.Random(7), 0
    while hit < kills:
        running = command(folder, *options)
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.communicate(timeout=rng.uniform(0.5, 6.0))
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            hit += 1
        else:
            assert running.returncode == 0
            os.remove(folder / "s.db")  # it was done: begin anew
        running.communicate()
    running = command(folder, *options)
    said = running.communicate()
    assert running.returncode == 0, said
    return said


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.soak)])
def test_a_client_that_is_killed_again_and_again(asked, tmp_path, whole, kills):
    killed_and_resumed(tmp_path, kills, "--executor", "concurrent.futures:ThreadPoolExecutor", "--workers", "2")
    assert results(tmp_path / "s.db").digest == whole


class Cluster:
    """A Dask scheduler and workers, processes of their own on loopback."""

    def __init__(self, folder):
        self.folder, self.file, self.workers = folder, folder / "scheduler.json", []
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", self.file)
        until(self.file.exists)
        self.address = json.loads(self.file.read_text())["address"]

    def _start(self, kind, *options):
        arguments = [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--no-dashboard", *map(str, options)]
        with open(self.folder / f"{kind}-{len(self.workers)}.log", "w") as log:
            return subprocess.Popen(arguments, cwd=self.folder, stdout=log, stderr=log, start_new_session=True)

    def work(self, count, *options):
        for _ in range(count):
            one_thread = ("--no-nanny", "--nthreads", "1", "--memory-limit", "0")
            self.workers.append(self._start("worker", self.address, *one_thread, *options))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path):
    pytest.importorskip("distributed")
    folder = tmp_path / "cluster"
    folder.mkdir()
    with Cluster(folder) as made:
        yield made


def test_a_cluster_one_of_whose_workers_is_killed(asked, tmp_path, whole, cluster):
    cluster.work(3)
    running = command(tmp_path, "--scheduler", cluster.address)
    until(lambda: landed(tmp_path / "s.db") > 10)
    cluster.workers[1].kill()
    said = running.communicate()
    assert running.returncode == 0, said
    assert results(tmp_path / "s.db").digest == whole


def test_a_cluster_whose_scheduler_is_killed(asked, tmp_path, whole, cluster):
    path = tmp_path / "s.db"
    cluster.work(2)
    running = command(tmp_path, "--scheduler", cluster.address)
    until(lambda: landed(path) > 10)
    cluster.scheduler.kill()
    _, said = running.communicate()
    assert running.returncode == 1
    assert "pcmref: what is finished is in s.db; the same command goes on from there" in said
    assert re.search(r"^pcmref: error: (executor|scheduler tcp://.*): expected an answer", said, re.M), said
    assert 10 < results(path).rows < 160
    second = tmp_path / "second"
    second.mkdir()
    with Cluster(second) as other:
        other.work(1)
        running = command(tmp_path, "--scheduler", other.address)
        said = running.communicate()
    assert running.returncode == 0, said
    assert results(path).digest == whole


def test_a_worker_of_another_version_is_refused_by_name(asked, tmp_path, cluster):
    (tmp_path / "older.py").write_text("from pcmref.studies.sweeps import tasks\ntasks.VERSION = '0.0.9'\n")
    cluster.work(1, "--preload", tmp_path / "older.py")
    running = command(tmp_path, "--scheduler", cluster.address)
    _, said = running.communicate()
    assert running.returncode == 1
    assert re.search(
        r"error: worker \S+:\d+: expected pcmref \S+ \(sources .*, found pcmref 0\.0\.9 \(sources", said
    ), said


@pytest.mark.soak
def test_a_client_of_a_cluster_that_is_killed_again_and_again(asked, tmp_path, whole, cluster):
    cluster.work(3)
    killed_and_resumed(tmp_path, 50, "--scheduler", cluster.address)
    assert results(tmp_path / "s.db").digest == whole


def test_no_scheduler_at_the_address(asked, tmp_path):
    pytest.importorskip("distributed")
    address = "tcp://127.0.0.1:9"
    running = command(tmp_path, "--scheduler", address)
    _, said = running.communicate()
    assert running.returncode == 1
    assert f"pcmref: error: scheduler {address}: expected the address of a Dask scheduler" in said


def test_an_executor_that_breaks_is_made_again():
    made = []

    class Noted(ThreadPoolExecutor):
        def __init__(self, count):
            made.append(self)
            super().__init__(count)

    concurrent.futures.Noted = Noted
    try:
        with executors.named("concurrent.futures:Noted", 2) as workers:
            first = workers.start()
            assert made == [first]
            second = workers.start()
            assert made == [first, second]
            assert first._shutdown
            assert not second._shutdown
        assert second._shutdown
    finally:
        del concurrent.futures.Noted


def test_executors_that_cannot_be():
    for name in ("os", "os:path", "nothing:at_all", "concurrent.futures:Nothing", ":", "os:getcwd"):
        with pytest.raises(ParameterError, match=r"^executor: expected"):
            executors.named(name, 2).__enter__()
    for count in (0, -1, 1.5, 1 << 20):
        with pytest.raises(ParameterError, match=r"^processes: expected"):
            executors.processes(count).__enter__()
