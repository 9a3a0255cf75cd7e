"""A retention run as the results of a sweep."""

import numpy as np
import pytest

import pcmref
from pcmref.studies.retention import retention
from pcmref.studies.retention_results import results_of
from tests.studies.sweeps.asking import SMALL, question, swept


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """One study, run as a loop and as a sweep."""
    folder = tmp_path_factory.mktemp("both")
    _, found = swept(question(folder, SMALL), folder / "s.db")
    net = pcmref.load(pcmref.bundled())
    study = pcmref.Study(
        network=net,
        samples=net.evaluation.first(5),
        calibration=net.calibration,
        times_s=(25.0, 86400.0),
        compensations=("none", "gdc"),
        seeds=(0, 1),
        title="digits-resnet8.h5",
    )
    return results_of(retention(study), "pcmref retention --images 5"), found


def test_rows_have_the_digest_that_a_sweep_gives_them(both):
    """Whoever runs a row, and however: one digest says that it is the same."""
    mine, swept_results = both
    assert mine.digest == swept_results.digest
    assert mine.cells == swept_results.cells
    assert (mine.rows, mine.wanted) == (swept_results.rows, swept_results.wanted) == (8, 8)
    for cell in mine.cells:
        np.testing.assert_array_equal(mine.chips(cell), swept_results.chips(cell))


def test_the_setting_is_that_of_a_sweep(both):
    mine, swept_results = both
    (setting,), (other,) = mine.settings, swept_results.settings
    assert (setting.digest, setting.images, setting.digital_correct) == (other.digest, 5, other.digital_correct)
    assert setting.facts == other.facts
    assert setting.coordinates.items() <= {**other.coordinates, "network": "digits-resnet8.h5"}.items()
    assert (mine.name, mine.asked, mine.command) == ("digits-resnet8.h5",) + ("pcmref retention --images 5",) * 2
