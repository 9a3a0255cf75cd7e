"""pcmref beside aihwkit, IBM's simulator of analog hardware: laws, draws, devices, a network, drift compensation.

Both packages are installed, see README.md beside this file; ``-rP`` shows the numbers that were measured.  Times are
aihwkit's t_inference, which begins t_0 = 20 s after the last pulse; so do those of the set AIHWKIT (t_offset = 20 s).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import pcmref
from pcmref.arithmetic.draws import Purpose, normals, stream_key, weight_words
from pcmref.devices import pcm
from pcmref.devices.laws import Logarithm, Polynomial, PowerLaw
from pcmref.network.images import Normalisation
from pcmref.network.layers import BatchNorm, Conv, Linear
from pcmref.network.operations import GlobalAveragePool, MaxPool, Relu

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
aihwkit = pytest.importorskip("aihwkit", reason="aihwkit is not installed: see tests/peers/README.md")

from aihwkit.inference import PCMLikeNoiseModel  # noqa: E402
from aihwkit.inference.noise.hermes import HermesNoiseModel  # noqa: E402
from aihwkit.nn.conversion import convert_to_analog  # noqa: E402
from aihwkit.simulator.configs import InferenceRPUConfig  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # of other people's packages
    pytest.mark.filterwarnings("error::pcmref.PcmrefWarning"),
]

N19, AIHWKIT = pcmref.MODELS["NANDAKUMAR_2019"], pcmref.MODELS["AIHWKIT"]
HOUR, DAY, YEAR = 3600.0, 86400.0, 365 * 86400.0
G_MAX, G_STEP = AIHWKIT.g_max_us, AIHWKIT.g_step_us
CHIPS = 200
#: The finest DAC of pcmref: symmetric codes to 32767, full scale the largest input of each image.
FINEST = pcmref.Readout(name="finest", dac=pcmref.Dac(bits=16))
FLOAT32 = 2.0**-23


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


# The network, in both packages


def make_network(seed=1):
    """Two convolutions, one with a bias, one with a batch normalisation; 1546 weights, He's initialisation."""
    rng = np.random.default_rng(seed)

    def normal(*shape, scale):
        return (scale * rng.standard_normal(shape)).astype(np.float32)

    conv1 = normal(8, 3, 3, 3, scale=math.sqrt(2 / 27)), normal(8, scale=0.1)
    conv2 = normal(16, 8, 3, 3, scale=math.sqrt(2 / 72))
    statistics = {
        "gamma": rng.uniform(0.5, 1.5, 16).astype(np.float32),
        "beta": normal(16, scale=0.2),
        "mean": normal(16, scale=0.2),
        "var": rng.uniform(0.5, 1.5, 16).astype(np.float32),
    }
    return pcmref.Network(
        layers=(
            Conv(name="conv1", inputs=("input",), weight=conv1[0], bias=conv1[1], padding=1),
            Relu(name="relu1", inputs=("conv1",)),
            MaxPool(name="pool1", inputs=("relu1",), kernel=2, stride=2),
            Conv(name="conv2", inputs=("pool1",), weight=conv2, padding=1),
            BatchNorm(name="bn2", inputs=("conv2",), **statistics),
            Relu(name="relu2", inputs=("bn2",)),
            GlobalAveragePool(name="mean", inputs=("relu2",)),
            Linear(
                name="fc",
                inputs=("mean",),
                weight=normal(10, 16, scale=math.sqrt(2 / 16)),
                bias=normal(10, scale=0.1),
            ),
        ),
        input_shape=(12, 12, 3),
        normalisation=Normalisation(full_scale=255.0, mean=(0.5,) * 3, std=(0.25,) * 3),
        classes=tuple("abcdefghij"),
    )


NET = make_network()
#: Fifty images of 3 x 3 coloured squares with noise: pixels differ, so that their roundings are independent.
SQUARES = np.random.default_rng(2).integers(0, 256, (50, 3, 3, 3)).repeat(4, 1).repeat(4, 2)
IMAGES = (SQUARES + np.random.default_rng(3).integers(-60, 61, SQUARES.shape)).clip(0, 255).astype(np.uint8)
DIGITAL = pcmref.digital(NET, IMAGES, threads=1).astype(np.float64)


def torch_input():
    pixels = (IMAGES.astype(np.float64) / 255.0 - 0.5) / 0.25
    return torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2).contiguous()


