"""Residual networks by name and from tensors, beside PyTorch's."""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest

from pcmref.errors import NetworkError, ParameterError
from pcmref.files import networks
from pcmref.files.cifar10 import CLASSES
from pcmref.importers.checkpoints import convert, read_checkpoint
from pcmref.importers.resnet import Architecture, architecture, network_from_tensors
from pcmref.network.images import Samples
from pcmref.network.layers import BatchNorm, Conv, Linear
from pcmref.network.operations import Add, GlobalAveragePool, PadShortcut, Relu
from tests.helpers.nets import RESIDUAL, RGB, random_tensors


def build(tensors, arch, *, input_shape=(32, 32, 3), classes=CLASSES, **rest):
    return network_from_tensors(tensors, arch, input_shape=input_shape, normalisation=RGB, classes=classes, **rest)


def forward(network, x):
    """The obvious evaluation, in float64: a loop over pixels, one matrix product each."""
    values = {"input": np.asarray(x, np.float64)}
    for layer in network.layers:
        first, *others = (values[name] for name in layer.inputs)
        match layer:
            case Conv():
                value = convolution(first, layer)
            case BatchNorm():
                value = (first - layer.mean) / np.sqrt(layer.var + layer.eps) * layer.gamma + layer.beta
            case Relu():
                value = np.maximum(first, 0)
            case PadShortcut():
                value = np.zeros((len(first), *network.shapes[layer.name]))
                kept = first[:, :: layer.stride, :: layer.stride]
                value[..., layer.before : layer.before + first.shape[-1]] = kept
            case Add():
                value = first + others[0]
            case GlobalAveragePool():
                value = first.mean(axis=(1, 2))
            case Linear():
                value = first @ layer.weight.T.astype(np.float64) + layer.bias
        assert value.shape[1:] == network.shapes[layer.name]
        values[layer.name] = value
    return value


def convolution(x, layer):
    pad = layer.padding
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    kernel_height, kernel_width = layer.kernel
    height = (x.shape[1] - kernel_height) // layer.stride + 1
    width = (x.shape[2] - kernel_width) // layer.stride + 1
    y = np.empty((len(x), height, width, layer.columns))
    for i, j in itertools.product(range(height), range(width)):
        top, left = i * layer.stride, j * layer.stride
        window = x[:, top : top + kernel_height, left : left + kernel_width]
        y[:, i, j] = np.tensordot(window, layer.weight.astype(np.float64), axes=([1, 2, 3], [2, 3, 1]))
    return y


