import itertools
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pcmref import weights
from pcmref.convert import (
    Architecture,
    architecture,
    convert,
    network_from_tensors,
    read_checkpoint,
)
from pcmref.datasets import CLASSES
from pcmref.errors import MissingExtraError, NetworkFileError, ParameterError
from pcmref.files import sha256_of
from pcmref.layers import Add, BatchNorm, Conv, GlobalAveragePool, Linear, PadShortcut, Relu
from pcmref.network import Normalisation, Samples

SMALL = {
    shortcut: Architecture(blocks=(1, 2, 1), channels=(2, 4, 8), shortcut=shortcut) for shortcut in ("conv", "pad")
}
RGB = Normalisation(full_scale=255.0, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


def random_tensors(arch, inputs=3, outputs=10, *, shortcut="downsample", last="linear", seed=0):
    """The state dict of a network, with batch norms whose four tensors differ in every channel."""
    rng = np.random.default_rng(seed)
    tensors = {}

    def put(name, *shape, low=-0.5, high=0.5):
        tensors[name] = rng.uniform(low, high, shape).astype(np.float32)

    def put_conv_bn(conv, bn, *shape):
        put(f"{conv}.weight", *shape)
        for part in ("weight", "bias", "running_mean"):
            put(f"{bn}.{part}", shape[0])
        put(f"{bn}.running_var", shape[0], low=0.1, high=2.0)
        tensors[f"{bn}.num_batches_tracked"] = np.array(7)

    width = arch.channels[0]
    put_conv_bn("conv1", "bn1", width, inputs, 3, 3)
    for stage, (blocks, channels) in enumerate(zip(arch.blocks, arch.channels, strict=True)):
        for block in range(blocks):
            at = f"layer{stage + 1}.{block}"
            put_conv_bn(f"{at}.conv1", f"{at}.bn1", channels, width, 3, 3)
            put_conv_bn(f"{at}.conv2", f"{at}.bn2", channels, channels, 3, 3)
            if arch.shortcut == "conv" and stage > 0 and block == 0:
                put_conv_bn(f"{at}.{shortcut}.0", f"{at}.{shortcut}.1", channels, width, 1, 1)
            width = channels
    put(f"{last}.weight", outputs, width)
    put(f"{last}.bias", outputs)
    return tensors


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


@pytest.fixture
def torch():
    module = pytest.importorskip("torch")
    module.set_num_threads(1)
    return module


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
    conv = [layer.name for layer in build(random_tensors(SMALL["conv"]), SMALL["conv"]).layers]
    assert conv[:3] == ["conv1", "bn1", "relu1"]
    assert conv[3:10] == [f"stage1.block1.{n}" for n in ("conv1", "bn1", "relu1", "conv2", "bn2", "add", "relu2")]
    names = ("conv1", "bn1", "relu1", "conv2", "bn2", "shortcut", "shortcut_bn", "add", "relu2")
    assert conv[10:19] == [f"stage2.block1.{n}" for n in names]
    assert conv[-2:] == ["pool", "fc"]
    pad = [layer.name for layer in build(random_tensors(SMALL["pad"]), SMALL["pad"]).layers]
    assert pad == [name for name in conv if not name.endswith("shortcut_bn")]


@pytest.mark.parametrize("shortcut", ["conv", "pad"])
def test_resolution_halves_at_every_stage_but_the_first(shortcut):
    shapes = build(random_tensors(SMALL[shortcut]), SMALL[shortcut]).shapes
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
        layer for layer in build(random_tensors(SMALL["pad"]), SMALL["pad"]).layers if layer.op == "pad_shortcut"
    ]
    assert [(s.stride, s.before, s.after) for s in shortcuts] == [(2, 1, 1), (2, 2, 2)]


