"""Accuracy over time in ten lines of Python, with a plot.

python examples/retention.py [FILE.png] [--chips K] [--images N]
"""

import argparse
from pathlib import Path

import pcmref
from pcmref.studies.plots import plot_retention


def main():
    """Measure three chips over a year and draw the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", nargs="?", type=Path, default=Path("retention.png"))
    parser.add_argument("--chips", type=int, default=3)
    parser.add_argument("--images", type=int, default=797)
    options = parser.parse_args()

    net = pcmref.load(pcmref.bundled())
    study = pcmref.Study(
        network=net,
        samples=net.evaluation.first(options.images),
        calibration=net.calibration,
        seeds=range(options.chips),
    )
    result = pcmref.retention(study)
    print(f"digital   {100 * result.digital_accuracy:6.2f} %")
    for t_s in pcmref.TIMES_S:
        row = (f"{100 * result.accuracies(t_s, c).mean():8.2f} {c}" for c in pcmref.COMPENSATIONS)
        print(f"{t_s:9.0f} s", *row)
    plot_retention(result, options.path, title="digits-resnet8")


if __name__ == "__main__":
    main()
