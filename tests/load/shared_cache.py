"""Several processes that compile into one cache folder at the same time: python -m tests.load.shared_cache

All begin with an empty folder, so that each writes what the others read; all must give the digest of the self-check.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter


def digests(processes):
    """Run so many self-checks at once; return how often each last line was printed."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        command = [sys.executable, "-m", "pcmref", "selfcheck"]
        several = [
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for _ in range(processes)
        ]
        return Counter(process.communicate()[0].splitlines()[-1] for process in several)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.load.shared_cache", description=__doc__.partition("\n")[0])
    parser.add_argument("--processes", type=int, default=8)
    options = parser.parse_args(arguments)
    found = digests(options.processes)
    for line, times in found.items():
        print(f"{times} times: {line}")
    return found != {"as it must be": options.processes}


if __name__ == "__main__":
    sys.exit(main())
