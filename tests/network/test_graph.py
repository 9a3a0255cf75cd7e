import dataclasses

import numpy as np
import pytest

import pcmref
from pcmref.arithmetic.codes import Range
from pcmref.errors import DataError, NetworkError, ParameterError
from pcmref.network.images import Normalisation, Samples
from pcmref.network.layers import Conv
from pcmref.network.operations import MaxPool, PadShortcut
from tests.helpers.nets import RGB, replace_layer, tiny


def test_shapes_of_a_network():
    shapes = tiny().shapes
    assert shapes["input"] == (6, 6, 3)
    assert shapes["pool"] == shapes["conv1"] == (6, 6, 5)
    assert shapes["short"] == shapes["add1"] == (3, 3, 7)
    assert shapes["pad"] == shapes["conv3"] == (2, 2, 10)
    assert (shapes["mean"], shapes["fc"]) == ((10,), (4,))
    assert len(shapes) == 1 + len(tiny().layers)


def test_counts():
    network = tiny()
    assert [layer.name for layer in network.crossbar_layers] == ["conv1", "conv2", "short", "conv3", "fc"]
    assert network.weights == 27 * 5 + 45 * 7 + 6 * 7 + 42 * 10 + 11 * 4
    assert network.devices == 2 * network.weights


def wide_pad(before, after):
    return PadShortcut(name="wide", inputs=("input",), before=before, after=after)


def wide_pool(kernel):
    return MaxPool(name="wide", inputs=("input",), kernel=kernel, stride=1, padding=kernel // 2)


def wide_conv(outputs):
    return Conv(name="wide", inputs=("input",), weight=np.zeros((outputs, 3, 1, 1), np.float32))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_shape": (6, 6)}, r"graph/input: expected \(height, width, channels\)"),
        ({"input_shape": (6, 0, 3)}, "graph/input: expected an integer from 1 to 65536, found 0"),
        ({"input_shape": (6, 65537, 3)}, "graph/input"),
        ({"normalisation": Normalisation(full_scale=1.0, mean=(0.0,), std=(1.0,))}, "normalisation/mean: expected 3"),
        ({"layers": ()}, "graph: expected at least one node, found none"),
        (
            {"input_shape": (32, 32, 3), "layers": (wide_pad(1, 65533), *tiny().layers)},
            r"graph/wide: expected an output of at most 67108864 elem",
        ),
        (
            {"layers": (wide_pool(65536), *tiny().layers)},
            "graph/wide/padding: expected at most 67108864 padded elements",
        ),
        ({"layers": (wide_conv(2**20 * 2), *tiny().layers)}, "graph/wide: expected an output of at most 67108864 elem"),
        ({"ranges": {"\x1b[2J": {}}}, r"ranges: expected printable names of presets, found '\\x1b\[2J'"),
        ({"ranges": {3: {}}}, "ranges: expected printable names of presets, found 3"),
        ({"classes": ("a", "b")}, r"graph/fc: expected an output of 2 classes, found \(4,\)"),
        ({"layers": tiny().layers[:-1]}, r"graph/mean: expected an output of 4 classes, found \(10,\)"),
        ({"layers": tiny().layers[1:]}, "graph/bn1/inputs: expected nodes that come before it .*, found 'conv1'"),
        ({"layers": tiny().layers[::-1]}, "graph/fc/inputs"),
        ({"layers": (tiny().layers[0], *tiny().layers)}, "graph: expected unique node names, found 'conv1' twice"),
        (
            {"evaluation": Samples(images=np.zeros((1, 6, 6, 1), np.uint8), labels=np.zeros(1, int))},
            "evaluation/images",
        ),
        ({"calibration": Samples(images=np.zeros((1, 6, 6, 3), np.uint8), labels=np.array([4]))}, "calibration/labels"),
    ],
)
def test_networks_that_do_not_fit_together(changes, message):
    with pytest.raises(NetworkError, match=message):
        tiny(**changes)


def test_the_largest_label_is_allowed():
    samples = Samples(images=np.zeros((2, 6, 6, 3), np.uint8), labels=np.array([0, 3]))
    assert tiny(evaluation=samples).evaluation is samples


def test_samples_cannot_be_written_to():
    samples = tiny().evaluation
    for values in (samples.images, samples.labels):
        with pytest.raises(ValueError, match="read-only"):
            values[:] = 0
    for changes in ({"images": [[[[1]]]]}, {"labels": [0] * 5}):
        with pytest.raises(ParameterError, match=r"evaluation/(images|labels): expected a ndarray"):
            dataclasses.replace(samples, **changes)


def test_a_network_keeps_its_own_mappings():
    network = tiny()
    ranges = {layer.name: Range(input_top=1.0, sum_top_us=1.0) for layer in network.crossbar_layers}
    presets, provenance = {"chip8": ranges}, {"a": "b"}
    network = dataclasses.replace(network, ranges=presets, provenance=provenance, layers=list(network.layers))
    ranges["fc"] = Range(input_top=2.0, sum_top_us=1.0)
    presets["other"] = ranges
    provenance["a"] = "c"
    assert network.ranges["chip8"]["fc"].input_top == 1.0
    assert set(network.ranges) == {"chip8"}
    assert network.provenance == {"a": "b"}
    assert isinstance(network.layers, tuple)
    with pytest.raises(ParameterError, match="ranges/chip8/fc: expected a Range"):
        dataclasses.replace(network, ranges={"chip8": {**ranges, "fc": (1, 2)}})


