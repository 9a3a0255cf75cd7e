"""Networks whose structure follows from the shapes of their tensors, beside PyTorch's."""

import re

import numpy as np
import pytest

import pcmref
from pcmref.errors import FileError, NetworkError, ParameterError
from pcmref.importers.checkpoints import Assumptions, convert, open_checkpoint
from pcmref.importers.modules import STATISTICS
from pcmref.importers.resnet import architecture
from pcmref.importers.structures import ARCHITECTURES, structure_of
from pcmref.network.graph import Network
from pcmref.network.images import Normalisation
from pcmref.network.layers import BatchNorm, CrossbarLayer
from tests.helpers.nets import random_tensors

RNG = np.random.default_rng(7)
PLAIN = Assumptions(normalisation=Normalisation(full_scale=255.0, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25)))


@pytest.fixture
def nets(torch):
    from tests.helpers import torch_nets

    return torch_nets


def agrees(torch, tmp_path, model, arch=None, *, size=(32, 32), images=3, **options):
    """Whether a converted network gives PyTorch's logits, within 1e-4 of their spread; return it."""
    assumptions = {name: options.pop(name) for name in ("shortcut",) if name in options}
    path = tmp_path / "net.pt"
    torch.save(model.state_dict(), path)
    taken = Assumptions(normalisation=PLAIN.normalisation, **assumptions)
    network = open_checkpoint(path, arch, size=size, **options).network(taken)
    pixels = RNG.integers(0, 256, (images, *size, network.input_shape[2]), np.uint8)
    x = network.normalisation.table()[pixels, np.arange(pixels.shape[-1])]
    with torch.no_grad():
        expected = model(torch.tensor(x.transpose(0, 3, 1, 2).copy())).numpy()
    found = pcmref.digital(network, pixels)
    assert np.ptp(expected, axis=0).max() > 1e-3  # the images count
    assert np.abs(found - expected).max() < 1e-4 * np.ptp(expected)
    return network


SMALL = {
    "He's": {"kind": "pad-both", "channels": (4, 8, 16)},
    "all zeros after": {"kind": "pad-after", "channels": (4, 8, 16)},
    "an odd number of zeros": {"kind": "pad-after", "channels": (4, 7, 12)},
    "convolutions": {},
    "Joshi's": {"channels": (4, 7, 14)},
    "a wide one": {"stem": 4, "channels": (12, 24, 48)},
    "a convolution in the first block": {"projected": True},
    "four stages": {"counts": (1, 1, 1, 1), "channels": (4, 8, 16, 32)},
    "another depth": {"counts": (1, 3, 2)},
    "100 classes": {"classes": 100},
    "two classes": {"classes": 2},
    "bias": {"bias": True},
    "shortcuts first": {"habit": "shortcut first"},
    "shortcuts first, of equal widths": {"habit": "shortcut first", "channels": (6, 6, 6)},
    "equal widths": {"channels": (6, 6, 6)},
    "convolutions first": {"habit": "convolutions first"},
    "bottlenecks": {"bottleneck": True, "stem": 4, "channels": (16, 32, 64)},
    "bottlenecks, shortcuts first": {
        "bottleneck": True,
        "stem": 4,
        "channels": (16, 32, 64),
        "habit": "shortcut first",
    },
    "bottlenecks in groups": {"bottleneck": True, "stem": 8, "channels": (16, 32, 64), "groups": 4},
    "one channel": {"inputs": 1},
    "another eps": {"eps": 1e-3},
}


@pytest.mark.parametrize("case", SMALL)
def test_small_residual_networks(torch, nets, tmp_path, case):
    options = {"counts": (2, 1, 2), "channels": (4, 8, 16), **SMALL[case]}
    counts, channels = options.pop("counts"), options.pop("channels")
    model = nets.randomised(nets.ResNet(counts, channels, **options))
    choices = {"eps": options.get("eps", 1e-5)}
    if "pad" in options.get("kind", ""):
        choices["shortcut"] = options["kind"]
    if case == "one channel":
        torch.save(model.state_dict(), tmp_path / "net.pt")
        with pytest.raises(FileError, match="normalisation/mean: expected 1 channels, found 3"):
            convert(tmp_path / "net.pt")
        network = convert(tmp_path / "net.pt", mean=(0.5,), std=(0.5,))
        assert (network.input_shape, network.classes) == ((32, 32, 1), tuple("0123456789"))
        return
    network = agrees(torch, tmp_path, model, **choices)
    assert len(network.classes) == options.get("classes", 10)
    shortcuts = [layer.op for layer in network.layers if layer.name.endswith(".shortcut")]
    assert set(shortcuts) == {"pad_shortcut" if "pad" in options.get("kind", "") else "conv"}


