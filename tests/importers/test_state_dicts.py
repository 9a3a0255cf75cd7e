"""State dicts as people save them: under any name, with other things beside them, whatever the keys are called."""

import argparse
import collections
import enum
import pathlib
import random
import re

import numpy as np
import pytest

import pcmref
from pcmref.errors import FileError, ParameterError
from pcmref.importers.checkpoints import convert, open_checkpoint
from pcmref.importers.state_dicts import read_checkpoint, read_state_dict


@pytest.fixture
def model(torch):
    from tests.helpers import torch_nets

    return torch_nets.randomised(torch_nets.ResNet((1, 2), (4, 8), bias=True))


def digest_of(torch, tmp_path, content, **options):
    torch.save(content, tmp_path / "net.pt")
    return convert(tmp_path / "net.pt", **options).digest


# Where tensors are

WRAPPED = {
    "net": lambda state: {"net": state, "acc": 91.2, "epoch": 199},
    "model_state_dict": lambda state: {"epoch": 3, "model_state_dict": state, "optimizer_state_dict": {"state": {}}},
    "model_state": lambda state: {"model_state": state},
    "state": lambda state: {"state": state},
    "ema": lambda state: {"ema": state},
    "a name beside them": lambda state: {"model": "resnet", "net": state},
    "anything": lambda state: {"my_best_weights_so_far": state},
    "two deep": lambda state: {"checkpoint": {"step": 3, "network": state}},
    "in a list": lambda state: [3, state, "resnet"],
    "in a tuple of tuples": lambda state: (("a", 3), (state,)),
}


@pytest.mark.parametrize("wrapper", WRAPPED)
@pytest.mark.parametrize("legacy", [False, True])
def test_wrappers(torch, tmp_path, model, wrapper, legacy):
    expected = digest_of(torch, tmp_path, model.state_dict())
    torch.save(WRAPPED[wrapper](model.state_dict()), tmp_path / "net.pt", _use_new_zipfile_serialization=not legacy)
    assert convert(tmp_path / "net.pt").digest == expected


def test_what_an_optimiser_keeps_is_no_network(torch, tmp_path, model):
    optimiser = torch.optim.Adam(model.parameters())
    model(torch.zeros(1, 3, 32, 32)).sum().backward()
    optimiser.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [3, 5])
    content = {
        "optimizer": optimiser.state_dict(),
        "scheduler": schedule.state_dict(),
        "rng": torch.get_rng_state(),
        "params": model.state_dict(),
    }
    torch.save(content, tmp_path / "net.pt")
    state = read_state_dict(tmp_path / "net.pt")
    assert (state.key, state.others) == ("params", ())
    assert state.passed_over == {"scheduler.milestones": "collections.Counter"}
    assert list(state.tensors) == list(model.state_dict())


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (("ema", "model"), "model"),
        (("model_ema", "net"), "net"),
        (("state_dict_ema", "state_dict"), "state_dict"),
        (("model_state_dict", "swa_model"), "model_state_dict"),
        (("teacher", "student"), "teacher"),
        (("network", "net", "model"), "model"),
        (("best", "state_dict"), "state_dict"),
        (("ema", "weights"), "weights"),
    ],
)
def test_of_several_state_dicts_one_is_taken_and_the_others_are_named(torch, tmp_path, model, names, taken):
    zeros = {name: torch.zeros_like(tensor) for name, tensor in model.state_dict().items()}
    contents = {name: model.state_dict() if name == taken else zeros for name in names}
    torch.save(contents, tmp_path / "net.pt")
    state = read_state_dict(tmp_path / "net.pt")
    assert state.key == taken
    assert sorted(state.others) == sorted(set(names) - {taken})
    np.testing.assert_array_equal(state.tensors["conv1.weight"], model.state_dict()["conv1.weight"].numpy())
    for name in names:
        chosen = read_state_dict(tmp_path / "net.pt", key=name)
        assert chosen.key == name
        assert chosen.tensors["conv1.weight"].any() == (name == taken)
    report = open_checkpoint(tmp_path / "net.pt").report()
    assert f"tensors under '{taken}'" in report
    assert "(--key takes one)" in report
    with pytest.raises(ParameterError, match=r"key: expected one of .*, which hold tensors in .*net.pt, found 'nt'"):
        read_checkpoint(tmp_path / "net.pt", "nt")
    with pytest.raises(ParameterError, match="key: expected a str"):
        read_checkpoint(tmp_path / "net.pt", 5)


def test_an_average_further_within(torch, tmp_path, model):
    torch.save({"ema": {"state_dict": model.state_dict()}, "net": model.state_dict()}, tmp_path / "net.pt")
    state = read_state_dict(tmp_path / "net.pt")
    assert (state.key, state.others) == ("net", ("ema.state_dict",))


