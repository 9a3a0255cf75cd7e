"""What networks for ImageNet do to their images: the recipes of the frameworks that they were trained in.

Files hold RGB images, always.  A network that was trained on BGR images, as Caffe reads them, is given convolutions
whose input channels are in reverse: the same products in another order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

import numpy as np

from pcmref.errors import NetworkError, one_of
from pcmref.network.images import Normalisation
from pcmref.network.layers import Conv, Layer

__all__ = ["IMAGENET", "ORDERS", "RECIPES", "Order", "Recipe", "for_channels", "on_rgb", "recipe"]

#: Order of the colours that a network was trained with; images are in the first.
Order: TypeAlias = Literal["rgb", "bgr"]
ORDERS: tuple[Order, ...] = get_args(Order)
#: That of torchvision, which most networks for photographs expect: of ImageNet's training images.
IMAGENET = Normalisation(full_scale=255.0, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a framework normalises a photograph.

    Parameters
    ----------
    normalisation : Normalisation
        Of the red, green and blue pixels, in this order.
    order : {"rgb", "bgr"}
        In which its networks read them.
    """

    normalisation: Normalisation
    order: Order = "rgb"


#: The recipes by name: of PyTorch's torchvision, of Caffe and Keras's first networks, of TensorFlow's MobileNets; none,
#: with pixels from 0 to 1 or from 0 to 255, for images of any number of channels.
RECIPES: Mapping[str, Recipe] = {
    "torchvision": Recipe(normalisation=IMAGENET),
    "caffe": Recipe(
        normalisation=Normalisation(full_scale=1.0, mean=(123.68, 116.779, 103.939), std=(1.0, 1.0, 1.0)), order="bgr"
    ),
    "tensorflow": Recipe(normalisation=Normalisation(full_scale=127.5, mean=(1.0, 1.0, 1.0), std=(1.0, 1.0, 1.0))),
    "unit": Recipe(normalisation=Normalisation(full_scale=255.0, mean=(0.0,), std=(1.0,))),
    "raw": Recipe(normalisation=Normalisation(full_scale=1.0, mean=(0.0,), std=(1.0,))),
}


def recipe(name: str) -> Recipe:
    """Return the recipe called `name`, one of `RECIPES`."""
    one_of("recipe", name, RECIPES)
    return RECIPES[name]


def for_channels(scale: Normalisation, channels: int) -> Normalisation:
    """Return a normalisation of one number for all channels as one of so many; another one as it is."""
    if len(scale.mean) == len(scale.std) == 1:
        return replace(scale, mean=scale.mean * channels, std=scale.std * channels)
    return scale


def on_rgb(layers: Iterable[Layer], order: Order) -> tuple[Layer, ...]:
    """Return the layers of a network as they are on RGB images.

    Parameters
    ----------
    layers : iterable of Layer
        As it was trained.
    order : {"rgb", "bgr"}
        Of the colours that it was trained with.

    Returns
    -------
    tuple of Layer

    Raises
    ------
    NetworkError
        If the channels must be reversed, and another layer than an ordinary convolution reads the image.
    """
    one_of("order", order, ORDERS)
    return tuple(_reversed(layer) if order == "bgr" and "input" in layer.inputs else layer for layer in layers)


def _reversed(layer: Layer) -> Layer:
    """Return a convolution that reads the channels of the image from last to first."""
    if not isinstance(layer, Conv) or layer.groups != 1:
        raise NetworkError(f"graph/{layer.name}", "a convolution of one group, which reads the image", layer.op)
    return replace(layer, weight=np.ascontiguousarray(layer.weight[:, ::-1]))