@pytest.mark.parametrize(("bias", "last"), [(False, True), (True, False)])
def test_batch_norms_before_convolutions(torch, nets, tmp_path, bias, last):
    """Wide residual networks: the same shapes in the same order, grouped otherwise."""
    model = nets.randomised(nets.WideResNet(2, (8, 16, 32), bias=bias, last=last))
    network = agrees(torch, tmp_path, model)
    names = [layer.name for layer in network.layers]
    assert names[:4] == ["conv1", "stage1.block1.bn1", "stage1.block1.relu1", "stage1.block1.conv1"]
    assert names[-4:] == (["bn", "relu", "pool", "fc"] if last else [*names[-4:-2], "pool", "fc"])
    with pytest.raises(FileError, match=r"those of he-resnet14, found ResNet-14: .*, batch norms before convolutions"):
        open_checkpoint(tmp_path / "net.pt", "he-resnet14")


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("shortcut", r"blocks\.1\.conv1: expected a convolution of 1x1 beside it, found none"),
        ("blocks.1.bn2", r"blocks\.1\.conv2: expected a batch norm before it, found none"),
        ("blocks.1.conv1", r"blocks\.1\.bn2: expected a convolution after each batch norm, found none after blocks"),
    ],
)
def test_what_does_not_fit_with_batch_norms_first(torch, nets, tmp_path, lost, message):
    path = saved(torch, tmp_path, nets.WideResNet(1, (4, 8)), lambda state: without(state, lost))
    with pytest.raises(FileError, match=message):
        convert(path)


def test_a_batch_norm_of_a_shortcut_where_they_are_first(torch, nets, tmp_path):
    def change(state):
        """A batch norm before the shortcut of the second block, as large as its input."""
        items = []
        for name, tensor in state.items():
            if name == "blocks.1.shortcut.weight":
                items += [(f"blocks.1.bn3.{part}", state[f"blocks.1.bn1.{part}"]) for part in STATISTICS]
            items.append((name, tensor))
        return dict(items)

    path = saved(torch, tmp_path, nets.WideResNet(1, (4, 8)), change)
    with pytest.raises(FileError, match=r"blocks\.1\.bn3: expected no batch norm before a shortcut, found one"):
        convert(path)


def test_eps_of_some_layers(torch, nets, tmp_path):
    model = nets.randomised(nets.ResNet((1, 1), (4, 8)))
    model.bn1.eps, model.blocks[1].shortcut[1].eps = 0.1, 0.5
    network = agrees(torch, tmp_path, model, eps={"bn1": 0.1, "blocks.?.shortcut.*": 0.5})
    eps = {layer.name: layer.eps for layer in network.layers if isinstance(layer, BatchNorm)}
    assert [name for name in eps if eps[name] != 1e-5] == ["bn1", "stage2.block1.shortcut_bn"]
    again = agrees(torch, tmp_path, model, eps={"*": 0.5, "b*": 1e-5, "bn1": 0.1, "*.shortcut.1": 0.5})
    assert again.digest == network.digest
    with pytest.raises(ParameterError, match=r"eps: expected the name of a batch norm: bn1, .*, found 'norm'"):
        open_checkpoint(tmp_path / "net.pt", eps={"norm": 0.1})
    for eps in (0.0, 1.0, float("nan"), "a", {"*": None}):
        with pytest.raises(ParameterError, match="eps: expected a number between 0 and 1"):
            open_checkpoint(tmp_path / "net.pt", eps=eps)