@pytest.mark.parametrize("shortcut", ["conv", "pad"])
def test_logits_equal_pytorchs(torch, shortcut):
    arch = SMALL[shortcut]
    tensors = random_tensors(arch, outputs=5)
    network = build(tensors, arch, input_shape=(9, 12, 3), classes=tuple("abcde"))
    x = np.random.default_rng(1).normal(size=(4, 9, 12, 3)).astype(np.float32)
    expected = torch_forward(torch, torch_model(torch, arch, outputs=5), tensors, x)
    assert expected.std() > 0.1
    np.testing.assert_allclose(forward(network, x), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("shortcut", ["downsample", "shortcut"])
@pytest.mark.parametrize("last", ["linear", "fc"])
def test_both_spellings_give_the_same_network(shortcut, last):
    arch = SMALL["conv"]
    expected = build(random_tensors(arch), arch)
    found = build(random_tensors(arch, shortcut=shortcut, last=last), arch)
    for one, other in zip(expected.layers, found.layers, strict=True):
        assert (one.name, one.op, one.inputs) == (other.name, other.op, other.inputs)
        for tensor in one.tensors:
            np.testing.assert_array_equal(getattr(one, tensor.rstrip("?")), getattr(other, tensor.rstrip("?")))


def test_everything_else_is_passed_on(tmp_path):
    images = Samples(images=np.zeros((2, 32, 32, 3), np.uint8), labels=np.array([3, 9]))
    network = build(
        random_tensors(SMALL["pad"]),
        SMALL["pad"],
        provenance={"a": "b"},
        evaluation=images,
        calibration=images.first(1),
    )
    weights.save(tmp_path / "n.h5", network)
    read = weights.load(tmp_path / "n.h5")
    assert read.provenance == {"a": "b"}
    assert read.normalisation == RGB
    assert read.classes == CLASSES
    assert read.evaluation.labels.tolist() == [3, 9]
    assert len(read.calibration) == 1


def test_the_callers_tensors_stay():
    tensors = random_tensors(SMALL["conv"])
    names = list(tensors)
    build(tensors, SMALL["conv"])
    assert list(tensors) == names
    assert tensors["conv1.weight"].flags.writeable


def test_counts_of_batches_are_not_needed():
    tensors = random_tensors(SMALL["conv"])
    build({name: value for name, value in tensors.items() if "num_batches" not in name}, SMALL["conv"])


@pytest.mark.parametrize("shortcut", ["conv", "pad"])
def test_every_missing_tensor_is_named(shortcut):
    tensors = random_tensors(SMALL[shortcut], last="fc", shortcut="shortcut")
    for name, value in tensors.items():
        if not name.endswith("num_batches_tracked"):
            rest = {other: tensors[other] for other in tensors if other != name}
            with pytest.raises(NetworkFileError) as caught:
                build(rest, SMALL[shortcut])
            assert caught.value.where == name
            assert str(value.shape) in caught.value.expected


@pytest.mark.parametrize("shortcut", ["conv", "pad"])
def test_every_wrong_shape_is_named(shortcut):
    tensors = random_tensors(SMALL[shortcut])
    for name, value in tensors.items():
        if not name.endswith("num_batches_tracked"):
            with pytest.raises(NetworkFileError) as caught:
                build({**tensors, name: np.concatenate([value, value])}, SMALL[shortcut])
            assert caught.value.where == name
            assert caught.value.expected == f"shape {value.shape}"
            assert caught.value.found == f"shape {(2 * len(value), *value.shape[1:])}"


@pytest.mark.parametrize(
    "name",
    [
        "layer1.1.conv1.weight",
        "layer4.0.conv1.weight",
        "fc.weight",
        "conv1.bias",
        "layer1.0.downsample.0.weight",
    ],
)
def test_unknown_tensor(name):
    with pytest.raises(NetworkFileError, match=r"only tensors of Architecture\(blocks=\(1, 2, 1\)") as caught:
        build({**random_tensors(SMALL["conv"]), name: np.zeros(2, np.float32)}, SMALL["conv"])
    assert caught.value.where == name


def test_convolution_shortcuts_are_not_padded_ones():
    with pytest.raises(NetworkFileError, match=r"layer2\.0\.downsample\.0\.weight"):
        build(random_tensors(SMALL["conv"]), SMALL["pad"])
    with pytest.raises(NetworkFileError, match=r"layer2\.0\.downsample\.0\.weight"):
        build(random_tensors(SMALL["pad"]), SMALL["conv"])


def test_not_a_number():
    tensors = random_tensors(SMALL["conv"])
    tensors["layer2.1.conv2.weight"][1, 0, 2, 1] = np.nan
    with pytest.raises(NetworkFileError) as caught:
        build(tensors, SMALL["conv"])
    assert caught.value.where == "tensors/stage2.block2.conv2/weight"
    assert caught.value.found == "nan at [1, 0, 2, 1]"


def test_numbers_of_another_type():
    tensors = random_tensors(SMALL["conv"])
    tensors["bn1.bias"] = tensors["bn1.bias"].astype(np.float64)
    with pytest.raises(NetworkFileError, match="tensors/bn1/beta: expected a float32 array"):
        build(tensors, SMALL["conv"])


def test_wrong_number_of_classes_or_channels():
    with pytest.raises(NetworkFileError, match=r"linear\.weight: expected shape \(2, 8\), found shape \(10, 8\)"):
        build(random_tensors(SMALL["conv"]), SMALL["conv"], classes=("cat", "dog"))
    with pytest.raises(NetworkFileError, match=r"conv1\.weight: expected shape \(2, 3, 3, 3\)"):
        build(random_tensors(SMALL["conv"], inputs=1), SMALL["conv"])


# Checkpoints


def as_torch(torch, tensors):
    return {name: torch.tensor(value) for name, value in tensors.items()}


@pytest.mark.parametrize("wrap", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("legacy", [False, True])
def test_read_checkpoint(torch, tmp_path, wrap, prefix, legacy):
    tensors = random_tensors(SMALL["pad"])
    state = {prefix + name: value for name, value in as_torch(torch, tensors).items()}
    content = state if wrap is None else {"epoch": 3, wrap: state, "optimizer": {"lr": 0.1}}
    path = tmp_path / "net.pt"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    found = read_checkpoint(path)
    assert list(found) == list(tensors)
    for name, value in tensors.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)


def test_read_what_a_module_saves(torch, tmp_path):
    model = torch.nn.DataParallel(torch_model(torch, SMALL["conv"]))
    torch.save(model.state_dict(keep_vars=True), tmp_path / "net.pt")
    build(read_checkpoint(str(tmp_path / "net.pt")), SMALL["conv"])


def test_module_is_removed_only_from_all(torch, tmp_path):
    torch.save({"module.a": torch.zeros(1), "a": torch.ones(1)}, tmp_path / "net.pt")
    assert list(read_checkpoint(tmp_path / "net.pt")) == ["module.a", "a"]
    torch.save({"module.module.a": torch.zeros(1)}, tmp_path / "net.pt")
    assert list(read_checkpoint(tmp_path / "net.pt")) == ["module.a"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_floating_point_becomes_float32(torch, tmp_path, dtype):
    values = torch.tensor([1.0, -0.3330078125, 2.0**-14], dtype=getattr(torch, dtype), requires_grad=True)
    torch.save({"a": values, "count": torch.tensor(2)}, tmp_path / "net.pt")
    found = read_checkpoint(tmp_path / "net.pt")
    assert found["a"].dtype == np.float32
    assert found["a"].tolist() == values.tolist()
    assert found["count"].dtype == np.int64


class Hostile:
    def __reduce__(self):
        return Path.touch, (Path(os.environ["PCMREF_TEST_TRAP"]),)


@pytest.mark.parametrize("pickle_protocol", [None, 2, 4])
def test_no_code_is_run(torch, tmp_path, monkeypatch, pickle_protocol):
    trap, path = tmp_path / "trap", tmp_path / "net.pt"
    monkeypatch.setenv("PCMREF_TEST_TRAP", str(trap))
    if pickle_protocol:
        path.write_bytes(pickle.dumps({"extra": Hostile()}, protocol=pickle_protocol))
    else:
        torch.save({"conv1.weight": torch.zeros(1), "extra": Hostile()}, path)
    with pytest.raises(NetworkFileError, match=r"net\.pt: expected a PyTorch checkpoint of tensors alone"):
        read_checkpoint(path)
    assert not trap.exists()


def test_python_objects_are_named(torch, tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "net.pt")
    with pytest.raises(NetworkFileError, match=r"found torch\.nn\.modules\.linear\.Linear, which only running"):
        read_checkpoint(tmp_path / "net.pt")


@pytest.mark.parametrize(
    "content", [[1, 2], 3, {}, {"epoch": 1}, {"state_dict": {}}, {"state_dict": 5}, {"net": {"a": "b"}}]
)
def test_checkpoint_without_tensors(torch, tmp_path, content):
    torch.save(content, tmp_path / "net.pt")
    with pytest.raises(NetworkFileError, match=r"net\.pt: expected a dict of tensors, bare or under one of"):
        read_checkpoint(tmp_path / "net.pt")


def test_tensors_that_are_not_dense(torch, tmp_path):
    torch.save({"a": torch.eye(3).to_sparse()}, tmp_path / "net.pt")
    with pytest.raises(NetworkFileError, match=r"net\.pt: a: expected a dense tensor"):
        read_checkpoint(tmp_path / "net.pt")


def test_foreign_files(torch, tmp_path):
    path = tmp_path / "net.pt"
    torch.save({"a": torch.zeros(1000)}, path)
    whole = path.read_bytes()
    np.savez(tmp_path / "a.npz", a=np.zeros(3))
    for content in (
        b"",
        b"hello world",
        bytes(100),
        whole[: len(whole) // 2],
        (tmp_path / "a.npz").read_bytes(),
    ):
        path.write_bytes(content)
        with pytest.raises(NetworkFileError, match=r"net\.pt: expected a PyTorch checkpoint of tensors alone"):
            read_checkpoint(path)


def test_no_file(tmp_path):
    with pytest.raises(NetworkFileError, match="found nothing"):
        read_checkpoint(tmp_path / "absent.pt")
    with pytest.raises(NetworkFileError, match="found a directory"):
        read_checkpoint(tmp_path)


def test_without_pytorch(tmp_path, monkeypatch):
    (tmp_path / "net.pt").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'pcmref\[train\]'"):
        read_checkpoint(tmp_path / "net.pt")


def test_import_does_not_need_pytorch():
    code = "import sys; import pcmref.convert; assert 'torch' not in sys.modules"
    root = Path(sys.modules["pcmref.convert"].__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


# The two together


def test_convert(torch, tmp_path):
    path = tmp_path / "net.th"
    tensors = random_tensors(architecture("he-resnet8"))
    torch.save({"state_dict": {f"module.{n}": v for n, v in as_torch(torch, tensors).items()}}, path)
    network = convert(path, "he-resnet8", provenance={"author": "me"})
    assert network.input_shape == (32, 32, 3)
    assert network.classes == CLASSES
    assert network.normalisation == Normalisation(
        full_scale=255.0, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )
    assert network.provenance == {
        "author": "me",
        "source": "net.th",
        "source_sha256": sha256_of(path),
        "torch": str(torch.__version__),
        "architecture": "he-resnet8",
    }
    np.testing.assert_array_equal(network.layers[0].weight, tensors["conv1.weight"])
    weights.save(tmp_path / "net.h5", network)
    assert weights.load(tmp_path / "net.h5").devices == network.devices
    images = Samples(images=np.zeros((1, 32, 32, 3), np.uint8), labels=np.array([9]))
    other = convert(path, "he-resnet8", mean=[0, 0, 0], std=[1, 1, 1], evaluation=images, calibration=images)
    assert other.normalisation == Normalisation(full_scale=255.0, mean=(0.0,) * 3, std=(1.0,) * 3)
    assert other.evaluation is images
    assert other.calibration is images


def test_convert_names_the_file_and_the_tensor(torch, tmp_path):
    path = tmp_path / "net.pt"
    torch.save(as_torch(torch, random_tensors(architecture("he-resnet8"))), path)
    with pytest.raises(NetworkFileError) as caught:
        convert(path, "joshi-resnet8")
    assert caught.value.where == f"{path}: layer2.0.conv1.weight"
    with pytest.raises(ParameterError):
        convert(path, "resnet8")
    with pytest.raises(NetworkFileError, match="normalisation"):
        convert(path, "he-resnet8", std=(0.2, 0.2, 0.0))


@pytest.mark.parametrize(("depth", "count"), [(20, 268_346), (32, 461_882)])
def test_public_checkpoints(torch, depth, count):
    if "PCMREF_PRETRAINED" not in os.environ:
        pytest.skip("PCMREF_PRETRAINED does not name a directory with the public He-ResNet checkpoints")
    (path,) = Path(os.environ["PCMREF_PRETRAINED"]).glob(f"resnet{depth}-*.th")
    network = convert(path, f"he-resnet{depth}")
    assert network.weights == count
    pixels = np.random.default_rng(depth).integers(0, 256, (2, 32, 32, 3))
    x = network.normalisation.table()[pixels, np.arange(3)]
    model = torch_model(torch, architecture(f"he-resnet{depth}"))
    tensors = {**{n: v.numpy() for n, v in model.state_dict().items()}, **read_checkpoint(path)}
    expected = torch_forward(torch, model, tensors, x)
    np.testing.assert_allclose(forward(network, x), expected, atol=1e-4, rtol=0)
