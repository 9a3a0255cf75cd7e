"""Studies: what is asked, checked when it is asked."""

import dataclasses
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pcmref
from pcmref.arithmetic.codes import Range
from pcmref.errors import DataError, ParameterError
from pcmref.network.images import Samples
from pcmref.studies.retention import retention
from pcmref.studies.study import DAY_S, HOUR_S, TIMES_S, YEAR_S, Study, needs_calibration
from tests.helpers.nets import samples, tiny

PAPER, CHIP8 = pcmref.PRESETS["paper"], pcmref.PRESETS["chip8"]
SMALL = pcmref.MODELS["HERMES_1"]
NET = tiny()
CALIBRATION = samples(np.random.default_rng(1), 200, NET.input_shape, len(NET.classes), "training")


def ranges(scale=1.0, network=NET):
    return {
        layer.name: Range(input_top=1.0, sum_top_us=scale * (number + 1))
        for number, layer in enumerate(network.crossbar_layers)
    }


#: A network with ranges for chip8, at a G_max of 25 uS.
RANGED = dataclasses.replace(NET, ranges={"chip8": ranges()})


def asked(**changes):
    """A study of two images, without compensation."""
    return Study(**{"network": NET, "samples": NET.evaluation.first(2), "compensations": ("none",)} | changes)


def labelled(images, *labels):
    return Samples(images=images, labels=np.array(labels, np.int64), where="mine")


# What is asked by default


def test_defaults():
    study = Study(network=NET, samples=NET.evaluation, calibration=CALIBRATION)
    assert study.times_s == TIMES_S == (25.0, 3600.0, 86400.0, 2592000.0, 31536000.0) == pcmref.TIMES_S
    assert (HOUR_S, DAY_S, YEAR_S) == (3600.0, 86400.0, 31536000.0)
    assert study.compensations == ("none", "gdc", "adabs", "gdc+adabs") == pcmref.COMPENSATIONS
    assert (study.seeds, study.scale, study.gdc_readout, study.title) == ((0,), "layer", "absolute", "")
    assert (study.model, study.readout) == (pcmref.MODELS["NANDAKUMAR_2019"], PAPER)
    assert asked().calibration is None


def test_cases_are_every_seed_time_and_compensation_in_order():
    study = asked(seeds=(3, 1), times_s=(60.0, 25.0), compensations=("gdc", "none"))
    assert study.cases == [(s, t, c) for s in (3, 1) for t in (60.0, 25.0) for c in ("gdc", "none")]


def test_any_list_becomes_a_tuple_of_plain_numbers():
    study = asked(seeds=np.arange(2), times_s=iter([25, np.float32(60)]), compensations=["gdc", "none"])
    assert (study.seeds, study.times_s, study.compensations) == ((0, 1), (25.0, 60.0), ("gdc", "none"))
    assert {type(value) for value in (study.seeds, study.times_s, study.compensations)} == {tuple}
    assert {type(seed) for seed in study.seeds} == {int}
    assert {type(t_s) for t_s in study.times_s} == {float}
    assert asked(seeds=range(5, 8)).seeds == (5, 6, 7)
    assert asked(seeds=(2**64 - 1,)).seeds == (2**64 - 1,)


def test_nothing_in_a_study_can_be_changed():
    study = asked()
    for field in dataclasses.fields(study):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(study, field.name, None)
    assert not study.samples.images.flags.writeable


def test_studies_are_told_apart_by_identity():
    study = asked()
    assert study != asked()
    assert len({study, asked(), study}) == 2