def torch_network():
    nn = torch.nn
    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)),
    )
    conv1, conv2, bn, fc = (layer for layer in NET.layers if layer.tensors)
    for place, layer in ((0, conv1), (3, conv2), (8, fc)):
        model[place].weight.data = torch.tensor(layer.weight)
        if layer.bias is not None:
            model[place].bias.data = torch.tensor(layer.bias)
    model[4].weight.data, model[4].bias.data = torch.tensor(bn.gamma), torch.tensor(bn.beta)
    model[4].running_mean, model[4].running_var = torch.tensor(bn.mean), torch.tensor(bn.var)
    return model.eval()


def analog_network(noise_model=None):
    """The network on aihwkit's tiles: perfect converters, weights scaled to 1, biases on the crossbar."""
    config = InferenceRPUConfig()
    config.forward.is_perfect = True
    config.mapping.weight_scaling_omega = 1.0
    config.mapping.digital_bias = False
    config.noise_model = noise_model or PCMLikeNoiseModel(g_max=G_MAX)
    return convert_to_analog(torch_network(), config).eval()


def begin_gdc(tiles):
    """Let GDC begin with what the tiles hold: after ``drift_analog_weights(0)`` with a read at t_0, as in pcmref."""
    for tile in tiles:
        tile.drift_baseline = tile.rpu_config.drift_compensation.init_baseline(tile)


def uncompensated(tiles):
    for tile in tiles:
        tile.alpha = torch.ones(1)


def run(model):
    with torch.inference_mode():
        return model(torch_input()).double().numpy()


def tile_matrix(layer, matrix):
    """A matrix of rows (i, j, channel), bias and columns as aihwkit has it: columns, then (channel, i, j), bias."""
    matrix = np.asarray(matrix, np.float64)
    kernel = layer.weight.shape[2:] or (1, 1)
    weights = math.prod(layer.weight.shape[1:])
    inputs = matrix[:weights].reshape(*kernel, -1, matrix.shape[1]).transpose(3, 2, 0, 1)
    return torch.tensor(np.concatenate([inputs.reshape(len(inputs), -1), matrix[weights:].T], 1), dtype=torch.float32)


class KeptPairs(PCMLikeNoiseModel):
    """aihwkit's laws of one device on pairs that stay two devices.

    Its tiles keep one number a weight, ``G+ - G-``, and at a read split it anew, scaled so that the largest is G_max.
    """

    def apply_programming_noise(self, weights):
        targets, scale = self.g_converter.convert_to_conductances(weights)
        pairs = [(self.apply_programming_noise_to_conductance(g), self.generate_drift_coefficients(g)) for g in targets]
        return self.g_converter.convert_back_to_weights([g for g, _ in pairs], scale), [scale, *pairs]

    def apply_drift_noise(self, weights, drift_noise_parameters, t_inference):
        scale, *pairs = drift_noise_parameters
        read = [self.apply_drift_noise_to_conductance(g, nu, t_inference) for g, nu in pairs]
        return self.g_converter.convert_back_to_weights(read, scale)


# Statistics


def moments(x, axis=0):
    """Mean and variance along an axis, each with the square of its standard error.

    ``var(mean) = m2 / n``, ``var(m2) = (m4 - m2^2) / n``: the fourth moment stands for the tails.
    """
    n = x.shape[axis]
    mean = x.mean(axis)
    squares = (x - np.expand_dims(mean, axis)) ** 2
    m2 = squares.mean(axis)
    return mean, m2 * n / (n - 1), m2 / n, np.maximum((squares**2).mean(axis) - m2**2, 0.0) / n


def deviations(ours, theirs):
    """Differences of means and of standard deviations, each in units of its standard error.

    `ours` and `theirs` are results of `moments`; ``se(std) = se(variance) / (2 std)``.  To the standard errors,
    float32 rounding is added, of which means of many do not get rid.
    """
    mean, variance, mean_error, variance_error = zip(ours, theirs, strict=True)
    std = np.sqrt(variance)
    std_error = np.hypot(*(np.sqrt(variance_error) / (2 * std + 1e-30)))
    mean_error = np.sqrt(sum(mean_error))
    return [
        np.abs(x - y) / (error + FLOAT32 * (np.abs(y) + 1e-6))
        for (x, y), error in ((mean, mean_error), (std, std_error))
    ]


# Laws


def our_device(model, target_us, z, t):
    """Programmed, drift exponent, drifted, read; the same z in each place."""
    prog = pcm.programmed_us(model, target_us, z)
    nu = pcm.drift_exponent(model, target_us / model.g_max_us, z)
    q = pcm.relative_read_noise(model, (prog if model.read_noise_of_programmed else target_us) / model.g_max_us)
    drift = pcm.drifted_us(model, prog, nu, t)
    return prog, nu, drift, pcm.read_us(drift, pcm.read_noise_spread_us(model, drift, q, t), z)