def test_the_file_itself_comes_before_what_is_in_it(torch, tmp_path, model):
    torch.save({**model.state_dict(), "state_dict": {"a.weight": torch.zeros(1)}}, tmp_path / "net.pt")
    state = read_state_dict(tmp_path / "net.pt")
    assert (state.key, state.others) == ("", ("state_dict",))


# What tensors are called


@pytest.mark.parametrize(
    "prefix", ["module.", "model.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod.model.", "backbone.", "x.y."]
)
def test_prefixes(torch, tmp_path, model, prefix):
    expected = digest_of(torch, tmp_path, model.state_dict())
    prefixed = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    assert digest_of(torch, tmp_path, prefixed) == expected
    known = prefix not in ("backbone.", "x.y.")
    assert next(iter(read_checkpoint(tmp_path / "net.pt"))) == ("" if known else prefix) + "conv1.weight"


def test_an_averaged_model(torch, tmp_path, model):
    expected = digest_of(torch, tmp_path, model.state_dict())
    averaged = torch.optim.swa_utils.AveragedModel(model)
    assert "n_averaged" in averaged.state_dict()
    assert digest_of(torch, tmp_path, averaged.state_dict()) == expected
    assert digest_of(torch, tmp_path, torch.nn.DataParallel(averaged).state_dict()) == expected


NAMES = {
    "underscores": [("conv1.", "conv_1."), ("bn1.", "bn_1."), ("blocks.", "stage_2."), ("shortcut.", "downsample.")],
    "layers of their own": [("conv1.", "res2.a."), ("bn1.", "res2.b."), ("fc.", "classifier.2.")],
    "first and last": [(r"^conv1\.", "first_layer.conv."), (r"^bn1\.", "first_layer.norm."), ("fc", "fc_out")],
    "numbers": [("conv1", "0"), ("bn1", "1"), ("conv2", "3"), ("bn2", "4"), ("shortcut", "9")],
}  # fmt: skip


@pytest.mark.parametrize("names", NAMES)
def test_names_do_not_matter(torch, tmp_path, model, names):
    expected = digest_of(torch, tmp_path, model.state_dict())
    state = {}
    for name, tensor in model.state_dict().items():
        for old, new in NAMES[names]:
            name = re.sub(old, new, name)
        state[name] = tensor
    assert len(state) == len(model.state_dict())
    assert digest_of(torch, tmp_path, state) == expected


