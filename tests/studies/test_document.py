"""The answer to a study as JSON, and runs of ``pcmref retention`` that are interrupted and go on."""

import dataclasses
import hashlib
import json
import os

import numpy as np
import pytest

import pcmref
from pcmref import cli
from pcmref.errors import DataError, ParameterError
from pcmref.files.atomic import check_outputs
from pcmref.network.images import Samples
from pcmref.references import SPEC_VERSION
from pcmref.studies import document, retention, study
from pcmref.studies.document import part_of, rows_left, write_document
from pcmref.studies.retention import Retention, Row
from pcmref.studies.study import Study
from tests.helpers.nets import samples, tiny

RUN = ["retention", "--images", "20", "--times", "25s,1d", "--compensation", "none,gdc", "--chips", "3"]
CHIP8 = pcmref.PRESETS["chip8"]


# What is in it


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "net.h5"
    pcmref.save(path, tiny())
    return pcmref.load(path)


def asked(net, **changes):
    return Study(
        **{
            "network": net,
            "samples": net.evaluation,
            "calibration": net.calibration,
            "compensations": ("gdc",),
            "seeds": (3,),
            "times_s": (25.0, 86400.0),
            "title": "net.h5",
        }
        | changes
    )


def answer(asked, readout=None):
    """An answer with made-up numbers: one image fewer is right at each later time."""
    rows = tuple(
        Row(t_s=t_s, compensation=name, seed=seed, images=5, correct=4 - asked.times_s.index(t_s))
        for seed, t_s, name in asked.cases
    )
    return Retention(study=asked, rows=rows, digital_correct=5, readout=readout or asked.readout)


def written(tmp_path, result):
    path = tmp_path / "out.json"
    write_document(path, result)
    return json.loads(path.read_text())


def sha256(array):
    return hashlib.sha256(array.tobytes()).hexdigest()


def sha256_of_json(document):
    said = {name: value for name, value in document.items() if name != "digest"}
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def test_a_document_holds_all_that_its_rows_depend_on(net, tmp_path):
    model = dataclasses.replace(pcmref.MODELS["JOSHI_2020"], nonconverged_share=0.25)
    found = written(tmp_path, answer(asked(net, model=model, scale="column", significance=(2, 1), gdc_readout="ones")))
    assert list(found) == [
        *("format", "version", "pcmref", "spec", "network", "images", "calibration"),
        *("model", "scale", "significance", "gdc_readout", "readout", "digital", "rows", "digest"),
    ]
    assert found == {
        "format": "pcmref-retention",
        "version": 3,
        "pcmref": pcmref.__version__,
        "spec": SPEC_VERSION,
        "network": {
            "file": "net.h5",
            "sha256": net.sha256,
            "digest": net.digest,
            "digital": [],
            "provenance": {"recipe": "random numbers", "seed": "0"},
        },
        "images": {
            "source": "evaluation",
            "count": 5,
            "sha256": sha256(net.evaluation.images),
            "labels_sha256": sha256(net.evaluation.labels),
        },
        "calibration": {
            "source": "calibration",
            "count": 3,
            "sha256": sha256(net.calibration.images),
            "labels_sha256": sha256(net.calibration.labels),
        },
        "model": {
            "name": "JOSHI_2020",
            "source": "J20",
            "g_max_us": 25.0,
            "t_c_s": 27.36,
            "t_read_s": 250e-9,
            "t_offset_s": 0.0,
            "programming_spread_us": {"coefficients": [0.28638599, 0.07585724 * 25.0, -0.00178767 * 625.0]},
            "exponent_mean": {"value": 0.06},
            "exponent_spread": {"slope": -0.0125, "offset": -0.0059, "low": 0.008, "high": 0.045},
            "exponent_absolute": False,
            "read_noise": {"factor": 0.0088, "exponent": -0.65, "high": 0.2},
            "read_noise_of_programmed": False,
            "programs_zero": False,
            "nonconverged_share": 0.25,
            "g_step_us": 2.0**-9,
        },
        "scale": "column",
        "significance": [2, 1],
        "gdc_readout": "ones",
        "readout": {
            "name": "paper",
            "dac": {"bits": 12, "codes": "symmetric", "drive": "parallel"},
            "adc": None,
            "tile_rows": None,
            "tile_columns": None,
            "lines": "pair",
            "accumulator": None,
            "read_noise": "frozen",
            "ranges": None,
            "measured": None,
        },
        "digital": {"images": 5, "correct": 5, "accuracy": 1.0},
        "rows": [
            {"t_s": 25.0, "compensation": "gdc", "seed": 3, "images": 5, "correct": 4, "accuracy": 0.8},
            {"t_s": 86400.0, "compensation": "gdc", "seed": 3, "images": 5, "correct": 3, "accuracy": 0.6},
        ],
        "digest": sha256_of_json(found),
    }