def their_device(peer, target_us, z, t, monkeypatch):
    given = torch.tensor(z, dtype=torch.float64)
    for module in ("pcm", "hermes"):
        monkeypatch.setattr(f"aihwkit.inference.noise.{module}.randn_like", lambda like: given)
    target = torch.tensor(target_us, dtype=torch.float64)
    prog = peer.apply_programming_noise_to_conductance(target)
    nu = peer.generate_drift_coefficients(target)
    read = peer.apply_drift_noise_to_conductance(prog, nu, t)
    peer.read_noise_scale = 0.0
    drift = peer.apply_drift_noise_to_conductance(prog, nu, t)
    peer.read_noise_scale = 1.0
    return [x.numpy() for x in (prog, nu, drift, read)]


GRID = np.repeat(np.linspace(0.0, 1.0, 501), 25), np.tile(np.linspace(-6.0, 6.0, 25), 501)


def law_differences(model, peer, monkeypatch):
    """Largest difference of each quantity over targets from 0 to G_max, z from -6 to 6 and four times."""
    target = GRID[0] * model.g_max_us
    found = []
    for t in (1.0, HOUR, DAY, YEAR):
        both = our_device(model, target, GRID[1], t), their_device(peer, target, GRID[1], t, monkeypatch)
        found.append([np.abs(x - y).max() for x, y in zip(*both, strict=True)])
    return np.max(found, axis=0)


PEERS = {
    "AIHWKIT": lambda: PCMLikeNoiseModel(g_max=G_MAX),
    "HERMES_1": lambda: HermesNoiseModel(num_devices=1),
    "HERMES_2": lambda: HermesNoiseModel(num_devices=2),
}


@pytest.mark.parametrize("name", PEERS)
def test_the_laws_are_the_same(name, monkeypatch):
    found = law_differences(pcmref.MODELS[name], PEERS[name](), monkeypatch)
    print(f"{name}: largest difference of G_P, nu, G_D, G: {found}")
    assert (found < 1e-9).all()  # both in float64; G_max is 25 uS


def coefficients(*rising):
    return {"programming_spread_us": Polynomial(rising)}


@pytest.mark.parametrize(
    "change",
    [
        coefficients(0.26349, 1.9650, -1.1731),
        coefficients(0.26348, 1.9651, -1.1731),
        coefficients(0.26348, 1.9650, -1.1732),
        {"exponent_mean": Logarithm(-0.0155, 0.0245, 0.049, 0.1)},
        {"exponent_spread": Logarithm(-0.0125, -0.0058, 0.008, 0.045)},
        {"read_noise": PowerLaw(0.0088, -0.66, 0.2)},
        {"t_read_s": 251e-9},
        {"t_offset_s": 19.0},
    ],
    ids=str,
)
def test_the_last_digit_of_a_law_is_noticed(change, monkeypatch):
    found = law_differences(replace(AIHWKIT, **change), PEERS["AIHWKIT"](), monkeypatch)
    print(f"largest difference of G_P, nu, G_D, G: {found}")
    assert found.max() > 1e-5


def test_of_the_other_sets_none_has_its_laws(monkeypatch):
    for model in (N19, pcmref.MODELS["JOSHI_2020"]):
        as_theirs = replace(
            model, t_offset_s=20.0, exponent_absolute=True, read_noise_of_programmed=True, programs_zero=True
        )
        for label, ours in ((model.name, model), (f"{model.name}, converted", as_theirs)):
            found = law_differences(ours, PCMLikeNoiseModel(g_max=G_MAX), monkeypatch)
            print(f"{label}: largest difference of G_P, nu, G_D, G: {found}")
            assert found.max() > 1e-5


# The same conductances


def put(model, snapshot):
    """Make the conductances of a snapshot the weights of aihwkit's tiles, where 1 is G_max."""
    for layer, codes, tile in zip(NET.crossbar_layers, snapshot.layers, model.analog_tiles(), strict=True):
        tile.tile.set_weights(tile_matrix(layer, codes.read_code * (G_STEP / G_MAX)))


