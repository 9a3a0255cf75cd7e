"""What networks for ImageNet do to their images: the recipes of the frameworks that they were trained in.

Files hold RGB images, always.  A network that was trained on BGR images, as Caffe reads them, is given convolutions
whose input channels are in reverse: the same products in another order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from pcmref.errors import NetworkError, one_of
from pcmref.network.images import Normalisation
from pcmref.network.layers import Conv, Layer

__all__ = ["RECIPES", "Recipe", "recipe"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a framework normalises a photograph.

    Parameters
    ----------
    normalisation : Normalisation
        Of the red, green and blue pixels, in this order.
    reversed_channels : bool
        Whether its networks read blue, green, red.
    """

    normalisation: Normalisation
    reversed_channels: bool = False

    def on_rgb(self, layers: Iterable[Layer]) -> tuple[Layer, ...]:
        """Return the layers of a network as they are on RGB images.

        Parameters
        ----------
        layers : iterable of Layer
            As the framework has them.

        Returns
        -------
        tuple of Layer

        Raises
        ------
        NetworkError
            If the channels must be reversed, and another layer than an ordinary convolution reads the image.
        """
        return tuple(
            _reversed(layer) if self.reversed_channels and "input" in layer.inputs else layer for layer in layers
        )


#: The recipes by name: of PyTorch's torchvision, of Caffe and Keras's first networks, of TensorFlow's MobileNets.
RECIPES: Mapping[str, Recipe] = {
    "torchvision": Recipe(
        normalisation=Normalisation(full_scale=255.0, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    ),
    "caffe": Recipe(
        normalisation=Normalisation(full_scale=1.0, mean=(123.68, 116.779, 103.939), std=(1.0, 1.0, 1.0)),
        reversed_channels=True,
    ),
    "tensorflow": Recipe(normalisation=Normalisation(full_scale=127.5, mean=(1.0, 1.0, 1.0), std=(1.0, 1.0, 1.0))),
}


def recipe(name: str) -> Recipe:
    """Return the recipe called `name`, one of `RECIPES`."""
    one_of("recipe", name, RECIPES)
    return RECIPES[name]


def _reversed(layer: Layer) -> Layer:
    """Return a convolution that reads the channels of the image from last to first."""
    if not isinstance(layer, Conv) or layer.groups != 1:
        raise NetworkError(f"graph/{layer.name}", "a convolution of one group, which reads the image", layer.op)
    return replace(layer, weight=np.ascontiguousarray(layer.weight[:, ::-1]))
