"""PyTorch checkpoints to networks."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pcmref
from pcmref.errors import FileError, NetworkError, ParameterError
from pcmref.files import networks
from pcmref.files.atomic import sha256_of
from pcmref.files.cifar10 import CLASSES
from pcmref.importers.checkpoints import convert, read_checkpoint
from pcmref.importers.resnet import architecture
from pcmref.network.images import Normalisation, Samples
from tests.helpers.nets import RESIDUAL, random_tensors

# Checkpoints


def as_torch(torch, tensors):
    return {name: torch.tensor(value) for name, value in tensors.items()}


@pytest.mark.parametrize("wrap", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("legacy", [False, True])
def test_read_checkpoint(torch, tmp_path, wrap, prefix, legacy):
    tensors = random_tensors(RESIDUAL["pad"])
    state = {prefix + name: value for name, value in as_torch(torch, tensors).items()}
    content = state if wrap is None else {"epoch": 3, wrap: state, "optimizer": {"lr": 0.1}}
    path = tmp_path / "net.pt"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    found = read_checkpoint(path)
    assert list(found) == list(tensors)
    for name, value in tensors.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)


def test_read_what_a_module_saves(torch, tmp_path):
    torch.save(torch.nn.DataParallel(torch.nn.Linear(3, 2)).state_dict(keep_vars=True), tmp_path / "net.pt")
    tensors = read_checkpoint(str(tmp_path / "net.pt"))
    assert {name: tensor.shape for name, tensor in tensors.items()} == {"weight": (2, 3), "bias": (2,)}


def test_module_is_removed_only_from_all(torch, tmp_path):
    torch.save({"module.a": torch.zeros(1), "a": torch.ones(1)}, tmp_path / "net.pt")
    assert list(read_checkpoint(tmp_path / "net.pt")) == ["module.a", "a"]
    torch.save({"module.module.a": torch.zeros(1)}, tmp_path / "net.pt")
    assert list(read_checkpoint(tmp_path / "net.pt")) == ["module.a"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_floating_point_becomes_float32(torch, tmp_path, dtype):
    values = torch.tensor([1.0, -0.3330078125, 2.0**-14], dtype=getattr(torch, dtype), requires_grad=True)
    torch.save({"a": values, "count": torch.tensor(2)}, tmp_path / "net.pt")
    found = read_checkpoint(tmp_path / "net.pt")
    assert found["a"].dtype == np.float32
    assert found["a"].tolist() == values.tolist()
    assert found["count"].dtype == np.int64


class Hostile:
    def __reduce__(self):
        return Path.touch, (Path(os.environ["PCMREF_TEST_TRAP"]),)


@pytest.mark.parametrize("pickle_protocol", [None, 2, 4])
def test_no_code_is_run(torch, tmp_path, monkeypatch, pickle_protocol):
    trap, path = tmp_path / "trap", tmp_path / "net.pt"
    monkeypatch.setenv("PCMREF_TEST_TRAP", str(trap))
    if pickle_protocol:
        path.write_bytes(pickle.dumps({"extra": Hostile()}, protocol=pickle_protocol))
    else:
        torch.save({"extra": Hostile()}, path)
    with pytest.raises(FileError, match=r"net\.pt: expected a PyTorch checkpoint of tensors alone"):
        read_checkpoint(path)
    torch.save({"conv1.weight": torch.zeros(1), "extra": Hostile()}, path)
    assert list(read_checkpoint(path)) == ["conv1.weight"]
    assert not trap.exists()


def test_python_objects_are_named(torch, tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "net.pt")
    with pytest.raises(FileError, match=r"found torch\.nn\.modules\.linear\.Linear, which only running"):
        read_checkpoint(tmp_path / "net.pt")


@pytest.mark.parametrize(
    "content", [[1, 2], 3, {}, {"epoch": 1}, {"state_dict": {}}, {"state_dict": 5}, {"net": {"a": "b"}}]
)
def test_checkpoint_without_tensors(torch, tmp_path, content):
    torch.save(content, tmp_path / "net.pt")
    with pytest.raises(FileError, match=r"net\.pt: expected a dict of tensors, bare or under one of"):
        read_checkpoint(tmp_path / "net.pt")


def test_tensors_that_are_not_dense(torch, tmp_path):
    torch.save({"a": torch.eye(3).to_sparse()}, tmp_path / "net.pt")
    with pytest.raises(FileError, match=r"net\.pt: a: expected a dense tensor"):
        read_checkpoint(tmp_path / "net.pt")


def test_foreign_files(torch, tmp_path):
    path = tmp_path / "net.pt"
    torch.save({"a": torch.zeros(1000)}, path)
    whole = path.read_bytes()
    np.savez(tmp_path / "a.npz", a=np.zeros(3))
    for content in (
        b"",
        b"hello world",
        bytes(100),
        whole[: len(whole) // 2],
        (tmp_path / "a.npz").read_bytes(),
    ):
        path.write_bytes(content)
        with pytest.raises(FileError, match=r"net\.pt: expected a PyTorch checkpoint of tensors alone"):
            read_checkpoint(path)


def test_no_file(tmp_path):
    with pytest.raises(FileError, match="found nothing"):
        read_checkpoint(tmp_path / "absent.pt")
    with pytest.raises(FileError, match="found a directory"):
        read_checkpoint(tmp_path)


def test_pytorch_is_not_needed(torch, tmp_path, monkeypatch):
    torch.save(as_torch(torch, random_tensors(architecture("he-resnet8"))), tmp_path / "net.pt")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert convert(tmp_path / "net.pt", "he-resnet8").devices


def test_import_does_not_need_pytorch():
    code = "import sys; import pcmref.importers.checkpoints; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(pcmref.__file__).parents[1])


# The two together


def test_convert(torch, tmp_path):
    path = tmp_path / "net.th"
    tensors = random_tensors(architecture("he-resnet8"))
    torch.save({"state_dict": {f"module.{n}": v for n, v in as_torch(torch, tensors).items()}}, path)
    network = convert(path, "he-resnet8", provenance={"author": "me"})
    assert network.input_shape == (32, 32, 3)
    assert network.classes == CLASSES
    assert network.normalisation == Normalisation(
        full_scale=255.0, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )
    assert network.provenance == {
        "author": "me",
        "source": "net.th",
        "source_sha256": sha256_of(path),
        "architecture": "he-resnet8",
    }
    np.testing.assert_array_equal(network.layers[0].weight, tensors["conv1.weight"])
    networks.save(tmp_path / "net.h5", network)
    assert networks.load(tmp_path / "net.h5").devices == network.devices
    images = Samples(images=np.zeros((1, 32, 32, 3), np.uint8), labels=np.array([9]))
    other = convert(path, "he-resnet8", mean=[0, 0, 0], std=[1, 1, 1], evaluation=images, calibration=images)
    assert other.normalisation == Normalisation(full_scale=255.0, mean=(0.0,) * 3, std=(1.0,) * 3)
    assert other.evaluation is images
    assert other.calibration is images


def test_convert_names_the_file_and_the_tensor(torch, tmp_path):
    path = tmp_path / "net.pt"
    torch.save(as_torch(torch, random_tensors(architecture("he-resnet8"))), path)
    with pytest.raises(FileError) as caught:
        convert(path, "joshi-resnet8")
    assert caught.value.where == f"{path}: layer2.0.conv1.weight"
    with pytest.raises(ParameterError):
        convert(path, "resnet8")
    with pytest.raises(NetworkError, match=r"^normalisation: expected a positive full_scale and std"):
        convert(path, "he-resnet8", std=(0.2, 0.2, 0.0))
