import pickle

import numpy as np
import pytest

from pcmref import errors
from pcmref.errors import (
    MissingExtraError,
    ParameterError,
    PcmrefError,
    PcmrefWarning,
    describe,
    integer,
    one_of,
    real,
    require,
)

FAMILY = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, PcmrefError)]


@pytest.mark.parametrize("kind", FAMILY)
def test_an_error_names_the_place_what_belongs_there_and_what_was_found(kind):
    error = kind("net.h5: graph", "a list", "7")
    assert str(error) == "net.h5: graph: expected a list, found 7"
    assert (error.where, error.expected, error.found) == ("net.h5: graph", "a list", "7")
    again = pickle.loads(pickle.dumps(error))  # errors travel between processes
    assert (type(again), str(again), again.found) == (kind, str(error), "7")


def test_the_family():
    assert {kind.__name__ for kind in FAMILY} == {name for name in errors.__all__ if name.endswith("Error")}
    assert issubclass(PcmrefWarning, UserWarning)
    assert not issubclass(PcmrefWarning, PcmrefError)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        ("é\n", "'é\\n'"),
        ("x" * 58, "'" + "x" * 58 + "'"),
        ("x" * 59, "'" + "x" * 56 + "..."),
        (np.arange(3), "array([0, 1, 2])"),
        (np.eye(2), "array([[1., 0.], [0., 1.]])"),
    ],
)
def test_describe_is_a_short_repr(value, text):
    assert describe(value) == text
    assert len(text) <= 60


def test_describe_an_integer_that_python_does_not_print():
    assert describe(10**5000) == "a large int"


def test_describe_with_a_limit():
    assert describe("abcdefgh", 8) == "'abcd..."


def test_require_returns_what_is_installed():
    assert require("numpy.linalg", "cli") is np.linalg


@pytest.mark.parametrize("name", ["no_such_module", "no_such_module.part"])
def test_require_names_the_extra_and_the_command(name):
    with pytest.raises(MissingExtraError) as caught:
        require(name, "train")
    message = str(caught.value)
    assert message.startswith("no_such_module: expected the extra 'train' (pip install 'pcmref[train]')")
    assert "not installed (No module named 'no_such_module')" in message
    assert isinstance(caught.value.__cause__, ImportError)


@pytest.mark.parametrize("value", ["c", "", None, 1, [], {}, np.array(["a", "b"])], ids=repr)
def test_none_of_some_texts(value):
    one_of("place", "b", {"a": 1, "b": 2})
    with pytest.raises(ParameterError, match=r"^place: expected one of a, b, found "):
        one_of("place", value, iter("ab"))


@pytest.mark.parametrize("value", [2, 5, np.int8(3), np.uint64(4)])
def test_integers(value):
    found = integer("x", value, "from 2 to 5", 2, 5)
    assert type(found) is int
    assert found == value


@pytest.mark.parametrize("value", [1, 6, True, np.True_, 3.0, np.float32(3), "3", None, [3]])
def test_no_integers_of_that_range(value):
    with pytest.raises(ParameterError, match=r"^x: expected from 2 to 5, found "):
        integer("x", value, "from 2 to 5", 2, 5)


def test_a_message_is_one_line_that_does_nothing_to_a_terminal():
    error = PcmrefError("a\nb", "\x1b[2J", "\udc80 é\u202e")
    assert str(error) == r"a\nb: expected \x1b[2J, found \udc80 é\u202e"


@pytest.mark.parametrize("value", [1, 2.5, np.float32(2), np.int64(3)], ids=repr)
def test_real_numbers_of_any_type_become_floats(value):
    assert real("x", value, "a number") == value
    assert type(real("x", value, "a number", 1, 3)) is float


@pytest.mark.parametrize("value", [True, "1", None, 1j, float("nan"), float("inf"), 10**400, 0.999, 3.001], ids=repr)
def test_what_is_no_real_number_in_range(value):
    with pytest.raises(ParameterError, match="x: expected a number, found "):
        real("x", value, "a number", 1, 3)