def test_batch_norms_that_were_folded(torch, nets, tmp_path):
    model = nets.randomised(nets.ResNet((1, 1), (4, 8), bias=True))
    for module in model.modules():
        for name, part in module.named_children():
            if isinstance(part, torch.nn.BatchNorm2d):
                setattr(module, name, torch.nn.Identity())
    network = agrees(torch, tmp_path, model)
    assert not any(isinstance(layer, BatchNorm) for layer in network.layers)


@pytest.mark.parametrize(
    ("arch", "options", "size"),
    [
        ("resnet18", {"counts": (2, 2, 2, 2), "channels": (4, 8, 16, 32)}, (64, 96)),
        ("resnet34", {"counts": (3, 4, 6, 3), "channels": (4, 8, 16, 32)}, (64, 64)),
        (
            "resnet50",
            {"counts": (3, 4, 6, 3), "channels": (16, 32, 64, 128), "bottleneck": True, "stem": 4},
            (64, 64),
        ),
        (
            "resnet101",
            {"counts": (3, 4, 23, 3), "channels": (8, 16, 32, 64), "bottleneck": True, "stem": 4},
            (64, 64),
        ),
    ],
)
def test_torchvisions_residual_networks(torch, nets, tmp_path, arch, options, size):
    counts, channels = options.pop("counts"), options.pop("channels")
    model = nets.randomised(
        nets.ResNet(counts, channels, imagenet=True, classes=20, projected="bottleneck" in options, **options)
    )
    network = agrees(torch, tmp_path, model, arch, size=size)
    assert open_checkpoint(tmp_path / "net.pt").network(PLAIN).input_shape == (224, 224, 3)
    assert network.classes == tuple(map(str, range(20)))
    other = "resnet34" if arch == "resnet18" else "resnet18"
    with pytest.raises(FileError, match=f"a first convolution of 7x7 and .* as {other} has, found those of a first"):
        open_checkpoint(tmp_path / "net.pt", other)
    with pytest.raises(FileError, match="as he-resnet20 has"):
        open_checkpoint(tmp_path / "net.pt", "he-resnet20")


def parameters(network):
    """Number of trained parameters, as they are counted in publications."""
    found = 0
    for layer in network.layers:
        if isinstance(layer, CrossbarLayer):
            found += layer.weight.size + (0 if layer.bias is None else layer.bias.size)
        elif isinstance(layer, BatchNorm):
            found += layer.gamma.size + layer.beta.size
    return found


@pytest.mark.parametrize(
    ("arch", "counts", "bottleneck", "count"),
    [
        ("resnet18", (2, 2, 2, 2), False, 11_689_512),
        ("resnet34", (3, 4, 6, 3), False, 21_797_672),
        ("resnet50", (3, 4, 6, 3), True, 25_557_032),
    ],
)
def test_number_of_parameters(torch, nets, tmp_path, arch, counts, bottleneck, count):
    channels = tuple(64 * 2**stage * (4 if bottleneck else 1) for stage in range(4))
    model = nets.ResNet(counts, channels, imagenet=True, bottleneck=bottleneck, stem=64, classes=1000)
    torch.save(model.state_dict(), tmp_path / "net.pt")
    assert parameters(convert(tmp_path / "net.pt", arch)) == count


@pytest.mark.soak
@pytest.mark.parametrize(
    ("arch", "counts", "bottleneck"), [("resnet18", (2, 2, 2, 2), False), ("resnet50", (3, 4, 6, 3), True)]
)
def test_residual_networks_for_imagenet(torch, nets, tmp_path, arch, counts, bottleneck):
    channels = tuple(64 * 2**stage * (4 if bottleneck else 1) for stage in range(4))
    model = nets.ResNet(counts, channels, imagenet=True, bottleneck=bottleneck, stem=64, classes=1000)
    agrees(torch, tmp_path, nets.randomised(model), arch, size=(224, 224), images=2)


