"""Build a bench's hardware in a simulator and run the bench: pcmref against the RTL, product by product.

    python run.py tile properties throughput --simulator icarus
    python run.py layer image --simulator verilator --network resnet32-cifar10

Runs with cocotb 2.x or 1.9.2.  Exit status: 0 if all is equal, 1 if something differs, 2 if it cannot be run.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

from designs import SETTINGS, with_parameters

from pcmref.errors import PcmrefError

HERE = Path(__file__).resolve().parent
SOURCES = ["pcm_adc.sv", "pcm_threshold_adc.sv", "pcm_tile.sv", "pcm_conv.sv"]
BENCHES = ("tile", "properties", "throughput", "layer", "image")
ARGUMENTS = {
    "icarus": ["-g2012"],
    "verilator": [
        "--timing",
        # Python sees the harness only, whose buses are marked: the design below is optimised as ever
        "--no-public-flat-rw",
        # buses of more than 2048 bits are read, too
        *("-CFLAGS", "-DVL_VALUE_STRING_MAX_WORDS=65536"),
    ],
}
EXECUTABLE = {"icarus": "iverilog", "verilator": "verilator"}
#: Rows and columns of the tile, where they are not 32 and 8: all columns of a layer, and the rows that ranges are for.
SIZES = {"image": (256, 64)}
#: The oldest Verilator that cocotb 2 runs with.
VERILATOR_LEAST = (5, 36)


def main():
    options = _options()
    try:
        runner = _runner(options.simulator)
        return max(_run(runner, bench, options) for bench in options.bench)
    except PcmrefError as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 2


def _options():
    command = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    command.add_argument("bench", nargs="+", choices=BENCHES)
    command.add_argument("--simulator", choices=ARGUMENTS, default="icarus")
    command.add_argument(
        "--size", type=_size, metavar="ROWSxCOLUMNS", help="of the tile (default: 32x8; image: 256x64)"
    )
    command.add_argument("--case", type=Path, metavar="DIR", help="tile, layer: a case that `pcmref export` wrote")
    command.add_argument(
        "--read-noise", choices=("frozen", "fresh"), default="frozen", help="tile, layer: of their case"
    )
    command.add_argument("--random", type=int, default=200, metavar="N", help="tile: random vectors")
    command.add_argument("--examples", type=int, default=200, metavar="N", help="properties: how many")
    command.add_argument("--products", type=int, default=10_000, metavar="N", help="throughput: how many")
    command.add_argument("--network", default="resnet32-cifar10", metavar="NAME", help="layer, image: that of pcmref")
    command.add_argument("--layer", default="stage3.block1.conv2", metavar="NAME", help="layer: which")
    command.add_argument("--gaps", action="store_true", help="layer: hold pixels and answers back at times")
    command.add_argument("--images", type=int, default=1, metavar="N", help="layer, image: the first N")
    command.add_argument("--seed", type=int, default=0, help="of all that is drawn")
    command.add_argument(
        "--set", action="append", type=_parameter, default=[], metavar="NAME=VALUE", help="another parameter of the RTL"
    )
    command.add_argument(
        "--rtl", type=Path, default=HERE.parent, metavar="DIR", help="where pcm_tile.sv and the others are"
    )
    command.add_argument("--build", type=Path, default=Path("sim_build"), metavar="DIR", help="where to build")
    return command.parse_args()


def _size(text):
    rows, columns = text.split("x")
    return int(rows), int(columns)


def _parameter(text):
    name, value = text.split("=")
    return name, int(value)


def _runner(simulator):
    """Return what makes cocotb's runner and what reads its results; raise `PcmrefError` if something is missing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the runner of 1.9 is called experimental
            try:
                from cocotb_tools.runner import get_results, get_runner
            except ImportError:
                from cocotb.runner import get_results, get_runner
        import cocotb
    except ImportError:
        raise PcmrefError("cocotb", "cocotb 1.9.2 or later: pip install 'pcmref[testbench]'", "none") from None
    if shutil.which(EXECUTABLE[simulator]) is None:
        expected = f"{EXECUTABLE[simulator]}: examples/rtl/install-simulators installs it"
        raise PcmrefError("simulator", expected, "none")
    if simulator == "verilator" and int(cocotb.__version__.partition(".")[0]) >= 2:
        _check_verilator(cocotb.__version__)
    os.environ.pop("PYTEST_CURRENT_TEST", None)  # with it, cocotb's runner takes itself for a test
    return get_runner, get_results


def _check_verilator(cocotb):
    """Raise `PcmrefError` for a Verilator that is too old for cocotb 2."""
    said = subprocess.run(["verilator", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"Verilator (\d+)\.(\d+)", said)
    if found is None or tuple(map(int, found.groups())) < VERILATOR_LEAST:
        expected = f"Verilator 5.036 or later with cocotb {cocotb}, or cocotb 1.9.2 (pip install cocotb==1.9.2)"
        raise PcmrefError("simulator", expected, said.strip() or "no version")


def _run(runner, bench, options):
    """Build and run one bench; return the exit status."""
    get_runner, get_results = runner
    simulator = get_runner(options.simulator)  # a new one: that of 1.9 cannot build after a test
    place = options.build.resolve() / f"{options.simulator}-{bench}"
    place.mkdir(parents=True, exist_ok=True)
    module = f"bench_{bench}"
    own = argparse.Namespace(**{**vars(options), "size": options.size or SIZES.get(bench, (32, 8))})
    design = importlib.import_module(module).prepare(own, place)
    design = with_parameters(design, dict(options.set))
    build = options.build.resolve() / f"{options.simulator}-{design.top}"
    try:
        simulator.build(
            sources=[options.rtl / name for name in SOURCES] + [HERE / f"{design.top}.sv"],
            hdl_toplevel=design.top,
            parameters=design.parameters,
            build_args=ARGUMENTS[options.simulator],
            build_dir=build,
            timescale=("1ns", "1ns"),
            always=True,
        )
    except (RuntimeError, SystemExit) as error:  # of cocotb 2.x, of 1.9
        raise PcmrefError("build", f"RTL that {options.simulator} takes", str(error)) from None
    environment = {
        SETTINGS: json.dumps({"parameters": design.parameters, "settings": design.settings}),
        # where pytest is installed, cocotb has it rewrite every module that is imported, which takes ten times as long
        # as the import; 1.9 cannot be told not to, and then Hypothesis must not take itself for a plugin of pytest
        "COCOTB_REWRITE_ASSERTION_FILES": "",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    results = simulator.test(
        test_module=module,
        hdl_toplevel=design.top,
        hdl_toplevel_lang="verilog",
        build_dir=build,
        test_dir=place,
        extra_env=environment,
        timescale=("1ns", "1ns"),
    )
    tests, failed = get_results(results)
    return int(failed > 0 or tests == 0)


if __name__ == "__main__":
    sys.exit(main())
