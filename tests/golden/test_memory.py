"""Files for ``$readmemh``: what is written, what simulators write, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcmref.errors import FileError, ParameterError
from pcmref.golden.memory import memory_size, memory_words, read_memory, write_memory


@pytest.mark.parametrize(
    ("values", "bits", "text"),
    [
        ([-1, 0, 127, -128], 8, b"ff\n00\n7f\n80\n"),
        ([255, 128], 8, b"ff\n80\n"),
        ([-1, 255, -256], 9, b"1ff\n0ff\n100\n"),
        ([1, 0], 1, b"1\n0\n"),
        ([-2, 5], 31, b"7ffffffe\n00000005\n"),
        ([-(2**63), 2**63 - 1], 64, b"8000000000000000\n7fffffffffffffff\n"),
        ([[1, 2], [3, 4]], 4, b"1\n2\n3\n4\n"),
    ],
)
def test_words_are_twos_complement_of_one_width_each_with_a_newline(values, bits, text):
    assert memory_words(np.array(values), bits=bits) == text


@st.composite
def memories(draw):
    bits, signed = draw(st.integers(1, 64)), draw(st.booleans())
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << min(bits, 63)) - 1)
    return bits, signed, np.array(draw(st.lists(st.integers(low, high), min_size=1, max_size=20)), np.int64)


@given(memories())
def test_what_is_written_is_read(tmp_path_factory, memory):
    bits, signed, values = memory
    path = tmp_path_factory.mktemp("memory") / "words.hex"
    write_memory(path, values, bits=bits)
    assert path.stat().st_size == memory_size(len(values), bits)
    found = read_memory(path, bits=bits, signed=signed, count=len(values))
    assert found.dtype == np.int64
    assert found.tolist() == values.tolist()


@pytest.mark.parametrize(
    ("values", "bits", "found"),
    [([128, -1], 8, "-1 to 128"), ([256], 8, "256 to 256"), ([-129], 8, "-129 to -129"), ([2], 1, "2 to 2")],
)
def test_what_does_not_fit_is_not_written(tmp_path, values, bits, found):
    with pytest.raises(ParameterError, match=f"memory: expected integers of {bits} bits, found {found}"):
        write_memory(tmp_path / "words.hex", np.array(values), bits=bits)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        b"01\n80\nff\n",
        b"01\r\n80\r\nFF\r\n",
        b"// 0x00000000\n01\n80\n// 0x00000002\nff\n",  # Icarus Verilog
        b"@0\n01\n80\nff\n",
        b"01 80\n\n@2 ff // last\n",
    ],
)
def test_what_simulators_write_is_read(tmp_path, text):
    (tmp_path / "words.mem").write_bytes(text)
    assert read_memory(tmp_path / "words.mem", bits=8, signed=True, count=3).tolist() == [1, -128, -1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"01\nxx\n02\n", "line 2: expected 2 hexadecimal digits, found 'xx': a value that is not known"),
        (b"01\n02\n0Z\n", "line 3: expected 2 hexadecimal digits, found '0Z': a value that is not known"),
        (b"01\n2\n03\n", "line 2: expected 2 hexadecimal digits, found '2'"),
        (b"01\n002\n03\n", "line 2: expected 2 hexadecimal digits, found '002'"),
        (b"01\n0_2\n03\n", "line 2: expected 2 hexadecimal digits, found '0_2'"),
        (b"01\n-2\n03\n", "line 2: expected 2 hexadecimal digits, found '-2'"),
        (b"01\n02\n", "expected 3 words, found 2"),
        (b"01\n02\n03\n04\n", "expected 3 words, found 4"),
        (b"// nothing\n", "expected 3 words, found 0"),
        (b"01\n02\n03", "expected a newline after the last word .*, found a file that ends without"),
        (b"", "expected a newline after the last word .*, found nothing"),
        (b"@4\n01\n02\n03\n", "line 1: expected no address, or that of the next word, @0, found '@4'"),
        (b"01\n@2\n02\n03\n", "line 2: expected no address, or that of the next word, @1, found '@2'"),
        (b"/* a */ 01\n02\n03\n", r"line 1: expected 2 hexadecimal digits, found '/\*'"),
        (b"0\n1\n0\n2\n0\n3\n", "line 1: expected 2 hexadecimal digits, found '0'"),
        (b"//" + 4187 * b" " + b"\n01\n02\n03\n", "expected 3 words of 2 digits, at most 4198 bytes, found 4199 bytes"),
    ],
)
def test_a_file_that_is_not_these_words_is_refused(tmp_path, text, message):
    (tmp_path / "words.hex").write_bytes(text)
    with pytest.raises(FileError, match=message):
        read_memory(tmp_path / "words.hex", bits=8, signed=True, count=3)


def test_a_word_that_is_wider_than_its_bits_is_refused(tmp_path):
    (tmp_path / "words.hex").write_bytes(b"1ff\n3ff\n")
    with pytest.raises(FileError, match="word 1: expected at most 9 bits, found 3ff"):
        read_memory(tmp_path / "words.hex", bits=9, signed=True, count=2)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(FileError, match="expected a file of hexadecimal words, found No such file"):
        read_memory(tmp_path / "words.hex", bits=9, signed=True, count=2)
