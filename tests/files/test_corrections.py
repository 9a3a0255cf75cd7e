import json
from dataclasses import replace

import h5py
import numpy as np
import pytest

from pcmref.arithmetic.codes import Range
from pcmref.crossbar.converters import Adc, Dac, FixedPoint
from pcmref.crossbar.readout import PRESETS, Readout
from pcmref.devices.chip import program
from pcmref.devices.published import MODELS
from pcmref.errors import FileError, OutputError, ParameterError
from pcmref.files.corrections import load_corrections, save_corrections
from pcmref.files.networks import save
from pcmref.inference.corrections import Corrections, Statistics
from tests.helpers.nets import tiny

RNG = np.random.default_rng(0)


def from_file(network, sha256):
    """As if `pcmref.load` had read it."""
    object.__setattr__(network, "sha256", sha256)
    return network


NETWORK = from_file(tiny(), "0" * 64)
SNAPSHOT = program(NETWORK, seed=2**64 - 1).at(86400.0)


def statistics(channels):
    return Statistics(mean=RNG.standard_normal(channels), var=RNG.uniform(0, 1, channels))


FULL = Corrections(
    gain={"conv1": np.array([1.1]), "conv2": RNG.uniform(1, 2, 7), "fc": np.array([0.9])},
    statistics={"bn1": statistics(5), "bn3": statistics(10)},
)


@pytest.fixture
def path(tmp_path):
    save_corrections(tmp_path / "corrections.h5", FULL, SNAPSHOT)
    return tmp_path / "corrections.h5"


@pytest.mark.parametrize(
    "corrections",
    [
        FULL,
        Corrections(),
        Corrections(gain=FULL.gain),
        Corrections(statistics=FULL.statistics),
        Corrections(gain={"fc": [-0.0, 5e-324, 1e308, -2.0]}),
        Corrections(gain={"fc": np.ones(1, np.float32)}),
        Corrections(statistics={"bn1": Statistics(mean=np.zeros(5), var=np.zeros(5))}),
    ],
    ids=["full", "empty", "gain", "statistics", "odd gains", "float32", "zeros"],
)
def test_round_trip(tmp_path, corrections):
    save_corrections(str(tmp_path / "c.h5"), corrections, SNAPSHOT)
    again = load_corrections(str(tmp_path / "c.h5"), SNAPSHOT)
    assert (set(again.gain), set(again.statistics)) == (set(corrections.gain), set(corrections.statistics))
    for name, gain in corrections.gain.items():
        assert (again.gain[name].dtype, again.gain[name].tobytes()) == (np.float64, np.float64(gain).tobytes())
    for name, each in corrections.statistics.items():
        for part in ("mean", "var"):
            assert getattr(again.statistics[name], part).tobytes() == getattr(each, part).tobytes()


def test_the_same_corrections_give_the_same_bytes(tmp_path, path):
    save_corrections(tmp_path / "again.h5", FULL, SNAPSHOT)
    assert (tmp_path / "again.h5").read_bytes() == path.read_bytes()
    save_corrections(tmp_path / "loaded.h5", load_corrections(path, SNAPSHOT), SNAPSHOT)
    assert (tmp_path / "loaded.h5").read_bytes() == path.read_bytes()
    with h5py.File(path) as file:
        times = [h5py.h5g.get_objinfo(file[name].id).mtime for name in ("gain/fc", "statistics", "statistics/bn1/var")]
    assert set(times) == {0}


def put(name, value):
    def edit(file):
        if name in file:
            del file[name]
        file[name] = value

    return edit


def chip(change, **layout):
    """What the file says of the chip, changed."""

    def edit(file):
        said = json.loads(file["chip"][()])
        change(said)
        put("chip", np.bytes_(json.dumps(said, **layout)))(file)

    return edit