# What is refused when it is asked


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times_s": ()}, "times_s: expected a list of one or more, each once, found ()"),
        ({"times_s": (0.0,)}, "t_s: expected from 5e-07 s to 1e12 s, found 0.0"),
        ({"times_s": (25.0, -1.0)}, "t_s: expected from 5e-07 s to 1e12 s, found -1.0"),
        ({"times_s": (float("nan"),)}, "t_s: expected from 5e-07 s to 1e12 s, found nan"),
        ({"times_s": (float("inf"),)}, "t_s: expected from 5e-07 s to 1e12 s, found inf"),
        ({"times_s": ("25 s",)}, "t_s: expected a time in seconds, found '25 s'"),
        ({"times_s": (True,)}, "t_s: expected a time in seconds, found True"),
        ({"times_s": (25.0, 60.0, 25)}, "times_s: expected a list of one or more, each once, found (25.0, 60.0, 25)"),
        ({"times_s": 25.0}, "times_s: expected a list of one or more, each once, found 25.0"),
        ({"times_s": "25"}, "times_s: expected a list of one or more, each once, found '25'"),
        ({"times_s": ([25.0],)}, "times_s: expected a list of one or more, each once, found ([25.0],)"),
        ({"seeds": ()}, "seeds: expected a list of one or more, each once, found ()"),
        ({"seeds": (1, 1)}, "seeds: expected a list of one or more, each once, found (1, 1)"),
        ({"seeds": 3}, "seeds: expected a list of one or more, each once, found 3"),
        ({"seeds": (-1,)}, "seed: expected an integer from 0 to 2**64 - 1, found -1"),
        ({"seeds": (0, 2**64)}, "seed: expected an integer from 0 to 2**64 - 1, found 18446744073709551616"),
        ({"seeds": (1.5,)}, "seed: expected an integer from 0 to 2**64 - 1, found 1.5"),
        ({"seeds": (True,)}, "seed: expected an integer from 0 to 2**64 - 1, found True"),
        ({"compensations": ()}, "compensations: expected a list of one or more, each once, found ()"),
        ({"compensations": ("magic",)}, "compensation: expected one of none, gdc, adabs, gdc+adabs, found 'magic'"),
        ({"compensations": ("none", None)}, "compensation: expected one of none, gdc, adabs, gdc+adabs, found None"),
        ({"compensations": ("gdc", "gdc")}, "compensations: expected a list of one or more, each once, found ('gdc',"),
        ({"compensations": "none"}, "compensations: expected a list of one or more, each once, found 'none'"),
        ({"scale": "tile"}, "scale: expected one of layer, column, found 'tile'"),
        ({"scale": ["layer"]}, "scale: expected one of layer, column, found ['layer']"),
        ({"gdc_readout": "two"}, "gdc_readout: expected one of absolute, ones, column, found 'two'"),
        ({"gdc_readout": None}, "gdc_readout: expected one of absolute, ones, column, found None"),
        ({"title": None}, "title: expected a str, found None"),
        ({"title": Path("net.h5")}, "title: expected a str, found "),
        ({"network": "net.h5"}, "network: expected a Network, found 'net.h5'"),
        ({"samples": NET.evaluation.images}, "samples: expected a Samples, found array("),
        ({"samples": None}, "samples: expected a Samples, found None"),
        ({"calibration": np.zeros((2, 6, 6, 3), np.uint8)}, "calibration: expected a Samples, found array("),
        ({"model": "AIHWKIT"}, "model: expected a Technology (pcmref.MODELS), found 'AIHWKIT'"),
        ({"model": None}, "model: expected a Technology (pcmref.MODELS), found None"),
        ({"readout": "chip8"}, "readout: expected a Readout (pcmref.PRESETS), found 'chip8'"),
        ({"compensations": ("adabs",)}, "calibration: expected training images (for AdaBS or converter ranges), found"),
        ({"compensations": ("none", "gdc+adabs")}, "calibration: expected training images (for AdaBS"),
        ({"readout": CHIP8}, "calibration: expected training images (for AdaBS or converter ranges), found none"),
        (
            {"network": RANGED, "readout": CHIP8, "scale": "column"},
            "calibration: expected training images (for AdaBS or converter ranges), found none",
        ),
        (
            {"readout": dataclasses.replace(CHIP8, ranges={"conv1": Range(input_top=1.0, sum_top_us=1.0)})},
            "readout chip8: expected calibrated ranges for layer 'conv2'",
        ),
        (
            {"compensations": ("adabs",), "calibration": CALIBRATION.first(199)},
            "calibration: expected at least 200 images for AdaBS, found 199",
        ),
        ({"samples": NET.evaluation.first(0)}, "images: expected at least one, found none"),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises(ParameterError, match=f"^{re.escape(message)}"):
        asked(**change)


@pytest.mark.parametrize("name", ["samples", "calibration"])
def test_images_that_do_not_fit_are_refused(name):
    wrong = labelled(np.zeros((2, 6, 5, 3), np.uint8), 0, 1)
    with pytest.raises(DataError, match=r"^images: expected uint8 of shape \(n, 6, 6, 3\), found uint8 of shape"):
        asked(**{name: wrong})


def test_labels_of_no_class_are_refused():
    images = NET.evaluation.images[:2]
    with pytest.raises(DataError, match=r"^mine/labels: expected labels from 0 to 3, found 4"):
        asked(samples=labelled(images, 0, 4))
    asked(samples=labelled(images, 0, 3))
    asked(calibration=labelled(images, 0, 4))  # nobody reads these labels


def test_what_a_study_needs_calibration_images_for():
    with_ranges = dataclasses.replace(CHIP8, ranges=ranges())
    for readout, compensations, needed in (
        (PAPER, ("none", "gdc"), False),
        (PAPER, ("none", "adabs"), True),
        (PAPER, ("gdc+adabs",), True),
        (CHIP8, ("none",), True),
        (with_ranges, ("none", "gdc"), False),
        (with_ranges, ("adabs",), True),
    ):
        assert needs_calibration(readout, compensations) == needed
        if needed:
            with pytest.raises(ParameterError, match=r"^calibration"):
                asked(readout=readout, compensations=compensations)
        study = asked(readout=readout, compensations=compensations, calibration=CALIBRATION)
        assert study.readout == readout


