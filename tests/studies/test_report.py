"""What the commands say, to the letter."""

from pathlib import Path

import pytest

import pcmref
from pcmref.profiling import Profile
from pcmref.studies import report
from pcmref.studies.named import time_s
from pcmref.studies.retention import Retention, Row
from pcmref.studies.study import TIMES_S, Study

NETWORK = pcmref.load(pcmref.bundled())
MODEL = pcmref.MODELS["HERMES_2"]


def run(seeds, correct=(150, 160, 185)):
    """A run of 200 images: GDC at 25 s and after a day."""
    rows = tuple(
        Row(t_s=t_s, compensation="gdc", seed=seed, images=200, correct=count - lost)
        for seed, count in zip(seeds, correct, strict=False)
        for t_s, lost in ((25.0, 0), (86400.0, 50))
    )
    study = Study(
        network=NETWORK, samples=NETWORK.evaluation.first(200), compensations=("gdc",), model=MODEL, title="net.h5"
    )
    return Retention(study=study, rows=rows, digital_correct=199, readout=pcmref.PRESETS["chip8"])


def test_table_of_one_chip():
    assert report.retention_table(run([7])).splitlines() == [
        "net.h5: 60,762 weights on 121,524 PCM devices",
        "preset chip8, model HERMES_2, chip 7, 200 images",
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
    lines = report.retention_table(run([0, 1, 2])).splitlines()
    # 75, 80, 92.5: mean 82.5, deviations -7.5, -2.5, 10: sqrt(162.5 / 2) = 9.01
    assert lines[1] == "preset chip8, model HERMES_2, chips 0-2, 200 images"
    assert lines[5:] == [
        "    time            GDC",
        "    25 s   82.50 ± 9.01",
        "     1 d   57.50 ± 9.01",
        "",
        "accuracy in %, mean ± standard deviation over chips",
    ]


def test_profile_adds_up():
    profile = Profile()
    profile.add("product", 1.5)
    profile.add("DAC", 0.5)
    assert report.profile_table(profile, 2.0, 2).splitlines() == [
        "stage                                 thread seconds    share",
        "product                                        1.500    37.5%",
        "DAC                                            0.500    12.5%",
        "Python, waiting, the rest                      2.000    50.0%",
        "all                                            4.000   (2.000 s on 2 threads)",
    ]


def test_network_table_counts_tiles():
    facts = report.network_facts(NETWORK, Path("net.h5"), tile_rows=64, tile_columns=32)
    lines = report.network_table(facts).splitlines()
    assert lines[0] == f"net.h5  sha256 {NETWORK.sha256}"
    assert "evaluation 797 images in the file" in lines
    end = lines.index("", lines.index("") + 1)
    rows = {line.split()[0]: line.split()[1:] for line in lines[lines.index("") + 2 : end]}
    assert len(rows) == len(NETWORK.crossbar_layers)
    assert rows["stage3.block1.conv2"] == ["3x3", "1", "2x2x56", "504x56", "28,224", "16"]  # 8 x 2 tiles of 64x32
    assert rows["fc"] == ["-", "-", "10", "57x10", "570", "1"]
    tiles = sum(int(cells[-1]) for cells in rows.values())
    assert lines[end + 1] == f"60,762 weights, 121,524 PCM devices, {tiles} tiles of 64x32 or less"


@pytest.mark.parametrize(
    ("t_s", "text"),
    [(25.0, "25 s"), (90.0, "90 s"), (120.0, "2 min"), (3600.0, "1 h"), (2592000.0, "30 d"), (1.5, "1.5 s")],
)
def test_times_are_whole_numbers_of_the_largest_unit(t_s, text):
    assert report.time_text(t_s) == text


def test_times_round_trip():
    for seconds in (*TIMES_S, 60.0, 7200.0, 1.5, 90.0):
        assert time_s(report.time_text(seconds)) == pytest.approx(seconds)