def torch_model(torch, arch, inputs=3, outputs=10):
    """The same architecture, written independently as PyTorch modules with the usual names."""
    nn = torch.nn

    class Pad(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.channels = channels

        def forward(self, x):
            return nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.channels // 2, self.channels // 2))

    class Block(nn.Module):
        def __init__(self, before, after, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(after)
            self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(after)
            self.downsample = nn.Sequential()
            if stride == 2 and arch.shortcut == "pad":
                self.downsample = Pad(after - before)
            elif stride == 2:
                self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, 2, bias=False), nn.BatchNorm2d(after))

        def forward(self, x):
            y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
            return torch.relu(y + self.downsample(x))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            width = arch.channels[0]
            self.conv1 = nn.Conv2d(inputs, width, 3, 1, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.stages = len(arch.blocks)
            for stage, (blocks, channels) in enumerate(zip(arch.blocks, arch.channels, strict=True)):
                row = []
                for block in range(blocks):
                    row.append(Block(width, channels, 2 if stage and not block else 1))
                    width = channels
                setattr(self, f"layer{stage + 1}", nn.Sequential(*row))
            self.linear = nn.Linear(width, outputs)

        def forward(self, x):
            x = torch.relu(self.bn1(self.conv1(x)))
            for stage in range(self.stages):
                x = getattr(self, f"layer{stage + 1}")(x)
            return self.linear(x.mean(dim=(2, 3)))

    return Model().eval()


def torch_forward(torch, model, tensors, x):
    model.load_state_dict({name: torch.tensor(value) for name, value in tensors.items()})
    with torch.no_grad():
        return model(torch.tensor(x.transpose(0, 3, 1, 2).copy())).numpy()


# Architectures


def test_the_papers_network_has_its_number_of_devices():
    network = build(random_tensors(architecture("joshi-resnet32")), architecture("joshi-resnet32"))
    assert network.weights == 361_722
    assert network.devices == 723_444
    assert len(network.crossbar_layers) == 34


@pytest.mark.parametrize(
    ("name", "count", "layers"),
    [("he-resnet8", 74_810, 8), ("he-resnet20", 268_346, 20), ("he-resnet32", 461_882, 32)],
)
def test_he_networks_have_their_number_of_weights(name, count, layers):
    network = build(random_tensors(architecture(name)), architecture(name))
    assert network.weights == count
    assert len(network.crossbar_layers) == layers


@pytest.mark.parametrize("depth", [8, 14, 20, 32, 44, 56, 110, 1202])
def test_depth_counts_layers_with_weights(depth):
    joshi, he = architecture(f"joshi-resnet{depth}"), architecture(f"he-resnet{depth}")
    assert joshi.blocks == he.blocks
    assert 2 * sum(he.blocks) + 2 == depth
    assert (joshi.channels, joshi.shortcut) == ((16, 28, 56), "conv")
    assert (he.channels, he.shortcut) == ((16, 32, 64), "pad")


@pytest.mark.parametrize(
    "name",
    ["", "20", "resnet20", "he-resnet", "he-resnet2", "he-resnet21", "he-resnet-20", "he-resnet020",
     "HE-resnet20", "he-resnet20 ", "he-resnet20\n", "he-resnet\u0662\u0660", "he-resnet" + "8" * 9999],
)  # fmt: skip
def test_unknown_architecture(name):
    with pytest.raises(ParameterError, match=r"joshi-resnetD or he-resnetD with D = 6n \+ 2"):
        architecture(name)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"blocks": ()}, "blocks"),
        ({"blocks": (1, 0)}, "blocks"),
        ({"blocks": (1, 1.0)}, "blocks"),
        ({"blocks": (1, 1, 1)}, "channels"),
        ({"channels": (4, -8)}, "channels"),
        ({"channels": (4, 7)}, "channels"),
        ({"channels": (8, 4)}, "channels"),
        ({"shortcut": "identity"}, "shortcut"),
    ],
)
def test_impossible_architecture(change, where):
    with pytest.raises(ParameterError) as caught:
        Architecture(**{"blocks": (1, 1), "channels": (4, 8), "shortcut": "pad", **change})
    assert caught.value.where == where


# From tensors to a graph


def test_node_names_and_order():
    conv = [layer.name for layer in build(random_tensors(RESIDUAL["conv"]), RESIDUAL["conv"]).layers]
    assert conv[:3] == ["conv1", "bn1", "relu1"]
    assert conv[3:10] == [f"stage1.block1.{n}" for n in ("conv1", "bn1", "relu1", "conv2", "bn2", "add", "relu2")]
    names = ("conv1", "bn1", "relu1", "conv2", "bn2", "shortcut", "shortcut_bn", "add", "relu2")
    assert conv[10:19] == [f"stage2.block1.{n}" for n in names]
    assert conv[-2:] == ["pool", "fc"]
    pad = [layer.name for layer in build(random_tensors(RESIDUAL["pad"]), RESIDUAL["pad"]).layers]
    assert pad == [name for name in conv if not name.endswith("shortcut_bn")]


@pytest.mark.parametrize("shortcut", ["conv", "pad"])
def test_resolution_halves_at_every_stage_but_the_first(shortcut):
    shapes = build(random_tensors(RESIDUAL[shortcut]), RESIDUAL[shortcut]).shapes
    ends = [
        "relu1",
        "stage1.block1.relu2",
        "stage2.block1.relu2",
        "stage2.block2.relu2",
        "stage3.block1.relu2",
    ]
    assert [shapes[end] for end in ends] == [(32, 32, 2), (32, 32, 2), (16, 16, 4), (16, 16, 4), (8, 8, 8)]


