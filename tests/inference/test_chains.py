"""Which nodes are computed together: any grouping must cover the graph once, in an order that works."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pcmref
from pcmref.inference.chains import chains
from pcmref.network.graph import Network
from pcmref.network.images import Normalisation
from pcmref.network.layers import BatchNorm, Conv, Linear
from pcmref.network.operations import Add, GlobalAveragePool, Relu

CHANNELS = 3


def conv(name, source):
    weight = np.random.default_rng(len(name)).normal(0, 0.5, (CHANNELS, CHANNELS, 1, 1)).astype(np.float32)
    return Conv(name=name, inputs=(source,), weight=weight)


def norm(name, source):
    one = np.ones(CHANNELS, np.float32)
    return BatchNorm(name=name, inputs=(source,), gamma=one, beta=one, mean=one, var=one)


def network(*layers):
    last = layers[-1].name if layers else "input"
    tail = (
        GlobalAveragePool(name="pool", inputs=(last,)),
        Linear(name="fc", inputs=("pool",), weight=np.eye(2, CHANNELS, dtype=np.float32)),
    )
    return Network(
        layers=(*layers, *tail),
        input_shape=(2, 2, CHANNELS),
        normalisation=Normalisation(full_scale=255.0, mean=(0.5,) * CHANNELS, std=(0.5,) * CHANNELS),
        classes=("a", "b"),
    )


def names(net):
    return [chain.name for chain in chains(net)]


def test_a_residual_block_is_two_chains():
    net = network(
        conv("stem", "input"),
        conv("conv1", "stem"),
        norm("bn1", "conv1"),
        Relu(name="relu1", inputs=("bn1",)),
        conv("conv2", "relu1"),
        norm("bn2", "conv2"),
        Add(name="add", inputs=("bn2", "stem")),
        Relu(name="relu2", inputs=("add",)),
    )
    assert names(net) == ["stem", "relu1", "relu2", "pool", "fc"]
    block = chains(net)[2]
    assert (block.head.name, block.norm.name, block.other, block.rectify) == ("conv2", "bn2", "stem", True)
    assert block.inputs == ("relu1", "stem")


def test_the_later_branch_takes_the_sum():
    net = network(
        conv("long", "input"),
        norm("bn_long", "long"),
        conv("short", "input"),
        norm("bn_short", "short"),
        Add(name="add", inputs=("bn_long", "bn_short")),
    )
    assert names(net) == ["bn_long", "add", "pool", "fc"]
    assert chains(net)[1].other == "bn_long"


@pytest.mark.parametrize(
    "readers",
    [
        (Relu(name="relu", inputs=("bn",)), Add(name="add", inputs=("relu", "bn"))),
        (Add(name="add", inputs=("bn", "bn")),),
        (norm("bn2", "bn"), Add(name="add", inputs=("bn2", "bn"))),
    ],
)
def test_a_node_with_several_readers_is_kept(readers):
    net = network(conv("conv", "input"), norm("bn", "conv"), *readers)
    assert "bn" in names(net)


def test_a_node_added_to_itself_keeps_its_value():
    net = network(conv("conv", "input"), Add(name="add", inputs=("conv", "conv")))
    images = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    once = pcmref.digital(network(conv("conv", "input")), images)
    assert np.array_equal(pcmref.digital(net, images), 2 * once)


def test_nodes_are_every_node():
    net = pcmref.load(pcmref.bundled())
    assert [c.name for c in chains(net, "nodes")] == [layer.name for layer in net.layers]


@st.composite
def graphs(draw):
    """Random graphs of layers that keep the shape."""
    layers = []
    for number in range(draw(st.integers(1, 9))):
        before = ["input", *(layer.name for layer in layers)]
        first, second = (draw(st.sampled_from(before)) for _ in range(2))
        name = f"n{number}"
        match draw(st.sampled_from(["conv", "norm", "relu", "add"])):
            case "conv":
                layers.append(conv(name, first))
            case "norm":
                layers.append(norm(name, first))
            case "relu":
                layers.append(Relu(name=name, inputs=(first,)))
            case "add":
                layers.append(Add(name=name, inputs=(first, second)))
    return network(*layers)


@given(graphs())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_chains_cover_the_graph_once_in_order(net):
    ready, covered = {"input"}, []
    for chain in chains(net):
        assert set(chain.inputs) <= ready
        ready.add(chain.name)
        members = [chain.head.name]
        members += [chain.norm.name] if chain.norm else []
        covered += members
    heads_and_norms = [n.name for n in net.layers if not isinstance(n, (Add, Relu))]
    assert sorted(n for n in covered if n in heads_and_norms) == sorted(heads_and_norms)


@given(graphs())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_fusing_changes_no_bit(net):
    images = np.random.default_rng(0).integers(0, 256, (3, *net.input_shape)).astype(np.uint8)
    snapshot = pcmref.program(net, seed=1).at(3600.0)
    fused = pcmref.logits(snapshot, images)
    apart = pcmref.logits(snapshot, images, tap=lambda trace: None)
    assert fused.tobytes() == apart.tobytes()
