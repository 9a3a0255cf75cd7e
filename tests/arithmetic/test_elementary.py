"""Elementary functions: the stated bounds against mpmath, and the laws that they must keep."""

from __future__ import annotations

import ast
import inspect
import math
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import mpmath
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import pcmref
from pcmref.arithmetic import elementary
from pcmref.arithmetic.elementary import exp, ln, normal_quantile, power

laws = settings(max_examples=2 * settings.default.max_examples)
exact = mpmath.mp.clone()
exact.prec = 200

SMALLEST_NORMAL = float(np.finfo(np.float64).tiny)
LARGEST = float(np.finfo(np.float64).max)
positive = st.floats(SMALLEST_NORMAL, LARGEST, allow_subnormal=False)
probability = st.floats(1e-300, 1.0, exclude_max=True, allow_subnormal=False)
word = st.integers(0, 2**32 - 1)


def neighbours(x, steps=40):
    """x and the floats next to it, `steps` on either side."""
    below, above = [x], [x]
    for _ in range(steps):
        below.append(math.nextafter(below[-1], -math.inf))
        above.append(math.nextafter(above[-1], math.inf))
    return np.array([*below[:0:-1], *above])


def ulps(value, true):
    """Return the error of `value` in units in the last place of the exact number `true`."""
    return abs((exact.mpf(float(value)) - true) / float(np.spacing(abs(float(true)))))


def uniform(word):
    return (word + 0.5) * 2.0**-32


# ln


def ln_arguments():
    rng = np.random.default_rng(1)
    mantissa = rng.uniform(0.5, 1.0, 1500)
    anywhere = np.ldexp(mantissa, rng.integers(-1021, 1025, mantissa.size))
    near_one = np.concatenate([1 + s * rng.uniform(0.5, 1.0, 100) * 2.0**-k for k in range(1, 53) for s in (-1, 1)])
    splits = np.concatenate([neighbours(math.sqrt(0.5) * 2.0**k) for k in (-1022, -50, -1, 0, 1, 2, 50, 1000)])
    powers = np.ldexp(1.0, np.arange(-1022, 1024, 13))
    return np.concatenate([anywhere, near_one[::7], neighbours(1.0), splits, powers, [SMALLEST_NORMAL, LARGEST]])


def test_ln_is_within_two_ulp():
    x = ln_arguments()
    worst = max(ulps(y, exact.ln(exact.mpf(float(v)))) for v, y in zip(x, ln(x), strict=True) if v != 1.0)
    assert worst <= 2


@laws
@given(positive)
def test_ln_is_within_two_ulp_anywhere(x):
    assert ulps(ln(x), exact.ln(exact.mpf(x))) <= 2 if x != 1.0 else ln(x) == 0.0


def test_ln_of_one_is_zero_and_signs_are_right():
    assert ln(1.0) == 0.0
    assert (ln(neighbours(1.0)[:40]) < 0).all()
    assert (ln(neighbours(1.0)[41:]) > 0).all()


@laws
@given(positive, st.floats(1e-12, 10.0))
def test_ln_increases(x, more):
    x = min(x, 1e300)
    assert ln(x) < ln(x * (1 + more))


@pytest.mark.parametrize("split", [math.sqrt(0.5), math.sqrt(2.0), 1.0, 8 * math.sqrt(0.5)])
def test_ln_never_decreases_across_a_branch_point(split):
    assert (np.diff(ln(neighbours(split))) >= 0).all()


# exp


def exp_arguments():
    rng = np.random.default_rng(2)
    halves = (np.arange(-1009, 1010, 17) + 0.5) * math.log(2.0)  # where rint turns to the next power of two
    near_zero = np.concatenate([s * 2.0**-k * rng.uniform(0.5, 1.0, 4) for k in range(60) for s in (-1, 1)])
    edges = np.concatenate([neighbours(v, 10) for v in halves[::20]])
    return np.concatenate([rng.uniform(-700, 700, 1500), halves, edges, near_zero, [0.0, -0.0, 700.0, -700.0]])


def test_exp_is_within_two_ulp():
    x = exp_arguments()
    assert max(ulps(y, exact.exp(exact.mpf(float(v)))) for v, y in zip(x, exp(x), strict=True)) <= 2