def test_a_document_tells_other_images_labels_and_ranges(net, tmp_path):
    found = written(tmp_path, answer(asked(net)))
    assert written(tmp_path, answer(asked(net, calibration=None)))["calibration"] is None
    labels = net.evaluation.labels.copy()
    labels[0] = (labels[0] + 1) % 4
    other = dataclasses.replace(net.evaluation, labels=labels)
    changed = written(tmp_path, answer(asked(net, samples=other)))
    assert changed["images"]["labels_sha256"] != found["images"]["labels_sha256"]
    assert changed["images"]["sha256"] == found["images"]["sha256"]
    own = pcmref.calibrate_ranges(net, net.calibration.images, CHIP8)
    with_ranges = written(tmp_path, answer(asked(net, readout=CHIP8), readout=own))
    assert with_ranges["readout"]["ranges"] == {name: dataclasses.asdict(top) for name, top in own.ranges.items()}


def test_a_document_is_plain_json(net, tmp_path):
    path = tmp_path / "out.json"
    write_document(path, answer(asked(net, title="dög\n")))
    text = path.read_text(encoding="utf-8")
    assert text.endswith("}\n")
    assert text.isascii()
    assert json.loads(text)["network"]["file"] == "dög\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_model_that_json_cannot_hold_is_refused(net, tmp_path):
    law = pcmref.MODELS["JOSHI_2020"].read_noise
    strange = asked(net, model=dataclasses.replace(pcmref.MODELS["JOSHI_2020"], read_noise=lambda g: law(g)))
    path = tmp_path / "out.json"
    write_document(path, answer(asked(net)))
    before = path.read_bytes()
    for attempt in (lambda: write_document(path, answer(strange)), lambda: rows_left(path, strange)):
        with pytest.raises(ParameterError, match=r"^model: expected dataclasses of numbers and texts all"):
            attempt()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


# Rows that are left


def test_rows_left_are_those_that_were_written(net, tmp_path):
    path = part_of(tmp_path / "out.json")
    assert path == tmp_path / "out.json.part"
    assert rows_left(path, asked(net)) == []
    result = answer(asked(net))
    write_document(path, result)
    assert rows_left(path, asked(net)) == list(result.rows)
    # other seeds, times and compensations can be asked for
    assert rows_left(path, asked(net, seeds=(9,), times_s=(60.0,), compensations=("none",))) == list(result.rows)


