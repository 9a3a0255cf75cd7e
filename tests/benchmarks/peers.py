"""What `side_by_side.py` compares pcmref with: the same network in PyTorch, ONNX Runtime and aihwkit.

Each function imports what it needs, so that what is not installed is missed by that function only.  All take images as
pcmref does, uint8 and channels last, and scaling them is part of their time as it is of pcmref's.
"""

import logging
import tempfile
import time
from pathlib import Path

import numpy as np

import pcmref
from pcmref.network.layers import Conv

#: How many images these take at a time; for ONNX Runtime 50 was the fastest of 1 to 200, by a small margin.
TORCH_BATCH, ONNX_BATCH, AIHWKIT_BATCH = 200, 50, 200


def forwards(net, images, workers):
    """Return name -> function of images and threads that infers, of PyTorch and ONNX Runtime where installed.

    `workers` are the numbers of threads that will be asked for.  What they infer is compared with `pcmref.digital`.
    """
    makers = {
        "PyTorch float32": lambda: torch_forward(net),
        "ONNX Runtime float32": lambda: onnx_forward(net, workers),
        "ONNX Runtime int8 (QDQ)": lambda: onnx_forward(net, workers, calibration=images[:50]),
    }
    found, ours = {}, pcmref.digital(net, images, threads=workers[0])
    for name, make in makers.items():
        try:
            forward = make()
        except ImportError as error:
            print(f"no {name}: {error}")
            continue
        theirs = forward(images, workers[0])
        if name.endswith("float32"):
            assert np.allclose(theirs, ours, rtol=1e-3, atol=1e-3 * np.abs(theirs).max())
        else:
            print(f"{name}: the class of float32 for {np.mean(theirs.argmax(1) == ours.argmax(1)):.0%} of the images")
        found[name] = forward
    return found


def folded(net):
    """Return name -> (name of the batch normalisation, kernel and offset with it folded in) of each convolution."""
    found = {}
    for layer in net.layers:
        if isinstance(layer, Conv):
            norm = next(n for n in net.layers if n.inputs == (layer.name,))
            scale, offset = pcmref.inference.digital.fold(norm, pcmref.inference.corrections.stored_statistics(norm))
            found[layer.name] = norm.name, layer.weight * scale[:, None, None, None], offset
    return found


def scaled(images):
    """Return images as a network takes them: float32, normalised, channels first."""
    x = np.empty((len(images), 3, *images.shape[1:3]), np.float32)
    np.divide(images.transpose(0, 3, 1, 2), np.float32(255), out=x)
    x -= np.float32(0.5)
    x /= np.float32(0.25)
    return x


# PyTorch


def torch_forward(net):
    """Return a function of images and threads that runs `net` in PyTorch: float32, channels last."""
    import torch
    from torch.nn import functional as F  # noqa: N812

    layers = {layer.name: layer for layer in net.layers}
    convs = {
        name: (
            torch.from_numpy(kernel).contiguous(memory_format=torch.channels_last),
            torch.from_numpy(offset),
            layers[name].stride,
            layers[name].padding,
        )
        for name, (_, kernel, offset) in folded(net).items()
    }
    last = layers["fc"]
    fc = torch.from_numpy(last.weight.copy()), torch.from_numpy(last.bias.copy())

    def conv(x, name):
        kernel, offset, stride, padding = convs[name]
        return F.conv2d(x, kernel, offset, stride, padding)

    def forward(x):
        x = F.relu_(conv(x, "conv1"))
        for name in convs:
            if name.endswith(".conv1"):
                block = name.removesuffix(".conv1")
                y = conv(F.relu_(conv(x, name)), f"{block}.conv2")
                y += conv(x, f"{block}.shortcut") if f"{block}.shortcut" in convs else x
                x = F.relu_(y)
        return F.linear(x.mean((2, 3)), *fc)

    def run(images, threads):
        torch.set_num_threads(threads)
        with torch.inference_mode():
            x = torch.tensor(images).permute(0, 3, 1, 2).float().div_(255).sub_(0.5).div_(0.25)
            x = x.contiguous(memory_format=torch.channels_last)
            return torch.cat([forward(part) for part in x.split(TORCH_BATCH)]).numpy()

    return run