@laws
@given(st.floats(-700, 700, allow_subnormal=False))
def test_exp_is_within_two_ulp_anywhere(x):
    assert ulps(exp(x), exact.exp(exact.mpf(x))) <= 2


def test_exp_edges():
    assert exp(0.0) == exp(-0.0) == 1.0
    assert exp(1e9) == exp(math.inf) == exp(700.0)
    assert exp(-1e9) == exp(-math.inf) == exp(-700.0)
    assert np.isfinite(exp(700.0))
    assert exp(-700.0) >= SMALLEST_NORMAL


@laws
@given(st.floats(-699, 699), st.floats(1e-12, 1.0))
def test_exp_increases(x, more):
    assert exp(x) < exp(x + max(more, abs(x) * 1e-13))


def test_exp_never_decreases_where_the_power_of_two_changes():
    for k in (-700, -3, -1, 0, 1, 2, 500):
        assert (np.diff(exp(neighbours((k + 0.5) * math.log(2.0)))) >= 0).all()


@laws
@given(st.floats(-650, 650))
def test_ln_undoes_exp(x):
    assert abs(ln(exp(x)) - x) <= 2**-51 * (abs(x) + 1)


# power


def power_error(base, exponent):
    true = exact.mpf(base) ** exact.mpf(exponent)
    return abs((exact.mpf(float(power(base, exponent))) - true) / true)


def power_bound(base, exponent):
    return (3 + abs(exponent * math.log(base)) * 3) * 2.0**-53


def test_power_is_within_its_bound():
    rng = np.random.default_rng(3)
    base, exponent = np.exp(rng.uniform(-23, 23, 1500)), rng.uniform(-30, 30, 1500)
    base[:200], exponent[:200] = rng.uniform(1e-7, 1, 200), -0.65
    for b, e in zip(base.tolist(), exponent.tolist(), strict=True):
        assert power_error(b, e) <= power_bound(b, e)


@laws
@given(st.floats(1e-30, 1e30), st.floats(-10, 10, allow_subnormal=False))
def test_power_is_within_its_bound_anywhere(base, exponent):
    assert power_error(base, exponent) <= power_bound(base, exponent)


@laws
@given(positive)
def test_power_zero_and_powers_of_one_are_one(x):
    assert power(x, 0.0) == 1.0
    assert power(1.0, min(x, 1e300)) == 1.0


# normal quantile


def quantile_error(p, z):
    """Relative error of z: one Newton step in 200 bits from z doubles its 15 right digits."""
    p, z = exact.mpf(float(p)), exact.mpf(float(z))
    if 2 * p == 1:
        return abs(z)
    true = z - (exact.ncdf(z) - p) / exact.npdf(z)
    return abs((z - true) / true)


def quantile_arguments():
    rng = np.random.default_rng(4)
    tails = np.exp(-rng.uniform(0.5, 690, 500))
    splits = [neighbours(0.5 + s * 0.425, 20) for s in (-1, 1)] + [neighbours(math.exp(-25), 20)]
    words = np.concatenate([rng.integers(0, 2**32, 600), 2 ** np.arange(32), 2**32 - 2 ** np.arange(32), [0]])
    near_half = 0.5 + np.concatenate([s * 2.0 ** -np.arange(2, 53) for s in (-1, 1)])
    around = rng.uniform(0.02, 0.13, 200)  # either side of the split
    return np.concatenate([tails, *splits, uniform(words), near_half, around, 1 - around, [1e-300, 1 - 2**-53, 0.5]])


def test_normal_quantile_is_within_its_bound():
    p = quantile_arguments()
    assert max(quantile_error(*pair) for pair in zip(p, normal_quantile(p), strict=True)) <= 1e-15


@laws
@given(probability)
@example(0.075)
@example(0.925)
@example(0.5)
def test_normal_quantile_is_within_its_bound_anywhere(p):
    assert quantile_error(p, normal_quantile(p)) <= 1e-15


@laws
@given(word)
@example(0)
@example(2**31)
def test_normal_quantile_is_antisymmetric(w):
    assert normal_quantile(uniform(w)) == -normal_quantile(uniform(2**32 - 1 - w))


@laws
@given(st.integers(0, 2**32 - 2))
def test_normal_quantile_increases_from_word_to_word(w):
    assert normal_quantile(uniform(w)) < normal_quantile(uniform(w + 1))


