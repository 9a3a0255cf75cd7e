"""The command line as a person meets it."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

import pcmref
from pcmref import cli
from pcmref.files.json_text import json_digest
from pcmref.network.graph import Network
from pcmref.network.layers import Linear
from pcmref.network.operations import GlobalAveragePool
from pcmref.studies.named import time_s
from pcmref.studies.retention import retention
from pcmref.studies.study import TIMES_S
from tests.helpers.nets import RGB, batch_norm, conv

QUICK = ["retention", "--images", "20", "--times", "25s,1d", "--compensation", "none,gdc", "--threads", "1"]


def fails(capsys, *arguments):
    """Run a command that must fail; return its one line of complaint."""
    assert cli.main(list(arguments)) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("pcmref: error: ")
    assert err.count("\n") == 1
    return err


def test_retention_prints_the_table(capsys):
    assert cli.main(QUICK) == 0
    out, err = capsys.readouterr()
    assert "60,762 weights on 121,524 PCM devices" in out
    assert "digital" in out
    lines = [line.split() for line in out.splitlines()]
    assert ["time", "none", "GDC"] in lines
    assert [line[:2] for line in lines if line[:1] in (["25"], ["1"])] == [["25", "s"], ["1", "d"]]
    assert err == ""


def test_default_table_has_the_published_times():
    assert TIMES_S == (25.0, 3600.0, 86400.0, 2592000.0, 31536000.0)
    default = cli._parser().parse_args(["retention"])
    assert [time_s(text) for text in default.times.split(",")] == list(TIMES_S)
    assert default.compensation == "none,gdc,adabs,gdc+adabs"


def test_several_chips_give_mean_and_spread(capsys):
    assert cli.main([*QUICK, "--chips", "2", "--seed", "5"]) == 0
    out = capsys.readouterr().out
    assert "chips 5-6" in out
    assert "±" in out


def test_json_holds_rows_and_configuration(tmp_path, capsys):
    path = tmp_path / "out.json"
    assert cli.main([*QUICK, "--chips", "2", "--json", str(path)]) == 0
    found = json.loads(path.read_text())
    rows = found["rows"]
    assert len(rows) == 8
    assert set(rows[0]) == {"t_s", "compensation", "seed", "images", "correct", "accuracy"}
    assert all(row["accuracy"] == row["correct"] / row["images"] for row in rows)
    assert found["network"]["sha256"] == pcmref.load(pcmref.bundled()).sha256
    assert found["model"]["name"] == "NANDAKUMAR_2019"
    assert found["readout"]["dac"] == {"bits": 12, "codes": "symmetric", "drive": "parallel"}
    net = pcmref.load(pcmref.bundled())
    samples = net.evaluation.first(20)
    row = next(r for r in rows if (r["t_s"], r["compensation"], r["seed"]) == (86400.0, "gdc", 1))
    chip = pcmref.program(net, seed=1)
    snap = chip.at(86400.0)
    gdc = pcmref.calibrate(snap, "gdc", reference=chip.reference())
    scores = pcmref.logits(snap, samples.images, corrections=gdc)
    assert row["correct"] == int((scores.argmax(axis=1) == samples.labels).sum())
    assert list(tmp_path.iterdir()) == [path]


def test_plot_is_a_picture(tmp_path, capsys):
    path = tmp_path / "out.png"
    assert cli.main([*QUICK, "--plot", str(path)]) == 0
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_plot_that_fails_leaves_the_table(tmp_path, capsys, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    path = tmp_path / "out.png"
    assert cli.main([*QUICK, "--plot", str(path)]) == 1
    out, err = capsys.readouterr()
    assert "accuracy in %" in out
    assert "No space left on device" in err
    assert not list(tmp_path.iterdir())


def test_plot_without_matplotlib(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    message = fails(capsys, *QUICK, "--plot", str(tmp_path / "out.png"))
    assert "pip install 'pcmref[cli]'" in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.h5"], ["missing.h5", "nothing"]),
        (["missing"], ["network", "one of digits-resnet8", "'missing'"]),
        (["--times", "0s"], ["t_s", "0.0"]),
        (["--times", "0s,1h", "--model", "AIHWKIT", "--plot", "o.png"], ["--times", "above 0", "0s,1h"]),
        (["--json", "."], [".: ", "a directory"]),
        (["--json", "/"], ["/: ", "a directory"]),
        (["--times=-5s"], ["--times", "-5s"]),
        (["--times", "nan"], ["--times", "nan"]),
        (["--times", "1e13s"], ["t_s"]),
        (["--times", "1d,1d"], ["times_s", "each once"]),
        (["--model", "IDEAL"], ["model", "NANDAKUMAR_2019", "HERMES_2"]),
        (["--preset", "chip9"], ["preset", "paper", "chip8"]),
        (["--compensation", "gdc,magic"], ["compensation", "gdc+adabs", "magic"]),
        (["--seed=-1"], ["seed", "2**64"]),
        (["--seed", str(2**64)], ["seed", "2**64"]),
        (["--chips", "0"], ["--chips", "at least 1"]),
        (["--chips", "9999999999999999999999"], ["--chips", "at most 1,000,000"]),
        (["--images", "0"], ["--images", "at least 1"]),
        (["--threads", "0"], ["threads", "0"]),
        (["--scale", "tile"], ["scale", "layer", "column"]),
        (["--gdc", "two"], ["gdc_readout", "absolute"]),
        (["--nonconverged", "1.5"], ["nonconverged_share", "1.5"]),
        (["--nonconverged", "nan"], ["nonconverged_share", "nan"]),
        (["--data", "nowhere"], ["--data: expected CIFAR-10, or an HDF5 file", "nothing at nowhere"]),
        (["--data", "."], ["evaluation set", "(8, 8, 1)"]),
        (["--preset", "chip8", "--readout", "r.json"], ["--preset", "beside --readout"]),
        (["--readout", "r.json"], ["r.json: expected a readout as JSON"]),
        (["--json", "nowhere/out.json"], ["nowhere/out.json"]),
        (["--plot", "."], ["directory"]),
    ],
)
def test_bad_argument(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = fails(capsys, "retention", "--images", "5", *arguments)
    for word in words:
        assert word in message
    assert not list(tmp_path.iterdir())


def test_inspect_counts_the_bundled_network(capsys):
    assert cli.main(["inspect", "--tile", "64x32"]) == 0
    out = capsys.readouterr().out
    net = pcmref.load(pcmref.bundled())
    assert f"{net.weights:,} weights, {net.devices:,} PCM devices" in out
    tiles = sum(-(-layer.rows // 64) * -(-layer.columns // 32) for layer in net.crossbar_layers)
    assert f"{tiles} tiles of 64x32" in out
    assert net.sha256 in out
    assert "CC BY 4.0" in out
    assert cli.main(["inspect", "digits-resnet8", "--tile", "64x32"]) == 0
    assert capsys.readouterr().out == out
    for layer in net.crossbar_layers:
        assert f"{layer.rows}x{layer.columns}" in out


def test_inspect_shows_the_table_before_the_history_of_the_network(capsys):
    assert cli.main(["inspect"]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = next(n for n, line in enumerate(lines) if line.startswith("layer"))
    assert table < 10
    assert next(n for n, line in enumerate(lines) if line.startswith("commands: ")) > table
    assert lines[-1].startswith("title: ")


def test_inspect_as_json_says_the_same(tmp_path, capsys):
    path = tmp_path / "net.json"
    assert cli.main(["inspect", "--tile", "64x32", "--json", str(path)]) == 0
    text, facts, net = capsys.readouterr().out, json.loads(path.read_text()), pcmref.load(pcmref.bundled())
    assert (facts["sha256"], facts["digest"], facts["weights"]) == (net.sha256, net.digest, net.weights)
    assert [row["layer"] for row in facts["layers"]] == [layer.name for layer in net.crossbar_layers]
    assert f"{sum(row['tiles'] for row in facts['layers'])} tiles of 64x32" in text
    assert sum(row["rows"] * row["columns"] for row in facts["layers"]) == net.weights
    assert facts["provenance"] == dict(net.provenance)
    assert "saturation" not in facts


def test_inspect_lists_ranges_and_what_they_clip(tmp_path, capsys):
    path = tmp_path / "net.json"
    assert cli.main(["inspect", "--ranges", "--json", str(path)]) == 0
    rows = json.loads(path.read_text())["saturation"]
    net = pcmref.load(pcmref.bundled())
    readout = pcmref.calibrate_ranges(net, net.calibration.images[:200], pcmref.PRESETS["chip8"])
    chip = pcmref.prepare(pcmref.program(net).reference(), readout=readout)
    for row, found in zip(rows, chip.saturation(net.evaluation.images[:32]), strict=True):
        assert (row["layer"], row["dac"], row["adc"]) == (found.layer, found.dac, found.adc)
        assert row["input_top"] == readout.ranges[found.layer].input_top
        assert row["sum_top_us"] == [readout.ranges[found.layer].sum_top_us]
    out = capsys.readouterr().out
    assert f"{rows[-1]['adc']:.2%}" in out.splitlines()[-3]
    assert "of 32 images" in out
    assert "a readout with full scales" in fails(capsys, "inspect", "--ranges", "--preset", "paper")


def test_ranges_that_do_not_fit_are_told_once(tmp_path, capsys):
    net = pcmref.load(pcmref.bundled())
    chip8 = pcmref.calibrate_ranges(net, net.calibration.images[:50], pcmref.PRESETS["chip8"])
    small = {
        name: {"input_top": top.input_top, "sum_top_us": top.sum_top_us / 100} for name, top in chip8.ranges.items()
    }
    path, out = tmp_path / "readout.json", tmp_path / "out.json"
    assert cli.main([*QUICK, "--preset", "chip8", "--json", str(out)]) == 0
    assert capsys.readouterr().err == ""
    readout = json.loads(out.read_text())["readout"]
    path.write_text(json.dumps(readout | {"ranges": small}))
    assert cli.main([*QUICK, "--readout", str(path)]) == 0
    err = capsys.readouterr().err
    assert err.startswith("pcmref: warning: readout chip8: ")
    assert "of the codes saturate in layer" in err
    assert err.count("\n") == 1


def test_a_readout_from_a_document_gives_the_same_rows(tmp_path, capsys):
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    assert cli.main([*QUICK, "--preset", "chip8", "--json", str(first)]) == 0
    assert cli.main([*QUICK, "--readout", str(first), "--json", str(second)]) == 0
    assert second.read_bytes() == first.read_bytes()


def test_images_of_one_s_own(tmp_path, capsys):
    net = pcmref.load(pcmref.bundled())
    path = tmp_path / "mine.h5"
    with h5py.File(path, "w") as file:
        file["images"], file["labels"] = net.evaluation.images[:30], net.evaluation.labels[:30].astype(np.uint8)
    command = ["retention", "--times", "25s", "--compensation", "none,adabs", "--json"]
    assert cli.main([*command, str(tmp_path / "a.json"), "--data", str(path)]) == 0
    assert cli.main([*command, str(tmp_path / "b.json"), "--images", "30"]) == 0
    mine, theirs = (json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json"))
    assert mine["rows"] == theirs["rows"]
    assert mine["images"]["count"] == 30
    capsys.readouterr()
    with h5py.File(path, "a") as file:
        file["calibration/images"], file["calibration/labels"] = net.calibration.images[:9], net.calibration.labels[:9]
    assert "at least 200 images for AdaBS" in fails(capsys, *command, str(tmp_path / "c.json"), "--data", str(path))
    pcmref.save(tmp_path / "bare.h5", dataclasses.replace(net, evaluation=None))
    assert cli.main([*QUICK[:1], str(tmp_path / "bare.h5"), *QUICK[1:], "--data", str(path)]) == 0
    capsys.readouterr()
    assert "--data FILE.h5" in fails(capsys, "retention", str(tmp_path / "bare.h5"))


def test_cifar_files_of_a_few_records(tmp_path, capsys):
    """Which are not the published ones: only if asked for."""
    rng = np.random.default_rng(0)
    net = tiny_cifar()
    pcmref.save(tmp_path / "net.h5", net)
    for name in ("test_batch.bin", *(f"data_batch_{n}.bin" for n in range(1, 6))):
        records = rng.integers(0, 256, (300, 3073), np.uint8)
        records[:, 0] %= 10
        (tmp_path / name).write_bytes(records.tobytes())
    command = [
        "retention",
        str(tmp_path / "net.h5"),
        "--times",
        "25s",
        "--compensation",
        "adabs",
        "--data",
        str(tmp_path),
    ]
    assert "10,000 records" in fails(capsys, *command)
    assert cli.main([*command, "--any-cifar"]) == 0
    assert "300 images" in capsys.readouterr().out


def tiny_cifar():
    rng = np.random.default_rng(1)
    layers = (
        conv(rng, "conv", "input", 3, 4, stride=4),
        batch_norm(rng, "norm", "conv", 4),
        GlobalAveragePool(name="mean", inputs=("norm",)),
        Linear(name="fc", inputs=("mean",), weight=rng.standard_normal((10, 4)).astype(np.float32)),
    )
    return Network(layers=layers, input_shape=(32, 32, 3), normalisation=RGB, classes=tuple("abcdefghij"))


@pytest.mark.parametrize("command", ["inspect", "retention"])
@pytest.mark.parametrize("name", ["model.onnx", "resnet32.TH", "folder/weights.pth"])
def test_models_that_are_to_be_converted_say_how(command, name, capsys):
    expected = f"{name}: expected a network file; `pcmref convert {name} NETWORK.h5` writes one"
    assert expected in fails(capsys, command, name)


@pytest.mark.parametrize("tile", ["0x5", "axb", "256", "-1x4"])
def test_inspect_bad_tile(tile, capsys):
    assert "--tile" in fails(capsys, "inspect", f"--tile={tile}")


def test_convert_needs_no_pytorch(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    checkpoint = tmp_path / "x.pt"
    checkpoint.write_bytes(b"")
    message = fails(capsys, "convert", str(checkpoint), str(tmp_path / "out.h5"), "--arch", "he-resnet20")
    assert "expected a PyTorch checkpoint of tensors alone" in message


@pytest.mark.parametrize(("option", "text"), [("--mean", "1,2"), ("--std", "a,b,c")])
def test_convert_bad_numbers(option, text, tmp_path, capsys):
    out = str(tmp_path / "out.h5")
    assert option in fails(capsys, "convert", "x.pt", out, "--arch", "he-resnet20", option, text)


def test_fetch_says_where_it_failed(tmp_path, capsys):
    message = fails(capsys, "fetch", "cifar10", "--to", str(tmp_path), "--url", "http://127.0.0.1:9/cifar.tar.gz")
    assert "127.0.0.1" in message


def test_version_and_usage(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert pcmref.__version__ in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        cli.main([])
    assert stop.value.code == 2


def test_interrupt_leaves_what_is_finished(tmp_path):
    """Ctrl-C in the middle of the work: exit status 130, no traceback, no file that looks complete."""
    path = tmp_path / "out.json"
    command = [sys.executable, "-m", "pcmref", "retention", "--chips", "500", "--json", str(path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    part = tmp_path / "out.json.part"
    try:
        end = time.monotonic() + 120
        while not part.exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130
    lines = err.splitlines()
    assert lines[-1] == "pcmref: interrupted"
    assert lines[:-1] == [f"pcmref: what is finished is in {part}; the same command goes on from there"]
    assert list(tmp_path.iterdir()) == [part]
    assert json.loads(part.read_text())["rows"]
    assert out == ""


def test_interrupt_that_got_lost_is_remembered(capsys, monkeypatch):
    """As in the middle of a compilation, where numba goes on, or fails in some other way."""
    program = retention.__globals__["program"]

    def lost(*arguments, **options):
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        return program(*arguments, **options)

    monkeypatch.setitem(retention.__globals__, "program", lost)
    handler = signal.getsignal(signal.SIGINT)
    assert cli.main(QUICK) == 130
    assert capsys.readouterr().err == "pcmref: interrupted\n"

    def other(*arguments, **options):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise RuntimeError("no compiled object yet") from None

    monkeypatch.setitem(retention.__globals__, "program", other)
    assert cli.main(QUICK) == 130
    assert capsys.readouterr().err == "pcmref: interrupted\n"
    assert signal.getsignal(signal.SIGINT) is handler


def test_reader_that_has_gone_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as gone:
        command = [sys.executable, "-m", "pcmref", "inspect"]
        done = subprocess.run(command, stdout=gone, stderr=subprocess.PIPE, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode == 0


def test_reader_that_has_gone_does_not_stop_the_work(tmp_path, capsys):
    """Neither the one of the table, which comes after all files, nor the one of what is said beside it."""
    path, plot = tmp_path / "out.json", tmp_path / "out.png"
    assert cli.main([*QUICK, "--json", str(path)]) == 0
    whole = path.read_bytes()
    document = json.loads(whole)
    part = tmp_path / "out.json.part"
    left = {**document, "rows": document["rows"][:1]}
    part.write_text(json.dumps(left | {"digest": json_digest(left)}))  # of which the next run will tell
    path.unlink()
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as gone:
        command = [sys.executable, "-u", "-m", "pcmref", *QUICK, "--json", str(path), "--plot", str(plot)]
        done = subprocess.run(command, stdout=gone, stderr=gone, check=False)
    assert done.returncode == 0
    assert path.read_bytes() == whole
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert not part.exists()


def test_a_directory_hides_no_bundled_network(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits-resnet8").mkdir()
    assert cli.main(["inspect", "digits-resnet8"]) == 0
    capsys.readouterr()
    assert "digits-resnet8.h5: expected" in fails(capsys, "inspect", "digits-resnet8.h5")
    assert "network: expected one of digits-resnet8" in fails(capsys, "inspect", "x" * 300)


def test_full_disk_keeps_the_old_file(tmp_path, capsys, monkeypatch):
    path = tmp_path / "out.json"
    path.write_text("old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert cli.main([*QUICK, "--json", str(path)]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_units_of_time():
    assert time_s("1y") == 365 * 86400
    assert np.isclose(time_s("0.5h"), 1800)


def shell(line, **environment):
    """Run a line of shell in which ``pcmref`` is the command."""
    line = line.replace("pcmref", f"{sys.executable} -m pcmref")
    return subprocess.run(
        line, shell=True, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


ONE = "pcmref retention --images 5 --times 25s --compensation none"


def test_a_terminal_without_plus_minus_gets_its_table(tmp_path):
    done = shell(f"{ONE} --chips 2 --json {tmp_path / 'out.json'}", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "100.00 ? 0.00" in done.stdout
    assert (tmp_path / "out.json").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_standard_output_is_one_line_and_keeps_the_data(tmp_path):
    done = shell(f"{ONE} --json {tmp_path / 'out.json'} > /dev/full")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out.json").exists()


def test_outputs_do_not_destroy_inputs_or_each_other(tmp_path, capsys):
    network = tmp_path / "net.h5"
    network.write_bytes(pcmref.bundled().read_bytes())
    before = network.read_bytes()
    assert "no input" in fails(capsys, "retention", str(network), "--json", str(network))
    archive = tmp_path / "cifar-10-python.tar.gz"
    archive.write_bytes(b"images")
    assert "no input" in fails(capsys, "retention", str(network), "--data", str(archive), "--json", str(archive))
    assert archive.read_bytes() == b"images"
    same = str(tmp_path / "same.png")
    assert "no other output" in fails(capsys, *QUICK, "--plot", same, "--json", same)
    assert network.read_bytes() == before


@pytest.mark.parametrize("name", ["curves", "curves.xyz", "curves.pgf"])
def test_a_plot_needs_a_known_suffix(name, tmp_path, capsys):
    message = fails(capsys, *QUICK, "--plot", str(tmp_path / name))
    assert "a suffix out of" in message
    assert "png" in message


def test_layers_kept_digital(capsys, tmp_path):
    command = ["retention", "--images", "40", "--times", "1d", "--compensation", "none", "--json", str(tmp_path / "a")]
    assert cli.main([*command, "--digital", "first, last"]) == 0
    first = json.loads((tmp_path / "a").read_text())["network"]
    assert first["digital"] == ["conv1", "fc"]
    assert cli.main(command) == 0  # other rows: nothing is taken over
    second = json.loads((tmp_path / "a").read_text())["network"]
    assert second["digital"] == []
    assert first["digest"] != second["digest"] == pcmref.load(pcmref.bundled()).digest
    out = capsys.readouterr().out
    assert "120,096 PCM devices\ndigital: conv1, fc\n" in out
    assert out.count("digital: ") == 1
    assert cli.main([*command, "--digital", "relu1"]) == 1
    assert "digital: expected one of conv1, " in capsys.readouterr().err


def test_inspect_names_layers_that_are_kept_digital(tmp_path, capsys):
    pcmref.save(tmp_path / "net.h5", pcmref.keep_digital(pcmref.load(pcmref.bundled()), ["first"]))
    assert cli.main(["inspect", str(tmp_path / "net.h5"), "--json", str(tmp_path / "a")]) == 0
    assert "kept digital: conv1" in capsys.readouterr().out
    assert json.loads((tmp_path / "a").read_text())["digital"] == ["conv1"]
