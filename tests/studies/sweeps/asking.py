"""Small studies for the tests of sweeps."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pcmref.studies.sweeps.executors import given
from pcmref.studies.sweeps.found import results
from pcmref.studies.sweeps.grid import read_question
from pcmref.studies.sweeps.sweep import sweep

SMALL = """
name = "small"
network = "digits-resnet8"
images = 5
times = ["25s", "1d"]
compensation = ["none", "gdc"]
chips = 2
"""


def question(folder: Path, text: str = SMALL, name: str = "study.toml"):
    """A study of this text."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return read_question(path)


def swept(asked, path, **options):
    """Run a sweep in two threads of this process; return its outcome and what is found."""
    with ThreadPoolExecutor(2) as executor:
        outcome = sweep(asked, path, given(executor, 2), **options)
    return outcome, results(path)
