"""The first moments of the command: Ctrl-C, and standard streams that the shell has closed."""

import os
import signal
import subprocess
import sys
from functools import partial

import pytest

from pcmref.startup import is_command


@pytest.mark.parametrize(
    ("program", "said", "expected"),
    [
        ("-m", ["python", "-m", "pcmref", "inspect"], True),
        ("-m", ["python", "-X", "dev", "-m", "pcmref"], True),
        ("/usr/bin/pcmref", ["/usr/bin/python", "/usr/bin/pcmref", "retention"], True),
        ("C:/Scripts/pcmref.exe", ["python", "C:/Scripts/pcmref.exe"], True),
        ("study.py", ["python", "study.py", "-m", "x"], False),
        ("-m", ["python", "-m", "pytest"], False),
        ("-m", ["python", "-m"], False),
        ("", ["python"], False),
        ("-c", ["python", "-c", "import pcmref"], False),
    ],
)
def test_which_processes_are_the_command(program, said, expected):
    assert is_command(program, said) == expected


def interrupted_while_numpy_is_imported(tmp_path, *arguments):
    """Run Python with a NumPy that presses Ctrl-C."""
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "__init__.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(1)\n"
    )
    path = os.pathsep.join([str(tmp_path), *(p for p in sys.path if p)])
    environment = {**os.environ, "PYTHONPATH": path}
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # which a process in the background inherits ignored
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, preexec_fn=heard)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_while_the_command_is_imported_ends_it_without_a_word(tmp_path):
    done = interrupted_while_numpy_is_imported(tmp_path, "-m", "pcmref", "inspect")
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_while_a_script_imports_pcmref_is_left_to_the_script(tmp_path):
    code = "try:\n import pcmref\nexcept KeyboardInterrupt:\n print('seen')"
    done = interrupted_while_numpy_is_imported(tmp_path, "-c", code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "seen\n", "")


COMMAND = f"{sys.executable} -m pcmref"


def shell(line):
    return subprocess.run(line, shell=True, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", ["inspect", "retention --images 5 --times 25s --compensation none"])
def test_a_closed_standard_error_changes_no_table(command):
    whole, silent = shell(f"{COMMAND} {command}"), shell(f"{COMMAND} {command} 2>&-")
    assert (silent.returncode, silent.stdout, silent.stderr) == (0, whole.stdout, "")


def test_what_is_said_to_a_closed_standard_error_is_no_part_of_the_table():
    done = shell(f"{COMMAND} inspect nothing 2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_a_closed_standard_output_is_an_error_before_the_work():
    done = shell(f"{COMMAND} retention >&-")
    assert done.returncode == 1
    assert done.stderr == "pcmref: error: standard output: expected a place to write to, found it closed\n"


def test_with_both_closed_the_status_tells():
    assert shell(f"{COMMAND} inspect >&- 2>&-").returncode == 1


@pytest.mark.parametrize("way", ["/dev/stdout", "{file}"])
def test_a_document_does_not_replace_the_file_that_the_table_goes_to(way, tmp_path):
    file = tmp_path / "out"
    file.write_text("before\n")
    command = f"{COMMAND} retention --images 5 --times 25s --compensation none"
    done = shell(f"{command} --json {way.format(file=file)} >> {file}")
    assert done.returncode == 1
    assert "expected another file than standard output" in done.stderr
    assert file.read_text() == "before\n"