def gemm_peak(threads, size=2048):
    """Return the rate of PyTorch's float32 product of two square matrices, GFLOP/s: the best of ten, or None."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(threads)
    a, b = torch.rand(2, size, size)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times) / 1e9


def torch_modules(net):
    """Return `net` as a PyTorch module: convolutions and a linear layer that aihwkit can convert, and batch norms."""
    import torch
    from torch import nn
    from torch.nn import functional as F  # noqa: N812

    def module(layer):
        if isinstance(layer, Conv):
            out, inputs, kernel, _ = layer.weight.shape
            found = nn.Conv2d(inputs, out, kernel, layer.stride, layer.padding, bias=False)
        elif layer.op == "linear":
            found = nn.Linear(layer.weight.shape[1], layer.weight.shape[0])
            found.bias.data = torch.from_numpy(layer.bias.copy())
        else:
            found = nn.BatchNorm2d(len(layer.mean))
            return found.eval()
        found.weight.data = torch.from_numpy(layer.weight.copy())
        return found

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            kept = [layer for layer in net.layers if layer.op in ("conv", "linear", "batch_norm")]
            self.parts = nn.ModuleDict({layer.name.replace(".", "_"): module(layer) for layer in kept})

        def forward(self, x):
            values = {"input": x}
            for layer in net.layers:
                x, *other = (values[name] for name in layer.inputs)
                if layer.name.replace(".", "_") in self.parts:
                    x = self.parts[layer.name.replace(".", "_")](x)
                elif layer.op == "add":
                    x = x + other[0]
                elif layer.op == "relu":
                    x = F.relu(x)
                else:
                    x = x.mean((2, 3))
                values[layer.name] = x
            return x

    return Net().eval()


# ONNX Runtime


def onnx_model(net):
    """Return `net` as an ONNX model of float32, its batch normalisations folded into the convolutions."""
    from onnx import TensorProto, helper, numpy_helper

    convs, nodes, constants = folded(net), [], []

    def constant(name, values):
        constants.append(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name))
        return name

    def node(kind, inputs, output, **attributes):
        nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))

    for layer in net.layers:
        name, first = layer.name, layer.inputs[0]
        if isinstance(layer, Conv):
            output, kernel, offset = convs[name]
            tensors = constant(f"{name}.weight", kernel), constant(f"{name}.bias", offset)
            window = {"strides": list(layer.windows.stride), "pads": list(layer.windows.padding)}
            node("Conv", [first, *tensors], output, kernel_shape=list(kernel.shape[2:]), **window)
        elif layer.op == "linear":
            tensors = constant(f"{name}.weight", layer.weight), constant(f"{name}.bias", layer.bias)
            node("Gemm", [first, *tensors], name, transB=1)
        elif layer.op == "global_average_pool":
            node("GlobalAveragePool", [first], f"{name}.pooled")
            node("Flatten", [f"{name}.pooled"], name)
        elif layer.op != "batch_norm":
            node({"add": "Add", "relu": "Relu"}[layer.op], list(layer.inputs), name)
    height, width, channels = net.input_shape
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", channels, height, width])],
        [helper.make_tensor_value_info(net.layers[-1].name, TensorProto.FLOAT, ["n", len(net.classes)])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def quantised(model, images):
    """Return an ONNX model with int8 weights, a scale a channel, and uint8 activations, calibrated with images.

    With int8 activations it takes almost twice the time with AVX2, which multiplies unsigned by signed bytes.  Without
    VNNI instructions those products saturate, which costs some accuracy.
    """
    from onnxruntime import quantization

    class Images(quantization.CalibrationDataReader):
        def __init__(self):
            self.left = [{"input": scaled(images)}]

        def get_next(self):
            return self.left.pop() if self.left else None

    logging.disable(logging.WARNING)  # it recommends its preparation, which is to fold the batch normalisations
    try:
        with tempfile.TemporaryDirectory() as folder:
            quantization.quantize_static(
                model,
                found := Path(folder) / "int8.onnx",
                Images(),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
            )
            return found.read_bytes()
    finally:
        logging.disable(logging.NOTSET)


def onnx_forward(net, threads, *, calibration=None):
    """Return a function of images and threads that runs `net` in ONNX Runtime, on the processor.

    `threads` are the numbers of threads that will be asked for; float32, or int8 calibrated with the images.
    """
    import onnxruntime

    model = onnx_model(net)
    given = model.SerializeToString() if calibration is None else quantised(model, calibration)

    def session(count):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = count, 1
        return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])

    sessions = {count: session(count) for count in threads}

    def run(images, threads):
        x = scaled(images)
        parts = [x[start : start + ONNX_BATCH] for start in range(0, len(x), ONNX_BATCH)]
        return np.concatenate([sessions[threads].run(None, {"input": part})[0] for part in parts])

    return run


# aihwkit


def aihwkit_forward(net, threads, *, noisy):
    """Return functions: program and drift to a day; infer images. Tiles of at most 256 rows, G_max 25 uS.

    `noisy` takes aihwkit's default converters and noise (7-bit DAC, 9-bit ADC, output noise), else they are perfect.
    """
    import torch
    from aihwkit.inference import PCMLikeNoiseModel
    from aihwkit.nn.conversion import convert_to_analog
    from aihwkit.simulator.configs import InferenceRPUConfig

    config = InferenceRPUConfig()
    config.noise_model = PCMLikeNoiseModel(g_max=25.0)
    config.forward.is_perfect = not noisy
    config.mapping.max_input_size = 256
    config.mapping.weight_scaling_omega = 1.0
    model = convert_to_analog(torch_modules(net), config).eval()

    def program():
        torch.set_num_threads(threads)
        model.program_analog_weights()
        model.drift_analog_weights(86_400.0)

    def run(images):
        torch.set_num_threads(threads)
        with torch.inference_mode():
            x = torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(255).sub_(0.5).div_(0.25)
            return torch.cat([model(part) for part in x.contiguous().split(AIHWKIT_BATCH)]).numpy()

    return program, run
