"""Parts of images and the threads that take them."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcmref.inference.threads import CHUNK, each, parts, team


@given(count=st.integers(0, 2000), threads=st.integers(1, 70), most=st.integers(1, 300))
def test_parts_are_all_images_in_order_in_fair_shares(count, threads, most):
    found = parts(count, threads, most)
    assert [i for part in found for i in range(part.start, part.stop)] == list(range(count))
    lengths = [part.stop - part.start for part in found]
    assert all(1 <= length <= most for length in lengths)
    if threads == 1:
        assert set(lengths[:-1]) <= {most}
    elif lengths:
        assert max(lengths) - min(lengths) <= 1
        assert len(lengths) % threads == 0 or set(lengths) == {1}


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_order(threads):
    assert list(each(lambda part: part.start, 300, threads)) == [part.start for part in parts(300, threads)]
    assert list(each(lambda part: part.start, 0, threads)) == []
    with team(threads) as workers:
        for _ in range(3):
            assert list(workers(lambda number: number * number, range(20))) == [n * n for n in range(20)]


def test_one_thread_is_the_caller_s_own():
    here = threading.get_ident()
    with team(1) as workers:
        assert set(workers(lambda _: threading.get_ident(), range(5))) == {here}
    with team(2) as workers:
        assert here not in set(workers(lambda _: threading.get_ident(), range(5)))
    assert list(each(lambda _: threading.get_ident(), 1, 4)) == [here]
    assert len(parts(CHUNK, 1)) == 1


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_of_one_part_is_raised(threads):
    def work(part):
        if part.start:
            raise KeyError(part.start)
        return 0

    with pytest.raises(KeyError):
        list(each(work, 200, threads))