@pytest.mark.parametrize(
    ("arch", "counts"),
    [
        ("vgg11_bn", (1, 1, 2, 2, 2)),
        ("vgg13_bn", (2, 2, 2, 2, 2)),
        ("vgg16_bn", (2, 2, 3, 3, 3)),
        ("vgg19_bn", (2, 2, 4, 4, 4)),
    ],
)
def test_vgg(torch, nets, tmp_path, arch, counts):
    model = nets.randomised(nets.VGG(counts, (2, 4, 6, 8, 8), hidden=16))
    network = agrees(torch, tmp_path, model, arch, size=(224, 224), images=2)
    assert [layer.name for layer in network.layers[:3]] == ["stage1.conv1", "stage1.bn1", "stage1.relu1"]
    assert [layer.name for layer in network.layers[-6:]] == ["flatten", "fc1", "relu1", "fc2", "relu2", "fc3"]
    other = "vgg13_bn" if arch != "vgg13_bn" else "vgg16_bn"
    with pytest.raises(FileError, match=rf"convolutions and fully connected layers, found {sum(counts)} convolutions"):
        open_checkpoint(tmp_path / "net.pt", other)
    with pytest.raises(FileError, match="tensors/fc1/weight"):
        open_checkpoint(tmp_path / "net.pt", arch, size=(192, 192)).network(PLAIN)


def test_mobilenet(torch, nets, tmp_path):
    model = nets.randomised(nets.MobileNetV2(0.25, classes=12))
    network = agrees(torch, tmp_path, model, "mobilenet_v2", size=(64, 64))
    assert {layer.op for layer in network.layers} == {
        "conv",
        "batch_norm",
        "clip",
        "add",
        "global_average_pool",
        "linear",
    }
    assert [layer.groups for layer in network.layers if layer.op == "conv"][:4] == [1, 8, 1, 1]
    with pytest.raises(
        FileError, match=r"a 3x3 convolution of 8 inputs, number 1 of a block, found a 3x3 convolution 1"
    ):
        open_checkpoint(tmp_path / "net.pt")


MORE = {
    "extra.0.weight": "features.18.0.weight",
    **{f"extra.1.{part}": f"features.18.1.{part}" for part in STATISTICS},
}
MOBILENETS = {
    "a convolution less": (lambda s: without(s, "features.18."), "conv2: expected its convolutions, found no more"),
    "a convolution more": (
        lambda s: {**s, **{new: s[old] for new, old in MORE.items()}},
        "extra.0: expected no more convolutions after 17 blocks, found 1",
    ),
    "no depthwise convolution": (
        lambda s: {**s, "features.3.conv.1.0.weight": s["features.3.conv.1.0.weight"].repeat(1, 36, 1, 1)},
        "features.3.conv.1.0: expected the depthwise 3x3 convolution of block3, found a 3x3 convolution 36 -> 36",
    ),
    "two fully connected layers": (
        lambda s: {**s, "more.weight": s["classifier.1.weight"]},
        "tensors: expected those of convolutions and one fully connected layer, found 2 of those",
    ),
    "one without": (lambda s: without(s, "classifier"), "one fully connected layer, found 0 of those"),
}


@pytest.mark.parametrize("case", MOBILENETS)
def test_what_does_not_fit_mobilenet(torch, nets, tmp_path, case):
    change, message = MOBILENETS[case]
    path = saved(torch, tmp_path, nets.MobileNetV2(0.25), change)
    with pytest.raises(FileError, match=message):
        open_checkpoint(path, "mobilenet_v2")


def test_number_of_parameters_of_mobilenet(torch, nets, tmp_path):
    torch.save(nets.MobileNetV2().state_dict(), tmp_path / "net.pt")
    assert parameters(convert(tmp_path / "net.pt", "mobilenet_v2")) == 3_504_872


# What does not fit


def saved(torch, tmp_path, model, change):
    """A checkpoint with changed tensors."""
    state = dict(model.state_dict())
    state = change(state) or state
    torch.save(state, tmp_path / "net.pt")
    return tmp_path / "net.pt"


def without(state, *parts):
    return {name: value for name, value in state.items() if not any(part in name for part in parts)}


def swapped(state):
    """The second convolution of a block before the first."""
    names = list(state)
    first, second = names.index("blocks.1.conv1.weight"), names.index("blocks.1.conv2.weight")
    names[first], names[second] = names[second], names[first]
    return {name: state[name] for name in names}