def test_networks_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        tiny().classes = ()


def test_replaced_layers_are_checked_again():
    with pytest.raises(NetworkError, match="tensors/conv1/weight"):
        replace_layer(tiny(), "conv1", weight=np.ones((5, 4, 3, 3), np.float32))


def test_the_table_holds_every_pixel_value():
    table = RGB.table()
    assert (table.shape, table.dtype) == ((256, 3), np.float32)
    for pixel in range(256):
        for channel, (mean, std) in enumerate(zip(RGB.mean, RGB.std, strict=True)):
            assert table[pixel, channel] == np.float32((pixel / 255.0 - mean) / std)


@pytest.mark.parametrize(
    "changes",
    [
        {"full_scale": 0.0},
        {"full_scale": -1.0},
        {"full_scale": float("nan")},
        {"full_scale": "255"},
        {"full_scale": True},
        {"std": (1.0, 0.0)},
        {"std": (1.0, -1.0)},
        {"std": (1.0, float("inf"))},
        {"mean": (0.0, float("nan"))},
        {"mean": (0.0, None)},
        {"mean": (0.0,)},
        {"mean": (), "std": ()},
        {"mean": 0.0},
        {"std": None},
        {"full_scale": 10**400},
        {"mean": (0.0, 10**400)},
    ],
    ids=str,
)
def test_normalisations_that_are_refused(changes):
    good = {"full_scale": 255.0, "mean": (0.0, 0.5), "std": (1.0, 2.0)}
    assert Normalisation(**good).table().shape == (256, 2)
    with pytest.raises(NetworkError, match=r"^normalisation: expected"):
        Normalisation(**good | changes)


def test_numbers_of_any_type_become_floats_and_lists_tuples():
    found = Normalisation(full_scale=255, mean=[0, np.float32(0.5)], std=(1, np.float64(2)))
    assert (found.full_scale, found.mean, found.std) == (255.0, (0.0, 0.5), (1.0, 2.0))
    assert {type(n) for n in (found.full_scale, *found.mean, *found.std)} == {float}
    assert tiny(input_shape=[6, 6, 3]).input_shape == (6, 6, 3)
    assert {type(n) for n in tiny(input_shape=np.array([6, 6, 3])).input_shape} == {int}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": (1,)}, "layers: expected a Layer, found 1"),
        ({"layers": None}, "layers: expected a tuple, found None"),
        ({"input_shape": 5}, "input_shape: expected a tuple, found 5"),
        ({"normalisation": None}, "normalisation: expected a Normalisation, found None"),
        ({"classes": None}, "classes: expected a tuple, found None"),
        ({"classes": "abcd"}, "classes: expected a tuple, found 'abcd'"),
        ({"provenance": None}, "provenance: expected a Mapping, found None"),
        ({"ranges": None}, "ranges: expected a Mapping, found None"),
        ({"ranges": {"chip8": None}}, "ranges/chip8: expected a Mapping, found None"),
        ({"evaluation": np.zeros(3)}, "evaluation: expected a Samples, found array"),
    ],
)
def test_values_of_another_type(change, message):
    with pytest.raises(ParameterError, match=f"^{message}"):
        tiny(**change)


def test_samples():
    samples = Samples(images=np.zeros((5, 2, 2, 1), np.uint8), labels=np.arange(5), where="there")
    first = samples.first(2)
    assert (len(samples), len(first), first.where) == (5, 2, "there")
    assert first.labels.tolist() == [0, 1]
    assert len(samples.first(9)) == 5
    assert len(samples.first(0)) == 0
    for bad in (-1, 1.0, None, "1"):
        with pytest.raises(ParameterError, match="count: expected an integer from 0"):
            samples.first(bad)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 2, 2, 1)), np.zeros(2, int), "there/images: expected uint8 .* found float64"),
        (np.zeros((2, 2, 2), np.uint8), np.zeros(2, int), r"there/images: .* found uint8 of shape \(2, 2, 2\)"),
        (np.zeros((2, 2, 2, 1), np.uint8), np.zeros(2, np.int32), "there/labels: expected 2 int64 labels, found int32"),
        (
            np.zeros((2, 2, 2, 1), np.uint8),
            np.zeros(3, int),
            r"there/labels: expected 2 .* found int64 of shape \(3,\)",
        ),
        (np.zeros((2, 2, 2, 1), np.uint8), np.array([0, -1]), "there/labels: expected no negative label, found -1"),
    ],
)
def test_samples_that_are_refused(images, labels, message):
    with pytest.raises(DataError, match=message):
        Samples(images=images, labels=labels, where="there")


def test_a_changed_network_is_not_that_of_the_file():
    network = pcmref.load(pcmref.bundled())
    assert len(network.sha256) == 64
    assert dataclasses.replace(network, classes=network.classes).sha256 == ""
