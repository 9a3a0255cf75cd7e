"""At how many workers a sweep saturates: what the one client costs, measured here, and a simulation of the rest.

    python examples/sweeps/saturation.py [--scheduler-ms 0.5] [--tasks 2000] [--json FILE]

The client is the real one: it cuts tasks, sends them, and keeps rows in its database; only the workers are missing, so
that each answer is there at once.  Its costs for each task and each row are what remains.  With them, and with what a
scheduler needs for a task, workers are simulated that compute for a while, report, and take the next task if there is
one.  Dask's documentation says some 0.2 to 1 ms a task for its scheduler.
"""

import argparse
import heapq
import json
import tempfile
import time
from concurrent.futures import Executor, Future
from pathlib import Path

from pcmref.studies.retention import Row
from pcmref.studies.sweeps import sweep as sweeping
from pcmref.studies.sweeps.dispatch import TASKS_A_WORKER
from pcmref.studies.sweeps.executors import given
from pcmref.studies.sweeps.grid import read_question
from pcmref.studies.sweeps.tasks import Answer

STUDY = """
name = "saturation"
network = "digits-resnet8"
images = 10
chips = {chips}
"""
#: Rows of a chip of that study: five times, four compensations.
ROWS_OF_CHIP = 20
WORKERS = (10, 100, 1000, 3000, 10000)
TASK_S = (2.0, 10.0, 60.0)


class Instant(Executor):
    """An executor whose workers know every answer; a row takes them so long that a task has `rows`."""

    def __init__(self, rows):
        self.row_s, self.tasks = sweeping.TASK_S / rows, 0

    def submit(self, _, task, *packed):
        """Answer at once."""
        self.tasks += 1
        rows = tuple(Row(seed=s, t_s=t_s, compensation=c, images=10, correct=9) for s, t_s, c in task.cases)
        answer = Answer(
            worker="",
            seconds=len(rows) * self.row_s,
            rows=rows,
            digital_correct=10 if task.asks == "baseline" else None,
        )
        future = Future()
        future.set_result(answer)
        return future


def client_s(rows_of_task, tasks):
    """Return the seconds of the client for a task of so many rows: cut, sent, landed and committed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "study.toml")
        path.write_text(STUDY.format(chips=rows_of_task * tasks // ROWS_OF_CHIP))
        question, executor = read_question(path), Instant(rows_of_task)
        start = time.perf_counter()
        sweeping.sweep(question, Path(folder, "sweep.db"), given(executor, 1))
        return (time.perf_counter() - start) / executor.tasks


def busy(workers, task_s, client_s, scheduler_s, horizon_s=600.0):
    """Return the share of the time that workers compute, when client and scheduler do one thing at a time.

    The client keeps `TASKS_A_WORKER` tasks a worker under way: those that no worker has yet wait at the scheduler.
    """
    waiting, idle, computed_s = (TASKS_A_WORKER - 1) * workers, 0, 0.0
    scheduler_free_s = client_free_s = 0.0
    # each worker is at another place of its first task
    events = [(task_s * (1 + number / workers), "done") for number in range(workers)]
    heapq.heapify(events)
    while events and events[0][0] < horizon_s:
        now_s, kind = heapq.heappop(events)
        scheduler_free_s = max(now_s, scheduler_free_s) + scheduler_s
        if kind == "done":
            computed_s += task_s
            client_free_s = max(scheduler_free_s, client_free_s) + client_s
            heapq.heappush(events, (client_free_s, "sent"))
            idle += 1
        else:
            waiting += 1
        if idle and waiting:
            idle, waiting = idle - 1, waiting - 1
            heapq.heappush(events, (scheduler_free_s + task_s, "done"))
    return computed_s / (workers * (horizon_s - 1.5 * task_s))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scheduler-ms", type=float, default=0.5, help="of the scheduler for each message of a task")
    parser.add_argument("--tasks", type=int, default=2000, help="that the client is timed with")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    few, many = client_s(1, options.tasks), client_s(100, options.tasks // 10)
    row_s = (many - few) / 99
    task_s = few - row_s
    print(
        f"client: {1e3 * task_s:.2f} ms a task and {1e6 * row_s:.0f} us a row: "
        f"{1 / many:.0f} tasks of 100 rows a second"
    )
    print(f"scheduler: {options.scheduler_ms} ms a message, two for each task\n")
    print("share of the time that workers compute, tasks of 20 rows\n")
    print(f"{'workers':>8}" + "".join(f"{f'{length:.0f} s tasks':>14}" for length in TASK_S))
    found = {"client_task_s": task_s, "client_row_s": row_s, "scheduler_s": options.scheduler_ms / 1e3, "busy": []}
    for workers in WORKERS:
        shares = [busy(workers, s, task_s + 20 * row_s, options.scheduler_ms / 1e3) for s in TASK_S]
        found["busy"].append({"workers": workers, "tasks_s": TASK_S, "share": shares})
        print(f"{workers:>8}" + "".join(f"{min(share, 1.0):>14.1%}" for share in shares))
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
