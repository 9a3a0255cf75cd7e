"""The innermost loop of the crossbar product: a block of sums that stays in vector registers.

numba's own loops would keep the sums in memory, so the block is written in LLVM's intermediate language.  It
says nothing of any processor but how many sums fit its registers: LLVM uses multiply-add-pairs instructions (AVX2,
AVX-512, NEON) where there are any and plain multiplications elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, config
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from pcmref.arithmetic.operands import LANES

__all__ = ["BLOCK_1", "BLOCK_2", "everywhere", "load", "register_block"]

_I16, _I32, _F32 = ir.IntType(16), ir.IntType(32), ir.FloatType()


def has_wide_registers() -> bool:
    """Return whether numba compiles for a processor with 32 registers of 512 bits."""
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    return "+avx512f" in features.split(",")


#: Pixels of a register block with one panel of columns, and with two (0: no such blocks).  Of 16 registers of 256 bits
#: 12 are sums, and the others hold a row of weights, an input and a product.  Among 32 of 512 bits there would be room
#: for more sums, but not for the addresses of more pixels.
BLOCK_1, BLOCK_2 = (10, 8) if has_wide_registers() else (6, 0)


def register_block(pixels: int, panels: int) -> Callable[..., None]:
    """Return ``block(x, pixel, row, weights, out, p, v, first, last)`` for use inside numba functions.

    It adds ``sum over k in [first, last) of x[pixel[i] + row[k]] * weights[v, k, lane]`` to ``out[i, 16 v + lane]``
    (with first = 0, it stores the sum there), for `pixels` pixels from p on and `panels` panels from v on.

    * int32 `x`, int16 `weights`: an element of x is a pair of 16-bit numbers, a lane of weights has two numbers, one
      after the other, and both products count.  Sums are 32-bit; `out` may be int32 or int64.
    * float32 `x`, `weights` and `out`: each product is added by one fused multiply-add, in the order of k.

    Under ``NUMBA_DISABLE_JIT=1`` it is a plain Python loop that gives the same integers.
    """
    return _interpreted(pixels, panels) if config.DISABLE_JIT else _compiled(pixels, panels)


def _interpreted(pixels: int, panels: int) -> Callable[..., None]:
    def block(x, pixel, row, weights, out, p, v, first, last):  # type: ignore[no-untyped-def]
        for i, panel in product(range(p, p + pixels), range(v, v + panels)):
            sums = out[i, panel * LANES : (panel + 1) * LANES]
            if first == 0:
                sums[:] = 0
            for k in range(first, last):
                place = pixel[i] + row[k]
                if x.dtype == np.int32:
                    low, high = x[place : place + 1].view(np.int16).astype(np.int64)
                    pairs = weights[panel, k].reshape(-1, 2).astype(np.int64)
                    sums += (low * pairs[:, 0] + high * pairs[:, 1]).astype(out.dtype)
                else:
                    sums += x[place] * weights[panel, k]

    return block


def _compiled(pixels: int, panels: int) -> Callable[..., None]:
    @intrinsic
    def block(typing, x, pixel, row, weights, out, p, v, first, last):  # type: ignore[no-untyped-def]
        index = numba.types.intp

        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            kinds, (p, v, first, last) = signature.args[:5], args[5:]
            arrays = [context.make_array(k)(context, builder, a) for k, a in zip(kinds, args[:5], strict=True)]
            x, pixel, row, weights, out = (array.data for array in arrays)
            rows, out_step = (builder.extract_value(array.shape, 1) for array in arrays[3:])
            multiply_add = _pairs if kinds[0].dtype == numba.types.int32 else _fused
            per_column = 2 if multiply_add is _pairs else 1
            element = _I32 if multiply_add is _pairs else _F32
            zero = ir.Constant(ir.VectorType(element, LANES), [0] * LANES)
            sums = [[cgutils.alloca_once_value(builder, zero) for _ in range(panels)] for _ in range(pixels)]
            for place in (place for line in sums for place in line):
                builder.store(zero, place)  # the allocation is hoisted out of loops, its first value with it
            bases = [builder.load(builder.gep(pixel, [_plus(builder, p, i)])) for i in range(pixels)]
            starts = [
                _times(builder, builder.mul(_plus(builder, v, c), rows), LANES * per_column) for c in range(panels)
            ]

            with cgutils.for_range_slice(builder, first, last, ir.Constant(last.type, 1)) as (k, _):
                offset = builder.load(builder.gep(row, [k]))
                place = _times(builder, k, LANES * per_column)
                kind = ir.VectorType(_I16, 2 * LANES) if multiply_add is _pairs else zero.type
                columns = [load(builder, weights, builder.add(start, place), kind) for start in starts]
                for base, line in zip(bases, sums, strict=True):
                    value = builder.load(builder.gep(x, [builder.add(base, offset)]))
                    spread = everywhere(builder, value)
                    for column, place in zip(columns, line, strict=True):
                        builder.store(multiply_add(builder, spread, column, builder.load(place)), place)

            is_first = builder.icmp_signed("==", first, ir.Constant(first.type, 0))
            total = ir.VectorType(context.get_value_type(kinds[4].dtype), LANES)
            add = builder.add if multiply_add is _pairs else builder.fadd
            for i, line in enumerate(sums):
                start = builder.add(builder.mul(_plus(builder, p, i), out_step), _times(builder, v, LANES))
                for c, place in enumerate(line):
                    position = _plus(builder, start, c * LANES)
                    value = builder.load(place)
                    if value.type != total:
                        value = builder.sext(value, total)
                    stored = load(builder, out, position, total)
                    before = builder.select(is_first, ir.Constant(total, [0] * LANES), stored)
                    target = builder.bitcast(builder.gep(out, [position]), total.as_pointer())
                    builder.store(add(before, value), target).align = 4
            return context.get_dummy_value()

        return numba.types.void(x, pixel, row, weights, out, index, index, index, index), generate

    return block


def _pairs(builder: Any, spread: Any, column: Any, total: Any) -> Any:
    """``total + low * low + high * high`` of the 16-bit halves: the pattern of multiply-add-pairs."""
    halves, words = ir.VectorType(_I16, 2 * LANES), ir.VectorType(_I32, 2 * LANES)
    product = builder.mul(builder.sext(builder.bitcast(spread, halves), words), builder.sext(column, words))
    even, odd = (ir.Constant(ir.VectorType(_I32, LANES), [2 * lane + part for lane in range(LANES)]) for part in (0, 1))
    low, high = (builder.shuffle_vector(product, product, part) for part in (even, odd))
    return builder.add(total, builder.add(low, high))


def _fused(builder: Any, spread: Any, column: Any, total: Any) -> Any:
    """``total + spread * column`` with one rounding."""
    vector = ir.VectorType(_F32, LANES)
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{LANES}f32"
    )
    return builder.call(function, [spread, column, total])


def everywhere(builder: Any, value: Any) -> Any:
    """Return a vector that holds `value` in each lane."""
    undefined = ir.Constant(ir.VectorType(value.type, LANES), ir.Undefined)
    single = builder.insert_element(undefined, value, ir.Constant(_I32, 0))
    lanes = ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES)
    return builder.shuffle_vector(single, undefined, lanes)


def load(builder: Any, pointer: Any, offset: Any, kind: Any) -> Any:
    """Return the vector of type `kind` that starts at element `offset`."""
    value = builder.load(builder.bitcast(builder.gep(pointer, [offset]), kind.as_pointer()))
    value.align = 2  # rows of codes start anywhere
    return value


def _plus(builder: Any, value: Any, number: int) -> Any:
    return builder.add(value, ir.Constant(value.type, number))


def _times(builder: Any, value: Any, number: int) -> Any:
    return builder.mul(value, ir.Constant(value.type, number))
