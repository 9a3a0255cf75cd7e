"""The end of a run: statistics of batch normalisation, a network file, and a table of its accuracy."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import platform
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from data import CHUNK, Images
from measure import CHIPS, measure_statistics
from model import BatchNorm, ResNet
from noise import devices, noisy
from recipe import DAY_S, FRESH_S, MODEL
from stages import Run
from torch import Tensor
from torch.func import functional_call
from train import hardware

import pcmref
from pcmref.importers.resnet import architecture, network_from_tensors

#: Training images that the ranges of converters are found with, and images and batches of AdaBS [J20].
RANGE_IMAGES, ADABS_IMAGES, ADABS_BATCH = 200, 2600, 200


def with_statistics(run: Run, tensors: Mapping[str, Tensor], device: torch.device) -> ResNet:
    """Return a network with the statistics of the training images as they are, on chips that are `FRESH_S` old."""
    model = ResNet(architecture(run.recipe.arch), run.data.training.images.shape[-1], len(run.data.classes))
    model.load_state_dict(dict(tensors))
    model.to(device, memory_format=torch.channels_last)
    run.start_numbers("statistics")
    training, _ = run.parts()
    fresh = devices(pcmref.MODELS[MODEL], FRESH_S, FRESH_S, fresh=CHIPS)
    measure_statistics(model, Images(training, run.data, device), fresh)
    return model.eval()


def export(run: Run, tensors: Mapping[str, Tensor], told: str, path: Path) -> ResNet:
    """Write a network file and return the network as it is in there; `told` is what it was trained on.

    If the device fails, the CPU measures the statistics.
    """
    try:
        model = with_statistics(run, tensors, run.device)
    except Exception as error:  # after some errors a GPU answers nothing any more
        run.log(f"statistics on the CPU, since the device failed: {type(error).__name__}: {error}")
        model = with_statistics(run, tensors, torch.device("cpu"))
    training, validation = run.parts()
    network = network_from_tensors(
        {name: tensor.cpu().numpy() for name, tensor in model.state_dict().items()},
        architecture(run.recipe.arch),
        input_shape=training.images.shape[1:],
        normalisation=run.data.normalisation,
        classes=run.data.classes,
        provenance={
            "title": f"{run.recipe.arch} for cifar10, {told}",
            "commands": "\n".join(run.commands),
            "data": run.data.source,
            "data files, SHA-256": run.data.files,
            "split": f"{len(training)} training images, {len(validation)} for validation",
            "seed": str(run.seed),
            "hardware": hardware(run.device),
            "software": f"Python {platform.python_version()}, PyTorch {torch.__version__}, NumPy {np.__version__}, "
            f"pcmref {pcmref.__version__}",
            "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
            "licence": "MIT (the weights)",
        },
    )
    try:
        chip8 = pcmref.calibrate_ranges(network, training.images[:RANGE_IMAGES], pcmref.PRESETS["chip8"])
        network = dataclasses.replace(network, ranges={"chip8": chip8.ranges})
    except Exception as error:  # they can be found later
        run.log(f"a network file without ranges of converters: {type(error).__name__}: {error}")
    pcmref.save(path, network)
    return model


def table(run: Run, model: ResNet) -> dict[str, list[float]]:
    """Return accuracies in percent on held-out images, by condition: one without errors, else one for each chip."""
    training, validation = run.parts()
    images = run.images(validation.first(run.recipe.judged))
    whole = run.images(training.first(ADABS_IMAGES))
    model = model.to(run.device).eval()
    laws = pcmref.MODELS[MODEL]
    aged = devices(laws, DAY_S, DAY_S, fresh=1)  # fresh: not compensated
    conditions = {"25 s": devices(laws, FRESH_S, FRESH_S, fresh=1), "1 day, GDC": devices(laws, DAY_S, DAY_S)}
    found: dict[str, list[float]] = {"digital": [right(model, {}, images)]}
    for name, disturbance in conditions.items():
        run.start_numbers(name)
        chips = [noisy(model, disturbance) for _ in range(run.recipe.judges)]
        found[name] = [right(model, weights, images) for weights in chips]
    run.start_numbers("AdaBS")
    chips = [noisy(model, aged) for _ in range(run.recipe.judges)]
    found["1 day, AdaBS"] = [right(adapted(model, weights, whole), weights, images) for weights in chips]
    return found


@torch.no_grad()
def right(model: ResNet, weights: Mapping[str, Tensor], images: Images) -> float:
    """Return the accuracy in percent with some weights in the place of the model's."""
    found = []
    for start in range(0, len(images), CHUNK):
        batch, labels = images.batch(slice(start, start + CHUNK))
        found.append(functional_call(model, dict(weights), batch).argmax(dim=1) == labels)
    return 100 * torch.cat(found).float().mean().item()


@torch.no_grad()
def adapted(model: ResNet, weights: Mapping[str, Tensor], images: Images) -> ResNet:
    """Return a model whose stored statistics are the means of those of batches on a chip, about as by AdaBS."""
    model = copy.deepcopy(model).train()
    norms = [module for module in model.modules() if isinstance(module, BatchNorm)]
    for number, start in enumerate(range(0, len(images), ADABS_BATCH), start=1):
        for norm in norms:
            norm.momentum = 1 / number
        batch, _ = images.batch(slice(start, start + ADABS_BATCH))
        functional_call(model, dict(weights), batch)
    return model.eval()