def test_fewer_images_than_adabs_needs_can_still_set_ranges():
    study = asked(readout=CHIP8, calibration=CALIBRATION.first(3))
    expected = pcmref.calibrate_ranges(NET, CALIBRATION.images[:3], CHIP8)
    assert study.ranged_readout() == expected


# Another study, from one that there is


def test_another_study_is_checked_anew():
    study = asked(times_s=(0.0, 25.0), model=SMALL)
    assert dataclasses.replace(study, seeds=[4]).cases == [(4, 0.0, "none"), (4, 25.0, "none")]
    with pytest.raises(ParameterError, match=r"^t_s: expected from 5e-07 s"):  # of this model's first time
        dataclasses.replace(study, model=pcmref.MODELS["NANDAKUMAR_2019"])
    with pytest.raises(ParameterError, match=r"^calibration: expected training images"):
        dataclasses.replace(study, readout=CHIP8)
    with pytest.raises(DataError, match=r"^images: expected uint8 of shape \(n, 8, 8, 1\)"):
        dataclasses.replace(study, network=pcmref.load(pcmref.bundled()))


def test_stored_ranges_follow_what_is_replaced():
    """Ranges are for a network, a G_max and a scale: those of another study are never kept."""
    study = asked(network=RANGED, readout=CHIP8)
    assert study.ranged_readout().ranges == ranges()
    for model in (SMALL, pcmref.MODELS["HERMES_2"]):
        other = dataclasses.replace(study, model=model)
        assert other.ranged_readout().ranges == ranges(model.g_max_us / 25)
        assert dataclasses.replace(other, model=study.model).ranged_readout().ranges == ranges()
    doubled = dataclasses.replace(NET, ranges={"chip8": ranges(2.0)})
    assert dataclasses.replace(study, network=doubled).ranged_readout().ranges == ranges(2.0)
    with pytest.raises(ParameterError, match=r"^calibration"):
        dataclasses.replace(study, network=NET)
    with pytest.raises(ParameterError, match=r"^calibration"):
        dataclasses.replace(study, scale="column")
    calibrated = dataclasses.replace(study, scale="column", calibration=CALIBRATION)
    expected = pcmref.calibrate_ranges(NET, CALIBRATION.images, CHIP8, scale="column")
    assert calibrated.ranged_readout() == expected
    assert dataclasses.replace(study, readout=PAPER).ranged_readout() == PAPER
    assert dataclasses.replace(dataclasses.replace(study, readout=PAPER), readout=CHIP8).ranged_readout().ranges


def test_ranges_that_are_asked_for_are_kept():
    mine = dataclasses.replace(CHIP8, ranges=ranges(3.0))
    study = asked(network=RANGED, readout=mine, calibration=CALIBRATION)
    assert study.ranged_readout() == mine
    assert dataclasses.replace(study, model=SMALL, scale="column").ranged_readout() == mine


def test_at_most_200_calibration_images_set_the_ranges():
    more = samples(np.random.default_rng(2), 250, NET.input_shape, len(NET.classes), "training")
    study = asked(readout=CHIP8, calibration=more, model=SMALL)
    expected = pcmref.calibrate_ranges(NET, more.images[:200], CHIP8, model=SMALL)
    assert study.ranged_readout(threads=2) == expected
    assert expected != pcmref.calibrate_ranges(NET, more.images, CHIP8, model=SMALL)


# Elsewhere


@pytest.mark.filterwarnings("ignore:readout chip8. .* do the ranges fit")  # ranges of no network
def test_a_study_gives_the_same_rows_in_another_process(tmp_path):
    study = asked(
        network=RANGED,
        readout=CHIP8,
        compensations=("none", "adabs"),
        calibration=CALIBRATION,
        seeds=(5,),
        times_s=(DAY_S,),
    )
    path = tmp_path / "study"
    path.write_bytes(pickle.dumps(study))
    code = (
        "import pickle, sys; import pcmref\n"
        "study = pickle.load(open(sys.argv[1], 'rb'))\n"
        "assert not study.samples.images.flags.writeable\n"
        "sys.stdout.buffer.write(pickle.dumps(pcmref.retention(study)))\n"
    )
    root = Path(pcmref.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code, path], cwd=root, check=True, capture_output=True)
    there, here = pickle.loads(done.stdout), retention(study)
    assert there.rows == here.rows
    assert (there.digital_correct, there.readout) == (here.digital_correct, here.readout)
