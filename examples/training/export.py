"""The last stage: a network file, with the accuracy on the test set and all that is known of the training."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import platform

import numpy as np
import torch
from checkpoint import STATISTICS, State, expect_kind, read_checkpoint, restored, seed
from data import Data, Images, load
from measure import CHIPS, accuracy, measure_statistics
from noise import devices

import pcmref.devices.published
from pcmref.importers.resnet import architecture, network_from_tensors

#: Training images that the ranges of converters are found with.
RANGE_IMAGES = 200
#: Seconds after programming that the statistics are measured.
FRESH_S = 25.0


def export(args: argparse.Namespace, command: str) -> None:
    """Write a trained network, with its images where their licence allows it, as a network file."""
    device = torch.device("cpu")
    state = read_checkpoint(args.checkpoint, device)
    expect_kind(args.checkpoint, state, teacher=False)
    options = state["options"]
    data = load(options["data"], args.data_dir or state["data_dir"])
    model = restored(state, data)
    if args.statistics:
        fresh = devices(pcmref.devices.published.model(args.statistics), FRESH_S, FRESH_S, fresh=CHIPS)
        seed(options, STATISTICS, 0)
        training, _ = data.parts(all_data=options["all_data"])
        measure_statistics(model, Images(training, data, device), fresh)
    found = accuracy(model, Images(data.test, data, device))
    held_out = f"{found:.2f} % of the {len(data.test)} held-out images"
    network = network_from_tensors(
        {name: tensor.numpy() for name, tensor in model.state_dict().items()},
        architecture(options["arch"]),
        input_shape=data.training.images.shape[1:],
        normalisation=data.normalisation,
        classes=data.classes,
        provenance=course(state, data)
        | {
            "commands": "\n".join([*state["commands"], command]),
            "data": data.source,
            "data files, SHA-256": data.files,
            "digital accuracy": held_out,
            "software": f"Python {platform.python_version()}, PyTorch {torch.__version__}, "
            f"NumPy {np.__version__}, pcmref {pcmref.__version__}",
            "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
            "licence": "MIT (the weights)",
        },
        evaluation=data.test if data.shipped else None,
        calibration=data.training if data.shipped else None,
    )
    if not data.shipped:  # whoever has no images needs the ranges
        chip8 = pcmref.calibrate_ranges(network, data.training.images[:RANGE_IMAGES], pcmref.PRESETS["chip8"])
        network = dataclasses.replace(network, ranges={"chip8": chip8.ranges})
    pcmref.save(args.network, network)
    print(f"{args.network}: {held_out}")


def course(state: State, data: Data) -> dict[str, str]:
    """Return what provenance says of the training, after what the network file said that it began with, if any."""
    options, log = state["options"], state["log"]
    told = {"validation": "none"} | state.get("earlier", {})
    epochs = collections.Counter(line["stage"] for line in log)
    if epochs["noise"] or "title" not in told:
        noise = "with noise on its weights" if epochs["noise"] else "without noise"
        told["title"] = f"{options['arch']} for {options['data']}, trained {noise}"
    if log:
        counts = f"{epochs['pretrain']} without noise, {epochs['noise']} with noise"
        told["epochs"] = f"{told['epochs']}; then {counts}" if "epochs" in told else counts
        told["hardware"], told["seed"] = state["hardware"], str(options["seed"])
        training, validation = map(len, data.parts(all_data=options["all_data"]))
        told["split"] = f"{training} training images, {validation} for validation, {len(data.test)} held out"
    for line in log:
        if "accuracy" in line:
            reached = f"{line['accuracy']:.2f} % of {data.validation} images"
            told["validation"] = f"{reached} after epoch {line['epoch']} of stage {line['stage']}"
    return told