@pytest.mark.parametrize("split", [0.075, 0.925, 0.5])
def test_normal_quantile_increases_across_a_branch_point(split):
    words = int(split * 2**32) + np.arange(-200, 200)
    assert (np.diff(normal_quantile(uniform(words))) > 0).all()


def test_normal_quantile_of_known_probabilities():
    # percentage points as any table has them
    known = {
        0.5: 0.0,
        0.975: 1.959963984540054,
        0.995: 2.5758293035489,
        0.75: 0.674489750196082,
        1e-9: -5.9978070150077,
    }
    for p, z in known.items():
        assert normal_quantile(p) == pytest.approx(z, abs=5e-14)


# all of them


@given(st.lists(positive, max_size=40), st.lists(st.floats(allow_nan=False), max_size=40))
def test_the_compiled_ones_have_the_same_bits(some, exponents):
    fast = pytest.importorskip("pcmref.arithmetic.fast")
    anywhere, edges = np.concatenate([ln_arguments(), some]), np.array([math.inf, -math.inf, 1e9, -1e9])
    anywhere = anywhere[anywhere >= SMALLEST_NORMAL]
    assert fast.ln(anywhere).tobytes() == ln(anywhere).tobytes()
    exponents = np.concatenate([exp_arguments(), edges, exponents])
    assert fast.exp(exponents).tobytes() == exp(exponents).tobytes()
    few = np.clip(exponents, -2, 2)
    base = np.resize(anywhere, len(few))
    assert fast.power(base, few).tobytes() == power(base, few).tobytes()
    assert np.isnan(fast.ln([math.nan, math.inf])).all()
    for shape in ((), (0,), (2, 3)):
        x = np.full(shape, 0.3)
        for function, twin in ((fast.ln, ln), (fast.exp, exp)):
            assert function(x).shape == twin(x).shape == shape
            assert function(x).tobytes() == twin(x).tobytes()


@pytest.mark.parametrize("function", [ln, exp, normal_quantile])
def test_functions_work_element_by_element(function):
    x = np.random.default_rng(5).uniform(0.001, 0.999, (3, 4, 5))
    whole = function(x)
    assert whole.shape == x.shape
    assert whole.dtype == np.float64
    assert all(whole[i] == function(x[i]) for i in np.ndindex(x.shape))
    assert function(np.asfortranarray(x)[::-1])[1, 2, 3] == whole[1, 2, 3]
    assert function(np.empty((0, 2))).shape == (0, 2)


# the specified order of operations, in Python's numbers


def horner(coefficients, x):
    value = coefficients[0]
    for c in coefficients[1:]:
        value = value * x + c
    return value


def scalar_ln(x):
    m, e = math.frexp(x)
    if m < elementary.SQRT_HALF:
        m, e = m + m, e - 1
    s = (m - 1.0) / (m + 1.0)
    tail = s * (s * s) * horner(elementary.ARTANH_SERIES, s * s)
    return e * elementary.LN2_HIGH + ((s + s) + ((tail + tail) + e * elementary.LN2_LOW))


def scalar_exp(x):
    x = min(max(x, -700.0), 700.0)
    k = round(x * elementary.INVERSE_LN2)
    r = (x - k * elementary.LN2_HIGH) - k * elementary.LN2_LOW
    return math.ldexp(horner(elementary.EXP_SERIES, r), k)


def scalar_quantile(p):
    q = p - 0.5
    if abs(q) <= 0.425:
        t = 0.180625 - q * q
        return q * (horner(elementary.QUANTILE_CENTRE[0], t) / horner(elementary.QUANTILE_CENTRE[1], t))
    r = math.sqrt(-scalar_ln(min(p, 1.0 - p)))
    polynomials, t = (elementary.QUANTILE_NEAR, r - 1.6) if r <= 5.0 else (elementary.QUANTILE_FAR, r - 5.0)
    z = horner(polynomials[0], t) / horner(polynomials[1], t)
    return -z if q < 0.0 else z


@pytest.mark.parametrize(
    ("function", "scalar", "arguments"),
    [
        (ln, scalar_ln, ln_arguments),
        (exp, scalar_exp, exp_arguments),
        (normal_quantile, scalar_quantile, quantile_arguments),
    ],
    ids=["ln", "exp", "normal_quantile"],
)
def test_arrays_have_the_bits_of_scalars(function, scalar, arguments):
    x = arguments()
    assert function(x).tolist() == [scalar(v) for v in x.tolist()]