def rounding_spread(snapshot, bits, *, gain=(1.0, 1.0, 1.0), grid=False):
    """Standard deviation of what rounding does to each logit, to first order, all roundings being independent.

    ``sum (d logit / d x)^2 step^2 / 12`` over the inputs x of all layers, ``step = top / (2^(bits-1) - 1)``, and with
    `grid` ``sum (d logit / d W)^2 (g_step weight_per_us)^2 2 / 12`` over the weights, each of two devices; `gain` is
    that of GDC.
    """
    f, func = torch.nn.functional, torch.func
    bn = NET.layers[4]
    a = bn.gamma / np.sqrt(bn.var.astype(np.float64) + bn.eps)
    a, b = (torch.tensor(x)[:, None, None] for x in (a, bn.beta - bn.mean * a))

    def forward(x, nudges, matrices):
        (dx1, dx2, dx3, bias1, bias3), (w1, w2, w3) = nudges, matrices
        x1 = x + dx1
        y = f.conv2d(x1[None], w1[:, :-1].reshape(8, 3, 3, 3), padding=1)[0] + ((1 + bias1) * w1[:, -1])[:, None, None]
        x2 = f.max_pool2d(y.relu()[None], 2)[0] + dx2
        y = f.conv2d(x2[None], w2.reshape(16, 8, 3, 3), padding=1)[0]
        x3 = (y * a + b).relu().mean((1, 2)) + dx3
        return w3[:, :-1] @ x3 + (1 + bias3) * w3[:, -1], (x1, x2, x3)

    per_us = [codes.weight_per_us[0] * factor for codes, factor in zip(snapshot.layers, gain, strict=True)]
    matrices = [
        tile_matrix(layer, codes.read_code * G_STEP * scale).double()
        for layer, codes, scale in zip(NET.crossbar_layers, snapshot.layers, per_us, strict=True)
    ]
    nudges = [torch.zeros(shape, dtype=torch.float64) for shape in ((3, 12, 12), (8, 6, 6), (16,), (), ())]
    jacobian = func.vmap(func.jacrev(forward, argnums=(1, 2), has_aux=True), in_dims=(0, None, None))
    (by_input, by_weight), inputs = jacobian(torch_input().double(), nudges, matrices)
    tops = [x.abs().flatten(1).max(1).values.clamp(min=least) for x, least in zip(inputs, (1.0, 0.0, 1.0), strict=True)]
    variance = torch.zeros(len(IMAGES), 10, dtype=torch.float64)
    for slope, x, top in zip(by_input, [*inputs, None, None], [*tops, tops[0], tops[2]], strict=True):
        rounded = 1.0 if x is None else (x != 0).flatten(1)[:, None]  # the code of 0 is exact
        step = top[:, None] / (2 ** (bits - 1) - 1)
        variance += ((slope.reshape(len(IMAGES), 10, -1) ** 2) * rounded).sum(2) * step**2 / 12
    if grid:
        for slope, scale in zip(by_weight, per_us, strict=True):
            variance += (slope**2).flatten(2).sum(2) * (scale * G_STEP) ** 2 * 2 / 12
    return variance.sqrt().numpy()


def products(layer, tile, product):
    """What aihwkit's tile makes of the inputs that pcmref's DAC gives a layer, and the size of its float32 rounding."""
    f = torch.nn.functional
    x = torch.tensor(product.input_codes * product.input_step[:, None, None, None])
    kernel, channels = layer.weight.shape[2:] or (1, 1), layer.weight.shape[1]
    rows = f.unfold(x[..., :channels].permute(0, 3, 1, 2), kernel).transpose(1, 2)
    if layer.bias is not None:
        rows = torch.cat([rows, x[:, :1, :1, channels].expand(-1, rows.shape[1], 1)], 2)
    flat, scale = rows.reshape(-1, rows.shape[2]), tile.get_mapping_scales()
    out = tile.tile.forward(flat, False, False, False, True) * scale
    sizes = flat.double().abs() @ (tile.tile.get_weights() * scale).double().abs().T
    return out.double().numpy(), (flat.shape[1] + 8) * FLOAT32 / 2 * sizes.numpy()


@pytest.mark.parametrize("model", [AIHWKIT, N19], ids=lambda m: m.name)
@pytest.mark.parametrize("t", [20.0, DAY, YEAR])
def test_the_same_conductances_give_the_same_products(model, t):
    """Layer by layer, with the codes of pcmref's DAC: nothing is left but float32."""
    snapshot = pcmref.program(NET, model=model, seed=5).at(t)
    peer = analog_network()
    put(peer, snapshot)
    seen = {}
    pcmref.logits(snapshot, IMAGES[:48], readout=FINEST, tap=lambda trace: seen.update({trace.layer: trace}))
    for layer, tile in zip(NET.crossbar_layers, peer.analog_tiles(), strict=True):
        theirs, rounding = products(layer, tile, seen[layer.name].product)
        ours = seen[layer.name].activations.reshape(theirs.shape)
        found = np.abs(ours - theirs)
        print(f"{model.name}, {t:g} s, {layer.name}: {found.max() / np.abs(theirs).max():.1e} of the largest product")
        assert (found <= rounding).all()


