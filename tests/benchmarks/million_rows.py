"""Times a sweep of a million rows that is gone on with and reported: python -m tests.benchmarks.million_rows

The rows are made up; the database, the digests of rows and the commands are the real ones.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pcmref.golden.readouts import readout_fields
from pcmref.studies.retention import Row
from pcmref.studies.sweeps.grid import read_question
from pcmref.studies.sweeps.opening import opened
from pcmref.studies.sweeps.points import points_of

STUDY = """
name = "big"
network = "digits-resnet8"
preset = "chip8"
chips = 1000
images = 10
readout.adc.bits = [4, 5, 6, 7, 8, 9, 10, 11, 12, 13]
readout.tile_rows = [64, 128, 256, 512, 1024]
"""
COMMANDS = (
    ("sweep", "study.toml", "--out", "big.db"),
    ("sweep", "--status", "big.db"),
    ("report", "big.db", "big.html"),
)


def main():
    """Make the database, then time the commands."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "study.toml")
        path.write_text(STUDY)
        question = read_question(path)
        points = points_of(question)
        with opened(Path(folder, "big.db"), question) as database:
            database.ask(question, points)
            for point in points:
                database.learn_baseline([point.digest], 10)
                database.learn_ranges(point.digest, readout_fields(point.study.readout))
                rows = (Row(seed=s, t_s=t, compensation=c, images=10, correct=5 + s % 5) for s, t, c in point.cases)
                database.land(point.digest, rows, 0.1)
        for command in COMMANDS:
            start = time.perf_counter()
            subprocess.run([sys.executable, "-m", "pcmref", *command], cwd=folder, check=True)
            print(f"{time.perf_counter() - start:.1f} s: pcmref {' '.join(command)}")


if __name__ == "__main__":
    main()