CHANGES = {
    "left over": (lambda s: {**s, "aux.weight": s["fc.weight"], "aux.bias": s["fc.bias"]}, "aux: expected one fully"),
    "another kind of module": (lambda s: {**s, "se.gain": s["fc.bias"]}, r"se: expected .* found gain \(10,\)"),
    "a scale alone": (lambda s: {**s, "gn.weight": s["fc.bias"]}, r"gn: expected .* found weight \(10,\)"),
    "a batch norm less": (lambda s: without(s, "blocks.0.bn1"), "blocks.0.conv1: .* found 1 after 2: blocks.0.conv1, "),
    "the last batch norm": (lambda s: without(s, "blocks.1.shortcut.1"), "a batch norm after each convolution"),
    "a mean less": (lambda s: without(s, "blocks.0.bn1.running_mean"), "blocks.0.bn1.running_mean: expected a tensor"),
    "a scale less": (lambda s: without(s, "blocks.0.bn1.weight"), "blocks.0.bn1.weight: expected a tensor"),
    "a convolution less": (lambda s: without(s, "blocks.1.conv2", "blocks.1.bn2"), "number 2 of a block, found a 1x1"),
    "a convolution less in the first block": (
        lambda s: without(s, "blocks.0.conv2", "blocks.0.bn2"),
        "blocks.1.conv1: expected a block with 4 outputs, or a convolution of 1x1 beside it, found a 3x3 .* 4 -> 8",
    ),
    "a block cut short": (
        lambda s: without(s, "blocks.1.conv2", "blocks.1.bn2", "shortcut"),
        "after blocks.1.conv1: expected a 3x3 convolution of 8 inputs, number 2 of a block, found no more",
    ),
    "no block": (lambda s: without(s, "blocks"), "after conv1: expected a .* number 1 of a block, found no more"),
    "another order": (swapped, "blocks.1.conv2: expected a 3x3 convolution of 4 inputs, number 1 of a block, found"),
    "a turned fully connected layer": (
        lambda s: {**s, "fc.weight": s["fc.weight"].T.contiguous()},
        "of 8 inputs, .* found a fully connected layer 10 -> 8: transposed",
    ),
    "no fully connected layer": (lambda s: without(s, "fc"), "no fully connected layer"),
    "no convolution": (lambda s: {n: v for n, v in s.items() if n.startswith("fc")}, "no convolutions"),
    "not a number": (
        lambda s: s["blocks.0.conv2.weight"].__setitem__((1, 0, 2, 1), float("nan")),
        r"blocks.0.conv2.weight: expected finite numbers, found nan at \[1, 0, 2, 1\]",
    ),
    "an empty axis": (
        lambda s: {**s, "blocks.0.conv1.weight": s["blocks.0.conv1.weight"][:, :0].clone()},
        "blocks.0.conv1.weight: expected no empty axis",
    ),
    "integers": (lambda s: {**s, "fc.weight": s["fc.weight"].int()}, "floating-point numbers, found int32"),
    "a negative variance": (lambda s: s["bn1.running_var"].__setitem__(0, -1.0), "no negative variance"),
    "a batch norm of another size": (
        lambda s: {**s, **{f"bn1.{n}": s[f"blocks.1.bn1.{n}"] for n in STATISTICS}},
        "bn1: expected 4 channels, as conv1 has, found 8",
    ),
    "statistics of another size": (lambda s: {**s, "bn1.bias": s["fc.bias"]}, "bn1.bias: expected one number a"),
    "more in a batch norm": (lambda s: {**s, "bn1.gain": s["bn1.bias"]}, "bn1.gain: expected no other tensor"),
    "a bias of another size": (lambda s: {**s, "fc.bias": s["bn1.bias"]}, r"tensors/fc/bias: expected shape \(10,\)"),
    "a batch norm too many": (
        lambda s: {**s, **{f"more.{n}": s[f"bn1.{n}"] for n in STATISTICS}},
        "more: expected a batch norm after each convolution, or none at all, found 2 after 1",
    ),
    "another kernel": (
        lambda s: {**s, "conv1.weight": s["conv1.weight"][:, :, :1, :1].clone()},
        "conv1: expected a first convolution of 3x3, or of 7x7",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CHANGES)
def test_what_does_not_fit_is_named_with_what_the_file_has(torch, nets, tmp_path, case):
    change, message = CHANGES[case]
    path = saved(torch, tmp_path, nets.randomised(nets.ResNet((1, 1), (4, 8))), change)
    with pytest.raises(FileError, match=message) as caught:
        convert(path)
    assert re.search(rf"^{re.escape(str(path))}: ", caught.value.where)
    assert re.search(r"\(the file has \d+ tensors, ", caught.value.found)


def test_a_network_that_narrows_without_a_convolution(torch, nets, tmp_path):
    path = saved(torch, tmp_path, nets.ResNet((1, 1), (8, 4)), lambda state: without(state, "shortcut"))
    with pytest.raises(
        FileError, match=r"blocks.1.conv2: expected at least 8 outputs, or a convolution of 1x1 beside, found 4"
    ):
        convert(path)


def test_shortcuts_that_the_tensors_do_not_have(torch, nets, tmp_path):
    torch.save(nets.ResNet((1, 1), (4, 8)).state_dict(), tmp_path / "conv.pt")
    torch.save(nets.ResNet((1, 1), (4, 8), kind="pad-both").state_dict(), tmp_path / "pad.pt")
    torch.save(nets.ResNet((1, 1), (4, 7), kind="pad-after").state_dict(), tmp_path / "odd.pt")
    assert convert(tmp_path / "conv.pt", shortcut="conv").digest == convert(tmp_path / "conv.pt").digest
    with pytest.raises(FileError, match="shortcuts: expected 'pad-after', as asked for, found tensors of convolutions"):
        convert(tmp_path / "conv.pt", shortcut="pad-after")
    with pytest.raises(FileError, match="shortcuts: expected 'conv', as asked for, found tensors of channels of zeros"):
        convert(tmp_path / "pad.pt", shortcut="conv")
    with pytest.raises(FileError, match="an even number of channels beyond 4, for pad-both, found 7"):
        convert(tmp_path / "odd.pt")
    assert convert(tmp_path / "odd.pt", shortcut="pad-after").devices
    with pytest.raises(ParameterError, match="shortcut: expected one of pad-both, pad-after, conv"):
        convert(tmp_path / "pad.pt", shortcut="pad")
    with pytest.raises(ParameterError, match="order: expected one of rgb, bgr"):
        convert(tmp_path / "pad.pt", order="grb")


@pytest.mark.parametrize("arch", ["vgg11_bn", "mobilenet_v2", "resnet18", "he-resnet8", "joshi-resnet8"])
def test_another_architecture_than_that_of_the_file(torch, nets, tmp_path, arch):
    torch.save(nets.ResNet((1, 1), (4, 8)).state_dict(), tmp_path / "net.pt")
    with pytest.raises(FileError, match=r"the file has 38 tensors, conv1.weight, bn1.weight, bn1.bias and 35 more"):
        convert(tmp_path / "net.pt", arch)


@pytest.mark.parametrize(("kind", "channels", "arch"), [
    ("pad-both", (16, 32, 64), "he-resnet8"),
    ("conv", (16, 28, 56), "joshi-resnet8"),
])  # fmt: skip
def test_names_of_families_are_of_structures_whatever_tensors_are_called(torch, nets, tmp_path, kind, channels, arch):
    torch.save(nets.ResNet((1, 1, 1), channels, kind=kind).state_dict(), tmp_path / "net.pt")
    assert convert(tmp_path / "net.pt", arch).digest == convert(tmp_path / "net.pt").digest
    torch.save(nets.ResNet((1, 1, 1), channels, kind=kind, imagenet=True).state_dict(), tmp_path / "net.pt")
    with pytest.raises(FileError, match=f"as {arch} has, found those of a first convolution of 7x7 and ResNet-8"):
        convert(tmp_path / "net.pt", arch)
    others = {"pad-both": "conv", "conv": "pad-both"}
    torch.save(nets.ResNet((1, 1, 1), channels, kind=others[kind]).state_dict(), tmp_path / "net.pt")
    with pytest.raises(FileError, match=f"as {arch} has, found those of ResNet-8"):
        convert(tmp_path / "net.pt", arch)


@pytest.mark.parametrize("arch", ["resnet", "vgg16", "VGG16_bn", "", "resnet18 "])
def test_unknown_names_of_architectures(arch, tmp_path):
    with pytest.raises(ParameterError, match=f"architecture: expected one of {', '.join(ARCHITECTURES)}"):
        convert(tmp_path / "absent.pt", arch)


def test_colours_in_the_other_order(torch, nets, tmp_path):
    torch.save(nets.randomised(nets.ResNet((1, 1), (4, 8))).state_dict(), tmp_path / "net.pt")
    scale = {"mean": (0.1, 0.2, 0.3), "std": (0.2, 0.3, 0.4)}
    turned = {name: tuple(values[::-1]) for name, values in scale.items()}
    rgb, bgr = convert(tmp_path / "net.pt", **turned), convert(tmp_path / "net.pt", order="bgr", **scale)
    images = RNG.integers(0, 256, (2, 32, 32, 3), np.uint8)
    expected = pcmref.digital(rgb, images[..., ::-1].copy())
    np.testing.assert_allclose(pcmref.digital(bgr, images), expected, atol=1e-5, rtol=0)
    assert np.abs(pcmref.digital(bgr, images[..., ::-1].copy()) - expected).max() > 0.01
    assert bgr.provenance["order"] == "bgr"


def changed(rng, tensors):
    """Tensors, some of which are lost, moved, renamed, turned, cut, emptied, or of another type."""
    items = list(tensors.items())
    for _ in range(rng.integers(1, 4)):
        place, other = rng.integers(len(items), size=2)
        name, value = items[place]
        match rng.integers(9):
            case 0:
                del items[place]
            case 1:
                items[place], items[other] = items[other], items[place]
            case 2:
                items[place] = (items[other][0].rpartition(".")[0] + "." + name.rpartition(".")[2], value)
            case 3:
                items[place] = (name, value.T)
            case 4:
                axis = rng.integers(max(value.ndim, 1))
                items[place] = (
                    name,
                    value.take(range(rng.integers(value.shape[axis] + 1)), axis) if value.ndim else value,
                )
            case 5:
                items[place] = (name, value.astype(rng.choice([np.float64, np.int64, np.bool_])))
            case 6:
                items[place] = (name, items[other][1])
            case 7:
                items[place] = (name, value[..., None])
            case 8:
                stem = name.rpartition(".")[0]
                items = [item for item in items if not item[0].startswith(stem)] or items
    return dict(items)


def test_changed_tensors_are_a_network_or_one_error(torch, nets):
    models = {
        None: nets.ResNet((1, 2), (4, 8)),
        "": nets.ResNet((1, 1), (4, 8), kind="pad-both", bias=True),
        "bottlenecks": nets.ResNet((1, 2), (8, 16), bottleneck=True),
        "norms first": nets.WideResNet(1, (4, 8)),
        "resnet18": nets.ResNet((2, 2, 2, 2), (4, 8, 8, 8), imagenet=True),
        "vgg11_bn": nets.VGG((1, 1, 2, 2, 2), (2, 2, 2, 2, 2), hidden=4),
        "mobilenet_v2": nets.MobileNetV2(0.25),
        "joshi-resnet8": nets.ResNet((1, 1, 1), (16, 28, 56)),
    }
    outcomes = {"network": 0, "error": 0}
    rng = np.random.default_rng(3)
    for number in range(800):
        name = list(models)[number % len(models)]
        tensors = {key: value.numpy() for key, value in models[name].state_dict().items()}
        arch = name if name in {*ARCHITECTURES, "joshi-resnet8"} else None
        if arch == "joshi-resnet8":  # with the names that it reads
            tensors = random_tensors(architecture(arch))
        try:
            structure = structure_of(changed(rng, tensors), arch)
            Network(
                layers=structure.layers("pad-both"),
                input_shape=(*structure.size, structure.channels),
                normalisation=PLAIN.normalisation,
                classes=tuple(map(str, range(structure.classes))),
            )
            outcomes["network"] += 1
        except NetworkError:
            outcomes["error"] += 1
    assert outcomes["network"] > 10
    assert outcomes["error"] > 450