def test_pad_shortcut_puts_half_of_the_channels_on_each_side():
    shortcuts = [
        layer for layer in build(random_tensors(RESIDUAL["pad"]), RESIDUAL["pad"]).layers if layer.op == "pad_shortcut"
    ]
    assert [(s.stride, s.before, s.after) for s in shortcuts] == [(2, 1, 1), (2, 2, 2)]


@pytest.mark.parametrize("shortcut", ["conv", "pad"])
def test_logits_equal_pytorchs(torch, shortcut):
    arch = RESIDUAL[shortcut]
    tensors = random_tensors(arch, outputs=5)
    network = build(tensors, arch, input_shape=(9, 12, 3), classes=tuple("abcde"))
    x = np.random.default_rng(1).normal(size=(4, 9, 12, 3)).astype(np.float32)
    expected = torch_forward(torch, torch_model(torch, arch, outputs=5), tensors, x)
    assert expected.std() > 0.1
    np.testing.assert_allclose(forward(network, x), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("shortcut", ["downsample", "shortcut"])
@pytest.mark.parametrize("last", ["linear", "fc"])
def test_both_spellings_give_the_same_network(shortcut, last):
    arch = RESIDUAL["conv"]
    expected = build(random_tensors(arch), arch)
    found = build(random_tensors(arch, shortcut=shortcut, last=last), arch)
    for one, other in zip(expected.layers, found.layers, strict=True):
        assert (one.name, one.op, one.inputs) == (other.name, other.op, other.inputs)
        for tensor in one.tensors:
            np.testing.assert_array_equal(getattr(one, tensor.rstrip("?")), getattr(other, tensor.rstrip("?")))


def test_everything_else_is_passed_on(tmp_path):
    images = Samples(images=np.zeros((2, 32, 32, 3), np.uint8), labels=np.array([3, 9]))
    network = build(
        random_tensors(RESIDUAL["pad"]),
        RESIDUAL["pad"],
        provenance={"a": "b"},
        evaluation=images,
        calibration=images.first(1),
    )
    networks.save(tmp_path / "n.h5", network)
    read = networks.load(tmp_path / "n.h5")
    assert read.provenance == {"a": "b"}
    assert read.normalisation == RGB
    assert read.classes == CLASSES
    assert read.evaluation.labels.tolist() == [3, 9]
    assert len(read.calibration) == 1


def test_the_callers_tensors_stay():
    tensors = random_tensors(RESIDUAL["conv"])
    names = list(tensors)
    build(tensors, RESIDUAL["conv"])
    assert list(tensors) == names
    assert tensors["conv1.weight"].flags.writeable


def test_convolutions_may_have_a_bias():
    tensors = random_tensors(RESIDUAL["conv"])
    biases = {"conv1.bias": 2, "layer2.0.conv2.bias": 4, "layer3.0.downsample.0.bias": 8}
    given = {name: np.arange(size, dtype=np.float32) for name, size in biases.items()}
    layers = {layer.name: layer for layer in build({**tensors, **given}, RESIDUAL["conv"]).layers}
    for name, bias in zip(("conv1", "stage2.block1.conv2", "stage3.block1.shortcut"), given.values(), strict=True):
        np.testing.assert_array_equal(layers[name].bias, bias)
    with pytest.raises(NetworkError, match=r"conv1\.bias: expected shape \(2,\), found shape \(3,\)"):
        build({**tensors, "conv1.bias": np.zeros(3, np.float32)}, RESIDUAL["conv"])


def test_counts_of_batches_are_not_needed():
    tensors = random_tensors(RESIDUAL["conv"])
    build({name: value for name, value in tensors.items() if "num_batches" not in name}, RESIDUAL["conv"])


@pytest.mark.parametrize("shortcut", ["conv", "pad"])
def test_every_missing_tensor_is_named(shortcut):
    tensors = random_tensors(RESIDUAL[shortcut], last="fc", shortcut="shortcut")
    for name, value in tensors.items():
        if not name.endswith("num_batches_tracked"):
            rest = {other: tensors[other] for other in tensors if other != name}
            with pytest.raises(NetworkError) as caught:
                build(rest, RESIDUAL[shortcut])
            assert caught.value.where == name
            assert str(value.shape) in caught.value.expected


@pytest.mark.parametrize("shortcut", ["conv", "pad"])
def test_every_wrong_shape_is_named(shortcut):
    tensors = random_tensors(RESIDUAL[shortcut])
    for name, value in tensors.items():
        if not name.endswith("num_batches_tracked"):
            with pytest.raises(NetworkError) as caught:
                build({**tensors, name: np.concatenate([value, value])}, RESIDUAL[shortcut])
            assert caught.value.where == name
            assert caught.value.expected == f"shape {value.shape}"
            assert caught.value.found == f"shape {(2 * len(value), *value.shape[1:])}"


@pytest.mark.parametrize(
    "name",
    [
        "layer1.1.conv1.weight",
        "layer4.0.conv1.weight",
        "fc.weight",
        "conv1.gain",
        "layer1.0.downsample.0.weight",
    ],
)
def test_unknown_tensor(name):
    with pytest.raises(NetworkError, match=r"only tensors of Architecture\(blocks=\(1, 2, 1\)") as caught:
        build({**random_tensors(RESIDUAL["conv"]), name: np.zeros(2, np.float32)}, RESIDUAL["conv"])
    assert caught.value.where == name


def test_convolution_shortcuts_are_not_padded_ones():
    with pytest.raises(NetworkError, match=r"layer2\.0\.downsample\.0\.weight"):
        build(random_tensors(RESIDUAL["conv"]), RESIDUAL["pad"])
    with pytest.raises(NetworkError, match=r"layer2\.0\.downsample\.0\.weight"):
        build(random_tensors(RESIDUAL["pad"]), RESIDUAL["conv"])


def test_not_a_number():
    tensors = random_tensors(RESIDUAL["conv"])
    tensors["layer2.1.conv2.weight"][1, 0, 2, 1] = np.nan
    with pytest.raises(NetworkError) as caught:
        build(tensors, RESIDUAL["conv"])
    assert caught.value.where == "tensors/stage2.block2.conv2/weight"
    assert caught.value.found == "nan at [1, 0, 2, 1]"


def test_numbers_of_another_type():
    tensors = random_tensors(RESIDUAL["conv"])
    tensors["bn1.bias"] = tensors["bn1.bias"].astype(np.float64)
    with pytest.raises(NetworkError, match="tensors/bn1/beta: expected a float32 array"):
        build(tensors, RESIDUAL["conv"])


def test_wrong_number_of_classes_or_channels():
    with pytest.raises(NetworkError, match=r"linear\.weight: expected shape \(2, 8\), found shape \(10, 8\)"):
        build(random_tensors(RESIDUAL["conv"]), RESIDUAL["conv"], classes=("cat", "dog"))
    with pytest.raises(NetworkError, match=r"conv1\.weight: expected shape \(2, 3, 3, 3\)"):
        build(random_tensors(RESIDUAL["conv"], inputs=1), RESIDUAL["conv"])


# Public checkpoints


@pytest.mark.parametrize(("depth", "count"), [(20, 268_346), (32, 461_882)])
def test_public_checkpoints(torch, depth, count):
    if "PCMREF_PRETRAINED" not in os.environ:
        pytest.skip("PCMREF_PRETRAINED does not name a directory with the public He-ResNet checkpoints")
    (path,) = Path(os.environ["PCMREF_PRETRAINED"]).glob(f"resnet{depth}-*.th")
    network = convert(path, f"he-resnet{depth}")
    assert network.weights == count
    assert convert(path).digest == network.digest  # the shapes say it all
    pixels = np.random.default_rng(depth).integers(0, 256, (2, 32, 32, 3))
    x = network.normalisation.table()[pixels, np.arange(3)]
    model = torch_model(torch, architecture(f"he-resnet{depth}"))
    tensors = {**{n: v.numpy() for n, v in model.state_dict().items()}, **read_checkpoint(path)}
    expected = torch_forward(torch, model, tensors, x)
    np.testing.assert_allclose(forward(network, x), expected, atol=1e-4, rtol=0)
