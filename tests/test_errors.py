import dataclasses
import json
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

import pcmref
from pcmref import errors
from pcmref.errors import (
    FileError,
    MissingExtraError,
    NetworkError,
    ParameterError,
    PcmrefError,
    PcmrefWarning,
    describe,
    integer,
    one_of,
    path_of,
    real,
    require,
)
from pcmref.files.samples import load_samples
from pcmref.importers.checkpoints import convert
from pcmref.inference.corrections import Statistics
from pcmref.network.images import Normalisation, Samples
from tests.helpers.nets import replace_layer, tiny

FAMILY = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, PcmrefError)]


@pytest.mark.parametrize("kind", FAMILY)
def test_an_error_names_the_place_what_belongs_there_and_what_was_found(kind):
    error = kind("net.h5: graph", "a list", "7")
    assert str(error) == "net.h5: graph: expected a list, found 7"
    assert (error.where, error.expected, error.found) == ("net.h5: graph", "a list", "7")
    again = pickle.loads(pickle.dumps(error))  # errors travel between processes
    assert (type(again), str(again), again.found) == (kind, str(error), "7")


def test_the_family():
    assert {kind.__name__ for kind in FAMILY} == {name for name in errors.__all__ if name.endswith("Error")}
    assert issubclass(PcmrefWarning, UserWarning)
    assert not issubclass(PcmrefWarning, PcmrefError)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        ("é\n", "'é\\n'"),
        ("x" * 58, "'" + "x" * 58 + "'"),
        ("x" * 59, "'" + "x" * 56 + "..."),
        (np.arange(3), "array([0, 1, 2])"),
        (np.eye(2), "array([[1., 0.], [0., 1.]])"),
    ],
)
def test_describe_is_a_short_repr(value, text):
    assert describe(value) == text
    assert len(text) <= 60


def test_describe_an_integer_that_python_does_not_print():
    assert describe(10**5000) == "a large int"


def test_describe_with_a_limit():
    assert describe("abcdefgh", 8) == "'abcd..."


@pytest.mark.parametrize("length", [10, 1000, 1001, 10**6])
def test_a_long_text_in_a_message_loses_its_middle(length):
    """Names in files may have megabytes."""
    text = "a" + "x" * (length - 2) + "z"
    for error in (PcmrefError(text, "b", "c"), PcmrefError("a", text, "c"), PcmrefError("a", "b", text)):
        assert len(str(error)) <= min(length, 1003) + 30
        assert ("..." in str(error)) == (length > 1000)
    assert text[:20] in str(error)
    assert str(error).endswith(text[-10:])


@pytest.mark.parametrize("value", [None, b"x", 3, ["a"], 1.5], ids=repr)
def test_what_is_no_name_of_a_file(value, tmp_path):
    snapshot = pcmref.program(tiny()).at(86400.0)
    for use in (
        lambda: pcmref.load(value),
        lambda: pcmref.save(value, tiny()),
        lambda: pcmref.load_corrections(value, pcmref.program(pcmref.load(pcmref.bundled())).at(25.0)),
        lambda: convert(value, "he-resnet20"),
        lambda: load_samples(value),
    ):
        with pytest.raises(ParameterError, match=r"^path: expected the name of a file, a str or a Path, found "):
            use()
    assert path_of("x", "a/b") == path_of("x", Path("a/b")) == Path("a/b")
    assert snapshot.layers


@pytest.mark.parametrize("value", [None, "x", 3], ids=repr)
def test_what_is_no_function(value):
    network = tiny()
    snapshot, images = pcmref.program(network).at(86400.0), network.evaluation.images
    study = pcmref.Study(network=network, samples=network.evaluation, compensations=("none",))
    uses = [
        ("progress", lambda: pcmref.logits(snapshot, images, progress=value)),
        ("progress", lambda: pcmref.digital(network, images, progress=value)),
        ("progress", lambda: pcmref.program(network, progress=value)),
        ("progress", lambda: pcmref.retention(study, progress=value)),
        ("keep", lambda: pcmref.retention(study, keep=value)),
    ]
    if value is not None:
        uses += [
            ("tap", lambda: pcmref.logits(snapshot, images, tap=value)),
            ("tap", lambda: pcmref.digital(network, images, tap=value)),
            ("device", lambda: pcmref.logits(snapshot, images, device=value)),
        ]
    for place, use in uses:
        with pytest.raises(ParameterError, match=rf"^{place}: expected a function, found "):
            use()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arch": 5}, "arch: expected a str, found 5"),
        ({"mean": None}, "normalisation: expected finite numbers"),
        ({"std": 5}, "normalisation: expected finite numbers"),
        ({"mean": ("a", "b", "c")}, "normalisation: expected finite numbers"),
    ],
    ids=str,
)
def test_arguments_of_a_conversion(options, message):
    with pytest.raises(PcmrefError, match=f"^{message}"):
        convert("x.pt", **{"arch": "he-resnet20"} | options)