ZOO = {
    "another format": ("/ attribute 'format'", lambda file: file.attrs.create("format", np.bytes_("pcmref-network"))),
    "version 5": ("/ attribute 'version'", lambda file: file.attrs.create("version", 5)),
    "no digest": ("/ attribute 'digest'", lambda file: file.attrs.__delitem__("digest")),
    "another digest": ("/ attribute 'digest'", lambda file: file.attrs.create("digest", np.bytes_("0" * 64))),
    "another gain": ("/ attribute 'digest'", put("gain/fc", [0.9 * (1 + 2**-52)])),
    "a gain less": ("/ attribute 'digest'", lambda file: file.__delitem__("gain/fc")),
    "a gain more": ("/ attribute 'digest'", put("gain/conv3", [1.0])),
    "gains of two layers exchanged": (
        "/ attribute 'digest'",
        lambda file: [
            file.move(f"gain/{old}", f"gain/{new}") for old, new in (("fc", "x"), ("conv1", "fc"), ("x", "conv1"))
        ],
    ),
    "statistics less": ("/ attribute 'digest'", lambda file: file.__delitem__("statistics/bn1")),
    "another variance": ("/ attribute 'digest'", put("statistics/bn1/var", np.ones(5))),
    "chip says more": ("chip: more", chip(lambda said: said.update(more=1))),
    "chip says less": ("chip: seed", chip(lambda said: said.pop("seed"))),
    "read number false": ("chip: read", chip(lambda said: said.update(read=False))),
    "read number 0.0": ("chip: read", chip(lambda said: said.update(read=0.0))),
    "significance [true]": ("chip: significance", chip(lambda said: said.update(significance=[True]))),
    "chip laid out otherwise": ("/ attribute 'digest'", chip(lambda said: None, indent=1)),
    "no chip": ("chip", lambda file: file.__delitem__("chip")),
    "chip is no JSON": ("chip", put("chip", np.bytes_("{"))),
    "chip is a list": ("chip", put("chip", np.bytes_("[]"))),
    "chip without anything": ("chip: spec", put("chip", np.bytes_("{}"))),
    "no gain": ("gain", lambda file: file.__delitem__("gain")),
    "no statistics": ("statistics", lambda file: file.__delitem__("statistics")),
    "unknown entry": ("extra", put("extra", 1.0)),
    "gain is a dataset": ("gain", put("gain", 1.0)),
    "statistics are a dataset": ("statistics", put("statistics", 1.0)),
    "gain of an unknown layer": ("gain/conv9", put("gain/conv9", [1.0])),
    "gain of a node that is no crossbar": ("gain/bn1", put("gain/bn1", [1.0])),
    "gain is a group": ("gain/conv3", lambda file: file.create_group("gain/conv3")),
    "gain is a scalar": ("gain/conv3", put("gain/conv3", 1.0)),
    "gain of float32": ("gain/conv3", put("gain/conv3", np.ones(1, np.float32))),
    "two gains of seven": ("gain/conv2", put("gain/conv2", np.ones(2))),
    "no gain at all": ("gain/conv2", put("gain/conv2", np.ones(0))),
    "gain of two axes": ("gain/conv2", put("gain/conv2", np.ones((1, 7)))),
    "gain NaN": ("gain/conv1", put("gain/conv1", [np.nan])),
    "gain infinite": ("gain/conv1", put("gain/conv1", [np.inf])),
    "gain is a soft link": ("gain/conv1", put("gain/conv1", h5py.SoftLink("/gain/fc"))),
    "statistics of an unknown node": ("statistics/bn9", lambda file: file.move("statistics/bn1", "statistics/bn9")),
    "statistics of a crossbar": ("statistics/fc", lambda file: file.move("statistics/bn1", "statistics/fc")),
    "statistics of a node are a dataset": ("statistics/bn1", put("statistics/bn1", np.ones(5))),
    "no mean": ("statistics/bn1/mean", lambda file: file.__delitem__("statistics/bn1/mean")),
    "no variance": ("statistics/bn1/var", lambda file: file.__delitem__("statistics/bn1/var")),
    "one mean of five": ("statistics/bn1/mean", put("statistics/bn1/mean", np.ones(1))),
    "six variances of five": ("statistics/bn1/var", put("statistics/bn1/var", np.ones(6))),
    "mean infinite": ("statistics/bn1/mean", put("statistics/bn1/mean", [0, 0, 0, 0, np.inf])),
    "variance NaN": ("statistics/bn1/var", put("statistics/bn1/var", [0, 0, np.nan, 0, 0])),
    "variance negative": ("statistics/bn1/var", put("statistics/bn1/var", [0, 0, 0, -1e-300, 0])),
}


def refused(path, snapshot, place):
    with pytest.raises(FileError) as caught:
        load_corrections(path, snapshot)
    start = f"{path}: {place}: expected "
    assert str(caught.value).startswith(start)
    return str(caught.value).removeprefix(start)


@pytest.mark.parametrize("defect", ZOO)
def test_a_bad_file_is_refused_by_its_place(path, defect):
    place, damage = ZOO[defect]
    with h5py.File(path, "r+") as file:
        damage(file)
    assert refused(path, SNAPSHOT, place)


@pytest.mark.parametrize(
    ("defect", "found"),
    [
        ("two gains of seven", "shape (1,) or (7,), found (2,)"),
        ("one mean of five", "shape (5,), found (1,)"),
        ("mean infinite", "finite numbers, no negative variance, found inf at [4]"),
        ("variance negative", "finite numbers, no negative variance, found -1e-300 at [3]"),
    ],
)
def test_a_message_says_what_was_expected_and_found(path, defect, found):
    place, damage = ZOO[defect]
    with h5py.File(path, "r+") as file:
        damage(file)
    assert refused(path, SNAPSHOT, place) == found


