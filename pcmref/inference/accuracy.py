"""How many images a network classifies correctly."""

from __future__ import annotations

import numpy as np

from pcmref.arrays import Float32, Int64
from pcmref.errors import DataError, describe
from pcmref.inference.images import array_of

__all__ = ["accuracy", "check_labels", "correct"]


def accuracy(logits: Float32, labels: Int64) -> float:
    """Return the share of images whose largest logit (the first, if several) is the label's.

    Parameters
    ----------
    logits : float32, shape (n, classes)
    labels : integers, shape (n,)

    Raises
    ------
    DataError
        If there are no images, not one label of a class for each, or logits that are no numbers.
    """
    return correct(logits, labels) / len(logits)


def correct(logits: Float32, labels: Int64) -> int:
    """Return the number of images of which `accuracy` is the share."""
    logits, labels = array_of("logits", logits), array_of("labels", labels)
    if logits.ndim != 2 or logits.size == 0:
        raise DataError("logits", "shape (n, classes), n at least 1", f"shape {logits.shape}")
    if logits.dtype.kind not in "fiu" or not np.isfinite(logits).all():
        raise DataError("logits", "finite numbers", describe(logits))
    if labels.shape != logits.shape[:1] or labels.dtype.kind not in "iu":
        raise DataError("labels", f"{len(logits)} integers", f"{labels.dtype} of shape {labels.shape}")
    check_labels("labels", labels, logits.shape[1])
    return int((logits.argmax(axis=1) == labels).sum())


def check_labels(where: str, labels: Int64, classes: int) -> None:
    """Raise `DataError` where a label is that of no class."""
    for label in (labels.min(initial=0), labels.max(initial=0)):
        if not 0 <= label < classes:
            raise DataError(where, f"labels from 0 to {classes - 1}", str(label))
