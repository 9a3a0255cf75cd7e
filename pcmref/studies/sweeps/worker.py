"""What a worker does with a task: in one thread, with no file but the installed package."""

from __future__ import annotations

import os
import pickle
import socket
import threading
import time
import warnings
from collections import OrderedDict
from typing import Any

from pcmref.errors import ParameterError, PcmrefError, PcmrefWarning, shortened
from pcmref.inference.accuracy import correct
from pcmref.inference.run import digital
from pcmref.studies.retention import Row, rows_of
from pcmref.studies.study import Study
from pcmref.studies.sweeps.tasks import Answer, Bundle, Failure, Lacking, Task, origin

__all__ = ["work"]

#: How many bundles a worker keeps.
BUNDLES_MOST = 4
#: The bundles that have come to this process, the last used last.  The one thing that outlives a task: a network of
#: 100 MB must not travel with each.
_bundles: OrderedDict[str, Bundle] = OrderedDict()
#: A worker may have several threads, which share the bundles; and warnings are caught for all of a process.
_keeping, _listening = threading.Lock(), threading.Lock()


def work(task: Task, packed: bytes | None = None) -> Answer | Lacking:
    """Do a task.

    Parameters
    ----------
    task : Task
    packed : bytes, optional
        The bundle, if the worker has said that it lacks it.

    Raises
    ------
    ParameterError
        If the worker is not what the sweep is, or the bundle not what the task says: it would find other rows.
    """
    worker = f"{socket.gethostname()}:{os.getpid()}"
    if origin() != task.origin:
        raise ParameterError(f"worker {worker}", str(task.origin), str(origin()))
    bundle = _bundle(task.bundle, packed, worker)
    if bundle is None:
        return Lacking(worker=worker)
    start = time.perf_counter()
    study = Study(network=bundle.network, samples=bundle.samples, calibration=bundle.calibration, **task.how)
    if task.asks == "rows" and not task.look:
        found = _measured(study, task)
    else:
        with _listening, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = _measured(study, task) if task.asks == "rows" else _surveyed(study, task)
        texts = [str(warning.message) for warning in caught if issubclass(warning.category, PcmrefWarning)]
        found["warnings"] = tuple(dict.fromkeys(texts))
    return Answer(worker=worker, seconds=time.perf_counter() - start, **found)


def _bundle(digest: str, packed: bytes | None, worker: str) -> Bundle | None:
    """Return the bundle of this digest, if it is here by now."""
    with _keeping:
        if digest not in _bundles and packed is not None:
            bundle: Bundle = pickle.loads(packed)
            if bundle.digest != digest:
                raise ParameterError(f"worker {worker}: network and images", f"those of digest {digest}", bundle.digest)
            _bundles[digest] = bundle
            while len(_bundles) > BUNDLES_MOST:
                _bundles.popitem(last=False)
        if digest in _bundles:
            _bundles.move_to_end(digest)
        return _bundles.get(digest)


def _surveyed(study: Study, task: Task) -> dict[str, Any]:
    """Return what many rows need."""
    try:
        if task.asks == "ranges":
            return {"readout": study.ranged_readout(threads=1)}
        scores = digital(study.network, study.samples.images, threads=1)
        return {"digital_correct": correct(scores, study.samples.labels)}
    except Exception as error:
        return {"error": _told(error)}


def _measured(study: Study, task: Task) -> dict[str, Any]:
    """Return the rows of a task; one that fails takes no other with it."""
    rows: list[Row] = []
    failures: list[Failure] = []
    left = list(task.cases)
    while left:
        try:
            for row in rows_of(study, left, study.readout, threads=1, look=task.look and not rows):
                rows.append(row)  # noqa: PERF402  (those before an error count)
        except Exception as error:  # whatever it is, the sweep is told, and goes on
            failures.append(Failure(case=task.cases[len(rows) + len(failures)], error=_told(error)))
        left = list(task.cases[len(rows) + len(failures) :])
    return {"rows": tuple(rows), "failures": tuple(failures)}


def _told(error: Exception) -> str:
    kind = "" if isinstance(error, PcmrefError) else f"{type(error).__name__}: "
    return shortened(kind + str(error))