def test_no_flipped_bit_gives_other_corrections(path):
    """One in each byte of the numbers."""
    good = path.read_bytes()
    begin = good.index(FULL.gain["conv2"].tobytes())
    for place in range(begin, begin + FULL.gain["conv2"].nbytes):
        damaged = bytearray(good)
        damaged[place] ^= 1 << place % 7
        path.write_bytes(damaged)
        with pytest.raises(FileError, match=r"digest|finite"):
            load_corrections(path, SNAPSHOT)


def test_an_unknown_part_of_statistics_is_refused(path):
    with h5py.File(path, "r+") as file:
        file["statistics/bn1/eps"] = np.ones(5)
    refused(path, SNAPSHOT, "statistics/bn1/eps")


@pytest.mark.parametrize(
    ("changed", "place", "message"),
    [
        ({"network": from_file(tiny(), "1" * 64)}, "network", f"'{'1' * 64}', found '{'0' * 64}'"),
        ({"model": replace(SNAPSHOT.model, nonconverged_share=0.5)}, "model.nonconverged_share", "0.5, found 0.0"),
        ({"model": MODELS["HERMES_1"]}, "model.name", "'HERMES_1', found 'NANDAKUMAR_2019'"),
        ({"seed": 2**64 - 2}, "seed", "18446744073709551614, found 18446744073709551615"),
        ({"scale": "column"}, "scale", "'column', found 'layer'"),
        ({"t_s": 31536000.0}, "t_s", "31536000.0, found 86400.0"),
        ({"read": 1}, "read", "1, found 0"),
    ],
)
def test_corrections_of_another_chip_time_or_read(path, changed, place, message):
    assert refused(path, replace(SNAPSHOT, **changed), f"chip: {place}") == message


@pytest.mark.parametrize(
    ("saved", "wanted", "place"),
    [
        (PRESETS["chip8"], PRESETS["paper"], "readout.name"),
        (PRESETS["paper"], replace(PRESETS["paper"], dac=Dac(bits=11)), "readout.dac"),
        (
            PRESETS["paper"],
            replace(PRESETS["paper"], ranges={"fc": Range(input_top=1.0, sum_top_us=2.0)}),
            "readout.ranges",
        ),
    ],
)
def test_corrections_measured_with_another_readout(tmp_path, saved, wanted, place):
    path = tmp_path / "c.h5"
    save_corrections(path, FULL, SNAPSHOT, readout=saved)
    load_corrections(path, SNAPSHOT, readout=saved)
    with pytest.raises(FileError, match=f"chip: {place}: expected "):
        load_corrections(path, SNAPSHOT, readout=wanted)


@pytest.mark.parametrize(
    "readout",
    [
        Readout(name="x", dac=Dac(bits=8), adc=Adc(bits=8, gain=FixedPoint(3, 20), offset=tuple(range(10)))),
        Readout(name="x", dac=Dac(bits=8), adc=Adc(bits=2, thresholds=[[-5, 7]])),
        Readout(name="x", dac=Dac(bits=8), adc=Adc(bits=8), ranges={"fc": Range(input_top=1.0, sum_top_us=(2.0, 3.0))}),
        Readout(name="x", dac=Dac(bits=8), adc=Adc(bits=8), measured={"fc": [Adc(bits=8, offset=k) for k in (1, 2)]}),
    ],
    ids=["a column each", "thresholds", "ranges of columns", "measured"],
)
def test_corrections_of_every_converter_are_read_again(tmp_path, readout):
    save_corrections(tmp_path / "c.h5", FULL, SNAPSHOT, readout=readout)
    assert load_corrections(tmp_path / "c.h5", SNAPSHOT, readout=readout).gain["fc"] == FULL.gain["fc"]
    with pytest.raises(FileError, match="chip: readout"):
        load_corrections(tmp_path / "c.h5", SNAPSHOT, readout=replace(readout, adc=Adc(bits=7), measured=None))


def test_a_network_made_in_memory_tells_itself_from_no_other(tmp_path, path):
    nameless = replace(SNAPSHOT, network=replace(NETWORK))
    for attempt in (
        lambda: save_corrections(tmp_path / "c.h5", FULL, nameless),
        lambda: load_corrections(path, nameless),
    ):
        with pytest.raises(ParameterError, match=r"network: expected one that was read from a file"):
            attempt()
    assert not (tmp_path / "c.h5").exists()


