"""Corrections know their chip; measured devices are used or refused; what does nothing says so."""

from __future__ import annotations

import pickle
import re
import warnings
from dataclasses import replace

import numpy as np
import pytest

import pcmref
from pcmref.crossbar.readout import PRESETS
from pcmref.devices.chip import CODES, program
from pcmref.errors import ParameterError, PcmrefWarning
from pcmref.inference.adabs import adabs
from pcmref.inference.corrections import Corrections
from pcmref.inference.gdc import gdc
from pcmref.network.layers import BatchNorm
from tests.helpers.nets import replace_layer, tiny

DAY = 86400.0
NETWORK = tiny()
CHIP = program(NETWORK, seed=1)
NOW = CHIP.at(DAY)
PIXELS = np.random.default_rng(1).integers(0, 256, (200, 6, 6, 3), np.uint8)
PAPER = PRESETS["paper"]
FRESH = replace(PAPER, read_noise="fresh")
MEASURED = {
    "gdc": gdc(NOW, CHIP.reference()),
    "adabs": adabs(NOW, PIXELS),
    "gdc+adabs": pcmref.calibrate(NOW, "gdc+adabs", reference=CHIP.reference(), images=PIXELS),
}


def in_first(snapshot, **codes):
    """A snapshot with other codes in its first layer."""
    return replace(snapshot, layers=(replace(snapshot.layers[0], **codes), *snapshot.layers[1:]))


# Corrections


OTHERS = {
    "seed": program(NETWORK, seed=2),
    "scale": program(NETWORK, seed=1, scale="column"),
    "significance": program(NETWORK, seed=1, significance=(2,)),
    "model": program(NETWORK, seed=1, model=pcmref.MODELS["AIHWKIT"]),
    "network": program(replace_layer(NETWORK, "fc", bias=NETWORK.layers[-1].bias + np.float32(1)), seed=1),
}


def refuses(other, corrections):
    for use in (
        lambda: pcmref.prepare(other, corrections=corrections),
        lambda: pcmref.logits(other, PIXELS[:1], corrections=corrections),
        lambda: adabs(other, PIXELS, corrections=corrections),
    ):
        message = r"^corrections: expected those of this chip .*, found those of another chip$"
        with pytest.raises(ParameterError, match=message):
            use()


@pytest.mark.parametrize("kind", MEASURED)
@pytest.mark.parametrize("t_s", [DAY, 1e8])
@pytest.mark.parametrize("other", OTHERS)
def test_corrections_of_another_chip_are_refused_at_any_time(kind, t_s, other):
    refuses(OTHERS[other].at(t_s), MEASURED[kind])