@pytest.mark.parametrize("model", [AIHWKIT, N19], ids=lambda m: m.name)
@pytest.mark.parametrize("t", [20.0, DAY, YEAR])
def test_the_same_conductances_give_the_same_logits(model, t):
    """End to end with ideal read-out: what is left is pcmref's DAC, as large as its step says."""
    snapshot = pcmref.program(NET, model=model, seed=5).at(t)
    peer = analog_network()
    put(peer, snapshot)
    theirs = run(peer)
    scale = np.abs(theirs).max()
    for bits in (8, 10, 12, 14, 16):
        readout = replace(FINEST, dac=pcmref.Dac(bits=bits))
        found = pcmref.logits(snapshot, IMAGES, readout=readout, threads=1) - theirs
        ratio = found / rounding_spread(snapshot, bits)
        print(
            f"{model.name}, {t:g} s, DAC of {bits} bits: {np.abs(found).max() / scale:.1e} of the largest logit; "
            f"in units of the expected spread {np.abs(ratio).max():.2f} at most, {np.sqrt((ratio**2).mean()):.2f} rms"
        )
        assert np.abs(ratio).max() < 6
        assert 0.7 < np.sqrt((ratio**2).mean()) < 1.4


def test_the_same_conductances_give_the_same_gdc():
    """``gain = sum |G+ - G-| at t_ref / sum |G+ - G-| at t``; aihwkit: means of sizes of one-hot products."""
    chip = pcmref.program(NET, model=AIHWKIT, seed=5)
    peer = analog_network()
    tiles = list(peer.analog_tiles())
    baseline = tiles[0].rpu_config.drift_compensation.init_baseline
    put(peer, chip.reference())
    before = [baseline(tile) for tile in tiles]
    for t in (DAY, YEAR):
        snapshot = chip.at(t)
        corrections = pcmref.calibrate(snapshot, "gdc", reference=chip.reference())
        put(peer, snapshot)
        for layer, tile, then in zip(snapshot.layers, tiles, before, strict=True):
            tile.alpha = then / baseline(tile)
            ours, theirs = corrections.gain[layer.name].item(), tile.alpha.item()
            print(f"{t:g} s, {layer.name}: GDC {ours:.7f}, aihwkit {theirs:.7f}")
            assert theirs == pytest.approx(ours, rel=10 * FLOAT32)


# The same draws


def draws(purpose, address, layer, **when):
    """pcmref's normal numbers of a layer, in the order of the matrix of aihwkit's tile."""
    shape = layer.rows, layer.columns
    words = weight_words(stream_key(3, purpose, address, **when), math.prod(shape))
    return [tile_matrix(layer, z.reshape(shape)) for z in normals(words)]


def test_the_same_draws_give_the_same_chip(monkeypatch):
    """aihwkit's own code, given pcmref's normal numbers in place of torch's, makes and reads pcmref's chip."""
    chip = pcmref.program(NET, model=AIHWKIT, seed=3)
    peer = analog_network(KeptPairs(g_max=G_MAX))
    tiles = list(peer.analog_tiles())
    queue = []
    monkeypatch.setattr("aihwkit.inference.noise.pcm.randn_like", lambda like: queue.pop(0))
    for address, layer in enumerate(NET.crossbar_layers):
        z = draws(Purpose.PROGRAM, address, layer)
        queue += [z[0], z[2], z[1], z[3]]
    peer.program_analog_weights()
    for t in (0.0, DAY, YEAR):
        for address, layer in enumerate(NET.crossbar_layers):
            queue += draws(Purpose.READ, address, layer, t_s=t)[:2]
        peer.drift_analog_weights(t)
        assert not queue
        if not t:
            begin_gdc(tiles)
        snapshot = chip.at(t)
        pairs = zip(NET.crossbar_layers, snapshot.layers, tiles, strict=True)
        worst = max(
            (G_MAX * tile.tile.get_weights() - tile_matrix(layer, codes.read_code * G_STEP)).abs().max().item()
            for layer, codes, tile in pairs
        )
        print(f"{t:g} s: largest difference of G+ - G-: {1000 * worst:.3f} nS; step of the grid {1000 * G_STEP:.3f} nS")
        assert worst <= G_STEP + 40 * FLOAT32 * G_MAX  # half a step each device, and float32
        for compensation in ("gdc", "none") if t else ("none",):
            fix = pcmref.calibrate(snapshot, compensation, reference=chip.reference())
            gain = [fix.gain[layer.name].item() if fix.gain else 1.0 for layer in snapshot.layers]
            if compensation == "none":
                uncompensated(tiles)
            assert [tile.alpha.item() for tile in tiles] == pytest.approx(gain, rel=1e-4)
            theirs = run(peer)
            found = pcmref.logits(snapshot, IMAGES, corrections=fix, readout=FINEST, threads=1) - theirs
            ratio = np.abs(found / rounding_spread(snapshot, 16, gain=gain, grid=True)).max()
            print(
                f"{t:g} s, {compensation}: {np.abs(found).max() / np.abs(theirs).max():.1e} of the largest logit; "
                f"{ratio:.2f} times the spread expected of roundings"
            )
            assert ratio < 6