def relabelled(given):
    return Samples(images=given.images, labels=given.labels[::-1].copy(), where=given.where)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda net: {"title": "other.h5"}, "network.file"),
        (lambda net: {"samples": net.evaluation.first(4)}, "images.count"),
        (lambda net: {"samples": net.calibration}, "images.source"),
        (lambda net: {"samples": relabelled(net.evaluation)}, "images.labels_sha256"),
        (lambda net: {"calibration": None}, "calibration"),
        (lambda net: {"calibration": net.calibration.first(2)}, "calibration.count"),
        (lambda net: {"calibration": relabelled(net.calibration)}, "calibration.labels_sha256"),
        (lambda net: {"model": pcmref.MODELS["AIHWKIT"]}, "model.name"),
        (lambda net: {"model": dataclasses.replace(pcmref.MODELS["NANDAKUMAR_2019"], t_c_s=21.0)}, "model.t_c_s"),
        (lambda net: {"scale": "column"}, "scale"),
        (lambda net: {"significance": (1, 1)}, "significance"),
        (lambda net: {"gdc_readout": "ones"}, "gdc_readout"),
        (lambda net: {"readout": CHIP8}, "readout.name"),
        (
            lambda net: {"readout": dataclasses.replace(pcmref.PRESETS["paper"], dac=pcmref.Dac(bits=11))},
            "readout.dac.bits",
        ),
        (lambda net: {"readout": dataclasses.replace(pcmref.PRESETS["paper"], tile_rows=9)}, "readout.tile_rows"),
        (
            lambda net: {"readout": pcmref.calibrate_ranges(net, net.calibration.images, pcmref.PRESETS["paper"])},
            "readout.ranges",
        ),
    ],
)
def test_rows_of_another_study_are_refused_with_the_field(net, tmp_path, change, place):
    path = tmp_path / "part"
    write_document(path, answer(asked(net)))
    before = path.read_bytes()
    with pytest.raises(DataError) as caught:
        rows_left(path, asked(net, **change(net)))
    assert caught.value.where == f"{path}: {place}"
    assert caught.value.expected.startswith("what this run has: ")
    assert path.read_bytes() == before


def test_rows_of_another_network_are_refused(net, tmp_path):
    path = tmp_path / "part"
    write_document(path, answer(asked(net)))
    pcmref.save(tmp_path / "net.h5", tiny(seed=1))
    other = pcmref.load(tmp_path / "net.h5")
    with pytest.raises(DataError, match=r"part: network\.sha256: expected what this run has"):
        rows_left(path, asked(other, samples=net.evaluation, calibration=net.calibration))


def test_a_network_of_no_file_goes_on_too(tmp_path):
    """Its digest tells it from others: from itself with a layer kept digital, too."""
    study = asked(tiny())
    write_document(tmp_path / "part", answer(study))
    assert len(rows_left(tmp_path / "part", study)) == 2
    with pytest.raises(DataError, match=r"part: network\.digest: expected what this run has"):
        rows_left(tmp_path / "part", asked(pcmref.keep_digital(tiny(), ["first"])))


def test_rows_under_other_ranges_of_converters_are_refused(net, tmp_path):
    path = tmp_path / "part"
    found = pcmref.calibrate_ranges(net, net.calibration.images, CHIP8)
    chip8 = asked(net, readout=CHIP8)
    write_document(path, answer(chip8, readout=found))
    assert len(rows_left(path, chip8)) == 2  # they are found again
    assert len(rows_left(path, asked(net, readout=found))) == 2
    top = dataclasses.replace(found.ranges["conv2"], sum_top_us=1.0)
    for mine, place in (
        (dataclasses.replace(found, ranges={**found.ranges, "conv2": top}), "readout.ranges.conv2.sum_top_us"),
        (dataclasses.replace(CHIP8, adc=pcmref.Adc(bits=9)), "readout.adc.bits"),
    ):
        with pytest.raises(DataError, match=f"part: {place}: expected what this run has"):
            rows_left(path, asked(net, readout=mine))
    write_document(path, answer(asked(net, readout=dataclasses.replace(found, ranges={**found.ranges, "conv2": top}))))
    with pytest.raises(DataError, match=r"part: readout\.ranges\.conv2\.sum_top_us: expected what this run has"):
        rows_left(path, chip8)


@pytest.mark.parametrize("name", ["format", "version", "pcmref", "spec"])
def test_rows_of_another_format_or_version_are_refused(net, tmp_path, name):
    path = tmp_path / "part"
    write_document(path, answer(asked(net)))
    path.write_text(json.dumps({**json.loads(path.read_text()), name: 99}))
    with pytest.raises(DataError, match=f"part: {name}: expected what this run has: .* found 99$"):
        rows_left(path, asked(net))


