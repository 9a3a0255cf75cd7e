import errno
import hashlib
import os
from pathlib import Path

import pytest

from pcmref.errors import OutputError
from pcmref.files.atomic import check_outputs, replacing, sha256_of

posix = pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
not_root = pytest.mark.skipif(hasattr(os, "getuid") and os.getuid() == 0, reason="root may write everywhere")


@pytest.fixture
def path(tmp_path):
    """A file that exists; its directory must never hold another one."""
    path = tmp_path / "result.h5"
    path.write_bytes(b"old")
    yield path
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.h5"]


def test_the_new_file_is_seen_only_when_complete(path):
    with replacing(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
        assert (temporary.parent, temporary.suffix) == (path.parent, ".h5")
        assert temporary != path
    assert path.read_bytes() == b"new"


def test_a_new_name(tmp_path):
    with replacing(tmp_path / "new") as temporary:
        temporary.write_bytes(b"x")
    assert (tmp_path / "new").read_bytes() == b"x"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("failure", [ValueError("mine"), KeyboardInterrupt(), SystemExit(1)], ids=repr)
def test_a_failure_leaves_the_old_file_and_passes_on(path, failure):
    def fail(temporary):
        temporary.write_bytes(b"half")
        raise failure

    with pytest.raises(type(failure)) as caught, replacing(path) as temporary:
        fail(temporary)
    assert caught.value is failure
    assert path.read_bytes() == b"old"


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_is_full_while_writing(path):
    with pytest.raises(OutputError, match="expected a complete write, found No space left") as caught, replacing(path):
        full()
    assert caught.value.where == str(path)
    assert path.read_bytes() == b"old"


def test_a_disk_that_is_full_at_the_end(path, monkeypatch):
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="a complete write, found No space left"), replacing(path) as temporary:
        temporary.write_bytes(b"new")
    assert path.read_bytes() == b"old"


def test_the_new_file_reaches_the_disk_before_its_name(path, monkeypatch):
    done = []
    sync, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append("sync"), sync(file)))
    monkeypatch.setattr(Path, "replace", lambda *names: (done.append("rename"), rename(*names)))
    with replacing(path) as temporary:
        temporary.write_bytes(b"new")
    assert done == ["sync", "rename"]


def test_a_temporary_file_that_vanished(path):
    with pytest.raises(OutputError, match="a complete write"), replacing(path) as temporary:
        temporary.unlink()
    assert path.read_bytes() == b"old"


def test_the_name_of_a_directory(path):
    with pytest.raises(OutputError, match="found a directory"), replacing(path.parent) as temporary:
        temporary.write_bytes(b"new")


@posix
def test_no_file_is_left_open(path):
    """The lowest free descriptor stays the same."""
    free = []
    for _ in range(2):
        free.append(os.open(os.devnull, os.O_RDONLY))
        os.close(free[-1])
        with replacing(path):
            pass
    assert free[0] == free[1]


@posix
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(path, umask):
    before = os.umask(umask)
    try:
        with replacing(path) as temporary:
            pass
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask
    assert not temporary.exists()


def enter(path):
    with replacing(path):
        raise AssertionError("never reached")


def check(path):
    check_outputs([None, path])


@pytest.mark.parametrize("attempt", [enter, check])
def test_a_directory_that_does_not_exist(tmp_path, attempt):
    path = tmp_path / "no" / "x.h5"
    with pytest.raises(OutputError, match="expected a place to write to, found No such file") as caught:
        attempt(path)
    assert caught.value.where == str(path)


@posix
@not_root
@pytest.mark.parametrize("attempt", [enter, check])
def test_a_directory_that_may_not_be_written(tmp_path, attempt):
    (tmp_path / "closed").mkdir(0o500)
    with pytest.raises(OutputError, match="a place to write to, found Permission denied"):
        attempt(tmp_path / "closed" / "x.h5")


def test_check_outputs_leaves_no_trace(path):
    check(path)
    check(path.parent / "new.h5")
    assert path.read_bytes() == b"old"


def test_check_outputs_refuses_a_directory(tmp_path):
    with pytest.raises(OutputError, match="expected the name of a file, found a directory"):
        check(tmp_path)


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_sha256(tmp_path, size):
    content = bytes(i % 251 for i in range(251)) * (size // 251 + 1)
    (tmp_path / "f").write_bytes(content[:size])
    assert sha256_of(tmp_path / "f") == hashlib.sha256(content[:size]).hexdigest()


@pytest.mark.parametrize(
    ("outputs", "inputs"), [(["a", "a"], []), (["a"], ["a"]), (["x/../a", "a"], []), (["link"], ["a"])]
)
def test_an_output_is_no_input_and_no_other_output(outputs, inputs, tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "a").write_text("old")
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(OutputError, match="no input and no other output"):
        check_outputs([tmp_path / name for name in outputs], [tmp_path / name for name in inputs])


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with replacing(tmp_path / "link") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


@pytest.mark.parametrize("attempt", [enter, check])
def test_a_pipe_is_not_replaced(attempt, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="a device or pipe"):
        attempt(tmp_path / "pipe")


@pytest.mark.parametrize("name", ["日" * 83 + ".png", "a" * 250 + ".json", "." + "b" * 200])
def test_a_long_name_is_written_or_refused_at_once(tmp_path, name):
    check(tmp_path / name)
    with replacing(tmp_path / name) as temporary:
        temporary.write_bytes(b"x")
    assert (tmp_path / name).read_bytes() == b"x"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_name_that_cannot_be_is_refused(tmp_path):
    with pytest.raises(OutputError):
        check(tmp_path / ("a" * 300))