# Devices of 200 chips

LEVELS = np.array([0.0, 0.02, 0.1, 0.3, 0.5, 0.75, 1.0], np.float32)
COPIES = 5000  # devices of each level on a chip: a million on all
TIMES = {"programmed": 0.0, "a minute": 60.0, "a day": DAY, "a year": YEAR}


def level_network():
    """One layer with a row for each level; every second column is negative."""
    weight = np.tile(LEVELS, (COPIES, 1)) * np.where(np.arange(COPIES) % 2, -1.0, 1.0)[:, None]
    return pcmref.Network(
        layers=(
            GlobalAveragePool(name="pool", inputs=("input",)),
            Linear(name="fc", inputs=("pool",), weight=weight.astype(np.float32)),
        ),
        input_shape=(1, 1, len(LEVELS)),
        normalisation=Normalisation(full_scale=255.0, mean=(0.0,) * len(LEVELS), std=(1.0,) * len(LEVELS)),
        classes=tuple(map(str, range(COPIES))),
    )


def device_moments(samples):
    """Moments by name of quantity, each of shape (levels,), from one dictionary of (levels, copies) a chip."""
    chips = list(samples)
    return {name: moments(np.concatenate([chip[name] for chip in chips], 1), axis=1) for name in chips[0]}


def our_devices(model, times=TIMES, chips=CHIPS):
    net = level_network()
    positive = np.arange(COPIES) % 2 == 0

    def device(both):  # the one of the pair that has the target
        return np.where(positive, both[0], both[1])

    for seed in range(chips):
        chip = pcmref.program(net, model=model, seed=seed)
        state = chip.layers[0].state
        found = {"G_P": device(state.dense(state.g_prog_us)), "nu": device(state.dense(state.nu))}
        for name, t in times.items():
            layer = chip.at(t).layers[0]
            drift, read = (device(codes) * G_STEP for codes in (layer.g_mean_code, layer.g_read_code))
            found |= {f"G_D, {name}": drift, f"G, {name}": read, f"G - G_D, {name}": read - drift}
        yield found


def their_devices(peer, times=TIMES, chips=CHIPS):
    quiet = PCMLikeNoiseModel(g_max=G_MAX, read_noise_scale=0.0)
    target = torch.tensor(G_MAX * LEVELS)[:, None].repeat(1, COPIES)
    for seed in range(chips):
        torch.manual_seed(seed)
        prog = peer.apply_programming_noise_to_conductance(target)
        nu = peer.generate_drift_coefficients(target)
        found = {"G_P": prog, "nu": nu}
        for name, t in times.items():
            drift = quiet.apply_drift_noise_to_conductance(prog, nu, t)
            read = peer.apply_drift_noise_to_conductance(prog, nu, t)
            found |= {f"G_D, {name}": drift, f"G, {name}": read, f"G - G_D, {name}": read - drift}
        yield {name: values.double().numpy() for name, values in found.items()}


@pytest.fixture(scope="module")
def peer_devices():
    torch.set_num_threads(1)
    return device_moments(their_devices(PCMLikeNoiseModel(g_max=G_MAX)))


def same_devices(ours, theirs, names=None, first=0):
    """Largest deviation, in standard errors, of means and standard deviations, from level `first` on."""
    worst = (0.0, "")
    for name in names or theirs:
        for what, sigmas in zip(("mean", "std"), deviations(ours[name], theirs[name]), strict=True):
            at = first + int(sigmas[first:].argmax())
            worst = max(worst, (float(sigmas[at]), f"{what} of {name} at g = {LEVELS[at]:g}"))
    print(f"largest deviation {worst[0]:.2f} standard errors: {worst[1]}")
    return worst[0]