@pytest.mark.parametrize(
    "change",
    [
        lambda found: "",
        lambda found: json.dumps(found)[:-20],
        lambda found: "[1]",
        lambda found: "{}",
        lambda found: json.dumps({**found, "rows": [{"seed": 0}]}),
        lambda found: json.dumps({**found, "rows": 3}),
        lambda found: json.dumps({**found, "rows": [{**found["rows"][0], "correct": 6}]}),
        lambda found: json.dumps({**found, "rows": [{**found["rows"][0], "correct": -1}]}),
        lambda found: json.dumps({**found, "rows": [{**found["rows"][0], "correct": "3"}]}),
        lambda found: json.dumps({**found, "rows": [{**found["rows"][0], "correct": 1.5}]}),
        lambda found: json.dumps({**found, "rows": [{**found["rows"][0], "correct": True}]}),
        lambda found: json.dumps({**found, "rows": [{**found["rows"][0], "images": 5.0}]}),
        lambda found: json.dumps({**found, "rows": [{**found["rows"][0], "t_s": [1]}]}),
        lambda found: json.dumps({**found, "rows": [{**found["rows"][0], "t_s": 25}]}),
        lambda found: json.dumps({**found, "rows": [{**found["rows"][0], "seed": {}}]}),
        lambda found: json.dumps({**found, "rows": [{**found["rows"][0], "compensation": 1}]}),
        lambda found: "[" * 100_000,
        lambda found: b"\xff\xfe\x00",
    ],
)
def test_damaged_rows_are_refused(net, tmp_path, change):
    path = tmp_path / "part"
    write_document(path, answer(asked(net)))
    changed = change(json.loads(path.read_text()))
    path.write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    before = path.read_bytes()
    with pytest.raises(DataError, match="part: expected the rows of an unfinished run"):
        rows_left(path, asked(net))
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found["rows"][0].update(correct=5),
        lambda found: found["rows"].pop(),
        lambda found: found["rows"].append({**found["rows"][0], "seed": 4}),
        lambda found: found["digital"].update(correct=4),
        lambda found: found.update(more=1),
        lambda found: found.pop("digest"),
    ],
)
def test_rows_that_were_changed_are_refused(net, tmp_path, change):
    path = tmp_path / "part"
    write_document(path, answer(asked(net)))
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found))
    assert len(rows_left(path, asked(net))) == 2  # how it is laid out does not count
    change(found)
    path.write_text(json.dumps(found))
    with pytest.raises(DataError, match=f"part: digest: expected {sha256_of_json(found)}.* the file was changed$"):
        rows_left(path, asked(net))


@pytest.mark.parametrize("correct", [3, 4])
def test_two_rows_of_one_case_are_refused(net, tmp_path, correct):
    path = tmp_path / "part"
    result = answer(asked(net))
    row = dataclasses.replace(result.rows[0], correct=correct)
    write_document(path, dataclasses.replace(result, rows=(*result.rows, row)))
    with pytest.raises(DataError, match="part: rows: expected one for each seed, time and compensation, found two of"):
        rows_left(path, asked(net))


