"""What the commands say, to the letter."""

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

import pcmref
from pcmref import cli, report
from pcmref.evaluate import TIMES_S, Retention, Row
from pcmref.profiling import Profile

NETWORK = pcmref.load(pcmref.bundled())


def run(seeds, correct=(150, 160, 185)):
    """A run of 200 images: GDC at 25 s and after a day."""
    rows = tuple(
        Row(t_s=t_s, compensation="gdc", seed=seed, images=200, correct=count - lost)
        for seed, count in zip(seeds, correct, strict=False)
        for t_s, lost in ((25.0, 0), (86400.0, 50))
    )
    return Retention(rows=rows, images=200, digital_correct=199, readout=pcmref.PRESETS["paper"])


def test_table_of_one_chip():
    assert report.retention_table(run([7]), NETWORK, Path("net.h5"), "MODEL").splitlines() == [
        "net.h5: 60,762 weights on 121,524 PCM devices",
        "preset paper, model MODEL, chip 7, 200 images",
        "",
        " digital  99.50 %",
        "",
        "    time        GDC",
        "    25 s      75.00",
        "     1 d      50.00",
        "",
        "accuracy in %",
    ]


def test_table_of_several_chips_has_the_sample_standard_deviation():
    lines = report.retention_table(run([0, 1, 2]), NETWORK, Path("net.h5"), "MODEL").splitlines()
    # 75, 80, 92.5: mean 82.5, deviations -7.5, -2.5, 10: sqrt(162.5 / 2) = 9.01
    assert lines[1] == "preset paper, model MODEL, chips 0-2, 200 images"
    assert lines[5:] == [
        "    time            GDC",
        "    25 s   82.50 ± 9.01",
        "     1 d   57.50 ± 9.01",
        "",
        "accuracy in %, mean ± standard deviation over chips",
    ]


def document(samples, calibration=None, result=None):
    model = dataclasses.replace(pcmref.MODELS["HERMES_1"], nonconverged_share=0.25)
    path = Path("a/net.h5")
    inputs = report.retention_inputs(NETWORK, path, model, samples, calibration, scale="column", gdc_readout="ones")
    found = report.retention_document(result or run([3]), inputs)
    return json.loads(json.dumps(found, allow_nan=False))


def test_document_holds_all_that_a_run_depends_on():
    samples = NETWORK.evaluation.first(5)
    found = document(samples)
    assert found["network"]["file"] == "net.h5"
    assert found["network"]["sha256"] == NETWORK.sha256
    assert found["images"]["sha256"] == hashlib.sha256(samples.images.tobytes()).hexdigest()
    assert found["images"]["count"] == 5
    assert (found["scale"], found["gdc_readout"]) == ("column", "ones")
    assert (found["model"]["name"], found["model"]["nonconverged_share"]) == ("HERMES_1", 0.25)
    assert found["digital"] == {"images": 200, "correct": 199, "accuracy": 0.995}
    assert found["rows"][1] == {
        "t_s": 86400.0,
        "compensation": "gdc",
        "seed": 3,
        "images": 200,
        "correct": 100,
        "accuracy": 0.5,
    }


def test_document_tells_other_images_labels_and_ranges():
    samples, calibration = NETWORK.evaluation.first(5), NETWORK.calibration.first(7)
    found = document(samples, calibration)
    assert document(samples)["calibration"] is None
    assert found["calibration"] == document(calibration)["images"]
    labels = samples.labels.copy()
    labels[0] = (labels[0] + 1) % 10
    assert document(dataclasses.replace(samples, labels=labels))["images"] != found["images"]
    chip8 = pcmref.PRESETS["chip8"]
    ranges = pcmref.calibrate_ranges(NETWORK, calibration.images, chip8).ranges
    with_ranges = dataclasses.replace(run([3]), readout=dataclasses.replace(chip8, ranges=ranges))
    assert document(samples, result=with_ranges)["readout"]["ranges"]


def test_profile_adds_up():
    profile = Profile()
    profile.add("product", 1.5)
    profile.add("DAC", 0.5)
    assert report.profile_table(profile, 2.0, 2).splitlines() == [
        "stage                         thread seconds    share",
        "product                                1.500    37.5%",
        "DAC                                    0.500    12.5%",
        "Python, waiting, the rest              2.000    50.0%",
        "all                                    4.000   (2.000 s on 2 threads)",
    ]


def test_network_table_counts_tiles():
    lines = report.network_table(NETWORK, Path("net.h5"), tile_rows=64, tile_columns=32).splitlines()
    assert lines[0] == f"net.h5  sha256 {NETWORK.sha256}"
    assert "evaluation 797 images in the file" in lines
    rows = {line.split()[0]: line.split()[1:] for line in lines[lines.index("") + 2 : -2]}
    assert len(rows) == len(NETWORK.crossbar_layers)
    assert rows["stage3.block1.conv2"] == ["3x3", "1", "2x2x56", "504x56", "28,224", "16"]  # 8 x 2 tiles of 64x32
    assert rows["fc"] == ["-", "-", "10", "57x10", "570", "1"]
    tiles = sum(int(cells[-1]) for cells in rows.values())
    assert lines[-1] == f"60,762 weights, 121,524 PCM devices, {tiles} tiles of 64x32 or less"


@pytest.mark.parametrize(
    ("t_s", "text"),
    [(25.0, "25 s"), (90.0, "90 s"), (120.0, "2 min"), (3600.0, "1 h"), (2592000.0, "30 d"), (1.5, "1.5 s")],
)
def test_times_are_whole_numbers_of_the_largest_unit(t_s, text):
    assert report.time_text(t_s) == text


def test_times_round_trip():
    for seconds in (*TIMES_S, 60.0, 7200.0, 1.5, 90.0):
        assert cli._time(report.time_text(seconds)) == pytest.approx(seconds)
