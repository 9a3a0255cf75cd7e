"""The innermost loops of a noisy ADC: approximate codes of 16 outputs, and which of them are in doubt.

An ADC code is an integer of 8 bits or so, made from numbers of 53.  Nearly always an approximation with a known error
decides it, and single precision is enough; the few outputs whose sum lies too close to the bound between two codes
are marked, and `conversion.digitise_noisy` computes those as the specification says.

Normal numbers and codes are loops of their own: the operations of one output depend on each other, and a processor
finds enough others to do meanwhile only where the way through a loop is short.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, config
from numba.extending import intrinsic

from pcmref.arithmetic.fast.multiply_add import everywhere, load
from pcmref.arithmetic.operands import LANES

__all__ = ["Z_ERROR", "Z_TOP", "approximate_codes", "approximate_normals"]

#: log2 m for 1 <= m < 2, lowest power first: interpolation at the Chebyshev points, error below 1.7e-5.
LOG2 = (-2.78792621, 5.04785541, -3.48987855, 1.58947429, -0.40251339, 0.04300496)
#: |z| from ``t = sqrt(-log2 p)`` for ``1 <= t <= sqrt(12)``, lowest power first: likewise, error below 7.3e-5.
QUANTILE = (-2.29190874, 3.18874311, -1.3511951, 0.589816689, -0.157069907, 0.0231273789, -0.00144073984)
#: Bound on the error of an approximate normal number.
Z_ERROR = 2.0**-12
#: Normal numbers of larger size than that of probability 2^-12 are in doubt whatever follows.
Z_TOP = 12.0
#: Bound on the sum of all relative errors of the single-precision operations.
ROUNDING = 2.0**-20

_I16, _I32, _I64, _F32 = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
_INTEGERS, _FLOATS = ir.VectorType(_I32, LANES), ir.VectorType(_F32, LANES)


def approximate_normals() -> Callable[..., None]:
    """Return ``normals(words, w, z)`` for use inside numba functions.

    It stores the normal numbers of 16 words from `w` on in single precision, each within `Z_ERROR`, or none (NaN) where
    the approximation does not hold.  The arrays are contiguous.

    Under ``NUMBA_DISABLE_JIT=1`` it does nothing, as nobody looks at them.
    """
    return _nothing if config.DISABLE_JIT else _compiled_normals()


def _nothing(words, w, z):  # type: ignore[no-untyped-def]
    pass


def _compiled_normals() -> Callable[..., None]:
    @intrinsic
    def normals(typing, words, w, z):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            source, target = (context.make_array(signature.args[k])(context, builder, args[k]).data for k in (0, 2))
            v, position = _Vectors(builder), args[1]
            values = _normal(v, load(builder, source, position, _INTEGERS))
            place = builder.bitcast(builder.gep(target, [position]), _FLOATS.as_pointer())
            builder.store(values, place).align = 4
            return context.get_dummy_value()

        return numba.types.void(words, numba.types.intp, z), generate

    return normals


def approximate_codes(*, plain: bool) -> Callable[..., int]:
    """Return ``codes(z, w, sums, variance, out, at, scales, v, limits)`` for use inside numba functions.

    With z the approximate normal number ``z[w + i]``, it stores for the 16 outputs from `at` on ::

        value = (sum + z sqrt(64 variance)) gain + shift
        out = clip(rint(value - down - copysign(inward, value)), low, high)

    computed in single precision, and returns an integer whose bit i is set unless output i is certain to be
    ``clip(round((sum + offset + rint(z sqrt(64 variance))) gain), low, high)`` of exact arithmetic.  `limits`
    are low, high, `down` (1/2 if rounding goes down, else 0) and `inward` (1/2 if it goes toward zero, else 0);
    `scales`, for 16 columns after another, 16 times gain and 16 times ``shift = offset gain``; both are float32.  The
    outputs are those of columns `v` and on.  With `plain` nobody looks at shift, down and inward, as they are 0.  The
    arrays are contiguous, `at` and `w` are positions in them as flat arrays.

    Under ``NUMBA_DISABLE_JIT=1`` every output is in doubt.
    """
    return _undecided if config.DISABLE_JIT else _compiled(plain)


def _undecided(z, w, sums, variance, out, at, scales, v, limits):  # type: ignore[no-untyped-def]
    return (1 << LANES) - 1


def _compiled(plain: bool) -> Callable[..., int]:
    @intrinsic
    def codes(typing, z, w, sums, variance, out, at, scales, v, limits):  # type: ignore[no-untyped-def]
        index = numba.types.intp

        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            def vector(place: int, position: Any) -> Any:
                kind = signature.args[place]
                data = context.make_array(kind)(context, builder, args[place]).data
                return load(builder, data, position, ir.VectorType(context.get_value_type(kind.dtype), LANES))

            def number(place: int) -> Any:
                data = context.make_array(signature.args[8])(context, builder, args[8]).data
                return everywhere(builder, builder.load(builder.gep(data, [ir.Constant(_I64, place)])))

            _, w, _, _, out, at, _, first, _ = args
            v = _Vectors(builder)
            low, high = number(0), number(1)
            scale = builder.shl(first, ir.Constant(_I64, 1))
            gain = vector(6, scale)
            z = vector(0, w)
            mean = v.multiply(builder.sitofp(vector(2, at), _FLOATS), gain)
            spread = v.multiply(v.sqrt(builder.sitofp(vector(3, at), _FLOATS)), v.multiply(gain, v.number(8.0)))
            value, sizes = v.add(mean, v.multiply(z, spread)), v.fabs(mean)
            if not plain:
                shift, down, inward = vector(6, builder.add(scale, ir.Constant(_I64, LANES))), number(2), number(3)
                value, sizes = v.add(value, shift), v.add(v.add(sizes, v.fabs(shift)), v.number(1.0))
                value = builder.fsub(builder.fsub(value, down), v.copysign(inward, value))
            code, sizes = v.rint(value), v.add(sizes, v.fabs(value))
            # z, the rounding of the noise to an integer, and the single-precision operations
            error = v.add(v.multiply(spread, v.number(Z_ERROR)), v.add(gain, v.multiply(sizes, v.number(ROUNDING))))
            off = v.add(v.fabs(builder.fsub(value, code)), error)
            between = builder.fcmp_unordered(">", off, v.number(0.5))  # so is what has no z
            # where a code saturates, no bound between two codes is near
            below = builder.fcmp_unordered(">", v.add(value, error), v.add(low, v.number(-1.0)))
            above = builder.fcmp_unordered("<", builder.fsub(value, error), v.add(high, v.number(1.0)))
            inside = builder.and_(below, above)
            for bound, beyond in ((high, ">"), (low, "<")):
                code = builder.select(builder.fcmp_unordered(beyond, code, bound), bound, code)
            data = context.make_array(signature.args[4])(context, builder, out).data
            target = builder.bitcast(builder.gep(data, [at]), _INTEGERS.as_pointer())
            builder.store(builder.fptosi(code, _INTEGERS), target).align = 4
            doubtful = builder.and_(between, inside)
            return builder.zext(builder.bitcast(doubtful, _I16), _I64)

        return numba.types.int64(z, index, sums, variance, out, index, scales, index, limits), generate

    return codes


def _normal(v: _Vectors, word: Any) -> Any:
    """Return approximate normal numbers of words, NaN where they might not be within `Z_ERROR` of the exact ones.

    With ``p = min(u, 1 - u)``: ``z = +- Q(sqrt(-log2 p))``, Q a polynomial, and log2 p the exponent of p plus a
    polynomial of its mantissa.
    """
    builder = v.builder
    # the word, or its complement if that is smaller, below 2^31: p = (smaller + 1/2) 2^-32
    smaller = builder.xor(word, builder.ashr(word, v.integer(31)))
    bits = builder.bitcast(v.add(builder.sitofp(smaller, _FLOATS), v.number(0.5)), _INTEGERS)
    exponent = builder.sitofp(builder.sub(v.integer(127 + 32), builder.lshr(bits, v.integer(23))), _FLOATS)
    fraction = builder.or_(builder.and_(bits, v.integer(0x7FFFFF)), v.integer(127 << 23))
    minus_log2 = builder.fsub(exponent, v.polynomial(LOG2, builder.bitcast(fraction, _FLOATS)))
    size = v.polynomial(QUANTILE, v.sqrt(minus_log2))
    z = builder.select(builder.icmp_signed("<", word, v.integer(0)), size, builder.fneg(size))
    return builder.select(builder.fcmp_ordered("<", minus_log2, v.number(Z_TOP)), z, v.number(float("nan")))


class _Vectors:
    """Arithmetic on 16 numbers at a time; products and sums may be fused, as the processor likes."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def number(self, value: float) -> Any:
        """Return a vector of a constant, rounded to single precision."""
        return ir.Constant(_FLOATS, [float(np.float32(value))] * LANES)

    def integer(self, value: int) -> Any:
        """Return a vector of a constant."""
        return ir.Constant(_INTEGERS, [value] * LANES)

    def add(self, x: Any, y: Any) -> Any:
        """Return ``x + y``."""
        return self.builder.fadd(x, y, flags=("contract",))

    def multiply(self, x: Any, y: Any) -> Any:
        """Return ``x y``."""
        return self.builder.fmul(x, y, flags=("contract",))

    def sqrt(self, x: Any) -> Any:
        """Return the square root of x."""
        return self._call("sqrt", x)

    def rint(self, x: Any) -> Any:
        """Return x rounded to an integer."""
        return self._call("rint", x)

    def fabs(self, x: Any) -> Any:
        """Return the size of x."""
        return self._call("fabs", x)

    def copysign(self, size: Any, sign: Any) -> Any:
        """Return `size`, which has no sign, with the sign of another vector."""
        builder = self.builder
        signs = builder.and_(builder.bitcast(sign, _INTEGERS), self.integer(-0x80000000))
        return builder.bitcast(builder.or_(builder.bitcast(size, _INTEGERS), signs), _FLOATS)

    def polynomial(self, coefficients: tuple[float, ...], x: Any) -> Any:
        """Return a polynomial of x, by Horner's rule; `coefficients` in rising powers."""
        value = self.number(coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            value = self.add(self.multiply(value, x), self.number(coefficient))
        return value

    def _call(self, name: str, x: Any) -> Any:
        kind = ir.FunctionType(_FLOATS, [_FLOATS])
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.{name}.v{LANES}f32")
        return self.builder.call(function, [x])
