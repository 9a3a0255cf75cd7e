"""Where the time goes."""

import threading
import time

import pcmref
from pcmref import cli
from pcmref.profiling import recording, stage
from pcmref.studies import report


def test_stages_count_only_while_recording():
    with stage("before"):
        pass
    with recording() as profile, stage("inside"):
        time.sleep(0.01)
    with stage("after"):
        pass
    assert list(profile.seconds) == ["inside"]
    assert profile.seconds["inside"] >= 0.01


def test_stages_add_up_over_calls_and_threads():
    def work():
        for _ in range(100):
            with stage("work"):
                time.sleep(0.0001)

    with recording() as profile:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert profile.seconds["work"] >= 4 * 100 * 0.0001


def test_a_stage_that_fails_counts_too():
    with recording() as profile:
        try:
            with stage("broken"):
                raise ValueError
        except ValueError:
            pass
    assert "broken" in profile.seconds


def test_command_line_prints_it(capsys, monkeypatch):
    monkeypatch.setattr(report, "STAGES_SHOWN", 1000)
    options = ["--images", "8", "--times", "1d", "--compensation", "gdc+adabs", "--preset", "chip8", "--profile"]
    assert cli.main(["retention", *options]) == 0
    out = capsys.readouterr().out
    for name in ("program devices", "drift and read devices", "prepare crossbars", "batch statistics"):
        assert f"\n{name} " in out
    network = pcmref.load(pcmref.bundled())
    kinds = {line.split()[0] for line in out.splitlines() if line}
    assert {"analog", "digital", "baseline"} <= kinds
    for layer in network.crossbar_layers:  # alone while AdaBS measures what follows it
        assert f"\nanalog {layer.name} " in out
    for name in ("analog stage1.block1.relu1", "digital stage1.block1.bn1", "baseline stage1.block1.relu1"):
        assert f"\n{name} " in out
