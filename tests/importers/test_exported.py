"""What PyTorch exports, beside its logits: ShuffleNetV2, whose units take half of the channels; padded shortcuts."""

from __future__ import annotations

import numpy as np
import pytest

import pcmref
from pcmref.importers.onnx_models import convert_onnx
from pcmref.network.operations import TakeChannels

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
onnx = pytest.importorskip("onnx", reason="onnx is not installed")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of PyTorch's older exporter
SMALL = {"counts": (2, 2), "channels": (4, 8, 12, 16), "classes": 5}


def exported(path, model, size, **options):
    """Write a model in eval mode with its batch normalisations, as examples/README.md says."""
    torch.onnx.export(
        model,
        (torch.zeros(1, 3, *size),),
        path,
        dynamo=False,
        do_constant_folding=False,
        training=torch.onnx.TrainingMode.PRESERVE,
        **options,
    )


def made(**options):
    from tests.helpers import torch_nets

    return torch_nets.randomised(torch_nets.ShuffleNetV2(**options))


def logits_of(model, network, images):
    x = network.normalisation.table()[images, np.arange(3)]
    with torch.no_grad():
        return model(torch.tensor(x.transpose(0, 3, 1, 2).copy())).numpy()


def agrees(model, network, size):
    """Whether the logits are PyTorch's, within 1e-4 of their spread, on two images that it tells apart."""
    images = np.random.default_rng(7).integers(0, 256, (2, *size, 3), np.uint8)
    expected, found = logits_of(model, network, images), pcmref.digital(network, images)
    assert np.abs(np.diff(expected, axis=0)).max() > 0.01 * np.ptp(expected)
    assert np.abs(found - expected).max() < 1e-4 * np.ptp(expected)


def test_shufflenet(tmp_path):
    """At 1.0, of ImageNet: 13 of its 16 units split channels."""
    model = made()
    assert sum(tensor.numel() for tensor in model.parameters()) == 2_278_604
    exported(tmp_path / "net.onnx", model, (64, 64))
    network, _ = convert_onnx(tmp_path / "net.onnx")
    taken = [(layer.first, layer.count) for layer in network.layers if isinstance(layer, TakeChannels)]
    halves = [58] * 3 + [116] * 7 + [232] * 3
    assert taken == [pair for half in halves for pair in ((0, half), (half, half))]
    agrees(model, network, (64, 64))


@pytest.mark.parametrize("opset", [9, 11, 13, 18])
@pytest.mark.parametrize("batch", ["one", "any"])
def test_what_pytorch_writes_for_other_opsets(opset, batch, tmp_path):
    """A Split with its lengths in an attribute or an input, and no pixel or batch that it depends on."""
    model = made(**SMALL)
    axes = {"input_names": ["x"], "dynamic_axes": {"x": {0: "n"}}} if batch == "any" else {}
    exported(tmp_path / "net.onnx", model, (32, 24), opset_version=opset, **axes)
    network, _ = convert_onnx(tmp_path / "net.onnx")
    assert sum(isinstance(layer, TakeChannels) for layer in network.layers) == 4
    agrees(model, network, (32, 24))


HALVES = {
    "Slice": lambda x, n, dim: (x[:, : x.shape[1] // n], x[:, x.shape[1] // n :]),
    "Split": lambda x, n, dim: x.split([int(x.shape[1]) // n] * n, dim),
}


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("operator", HALVES)
def test_other_ways_to_write_halves(operator, tmp_path, monkeypatch):
    model = made(**SMALL)
    monkeypatch.setattr(torch.Tensor, "chunk", HALVES[operator])
    exported(tmp_path / "net.onnx", model, (32, 24))
    assert {"Slice", "Split"} & {node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node} == {operator}
    network, _ = convert_onnx(tmp_path / "net.onnx")
    assert sum(isinstance(layer, TakeChannels) for layer in network.layers) == 4
    agrees(model, network, (32, 24))


@pytest.mark.filterwarnings("ignore:Constant folding")
@pytest.mark.parametrize("kind", ["pad-both", "pad-after"])
def test_shortcuts_of_every_other_pixel(kind, tmp_path):
    """A Slice for each axis, then a Pad of channels."""
    from tests.helpers import torch_nets

    model = torch_nets.randomised(torch_nets.ResNet((1, 1, 1), (4, 8, 16), kind=kind))
    exported(tmp_path / "net.onnx", model, (16, 12))
    network, _ = convert_onnx(tmp_path / "net.onnx")
    assert sum(layer.op == "pad_shortcut" for layer in network.layers) == 4
    agrees(model, network, (16, 12))


def test_a_chip_of_it(tmp_path):
    """Saved and loaded, with any batch, the same bits."""
    exported(tmp_path / "net.onnx", made(**SMALL), (32, 24))
    network, _ = convert_onnx(tmp_path / "net.onnx")
    pcmref.save(tmp_path / "net.h5", network)
    loaded = pcmref.load(tmp_path / "net.h5")
    assert loaded.digest == network.digest
    images = np.random.default_rng(8).integers(0, 256, (5, 32, 24, 3), np.uint8)
    snapshot = pcmref.program(network, seed=1).at(t_s=3600.0)
    whole = pcmref.logits(snapshot, images)
    assert np.isfinite(whole).all()
    assert np.ptp(whole, axis=0).min() > 0
    again = pcmref.program(loaded, seed=1).at(t_s=3600.0)
    for batch in (1, 2):
        places = [np.arange(start, min(start + batch, 5)) for start in range(0, 5, batch)]
        parts = [pcmref.logits(again, images[place], addresses=place) for place in places]
        assert np.array_equal(np.concatenate(parts), whole)