def test_known_names_in_any_order(torch, tmp_path):
    """With a name of a family, and its names of tensors, the order does not count."""
    from pcmref.importers.resnet import architecture
    from tests.helpers.nets import random_tensors

    tensors = {name: torch.tensor(value) for name, value in random_tensors(architecture("joshi-resnet8")).items()}
    expected = digest_of(torch, tmp_path, tensors)
    assert digest_of(torch, tmp_path, dict(sorted(tensors.items())), arch="joshi-resnet8") == expected
    eps = {"layer1.*": 1e-3}
    assert digest_of(torch, tmp_path, tensors, arch="joshi-resnet8", eps=eps) == digest_of(
        torch, tmp_path, tensors, eps=eps
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_floating_point_numbers(torch, tmp_path, model, dtype):
    model = model.to(getattr(torch, dtype))
    expected = digest_of(torch, tmp_path, model.float().state_dict())
    assert digest_of(torch, tmp_path, model.to(getattr(torch, dtype)).state_dict()) == expected


# What lies beside them


class Colour(enum.Enum):
    RED = 1


class Settings(dict):
    pass


class Row(list):
    pass


Point = collections.namedtuple("Point", "x y")
INNOCENT = {
    "numpy.*scalar": lambda: np.float64(91.5),
    "numpy.*_reconstruct": lambda: np.arange(3),
    "argparse.Namespace": lambda: argparse.Namespace(lr=0.1, name="x", nested=argparse.Namespace(a=[3, 5])),
    "collections.defaultdict": lambda: collections.defaultdict(list, {"a": [1]}),
    "collections.Counter": lambda: collections.Counter([1, 1, 2]),
    ".*Settings": lambda: Settings(a=1, b={"c": 2}),
    ".*Row": lambda: Row([1, 2]),
    ".*Colour": lambda: Colour.RED,
    ".*Point": lambda: Point(1, 2),
    "pathlib.*Path": lambda: pathlib.Path("a/b"),
    "random.Random": lambda: random.Random(3),
    "builtins.set|__builtin__.set": lambda: {1, 2},
    "builtins.frozenset|__builtin__.frozenset": lambda: frozenset([1, 2]),
    "torch.device": lambda: __import__("torch").device("cpu"),
}  # fmt: skip


@pytest.mark.parametrize("kind", INNOCENT)
@pytest.mark.parametrize("protocol", [2, 4])
def test_innocent_objects_are_passed_over_and_named(torch, tmp_path, model, kind, protocol):
    thing = INNOCENT[kind]()
    content = {"args": thing, "deep": {"list": [1, thing]}, "net": model.state_dict(), "best": 3}
    torch.save(content, tmp_path / "net.pt", pickle_protocol=protocol)
    state = read_state_dict(tmp_path / "net.pt")
    assert list(state.tensors) == list(model.state_dict())
    assert {"args", "deep.list.1"} <= state.passed_over.keys()
    assert re.fullmatch(kind, state.passed_over["args"])
    assert (
        f"passed over, without running code: args ({state.passed_over['args']}), "
        in open_checkpoint(tmp_path / "net.pt").report()
    )


def test_objects_as_keys_are_passed_over(torch, tmp_path, model):
    torch.save({"net": model.state_dict(), "config": {Colour.RED: 3, "a": 5}}, tmp_path / "net.pt")
    assert read_state_dict(tmp_path / "net.pt").key == "net"


def test_an_object_among_the_tensors(torch, tmp_path, model):
    torch.save({**model.state_dict(), "version": np.int64(3), "date": "today"}, tmp_path / "net.pt")
    state = read_state_dict(tmp_path / "net.pt")
    assert list(state.passed_over) == ["version"]
    assert convert(tmp_path / "net.pt").devices


@pytest.mark.parametrize("beside", [None, {}, {"optimizer": {"state": {0: {"momentum_buffer": 3}}}}])
def test_a_whole_module_is_refused_with_what_to_do(torch, tmp_path, beside):
    module = torch.nn.Linear(2, 2)
    if beside:
        beside["optimizer"]["state"][0]["momentum_buffer"] = torch.zeros(3)
    torch.save(module if beside is None else {"net": module, **beside}, tmp_path / "net.pt")
    message = (
        r"net\.pt: expected a PyTorch checkpoint of tensors alone, as torch\.save\(model\.state_dict\(\), PATH\) "
        r"writes it, found torch\.nn\.modules\.linear\.Linear, which only running code could load"
    )
    with pytest.raises(FileError, match=message):
        read_state_dict(tmp_path / "net.pt")


def test_what_is_passed_over_is_named_where_something_is_missing(torch, tmp_path, model):
    content = {"args": argparse.Namespace(), "net": {"conv1.weight": model.state_dict()["conv1.weight"]}}
    torch.save(content, tmp_path / "net.pt")
    with pytest.raises(FileError, match=r"\(the file has 1 tensors, conv1.weight; passed over: argparse.Namespace\)"):
        convert(tmp_path / "net.pt")


# Damaged files


def test_every_truncation_is_one_error(torch, tmp_path, model):
    for legacy in (False, True):
        torch.save({"net": model.state_dict()}, tmp_path / "net.pt", _use_new_zipfile_serialization=not legacy)
        whole = (tmp_path / "net.pt").read_bytes()
        for length in [*range(0, 200, 7), *range(200, len(whole) - 1, len(whole) // 60)]:
            (tmp_path / "net.pt").write_bytes(whole[:length])
            with pytest.raises(FileError):
                convert(tmp_path / "net.pt")


@pytest.mark.parametrize(
    "content", [{}, {"net": {}}, {"net": {"a": 3}}, [], None, {"a": {"b": {"c": {"d": {"e": {}}}}}}]
)
def test_no_tensors(torch, tmp_path, content):
    torch.save(content, tmp_path / "net.pt")
    with pytest.raises(FileError, match="expected a dict of tensors, bare or under one of the keys of a dict"):
        convert(tmp_path / "net.pt")


def test_a_list_within_itself(torch, tmp_path, model):
    loop = [model.state_dict()]
    loop.append(loop)
    torch.save({"loop": loop}, tmp_path / "net.pt")
    assert read_state_dict(tmp_path / "net.pt").key == "loop.0"


def test_many_long_names_take_no_memory(tmp_path, torch):
    """Each list is found under the name of all dicts around it: a long one, 20,000 times."""
    torch.save({"a" * 1_000_000: [[] for _ in range(20_000)]}, tmp_path / "net.pt")
    with pytest.raises(FileError, match="expected a dict of tensors"):
        read_state_dict(tmp_path / "net.pt")


def test_names_from_files_command_no_terminal(torch, tmp_path, model):
    red = "\x1b[31m\n" + "k" * 200
    torch.save({red: model.state_dict(), "ema": model.state_dict(), "\x07": Settings()}, tmp_path / "net.pt")
    report = open_checkpoint(tmp_path / "net.pt").report()
    assert report.replace("\n", "").isprintable()
    assert "\\x07 (" in report
    key = read_state_dict(tmp_path / "net.pt").key
    assert key.startswith("\\x1b[31m\\nkkk")
    assert read_state_dict(tmp_path / "net.pt", key).key == convert(tmp_path / "net.pt").provenance["key"] == key


def test_an_empty_file_of_any_name_is_no_checkpoint(tmp_path):
    (tmp_path / "net.pt").touch()
    with pytest.raises(pcmref.PcmrefError):
        convert(tmp_path / "net.pt")