def test_laws_that_json_cannot_hold(tmp_path):
    law = MODELS["HERMES_1"].exponent_spread
    snapshot = replace(SNAPSHOT, model=replace(SNAPSHOT.model, exponent_spread=lambda g: law(g)))
    with pytest.raises(ParameterError, match="model: expected dataclasses of numbers and texts all through"):
        save_corrections(tmp_path / "c.h5", FULL, snapshot)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"gain": {"conv9": [1.0]}}, "gain/conv9: expected one of conv1, conv2"),
        ({"gain": {"conv2": np.ones(2)}}, r"gain/conv2: expected shape \(1,\) or \(7,\), found \(2,\)"),
        (
            {"statistics": {"bn1": Statistics(mean=[0.0] * 5, var=[-1.0] * 5)}},
            "statistics/bn1/var: expected finite numbers",
        ),
    ],
)
def test_corrections_that_do_not_fit_are_not_written(tmp_path, changed, message):
    with pytest.raises(ParameterError, match=message):
        save_corrections(tmp_path / "c.h5", replace(FULL, **changed), SNAPSHOT)
    assert not list(tmp_path.iterdir())


def test_the_file_says_whose_corrections_it_holds(path):
    with h5py.File(path) as file:
        chip = json.loads(file["chip"][()])
    assert chip["network"] == "0" * 64
    assert (chip["model.name"], chip["model.g_max_us"]) == ("NANDAKUMAR_2019", 25.0)
    assert (chip["seed"], chip["t_s"], chip["read"]) == (2**64 - 1, 86400.0, 0)
    assert (chip["readout.name"], chip["readout.ranges"]) == ("paper", None)


def test_corrections_of_another_graph(path):
    network = tiny()
    layers = tuple(layer for layer in network.layers if layer.name in ("conv1", "bn1", "relu1", "mean"))
    other = tiny(layers=(*layers[:3], type(layers[3])(name="mean", inputs=("relu1",))), classes=tuple("abcde"))
    snapshot = replace(SNAPSHOT, network=from_file(other, NETWORK.sha256), layers=SNAPSHOT.layers[:1])
    save_corrections(path.with_name("other.h5"), Corrections(), snapshot)
    with h5py.File(path, "r+") as file, h5py.File(path.with_name("other.h5")) as of_the_other:
        put("chip", of_the_other["chip"][()])(file)
    refused(path, snapshot, "gain/conv2")


@pytest.mark.parametrize("field", ["g_mean_code", "g_read_code", "g_variance_code", "weight_per_us"])
def test_corrections_of_other_devices(path, field):
    """Devices that were measured, or are stuck, make another chip: of any layer, in any of its arrays."""
    for number, layer in enumerate(SNAPSHOT.layers):
        changed = getattr(layer, field).copy()
        changed.reshape(-1)[-1] += 1
        layers = [*SNAPSHOT.layers]
        layers[number] = replace(layer, **{field: changed})
        snapshot = replace(SNAPSHOT, layers=tuple(layers))
        refused(path, snapshot, "chip: devices")
        save_corrections(path.with_name("other.h5"), FULL, snapshot)
        assert load_corrections(path.with_name("other.h5"), snapshot).gain["fc"] == FULL.gain["fc"]


def test_corrections_of_devices_whose_noise_is_that_of_their_partners(path):
    """The pairs have the same variances, the lines do not."""
    first = SNAPSHOT.layers[0]
    swapped = replace(first, g_variance_code=first.g_variance_code[::-1].copy())
    refused(path, replace(SNAPSHOT, layers=(swapped, *SNAPSHOT.layers[1:])), "chip: devices")


def test_a_readout_or_snapshot_of_another_type(path):
    for attempt in (load_corrections, lambda *values, **options: save_corrections(path, FULL, *values[1:], **options)):
        with pytest.raises(ParameterError, match=r"readout: expected a Readout \(pcmref.PRESETS\), found None"):
            attempt(path, SNAPSHOT, readout=None)
        with pytest.raises(ParameterError, match=r"snapshot: expected a Snapshot \(Chip.at\), found None"):
            attempt(path, None)


def test_a_network_file_is_no_file_of_corrections(tmp_path):
    save(tmp_path / "net.h5", tiny())
    refused(tmp_path / "net.h5", SNAPSHOT, "/ attribute 'format'")


def test_a_file_that_does_not_exist(tmp_path):
    with pytest.raises(FileError, match="found nothing"):
        load_corrections(tmp_path / "no.h5", SNAPSHOT)


def test_save_needs_a_directory(tmp_path):
    with pytest.raises(OutputError):
        save_corrections(tmp_path / "no" / "c.h5", FULL, SNAPSHOT)