def test_masked_elements_are_no_numbers():
    network = tiny()
    snapshot, images = pcmref.program(network).at(86400.0), network.evaluation.images
    fc = layer_of(network, "fc")

    def masked(values):
        values = np.ma.masked_array(values, np.zeros_like(values, bool))
        values.mask.flat[0] = True
        return values

    layer = snapshot.layers[0]
    for use in (
        lambda: pcmref.logits(snapshot, masked(images)),
        lambda: pcmref.accuracy(masked(np.zeros((2, 3))), np.zeros(2, int)),
        lambda: pcmref.accuracy(np.zeros((2, 3)), masked(np.zeros(2, int))),
        lambda: pcmref.Corrections(gain={"fc": masked(np.ones(4))}),
        lambda: Samples(images=masked(images), labels=network.evaluation.labels),
        lambda: Samples(images=images, labels=masked(network.evaluation.labels)),
        lambda: dataclasses.replace(fc, weight=masked(fc.weight)),
        lambda: dataclasses.replace(layer, g_read_code=masked(layer.g_read_code)),
        lambda: pcmref.tile(masked(np.ones((2, 2), int)), pcmref.PRESETS["paper"]),
        lambda: pcmref.tile(np.ones((2, 2), int), pcmref.PRESETS["paper"])(masked(np.ones(2, int))),
        lambda: pcmref.Adc(bits=2, thresholds=masked(np.array([-1, 0]))),
    ):
        with pytest.raises(ParameterError, match="an array without masked elements"):
            use()
    plain = np.ma.masked_array(images, False)
    assert np.array_equal(pcmref.logits(snapshot, plain), pcmref.logits(snapshot, images))


def test_require_returns_what_is_installed():
    assert require("numpy.linalg", "cli") is np.linalg


@pytest.mark.parametrize("name", ["no_such_module", "no_such_module.part"])
def test_require_names_the_extra_and_the_command(name):
    with pytest.raises(MissingExtraError) as caught:
        require(name, "train")
    message = str(caught.value)
    assert message.startswith("no_such_module: expected the extra 'train' (pip install 'pcmref[train]')")
    assert "not installed (No module named 'no_such_module')" in message
    assert isinstance(caught.value.__cause__, ImportError)


@pytest.mark.parametrize("value", ["c", "", None, 1, [], {}, np.array(["a", "b"])], ids=repr)
def test_none_of_some_texts(value):
    one_of("place", "b", {"a": 1, "b": 2})
    with pytest.raises(ParameterError, match=r"^place: expected one of a, b, found "):
        one_of("place", value, iter("ab"))


@pytest.mark.parametrize("value", [2, 5, np.int8(3), np.uint64(4)])
def test_integers(value):
    found = integer("x", value, "from 2 to 5", 2, 5)
    assert type(found) is int
    assert found == value


@pytest.mark.parametrize("value", [1, 6, True, np.True_, 3.0, np.float32(3), "3", None, [3]])
def test_no_integers_of_that_range(value):
    with pytest.raises(ParameterError, match=r"^x: expected from 2 to 5, found "):
        integer("x", value, "from 2 to 5", 2, 5)


def test_a_message_is_one_line_that_does_nothing_to_a_terminal():
    error = PcmrefError("a\nb", "\x1b[2J", "\udc80 é\u202e")
    assert str(error) == r"a\nb: expected \x1b[2J, found \udc80 é\u202e"


@pytest.mark.parametrize("value", [1, 2.5, np.float32(2), np.int64(3)], ids=repr)
def test_real_numbers_of_any_type_become_floats(value):
    assert real("x", value, "a number") == value
    assert type(real("x", value, "a number", 1, 3)) is float


@pytest.mark.parametrize("value", [True, "1", None, 1j, float("nan"), float("inf"), 10**400, 0.999, 3.001], ids=repr)
def test_what_is_no_real_number_in_range(value):
    with pytest.raises(ParameterError, match="x: expected a number, found "):
        real("x", value, "a number", 1, 3)


# Families: the same defect, in a network made in Python and in a file


def text(entry, change):
    """Change a text of a network file."""

    def defect(file):
        value = change(json.loads(file[entry][()]))
        del file[entry]
        file[entry] = np.bytes_(json.dumps(value))

    return defect