def test_what_is_no_regular_file_or_too_long_is_not_read(net, tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(DataError, match="expected the rows of an unfinished run"):
            rows_left(path, asked(net))
    write_document(tmp_path / "part", answer(asked(net)))
    size = (tmp_path / "part").stat().st_size
    monkeypatch.setattr(document, "DOCUMENT_LIMIT", size)
    assert len(rows_left(tmp_path / "part", asked(net))) == 2
    monkeypatch.setattr(document, "DOCUMENT_LIMIT", size - 1)
    with pytest.raises(DataError, match=f"part: expected at most {size - 1} bytes, found {size} bytes"):
        rows_left(tmp_path / "part", asked(net))


@pytest.mark.parametrize("readout", [None, {}, 3, "paper"])
def test_a_damaged_readout_is_refused(net, tmp_path, readout):
    path = tmp_path / "part"
    write_document(path, answer(asked(net)))
    path.write_text(json.dumps({**json.loads(path.read_text()), "readout": readout}))
    with pytest.raises(DataError, match=r"part: readout.*: expected what this run has"):
        rows_left(path, asked(net))


def test_a_field_that_only_one_of_the_two_has_is_named(net, tmp_path):
    path = tmp_path / "part"
    write_document(path, answer(asked(net)))
    found = json.loads(path.read_text())
    missing = {name: value for name, value in found["model"].items() if name != "t_c_s"}
    for model, place, told in ((missing, "t_c_s", "20.0"), ({**found["model"], "more": 3}, "more", "None")):
        path.write_text(json.dumps({**found, "model": model}))
        with pytest.raises(DataError, match=rf"part: model\.{place}: expected what this run has: {told} "):
            rows_left(path, asked(net))


def test_ranges_are_found_again_on_as_many_threads_as_asked_for(net, tmp_path, monkeypatch):
    chip8 = asked(net, readout=CHIP8)
    write_document(tmp_path / "part", answer(chip8, readout=chip8.ranged_readout()))
    seen, calibrate = [], study.calibrate_ranges
    monkeypatch.setattr(
        study,
        "calibrate_ranges",
        lambda *args, **options: seen.append(options["threads"]) or calibrate(*args, **options),
    )
    assert rows_left(tmp_path / "part", chip8, threads=1)
    assert rows_left(tmp_path / "part", chip8)
    assert seen == [1, None]


def test_a_part_that_is_a_directory(net, tmp_path):
    with pytest.raises(DataError, match="expected the rows of an unfinished run"):
        rows_left(tmp_path, asked(net))


@pytest.mark.parametrize("readout", ["paper", "chip8"])
def test_a_study_goes_on_with_every_compensation(net, tmp_path, readout):
    """What `retention` has kept, in whatever order it is found, ends in the same document."""
    images = samples(np.random.default_rng(5), 200, net.input_shape, 4, "training")
    options = {"calibration": images, "seeds": (0, 1), "times_s": (25.0,), "compensations": pcmref.COMPENSATIONS}
    whole = asked(net, readout=pcmref.PRESETS[readout], **options)
    kept = []
    write_document(tmp_path / "whole", pcmref.retention(whole, keep=kept.append))
    assert [len(result.rows) for result in kept] == list(range(1, 9))
    write_document(tmp_path / "part", dataclasses.replace(kept[4], rows=kept[4].rows[::-1]))
    again = []
    known = rows_left(tmp_path / "part", whole)
    write_document(tmp_path / "again", pcmref.retention(whole, known=known, keep=again.append))
    assert [len(result.rows) for result in again] == [6, 7, 8]
    assert (tmp_path / "again").read_bytes() == (tmp_path / "whole").read_bytes()


# The command line


@pytest.fixture
def until_seed_1(monkeypatch):
    """Ctrl-C when the second chip is programmed; `undo` takes that back."""
    program = retention.program

    def interrupted(*arguments, **options):
        if options["seed"] == 1:
            raise KeyboardInterrupt
        return program(*arguments, **options)

    monkeypatch.setattr(retention, "program", interrupted)
    return monkeypatch


def interrupted_run(path, *options):
    assert cli.main([*RUN, *options, "--json", str(path)]) == 130
    return path.with_name(path.name + ".part")


def test_a_run_goes_on_and_ends_as_if_nothing_had_happened(tmp_path, capsys, until_seed_1):
    path = tmp_path / "out.json"
    part = interrupted_run(path)
    assert not path.exists()
    assert f"what is finished is in {part}; the same command goes on from there\n" in capsys.readouterr().err
    left = json.loads(part.read_text())
    assert [(row["seed"], row["t_s"], row["compensation"]) for row in left["rows"]] == [
        (0, t_s, name) for t_s in (25.0, 86400.0) for name in ("none", "gdc")
    ]

    until_seed_1.undo()
    made, asked = retention.prepare, []
    until_seed_1.setattr(
        retention, "prepare", lambda *args, **options: asked.append(args[0].seed) or made(*args, **options)
    )
    assert cli.main([*RUN, "--json", str(path)]) == 0
    out, err = capsys.readouterr()
    assert err == f"pcmref: 4 rows are in {part} already\n"
    assert asked == [1] * 4 + [2] * 4
    assert not part.exists()

    other = tmp_path / "whole.json"
    assert cli.main([*RUN, "--json", str(other)]) == 0
    assert path.read_bytes() == other.read_bytes()
    assert capsys.readouterr() == (out, "")


def test_ranges_that_the_run_finds_itself_do_not_stop_it(tmp_path, capsys, until_seed_1):
    path = tmp_path / "out.json"
    part = interrupted_run(path, "--preset", "chip8", "--scale", "column")
    assert json.loads(part.read_text())["readout"]["ranges"]
    until_seed_1.undo()
    assert cli.main([*RUN, "--preset", "chip8", "--scale", "column", "--json", str(path)]) == 0
    assert "4 rows are in" in capsys.readouterr().err


def test_more_chips_and_other_times_can_be_asked_for(tmp_path, until_seed_1):
    path = tmp_path / "out.json"
    part = interrupted_run(path)
    until_seed_1.undo()
    shorter = ["retention", "--images", "20", "--times", "1d,1y", "--compensation", "none", "--json", str(path)]
    assert cli.main(shorter) == 0

    def rows(file):
        return [(row["seed"], row["t_s"], row["compensation"]) for row in json.loads(file.read_text())["rows"]]

    found = [(0, 86400.0, "none"), (0, 31536000.0, "none")]
    assert rows(path) == found
    # those that were not asked for this time are still there
    assert rows(part) == [*found, (0, 25.0, "none"), (0, 25.0, "gdc"), (0, 86400.0, "gdc")]
    assert cli.main([*RUN, "--json", str(path)]) == 0
    assert len(rows(path)) == 12
    assert rows(part) == [*rows(path), (0, 31536000.0, "none")]


@pytest.mark.parametrize(
    ("options", "place"),
    [
        (["--images", "19"], "images.count"),
        (["--model", "HERMES_1"], "model.name"),
        (["--nonconverged", "0.1"], "model.nonconverged_share"),
        (["--preset", "chip8"], "readout.name"),
        (["--scale", "column"], "scale"),
        (["--significance", "1,1"], "significance"),
        (["--gdc", "ones"], "gdc_readout"),
    ],
)
def test_a_command_does_not_go_on_from_another_one(tmp_path, capsys, part_of_a_run, options, place):
    path, part = tmp_path / "out.json", tmp_path / "out.json.part"
    part.write_bytes(part_of_a_run)
    assert cli.main([*RUN, *options, "--json", str(path)]) == 1
    assert f"{part}: {place}: expected what this run has" in capsys.readouterr().err
    assert part.read_bytes() == part_of_a_run
    assert not path.exists()


@pytest.fixture(scope="module")
def part_of_a_run(tmp_path_factory):
    """What a command that had only begun would have left."""
    path = tmp_path_factory.mktemp("run") / "out.json"
    assert cli.main([*RUN, "--chips", "1", "--compensation", "none", "--json", str(path)]) == 0
    return path.read_bytes()


def test_rows_of_another_version_of_the_specification_are_refused(tmp_path, capsys, part_of_a_run, monkeypatch):
    part = tmp_path / "out.json.part"
    part.write_bytes(part_of_a_run)
    monkeypatch.setattr(study, "SPEC_VERSION", 99)
    assert cli.main([*RUN, "--json", str(tmp_path / "out.json")]) == 1
    expected = f"what this run has: 99 (without the file it begins anew), found {SPEC_VERSION}\n"
    assert capsys.readouterr().err.endswith(f"{part}: spec: expected {expected}")


def test_a_damaged_part_stops_the_command(tmp_path, capsys, part_of_a_run):
    part = tmp_path / "out.json.part"
    part.write_bytes(part_of_a_run[:-20])
    assert cli.main([*RUN, "--json", str(tmp_path / "out.json")]) == 1
    assert f"{part}: expected the rows of an unfinished run" in capsys.readouterr().err


def test_the_name_of_the_unfinished_file_is_taken(tmp_path, capsys):
    path = tmp_path / "out.json"
    (tmp_path / "out.json.part").mkdir()
    assert cli.main([*RUN, "--json", str(path)]) == 1
    assert "out.json.part: expected the name of a file, found a directory" in capsys.readouterr().err
    check_outputs([path])


def test_the_threads_of_a_command_look_for_the_ranges_again(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(cli.retention, "rows_left", lambda path, study, threads: asked.append(threads) or [])
    assert cli.main([*RUN, "--chips", "1", "--threads", "1", "--json", str(tmp_path / "out.json")]) == 0
    assert asked == [1]