def test_each_branch_point_is_met_exactly():
    p = quantile_arguments()
    assert elementary.SQRT_HALF in ln_arguments()
    assert -0.425 in p - 0.5
    assert 5.0 in np.sqrt(-ln(p[p < 0.01]))


CONSTANTS = {
    "SQRT_HALF": math.sqrt(0.5),
    "LN2_HIGH": math.floor(exact.ln(2) * 2**32) / 2**32,
    "LN2_LOW": float(exact.ln(2) - math.floor(exact.ln(2) * 2**32) / exact.mpf(2) ** 32),
    "INVERSE_LN2": float(1 / exact.ln(2)),
    "ARTANH_SERIES": tuple(float(Fraction(1, n)) for n in range(23, 2, -2)),
    "EXP_SERIES": tuple(float(Fraction(1, math.factorial(n))) for n in range(14, -1, -1)),
    "QUANTILE_SPLIT_SQUARED": float(Fraction(425, 1000) ** 2),
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_are_the_exact_ones_rounded(name):
    assert getattr(elementary, name) == CONSTANTS[name]


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("QUANTILE_CENTRE", "55.8831928806149014439"),
        ("QUANTILE_NEAR", "49.33206503301610289036"),
        ("QUANTILE_FAR", "47.52583317549289671629"),
    ],
)
def test_coefficients_have_the_hash_sums_that_as_241_prints(name, total):
    """The publication gives, for each pair of polynomials, the sum of all mantissas but the final 1."""
    source = inspect.getsource(elementary)
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            literals = [ast.get_source_segment(source, c) for c in ast.walk(node.value) if isinstance(c, ast.Constant)]
            assert len(literals) == 16
            assert sum(Decimal(text.partition("e")[0]) for text in literals) - 1 == Decimal(total)


EXACT_OPERATIONS = {"sqrt", "frexp", "ldexp", "rint"}
NO_ARITHMETIC = {"abs", "asarray", "clip", "empty_like", "float64", "full_like", "int32", "maximum", "minimum", "where"}
INEXACT = {"exp", "exp2", "expm1", "log", "log10", "log1p", "log2", "pow", "power", "float_power", "cbrt", "hypot"}


def called(tree, library):
    """Names that a module takes from `library`, in code rather than in text."""
    attributes = (n for n in ast.walk(tree) if isinstance(n, ast.Attribute))
    return {node.attr for node in attributes if ast.unparse(node.value) == library}


def imported(tree, library):
    """Names that a module imports from `library` one by one."""
    found = (n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module == library)
    return {alias.name for node in found for alias in node.names}


def test_only_correctly_rounded_and_exact_operations_are_used():
    tree = ast.parse(inspect.getsource(elementary))
    assert called(tree, "np") - NO_ARITHMETIC <= EXACT_OPERATIONS
    assert not any(isinstance(node, ast.Pow) for node in ast.walk(tree))
    assert not any(isinstance(node, ast.Import) and node.names[0].name == "math" for node in ast.walk(tree))


PACKAGE = Path(pcmref.__file__).parent
#: All files of the rooms whose numbers are specified to the bit.
EXACT_PATH = [
    path.relative_to(PACKAGE).as_posix()
    for room in ("arithmetic", "devices", "crossbar", "inference")
    for path in sorted((PACKAGE / room).rglob("*.py"))
]


@pytest.mark.parametrize("file", EXACT_PATH)
def test_no_module_of_the_exact_path_uses_the_functions_of_a_library(file):
    tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
    for library, numbers in (("np", "numpy"), ("math", "math")):
        assert not (called(tree, library) | imported(tree, numbers)) & INEXACT
    powers = (n for n in ast.walk(tree) if isinstance(n, ast.BinOp) and isinstance(n.op, ast.Pow))
    assert all(isinstance(n.right, ast.Constant | ast.UnaryOp) for n in powers)


def test_the_exact_path_is_found():
    assert {"arithmetic/draws.py", "arithmetic/fast/stages.py", "devices/pcm.py", "crossbar/tile.py"} <= {*EXACT_PATH}