def array(entry, change):
    """Change an array of a network file."""

    def defect(file):
        values = change(file[entry][()])
        del file[entry]
        file[entry] = values

    return defect


def in_node(name, **changes):
    """Change a node of the graph of a file."""
    return text("graph", lambda g: g | {"nodes": [n | changes if n["name"] == name else n for n in g["nodes"]]})


def changed(name, **changes):
    """Change a layer of a network, by its value in the network as it is."""
    return lambda net: replace_layer(
        net, name, **{key: change(getattr(layer_of(net, name), key)) for key, change in changes.items()}
    )


def layer_of(net, name):
    return next(layer for layer in net.layers if layer.name == name)


def other(**changes):
    return lambda net: dataclasses.replace(net, **changes)


def label_4(net):
    images = net.evaluation.images
    return dataclasses.replace(net, evaluation=Samples(images=images, labels=np.full(len(images), 4)))


#: Place of a defect, how it is made in Python, and in a file.
NETWORK_DEFECTS = [
    (
        "tensors/conv1/weight",
        changed("conv1", weight=lambda w: w * np.inf),
        array("tensors/conv1/weight", lambda w: w * np.inf),
    ),
    ("tensors/fc/bias", changed("fc", bias=lambda b: b[:3]), array("tensors/fc/bias", lambda b: b[:3])),
    ("tensors/bn2/var", changed("bn2", var=np.negative), array("tensors/bn2/var", np.negative)),
    (
        "tensors/conv2/weight",
        changed("conv2", weight=lambda w: w[:, :2]),
        array("tensors/conv2/weight", lambda w: w[:, :2]),
    ),
    ("graph/conv2/stride", changed("conv2", stride=lambda n: 0), in_node("conv2", stride=0)),
    ("graph/bn1/eps", changed("bn1", eps=lambda n: 2.0), in_node("bn1", eps=2.0)),
    ("graph/relu1/inputs", changed("relu1", inputs=lambda names: ("fc",)), in_node("relu1", inputs=["fc"])),
    ("graph/add1/inputs", changed("add1", inputs=lambda names: names[:1]), in_node("add1", inputs=["bn2"])),
    ("graph/fc", other(classes=("a", "b")), text("classes", lambda names: names[:2])),
    ("classes", other(classes=("\x1b", *tiny().classes[1:])), text("classes", lambda names: ["\x1b", *names[1:]])),
    ("provenance", other(provenance={"seed": 3}), text("provenance", lambda texts: {"seed": 3})),
    ("graph/input", other(input_shape=(6, 6)), text("graph", lambda g: g | {"input": [6, 6]})),
    (
        "ranges/chip8",
        other(ranges={"chip8": {}}),
        lambda file: file.create_dataset("ranges", data=np.bytes_('{"chip8":{}}')),
    ),
    ("evaluation/labels", label_4, array("evaluation/labels", lambda labels: labels * 0 + 4)),
    (
        "normalisation",
        lambda net: dataclasses.replace(net.normalisation, std=(0.2, 0.0, 0.4)),
        array("normalisation/std", lambda std: std * [1, 0, 1]),
    ),
    (
        "normalisation/mean",
        lambda net: dataclasses.replace(net, normalisation=Normalisation(full_scale=1.0, mean=(0.0,), std=(1.0,))),
        lambda file: [array(f"normalisation/{n}", lambda values: values[:1])(file) for n in ("mean", "std")],
    ),
]


@pytest.mark.parametrize(("place", "in_python", "in_file"), NETWORK_DEFECTS, ids=lambda value: str(value)[:20])
def test_a_network_that_cannot_be_is_a_network_error_and_in_a_file_a_file_error(tmp_path, place, in_python, in_file):
    with pytest.raises(NetworkError) as made:
        in_python(tiny())
    path = tmp_path / "net.h5"
    pcmref.save(path, tiny())
    with h5py.File(path, "r+") as file:
        in_file(file)
    with pytest.raises(FileError) as found:
        pcmref.load(path)
    assert type(made.value) is NetworkError
    assert type(found.value) is FileError
    assert (made.value.where, found.value.where) == (place, f"{path}: {place}")
    if place != "normalisation/mean":  # whose shape a file's reader checks before it reads it
        assert (made.value.expected, made.value.found) == (found.value.expected, found.value.found)


