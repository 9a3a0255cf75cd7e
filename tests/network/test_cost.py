"""What an image costs, counted by hand, and what becomes of networks that cost too much."""

import numpy as np
import pytest

import pcmref
from pcmref.errors import FileError, NetworkError
from pcmref.network import cost
from pcmref.network.cost import check_cost, images_at_once
from pcmref.network.layers import Conv
from pcmref.network.operations import AveragePool, GlobalAveragePool, LocalResponseNorm, MaxPool, PadShortcut
from tests.helpers.nets import tiny


def network(*layers):
    """Layers between an input of 6 x 6 x 3 and a mean of four channels."""
    names = ["input", *(layer.name for layer in layers)]
    head = Conv(name="head", inputs=(names[-1],), weight=np.ones((4, channels_of(layers), 1, 1), np.float32))
    mean = GlobalAveragePool(name="mean", inputs=("head",))
    return tiny(layers=(*layers, head, mean), evaluation=None, calibration=None)


def channels_of(layers):
    return 3 + sum(layer.before + layer.after for layer in layers if isinstance(layer, PadShortcut))


CONV = Conv(name="c", inputs=("input",), weight=np.ones((3, 3, 2, 2), np.float32), padding=3, stride=2)
POOL = MaxPool(name="p", inputs=("input",), kernel=4, stride=3, padding=2)
PAD = PadShortcut(name="s", inputs=("input",), stride=1, before=5, after=2)
WIDE = MaxPool(name="w", inputs=("input",), kernel=(2, 3), stride=(1, 2), padding=(0, 1, 1, 0))
MEAN = AveragePool(name="a", inputs=("input",), kernel=(2, 3), stride=2, padding=(0, 1, 1, 0))
GROUPS = Conv(name="g", inputs=("input",), weight=np.ones((3, 1, 2, 2), np.float32), groups=3)
LRN = LocalResponseNorm(name="n", inputs=("input",), size=5, alpha=1.0, beta=1.0, bias=1.0)
COSTS = {  # of the first node: elements of the largest map, operations
    "c": (CONV, 12 * 12 * 3, 6 * 6 * 3 * (2 * 2 * 3)),
    "p": (POOL, 10 * 10 * 3, 4 * (3 * 10 * 3) + 4 * (3 * 3 * 3)),
    "s": (PAD, 6 * 6 * 10, 6 * 6 * 10),
    "w": (WIDE, 7 * 7 * 3, 2 * (6 * 7 * 3) + 3 * (6 * 3 * 3)),
    "a": (MEAN, 7 * 7 * 3, 3 * 3 * 3 * (2 * 3)),
    "g": (GROUPS, 6 * 6 * 3, 5 * 5 * 3 * (2 * 2)),
}


@pytest.mark.parametrize("name", COSTS)
def test_what_a_node_costs(name):
    layer, elements, operations = COSTS[name]
    check_cost(network(layer), elements=elements, operations=1 << 40)
    with pytest.raises(
        NetworkError, match=f"graph/{name}: expected maps of at most {elements - 1} .*, found {elements}$"
    ):
        check_cost(network(layer), elements=elements - 1, operations=1 << 40)
    with pytest.raises(NetworkError, match=f"graph/{name}: expected at most {operations - 1} op.* {operations} with"):
        check_cost(network(layer), elements=1 << 40, operations=operations - 1)


def test_a_sum_over_neighbouring_channels_counts_each():
    check_cost(network(LRN), elements=1 << 40, operations=6 * 6 * 3 * 5 + 6 * 6 * 4 * 3 + 6 * 6 * 4)
    with pytest.raises(NetworkError, match=f"graph/n: .* {6 * 6 * 3 * 5} with"):
        check_cost(network(LRN), elements=1 << 40, operations=6 * 6 * 3 * 5 - 1)


def test_the_operations_of_all_nodes_count():
    _, _, first = COSTS["c"]
    rest = 6 * 6 * 4 * 3 + 6 * 6 * 4  # of the head and the mean
    check_cost(network(CONV), elements=1 << 40, operations=first + rest)
    with pytest.raises(NetworkError, match=r"graph/mean: expected at most"):
        check_cost(network(CONV), elements=1 << 40, operations=first + rest - 1)


@pytest.mark.parametrize(("option", "value"), [("elements", 12 * 12 * 3), ("operations", 1296 + 432 + 144)])
def test_load_refuses_what_costs_more_unless_it_is_allowed(tmp_path, option, value):
    pcmref.save(tmp_path / "net.h5", network(CONV))
    pcmref.load(tmp_path / "net.h5", **{option: value})
    with pytest.raises(FileError, match=rf"net\.h5: graph/.*: expected .* unless load\({option}=\.\.\.\) allows more"):
        pcmref.load(tmp_path / "net.h5", **{option: 400})


def test_images_of_large_maps_go_through_a_network_a_few_at_a_time(monkeypatch):
    net = network(CONV)
    elements, operations = 12 * 12 * 3, COSTS["c"][2] + 6 * 6 * 4 * 3 + 6 * 6 * 4
    assert images_at_once(net, 48) == 48
    monkeypatch.setattr(cost, "ELEMENTS_AT_ONCE", 5 * elements + 1)
    assert images_at_once(net, 48) == 5
    assert images_at_once(net, 3) == 3
    monkeypatch.setattr(cost, "OPERATIONS_AT_ONCE", 2 * operations)
    assert images_at_once(net, 48) == 2
    monkeypatch.setattr(cost, "OPERATIONS_AT_ONCE", 1)
    assert images_at_once(net, 48) == 1


def test_how_many_images_go_at_a_time_changes_no_bit(monkeypatch):
    net = tiny()
    images = np.random.default_rng(0).integers(0, 256, (11, 6, 6, 3), np.uint8)
    snapshot = pcmref.program(net).at(100.0)
    together = pcmref.logits(snapshot, images, threads=1)
    monkeypatch.setattr(cost, "ELEMENTS_AT_ONCE", 1)
    chunks = []
    assert (pcmref.logits(snapshot, images, threads=1, progress=chunks.append) == together).all()
    assert chunks == [1] * 11