@pytest.mark.parametrize("kind", MEASURED)
def test_a_chip_with_measured_devices_is_another(kind):
    refuses(in_first(NOW, g_read_code=NOW.layers[0].g_read_code // 2), MEASURED[kind])


@pytest.mark.parametrize("kind", MEASURED)
def test_corrections_of_the_same_chip_made_again_are_taken(kind):
    for network in (NETWORK, tiny(), pickle.loads(pickle.dumps(NETWORK))):
        again = program(network, seed=1).at(DAY)
        found = pcmref.logits(again, PIXELS[:2], corrections=pickle.loads(pickle.dumps(MEASURED[kind])))
        assert found.tobytes() == pcmref.logits(NOW, PIXELS[:2], corrections=MEASURED[kind]).tobytes()


def test_corrections_of_another_time_warn_and_say_both():
    message = re.escape(f"corrections were measured at {DAY:g} s, not at 1e+08 s")
    for kind in MEASURED:
        with pytest.warns(PcmrefWarning, match=message):
            pcmref.prepare(CHIP.at(1e8), corrections=MEASURED[kind])
    pcmref.prepare(CHIP.at(DAY, read=1), corrections=MEASURED["gdc"])  # what a chip does


def test_statistics_of_another_readout_warn_but_gains_do_not():
    other = replace(PAPER, name="coarse", dac=pcmref.Dac(bits=3))
    for kind in ("adabs", "gdc+adabs"):
        with pytest.warns(PcmrefWarning, match="measured with another readout than this coarse"):
            pcmref.prepare(NOW, corrections=MEASURED[kind], readout=other)
    pcmref.prepare(NOW, corrections=MEASURED["gdc"], readout=other)


def test_corrections_made_by_hand_serve_any_chip():
    by_hand = Corrections(gain=MEASURED["gdc"].gain)
    pcmref.prepare(program(NETWORK, seed=9).at(1e8), corrections=by_hand)
    with pytest.raises(ParameterError, match="corrections: origin: expected an Origin"):
        Corrections(origin="chip 1")


def test_files_take_corrections_of_their_snapshot_only(tmp_path):
    pcmref.save(tmp_path / "net.h5", NETWORK)
    chip = program(pcmref.load(tmp_path / "net.h5"), seed=1)
    now = chip.at(DAY)
    path = tmp_path / "c.h5"
    for kind in MEASURED:
        pcmref.save_corrections(path, MEASURED[kind], now)
        back = pcmref.load_corrections(path, now)
        with pytest.raises(ParameterError, match="those of another chip"):
            pcmref.prepare(program(NETWORK, seed=2).at(DAY), corrections=back)
        for other in (chip.at(1e8), program(chip.network, seed=2).at(DAY)):
            with pytest.raises(ParameterError, match="corrections: expected those of this snapshot and readout"):
                pcmref.save_corrections(tmp_path / "other.h5", MEASURED[kind], other)
    with pytest.raises(ParameterError, match="those of this snapshot and readout"):
        pcmref.save_corrections(tmp_path / "other.h5", MEASURED["adabs"], now, readout=FRESH)
    pcmref.save_corrections(path, MEASURED["gdc"], now, readout=FRESH)


def test_a_digest_is_of_all_that_decides_a_result_and_of_nothing_else():
    same = [tiny(), pickle.loads(pickle.dumps(NETWORK)), replace(NETWORK, evaluation=None, provenance={"a": "b"})]
    assert {net.digest for net in same} == {NETWORK.digest}
    fc, bn1 = NETWORK.layers[-1], NETWORK.layers[1]
    others = [
        replace_layer(NETWORK, "fc", weight=np.nextafter(fc.weight, np.float32(9))),
        replace_layer(NETWORK, "fc", bias=fc.bias[::-1].copy()),
        replace_layer(NETWORK, "fc", bias=None),
        replace_layer(NETWORK, "bn1", mean=bn1.var, var=bn1.var),
        replace_layer(NETWORK, "bn1", eps=2e-5),
        replace(NETWORK, normalisation=replace(NETWORK.normalisation, mean=(0.4, 0.5, 0.61))),
        replace(NETWORK, normalisation=replace(NETWORK.normalisation, full_scale=254.0)),
        replace(NETWORK, input_shape=(7, 6, 3), evaluation=None, calibration=None),
    ]
    assert len({net.digest for net in [NETWORK, *others]}) == 1 + len(others)


# Devices that were measured


@pytest.mark.parametrize(
    ("readout", "names"),
    [
        (FRESH, ["g_read_code"]),
        (PAPER, ["g_mean_code"]),
        (PAPER, ["g_variance_code"]),
        (PAPER, ["g_mean_code", "g_variance_code"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else value.read_noise,
)
def test_codes_that_were_replaced_and_that_nothing_reads_are_refused(readout, names):
    layer = NOW.layers[0]
    measured = in_first(NOW, **{name: getattr(layer, name) // 2 for name in names})
    message = rf"^layer 'conv1': expected .* replaced, which {readout.read_noise} read noise reads, found {names[0]}"
    for use in (
        lambda: pcmref.logits(measured, PIXELS[:1], readout=readout),
        lambda: pcmref.tile_of(measured, "conv1", readout),
    ):
        with pytest.raises(ParameterError, match=message):
            use()


def test_codes_that_are_read_are_taken():
    layer = NOW.layers[0]
    fresh = [(FRESH, names) for names in (["g_mean_code"], ["g_variance_code"], CODES)]
    for readout, names in (*fresh, (PAPER, ["g_read_code"]), (PAPER, CODES)):
        measured = in_first(NOW, **{name: getattr(layer, name) // 2 for name in names})
        found = pcmref.logits(measured, PIXELS[:3], readout=readout)
        assert not np.array_equal(found, pcmref.logits(NOW, PIXELS[:3], readout=readout))


def test_replaced_codes_are_told_by_content():
    layer = NOW.layers[0]
    assert layer.replaced == ()
    assert replace(layer, g_read_code=layer.g_read_code.copy()).replaced == ()
    assert replace(layer, g_read_code=layer.g_read_code // 2, g_mean_code=layer.g_mean_code // 2).replaced == CODES[:2]
    assert replace(layer, as_read=()).replaced == CODES  # from elsewhere
    assert pickle.loads(pickle.dumps(layer)).replaced == ()


def test_gdc_warns_where_only_one_of_its_snapshots_has_measured_devices():
    reference = CHIP.reference()
    halved, before = (in_first(s, g_read_code=s.layers[0].g_read_code // 2) for s in (NOW, reference))
    for pair in ((halved, reference), (NOW, before)):
        with pytest.warns(PcmrefWarning, match=r"^GDC: devices of conv1 were replaced .* not in both"):
            gdc(*pair)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        right = gdc(halved, before).gain["conv1"]
    assert right == pytest.approx(gdc(NOW, reference).gain["conv1"], rel=0.01)
    with pytest.raises(ParameterError, match="g_read_code replaced, which GDC reads, found g_mean_code alone"):
        gdc(in_first(NOW, g_mean_code=NOW.layers[0].g_mean_code // 2), reference)


# Compensation that can do nothing


def without_norms():
    """Each batch normalisation is left out."""
    layers, names = [], {"input": "input"}
    for layer in NETWORK.layers:
        if isinstance(layer, BatchNorm):
            names[layer.name] = names[layer.inputs[0]]
        else:
            layers.append(replace(layer, inputs=tuple(names[name] for name in layer.inputs)))
            names[layer.name] = layer.name
    return replace(NETWORK, layers=tuple(layers))


def test_adabs_says_so_where_there_is_no_batch_normalisation():
    chip = program(without_norms(), seed=1)
    now = chip.at(DAY)
    for compensation in ("adabs", "gdc+adabs"):
        with pytest.warns(
            PcmrefWarning, match="^AdaBS does nothing here: the network has no batch normalisation"
        ) as told:
            found = pcmref.calibrate(now, compensation, reference=chip.reference(), images=PIXELS)
        assert len(told) == 1
        assert not found.statistics
        assert set(found.gain) == (set() if compensation == "adabs" else {layer.name for layer in now.layers})


def test_gdc_says_so_where_all_factors_are_one():
    chip = program(NETWORK, model=pcmref.MODELS["NANDAKUMAR_2019"].ideal())
    with pytest.warns(PcmrefWarning, match="^GDC does nothing here: all of its factors are 1$"):
        gdc(chip.at(DAY), chip.reference())
    gdc(CHIP.at(20.0), CHIP.reference())  # not a second after the reference


# What codes and scales cannot tell


@pytest.mark.parametrize("t_s", [5e-7, 1e-6])
def test_conductances_beyond_the_grid_warn_with_layer_share_and_time(t_s):
    weight = np.sign(NETWORK.layers[4].weight) + np.float32(0)
    chip = program(replace_layer(NETWORK, "conv2", weight=weight), seed=1)
    with pytest.warns(PcmrefWarning, match=rf"^\d+\.\d% of the devices of layer 'conv2' at {t_s:g} s conduct"):
        now = chip.at(t_s)
    assert (now.layers[1].g_mean_code == 32767).sum() > 10
    chip.at(25.0)


def test_noise_of_columns_of_zeros_warns_where_their_largest_weight_counts_as_one():
    weight = NETWORK.layers[4].weight.copy() * np.float32(0.005)
    weight[2] = 0
    quiet = replace_layer(NETWORK, "conv2", weight=weight)
    zero = replace_layer(NETWORK, "conv2", weight=weight * 0)
    model = pcmref.MODELS["AIHWKIT"]
    message = r"all weights in {} of 7 columns of layer 'conv2' are 0, but their devices are programmed"
    with pytest.warns(PcmrefWarning, match=message.format(1)):
        program(quiet, model=model, scale="column").at(25.0)
    for scale in ("layer", "column"):
        with pytest.warns(PcmrefWarning, match=message.format(7)):
            program(zero, model=model, scale=scale).at(25.0)
        program(zero, scale=scale).at(25.0)  # devices that are not programmed have no noise
    program(quiet, model=model).at(25.0)  # in proportion to the others
    loud = replace_layer(NETWORK, "conv2", weight=weight * np.float32(1000))
    program(loud, model=model, scale="column").at(25.0)
    weight[0, 0, 0, 0] = 1.0
    program(replace_layer(NETWORK, "conv2", weight=weight), model=model, scale="column").at(25.0)
