"""Elementary functions with the same bits on every IEEE-754 machine; SPEC.md, section 3.

NumPy's and libm's transcendental functions differ between processors and versions.  These use only
``+ - * /`` and ``sqrt`` (correctly rounded by IEEE 754) and ``frexp``/``ldexp``/``rint`` (exact), in the
order written, one rounding an operation, never fused.  All work in float64, element by element.

The error bounds are against exact values, in units in the last place (ulp), and tested with mpmath.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pcmref.arrays import Float64

__all__ = ["exp", "ln", "normal_quantile", "power"]


#: sqrt(1/2), rounded: the smallest mantissa that `ln` keeps.
SQRT_HALF = float.fromhex("0x1.6a09e667f3bcdp-1")
#: ln 2 in two parts; the first has 32 significant bits, so that k * LN2_HIGH is exact for |k| < 2**21.
LN2_HIGH = float.fromhex("0x1.62e42feep-1")
LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
#: 1 / ln 2, rounded.
INVERSE_LN2 = float.fromhex("0x1.71547652b82fep+0")
#: Taylor series of (artanh s - s) / s**3 in s**2: 1/3, 1/5, ..., 1/23, highest power first.
ARTANH_SERIES = tuple(1.0 / n for n in range(23, 1, -2))
#: Taylor series of exp: 1/n!, from n = 14 down to 0.  The factorials are exact in float64.
_FACTORIALS = (1, 1, 2, 6, 24, 120, 720, 5040, 40320, 362880, 3628800, 39916800, 479001600, 6227020800,
               87178291200)  # fmt: skip
EXP_SERIES = tuple(1.0 / n for n in reversed(_FACTORIALS))
#: exp is defined for arguments up to this size, so that no result is subnormal or infinite.
EXP_LIMIT = 700.0

# Coefficients of the rational approximations PPND16 of AS 241 [W88], highest power first: numerator and
# denominator for the centre |p - 1/2| <= 0.425, the near tail and the far tail.
QUANTILE_CENTRE = (
    (2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4, 4.5921953931549871457e4,
     1.3731693765509461125e4, 1.9715909503065514427e3, 1.3314166789178437745e2, 3.3871328727963666080e0),
    (5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4, 2.1213794301586595867e4,
     5.3941960214247511077e3, 6.8718700749205790830e2, 4.2313330701600911252e1, 1.0),
)  # fmt: skip
QUANTILE_NEAR = (
    (7.7454501427834140764e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1, 1.27045825245236838258e0,
     3.64784832476320460504e0, 5.76949722146069140550e0, 4.63033784615654529590e0, 1.42343711074968357734e0),
    (1.05075007164441684324e-9, 5.475938084995344946e-4, 1.51986665636164571966e-2, 1.48103976427480074590e-1,
     6.89767334985100004550e-1, 1.67638483018380384940e0, 2.05319162663775882187e0, 1.0),
)  # fmt: skip
QUANTILE_FAR = (
    (2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3, 2.65321895265761230930e-2,
     2.96560571828504891230e-1, 1.78482653991729133580e0, 5.46378491116411436990e0, 6.65790464350110377720e0),
    (2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5, 7.86869131145613259100e-4,
     1.48753612908506148525e-2, 1.36929880922735805310e-1, 5.99832206555887937690e-1, 1.0),
)  # fmt: skip
#: Half width of the centre, and its square as AS 241 prints it.
QUANTILE_SPLIT = 0.425
QUANTILE_SPLIT_SQUARED = 0.180625
#: Limit between the near and the far tail, and the shift of the near one.
QUANTILE_FAR_FROM = 5.0
QUANTILE_NEAR_SHIFT = 1.6


def _horner(coefficients: tuple[float, ...], x: Float64) -> Float64:
    """Evaluate a polynomial, highest power first: ``((c0 x + c1) x + c2) x + ...``."""
    value = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value *= x
        value += coefficient
    return value


def ln(x: npt.ArrayLike) -> Float64:
    """Natural logarithm.

    With ``x = m 2^e``, ``sqrt(1/2) <= m < sqrt(2)`` and ``s = (m - 1) / (m + 1)``::

        ln x = e ln 2 + 2 artanh s,   artanh s = s + s^3 (1/3 + s^2/5 + ... + s^20/23)

    Parameters
    ----------
    x : array_like of float64
        Positive and finite, not subnormal.

    Returns
    -------
    ndarray of float64
        Within 2 ulp of ln x.
    """
    mantissa, exponent = np.frexp(np.asarray(x, np.float64))
    low = mantissa < SQRT_HALF
    mantissa = np.where(low, mantissa + mantissa, mantissa)
    e = (exponent - low).astype(np.float64)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    square = s * s
    tail = s * square * _horner(ARTANH_SERIES, square)
    return e * LN2_HIGH + ((s + s) + ((tail + tail) + e * LN2_LOW))


def exp(x: npt.ArrayLike) -> Float64:
    """Exponential function.

    With ``k = rint(x / ln 2)`` and ``r = x - k ln 2``: ``exp x = 2^k (1 + r + r^2/2! + ... + r^14/14!)``.

    Parameters
    ----------
    x : array_like of float64
        Clipped to +-700.

    Returns
    -------
    ndarray of float64
        Within 2 ulp of exp x.
    """
    x = np.clip(np.asarray(x, np.float64), -EXP_LIMIT, EXP_LIMIT)
    k = np.rint(x * INVERSE_LN2)
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    return np.asarray(np.ldexp(_horner(EXP_SERIES, r), k.astype(np.int32)), np.float64)


def power(base: npt.ArrayLike, exponent: npt.ArrayLike) -> Float64:
    """Power of a positive base: ``exp(exponent ln base)``.

    Returns
    -------
    ndarray of float64
        Relative error below ``(3 + |exponent ln base| 3) 2^-53``.
    """
    return exp(np.asarray(exponent, np.float64) * ln(base))


def normal_quantile(p: npt.ArrayLike) -> Float64:
    """Inverse of the standard normal distribution function: algorithm AS 241, PPND16 [W88].

    With ``q = p - 1/2``: in the centre, ``|q| <= 0.425``, ``z = q A(0.425^2 - q^2)``; in the tails, with
    ``r = sqrt(-ln min(p, 1 - p))``, ``z = sign(q) B(r - 1.6)`` for ``r <= 5`` and ``sign(q) C(r - 5)`` beyond.
    A, B, C are the ratios of polynomials of degree 7 of the publication.

    Parameters
    ----------
    p : array_like of float64
        Strictly between 0 and 1.

    Returns
    -------
    ndarray of float64
        Relative error below 1e-15.
    """
    p = np.asarray(p, np.float64)
    q = p - 0.5
    centre = np.abs(q) <= QUANTILE_SPLIT
    z = np.empty_like(q)
    qc = q[centre]
    z[centre] = qc * _ratio(QUANTILE_CENTRE, QUANTILE_SPLIT_SQUARED - qc * qc)
    outside = ~centre
    pt = p[outside]
    r = np.sqrt(-ln(np.minimum(pt, 1.0 - pt)))
    far = r > QUANTILE_FAR_FROM
    tail = np.empty_like(r)
    tail[~far] = _ratio(QUANTILE_NEAR, r[~far] - QUANTILE_NEAR_SHIFT)
    tail[far] = _ratio(QUANTILE_FAR, r[far] - QUANTILE_FAR_FROM)
    z[outside] = np.where(q[outside] < 0.0, -tail, tail)
    return z


def _ratio(coefficients: tuple[tuple[float, ...], tuple[float, ...]], x: Float64) -> Float64:
    return _horner(coefficients[0], x) / _horner(coefficients[1], x)