@pytest.mark.parametrize(
    ("defect", "place", "expected"),
    [
        (lambda file: file.attrs.__setitem__("version", 9), "/ attribute 'version'", "6, found 9"),
        (lambda file: file.__delitem__("chip"), "chip", "an entry of this name, found none"),
        (text("chip", lambda chip: chip | {"seed": 9}), "chip: seed", "0, found 9"),
        (array("gain/fc", lambda gain: np.ones(3)), "gain/fc", "shape (1,) or (4,), found (3,)"),
        (array("gain/fc", lambda gain: gain * np.nan), "gain/fc", "finite numbers, no negative variance, found nan"),
        (
            lambda file: file.move("gain/fc", "gain/x"),
            "gain/x",
            "only ['conv1', 'conv2', 'conv3', 'fc', 'short'], found an",
        ),
        (
            array("statistics/bn1/var", np.negative),
            "statistics/bn1/var",
            "finite numbers, no negative variance, found -",
        ),
        (
            array("statistics/bn1/mean", np.float32),
            "statistics/bn1/mean",
            "float64 with 1 axes, found float32 of shape",
        ),
    ],
)
def test_whatever_is_wrong_in_a_file_of_corrections_is_a_file_error(tmp_path, defect, place, expected):
    pcmref.save(tmp_path / "net.h5", tiny())
    net = pcmref.load(tmp_path / "net.h5")
    snapshot = pcmref.program(net).at(86400.0)
    ones = {layer.name: np.ones(1) for layer in net.crossbar_layers}
    corrections = pcmref.Corrections(gain=ones, statistics={"bn1": Statistics(mean=np.ones(5), var=np.ones(5))})
    path = tmp_path / "corrections.h5"
    pcmref.save_corrections(path, corrections, snapshot)
    with h5py.File(path, "r+") as file:
        defect(file)
    with pytest.raises(FileError) as caught:
        pcmref.load_corrections(path, snapshot)
    assert type(caught.value) is FileError
    assert str(caught.value).startswith(f"{path}: {place}: expected {expected}")


def test_no_file_a_directory_and_a_foreign_file_are_file_errors_with_the_path(tmp_path):
    snapshot = pcmref.program(pcmref.load(pcmref.bundled())).at(86400.0)
    foreign = tmp_path / "foreign.h5"
    foreign.write_bytes(b"foreign")
    for read in (pcmref.load, lambda path: pcmref.load_corrections(path, snapshot)):
        for path, found in ((tmp_path / "missing.h5", "nothing"), (tmp_path, "a directory"), (foreign, "")):
            with pytest.raises(FileError) as caught:
                read(path)
            assert caught.value.where == str(path)
            assert found in caught.value.found


def test_what_a_caller_got_wrong_is_no_file_error(tmp_path):
    """Even in functions that read and write files."""
    snapshot = pcmref.program(tiny()).at(86400.0)  # of no network file
    for attempt in (
        lambda: pcmref.bundled("x"),
        lambda: pcmref.save(tmp_path / "x.h5", None),
        lambda: pcmref.load_corrections(tmp_path / "x.h5", None),
        lambda: pcmref.save_corrections(tmp_path / "x.h5", pcmref.Corrections(), snapshot),
        lambda: pcmref.load_corrections(tmp_path / "x.h5", snapshot),
    ):
        with pytest.raises(ParameterError):
            attempt()
    assert not list(tmp_path.iterdir())


def too_large(net, name):
    return replace_layer(net, name, **{"weight": layer_of(net, name).weight * 0 + np.float32(3e38)})


@pytest.mark.parametrize("kernels", ["numba", "numpy"])
@pytest.mark.parametrize(
    "net",
    [
        replace_layer(tiny(), "bn1", gamma=np.full(5, 3e38, np.float32)),
        too_large(tiny(), "fc"),
        too_large(tiny(), "conv1"),
        replace_layer(tiny(), "short", bias=np.full(7, 3e38, np.float32)),
    ],
    ids=["bn1", "fc", "conv1", "short"],
)
def test_an_overflow_is_an_error_and_nothing_beside_it(net, kernels, monkeypatch):
    """Warnings are errors here."""
    monkeypatch.setenv("PCMREF_KERNELS", kernels)
    snapshot, images = pcmref.program(net).at(86400.0), net.evaluation.images
    for use in (
        lambda: pcmref.logits(snapshot, images),
        lambda: pcmref.logits(snapshot, images, tap=lambda trace: None),
        lambda: pcmref.digital(net, images, threads=2),
        lambda: pcmref.logits(snapshot, images, corrections=pcmref.Corrections(gain={"fc": [1e300]})),
    ):
        with pytest.raises(PcmrefError, match="an overflow for image"):
            use()