def show_devices(ours, theirs):
    for name in theirs:
        (x, v, *_), (y, w, *_) = ours[name], theirs[name]
        for at, level in enumerate(LEVELS):
            means, stds = f"{x[at]:.5f} and {y[at]:.5f}", f"{math.sqrt(v[at]):.5f} and {math.sqrt(w[at]):.5f}"
            print(f"{name}, g = {level:g}: mean {means}, std {stds}")


def test_devices_of_200_chips_have_the_same_statistics(peer_devices):
    ours = device_moments(our_devices(AIHWKIT))
    show_devices(ours, peer_devices)
    assert same_devices(ours, peer_devices) < 5


def test_what_the_default_set_shares_with_aihwkit(peer_devices):
    """NANDAKUMAR_2019 at ``t + 20 s``: from g = 0.3 on, where no nu is negative, all but the read noise is the same."""
    ours = device_moments(our_devices(N19, {name: t + 20.0 for name, t in TIMES.items()}))
    show_devices(ours, peer_devices)
    shared = ["G_P", "nu", *(f"G_D, {name}" for name in TIMES)]
    assert same_devices(ours, peer_devices, shared, first=3) < 5
    assert same_devices(ours, peer_devices) > 5


MUTANTS = {
    "0.26348 is 0.27348": coefficients(0.27348, 1.9650, -1.1731),
    "1.9650 is 1.9750": coefficients(0.26348, 1.9750, -1.1731),
    "-1.1731 is -1.1831": coefficients(0.26348, 1.9650, -1.1831),
    "nu times 1.05": {
        "exponent_mean": Logarithm(-0.0155 * 1.05, 0.0244 * 1.05, 0.049 * 1.05, 0.1 * 1.05),
        "exponent_spread": Logarithm(-0.0125 * 1.05, -0.0059 * 1.05, 0.008 * 1.05, 0.045 * 1.05),
    },
    "mean of nu from 0.048": {"exponent_mean": Logarithm(-0.0155, 0.0244, 0.048, 0.1)},
    "0.0088 is 0.0089": {"read_noise": PowerLaw(0.0089, -0.65, 0.2)},
    "nu as drawn": {"exponent_absolute": False},
    "Q at the target": {"read_noise_of_programmed": False},
    "target 0 is RESET": {"programs_zero": False},
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_another_number_is_noticed(mutant, peer_devices):
    assert same_devices(device_moments(our_devices(replace(AIHWKIT, **MUTANTS[mutant]))), peer_devices) > 5


def test_the_20_seconds_are_noticed_within_an_hour(peer_devices):
    """Without them: ``(t / t_c)^-nu`` for ``((t + t_0) / t_c)^-nu``."""
    ours = device_moments(our_devices(replace(AIHWKIT, t_offset_s=0.0), {name: t or 1.0 for name, t in TIMES.items()}))
    for name in TIMES:
        sigmas = same_devices(ours, peer_devices, [key for key in peer_devices if key.endswith(name)])
        assert (sigmas > 5) == (name in ("programmed", "a minute"))  # a day and a year are below resolution


# The network on 200 chips

LATER = {"a day": DAY, "a year": YEAR}
RMS = math.sqrt((DIGITAL**2).mean())


def our_chips(model, chips=CHIPS):
    """Logits of all chips by time and compensation, shape (chips, images, classes)."""
    found = {}
    for seed in range(chips):
        chip = pcmref.program(NET, model=model, seed=seed)
        reference = chip.reference()
        later = {name: chip.at(t + 20.0 - model.t_offset_s) for name, t in LATER.items()}
        for name, snapshot in ({"programmed": reference} | later).items():
            logits = [("none", pcmref.logits(snapshot, IMAGES, readout=FINEST, threads=1))]
            if snapshot is not reference:
                fix = pcmref.calibrate(snapshot, "gdc", reference=reference)
                logits.append(("GDC", pcmref.logits(snapshot, IMAGES, corrections=fix, readout=FINEST, threads=1)))
            for compensation, values in logits:
                found.setdefault(f"{name}, {compensation}", []).append(values)
    return {name: np.array(values, np.float64) for name, values in found.items()}


def their_chips(noise_model, *, noisy_baseline=True, chips=CHIPS):
    """The same of aihwkit; with `noisy_baseline` its GDC begins with a read at t_0, as pcmref's does."""
    model = analog_network(noise_model)
    tiles = list(model.analog_tiles())
    found = {}
    for seed in range(chips):
        torch.manual_seed(seed)
        model.program_analog_weights()
        model.drift_analog_weights(0.0)
        if noisy_baseline:
            begin_gdc(tiles)
        for name, t in ({"programmed": 0.0} | LATER).items():
            if t:
                model.drift_analog_weights(t)
                found.setdefault(f"{name}, GDC", []).append(run(model))
            uncompensated(tiles)
            found.setdefault(f"{name}, none", []).append(run(model))
    return {name: np.array(values) for name, values in found.items()}


def chip_numbers(logits):
    """Of each chip: root mean square error relative to the digital logits, and their slope on those."""
    error = np.sqrt(((logits - DIGITAL) ** 2).mean((1, 2))) / RMS
    return {"error": error, "slope": (logits * DIGITAL).mean((1, 2)) / RMS**2}


def same_chips(ours, theirs):
    """Largest deviation in standard errors: mean and spread of error and slope, mean and spread of each logit."""
    worst = (0.0, "")
    for name in theirs:
        x, y = ({**chip_numbers(logits[name]), "logits": logits[name]} for logits in (ours, theirs))
        for what in x:
            both = moments(x[what]), moments(y[what])
            for of, sigmas in zip(("mean", "std"), deviations(*both), strict=True):
                worst = max(worst, (float(np.max(sigmas)), f"{of} of {what}, {name}"))
            if what != "logits":
                text = (f"{m[0]:.4f} +- {math.sqrt(m[2]):.4f} (std {math.sqrt(m[1]):.4f})" for m in both)
                print(f"{name}: {what} {' and '.join(text)}")
    print(f"largest deviation {worst[0]:.2f} standard errors: {worst[1]}")
    return worst[0]


@pytest.fixture(scope="module")
def our_logits():
    return our_chips(AIHWKIT)


@pytest.fixture(scope="module")
def peer_logits():
    torch.set_num_threads(1)
    return their_chips(KeptPairs(g_max=G_MAX))


def test_200_chips_have_the_same_statistics(our_logits, peer_logits):
    assert same_chips(our_logits, peer_logits) < 5


def test_another_drift_is_noticed_in_the_logits(our_logits):
    assert same_chips(our_logits, their_chips(KeptPairs(g_max=G_MAX, drift_scale=1.05))) > 5


def effect(label, base, changed):
    """Return, and print, the most by which a convention changes the mean error and slope of the same chips."""
    most = 0.0
    for name in base:
        x, y = chip_numbers(base[name]), chip_numbers(changed[name])
        found = {key: moments(y[key] - x[key]) for key in x}
        text = ", ".join(f"{key} {m[0]:+.5f} +- {math.sqrt(m[2]):.5f}" for key, m in found.items())
        print(f"{label}, {name}: {text}")
        most = max(most, *(abs(m[0]) for m in found.values()))
    return most


def test_stock_aihwkit_differs_little(our_logits, peer_logits):
    """Without the conversions of pairs and of the reference of GDC; chips share their draws, so that effects show."""
    stock = their_chips(PCMLikeNoiseModel(g_max=G_MAX))
    assert effect("pairs merged and scaled", peer_logits, stock) < 0.01
    quiet = their_chips(KeptPairs(g_max=G_MAX), noisy_baseline=False)
    assert effect("reference of GDC without read noise", peer_logits, quiet) < 0.003
    neither = their_chips(PCMLikeNoiseModel(g_max=G_MAX), noisy_baseline=False)
    assert effect("both", peer_logits, neither) < 0.01
    same_chips(our_logits, neither)
    model, largest = analog_network(), []
    for seed in range(CHIPS):
        torch.manual_seed(seed)
        model.program_analog_weights()
        largest += [tile.programmed_weights.abs().max().item() for tile in model.analog_tiles()]
    print(f"largest programmed weight of a layer: {np.mean(largest):.3f} of G_max, {max(largest):.3f} at most")


DIFFERENCES = {
    "nu as drawn": {"exponent_absolute": False},
    "Q at the target": {"read_noise_of_programmed": False},
    "target 0 is RESET": {"programs_zero": False},
    "0.26348 is 0.2635": coefficients(0.2635, 1.9650, -1.1731),
    "all four": {"exponent_absolute": False, "read_noise_of_programmed": False, "programs_zero": False}
    | coefficients(0.2635, 1.9650, -1.1731),
}


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_the_default_set_differs_little(difference, our_logits):
    """One convention of NANDAKUMAR_2019 at a time, on chips with the same draws."""
    assert effect(difference, our_logits, our_chips(replace(AIHWKIT, **DIFFERENCES[difference]))) < 0.06
