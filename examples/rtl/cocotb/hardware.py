"""The RTL as Python sees it: arrays in, arrays out, each through a harness that speaks once for many products."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from buses import packed, unpacked
from cocotb.triggers import FallingEdge, RisingEdge, Timer
from designs import SETTINGS


def told():
    """Return what `run.py` said: the parameters of the hardware, and the bench's own settings."""
    said = json.loads(os.environ[SETTINGS])
    return said["parameters"], said["settings"]


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """A harness: buses that are written, a handshake, buses that are read.

    Parameters
    ----------
    dut : cocotb handle of the harness
    parameters : mapping of str to int
        Those of the design.
    """

    dut: Any
    parameters: Mapping[str, int]

    async def start(self):
        """Set every bus that is not always set."""
        for name in ("load", "conductance", "mult", "offset", "codes", "noises"):
            getattr(self.dut, name).value = 0
        await Timer(1)

    def set_adcs(self, multiplier, offset):
        """Set the ADCs: multipliers or thresholds, and offsets, column by column."""
        self._write("mult", multiplier, self.parameters["THRESHOLD_BITS"] or self.parameters["MULT_BITS"])
        self._write("offset", offset, self.parameters["OFFSET_BITS"])

    def load(self, conductance):
        """Have conductances, row by row, loaded before the next products."""
        self._write("conductance", conductance, self.parameters["G_BITS"])
        self.dut.load.value = 1

    def _write(self, name, values, bits):
        getattr(self.dut, name).value = packed(values, bits)

    async def _answers(self, count, columns, bits):
        """Let the hardware run; return its answers, of which there must be so many."""
        go = 1 - int(self.dut.done.value)
        self.dut.go.value = go
        await (RisingEdge if go else FallingEdge)(self.dut.done)
        self.dut.load.value = 0
        if (seen := int(self.dut.seen.value)) != count:
            raise AssertionError(f"expected {count} answers, found {seen}")
        try:
            word = int(self.dut.answers.value)
        except ValueError:
            raise AssertionError("expected answers of bits, found some that are neither 0 nor 1") from None
        return unpacked(word, count * columns, bits, signed=self.parameters["LOW"] < 0).reshape(count, columns)


class RtlTile(Hardware):
    """A tile: pcm_tile in its harness."""

    async def multiply(self, codes, noise=None):
        """Return D of vectors of codes, shape (n, rows); the noise of their sums, if any, has shape (n, columns)."""
        most, found = self.parameters["VECTORS"], []
        for first in range(0, len(codes), most):
            some = slice(first, first + most)
            found.append(await self._multiply(codes[some], None if noise is None else noise[some]))
        return np.concatenate(found)

    async def _multiply(self, codes, noise):
        self.dut.vectors.value = len(codes)
        self._write("codes", codes, self.parameters["CODE_BITS"])
        if noise is not None:
            self._write("noises", noise, self.parameters["NOISE_BITS"])
        return await self._answers(len(codes), self.parameters["COLUMNS"], self.parameters["D_BITS"])


class RtlLayer(Hardware):
    """A convolution layer: pcm_conv in its harness."""

    async def convolve(self, codes, noise=None, *, gaps=False):
        """Return the output codes of an image of codes, shape (height, width, channels).

        The noise of its sums has shape (pixels, tiles, columns).  With gaps, pixels and answers are held back at times.
        """
        self.dut.gaps.value = int(gaps)
        self._write("codes", codes, self.parameters["CODE_BITS"])
        if noise is not None:
            self._write("noises", noise, self.parameters["NOISE_BITS"])
        return await self._answers(self.parameters["PIXELS"], self.parameters["COLUMNS"], self.parameters["OUT_BITS"])
