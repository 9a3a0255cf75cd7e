"""The parts of training on a GPU: that fast steps are the plain ones, and that nothing in them waits for the device."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import signal
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

import pcmref
from pcmref.residual import Architecture, architecture

torch = pytest.importorskip("torch")
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

sys.path.append(str(Path(__file__).resolve().parents[2] / "examples" / "training"))
MODULES = ("budget", "data", "feed", "keep", "learner", "model", "muon", "noise", "pack", "padded", "recipe", "replay")
budget, data, feed, keep, learner, model, muon, noise, pack, padded, recipe, replay = map(
    importlib.import_module, MODULES
)
train = importlib.import_module("train")
CPU, META = torch.device("cpu"), torch.device("meta")


def network():
    """A network whose blocks have both kinds of shortcut, and no two equal numbers."""
    torch.manual_seed(1)
    net = model.ResNet(Architecture(blocks=(2, 1), channels=(4, 6), shortcut="conv"), 3, 5)
    with torch.no_grad():
        for tensor in net.state_dict().values():
            if tensor.ndim == 1:
                tensor += torch.rand_like(tensor)
    return net


def uneven(weights, chips):
    """Errors that differ from chip to chip, and are no random numbers."""
    return torch.stack([weights * (0.8 + 0.2 * chip) for chip in range(chips)])


def fed(batch=6, shape=(8, 8, 3), classes=5, steps=3):
    """A feed of random images, begun from progress 0.3 to 0.6."""
    torch.manual_seed(2)
    food = feed.Feed(batch * steps, batch, shape, classes, CPU, torch.float32)
    targets, answers = torch.randn(2, batch * steps, classes).softmax(dim=2)
    food.fill((torch.randn(batch * steps, *shape), targets, 3 * answers), 0.3, 0.6)
    return food


def plain(net, stage, food, *, taught):
    """Take the steps of an epoch as `train.Training` does, in the same order."""
    options = {**dataclasses.asdict(stage), "bf16": False, "compile": False, "eta": 0.0, "model": "", "fresh": 0}
    training = train.Training(net, [], options, CPU)
    training.disturbance = uneven if stage.chips else None
    net.train()
    for index, rate in zip(food.order, food.rates.tolist(), strict=True):
        training.optimiser.zero_grad()
        weights = noise.noisy(net, training.disturbance, stage.chips)
        logits = torch.func.functional_call(net, weights, food.images[index].permute(0, 3, 1, 2))
        answers = food.answers[index] if taught else None
        train.loss_of(logits, food.targets[index], answers, options).backward()
        training.optimiser.step(rate)
        noise.clip(net, stage.clip)
    return net


@pytest.mark.parametrize("chips", [1, 3])
@pytest.mark.parametrize("training", [True, False])
def test_padded_network_is_the_network(chips, training):
    net = network().train(training)
    fast = padded.Padded(network(), CPU)
    images = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    drawn = uneven(fast.matrices, chips).requires_grad_()
    affine = fast.affine.clone().requires_grad_()
    found = fast.logits(images, drawn, affine, fast.running, training=training)
    expected = torch.func.functional_call(net, noise.noisy(net, uneven, chips), images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    (found**3).sum().backward()
    (expected**3).sum().backward()
    gradients = torch.cat([norm.weight.grad for norm in fast.norms if norm.weight.grad is not None] or [affine.grad[0]])
    torch.testing.assert_close(affine.grad[0], gradients)
    names = [f"{name}.{which}" for which in ("weight", "bias") for name in bn_names(net)]
    theirs = torch.cat([net.get_parameter(name).grad for name in names]).view_as(affine)
    torch.testing.assert_close(affine.grad, theirs, rtol=1e-3, atol=1e-3)
    first = drawn.grad.sum(dim=0)[0, :4, :27].view(4, 3, 3, 3).permute(0, 3, 1, 2)
    torch.testing.assert_close(first, net.conv1.weight.grad, rtol=1e-3, atol=1e-3)
    stored = torch.cat([net.get_buffer(f"{name}.running_var") for name in bn_names(net)])
    torch.testing.assert_close(fast.running[1], stored, rtol=1e-4, atol=1e-5)


def bn_names(net):
    return [name for name, module in net.named_modules() if isinstance(module, model.BatchNorm)]


def test_padded_network_gives_its_tensors_back():
    fast = padded.Padded(network(), CPU)
    with torch.no_grad():
        for value in fast.net.parameters():
            value.zero_()
    for name, tensor in fast.restored(fast.matrices, fast.affine, fast.running).state_dict().items():
        assert torch.equal(tensor, network().state_dict()[name]), name


def test_padded_network_refuses_other_shortcuts():
    with pytest.raises(ValueError, match="expected 1x1 convolutions"):
        padded.Padded(model.ResNet(architecture("he-resnet8"), 3, 10), CPU)


@pytest.mark.parametrize("alpha", [1.2, float("inf")])
def test_padded_network_is_clipped_as_matrices_are(alpha):
    net, fast = network(), padded.Padded(network(), CPU)
    fast.clip(alpha)
    noise.clip(net, alpha)
    for name, tensor in fast.restored(fast.matrices, fast.affine, fast.running).state_dict().items():
        torch.testing.assert_close(tensor, net.state_dict()[name], msg=name)


@pytest.mark.parametrize(("stage", "taught"), [(recipe.PLAIN, False), (recipe.NOISE, True)])
def test_steps_of_the_student_are_those_of_the_trainer(stage, taught):
    stage = dataclasses.replace(stage, batch=6, chips=3 if stage.chips else 0, average=0.5)
    food = fed()
    fast = learner.Student(network(), stage, food, taught=taught)
    fast.fine = fast.muon.dtype = torch.bfloat16  # as PyTorch's Muon
    if stage.chips:
        fast.disturbance = uneven
    for _ in range(food.steps):
        fast.step()
    slow = plain(network().to(memory_format=torch.channels_last), stage, food, taught=taught)
    found = fast.padded.restored(fast.padded.matrices, fast.padded.affine, fast.padded.running).state_dict()
    for name, tensor in slow.state_dict().items():
        torch.testing.assert_close(found[name], tensor, rtol=2e-2, atol=2e-3, msg=name)
        assert name.endswith("num_batches_tracked") or not torch.equal(tensor, network().state_dict()[name])


def test_steps_of_a_teacher_are_those_of_the_trainer():
    stage, food = dataclasses.replace(recipe.TEACHER, batch=6, lr=0.02, muon=0.02), fed()

    def wide():
        torch.manual_seed(5)
        return model.Teacher(8, 3, 5, (6, 7), 3)

    fast = learner.Wide(wide(), stage, food)
    for optimiser in fast.optimisers:
        optimiser.dtype = torch.bfloat16
    for _ in range(food.steps):
        fast.step()
    slow = plain(wide(), stage, food, taught=False)
    for name, tensor in slow.state_dict().items():
        torch.testing.assert_close(fast.net.state_dict()[name], tensor, rtol=3e-2, atol=5e-3, msg=name)


def test_averages_begin_with_the_mean_of_all_steps():
    food = fed(steps=4)
    student = learner.Student(network(), dataclasses.replace(recipe.PLAIN, batch=6, average=0.75), food, taught=True)
    seen = []
    for _ in range(4):
        student.step()
        seen.append(student.padded.affine.clone())
    torch.testing.assert_close(student.averages[1], torch.stack(seen).mean(dim=0))
    student.step()
    torch.testing.assert_close(student.averages[1], 0.75 * torch.stack(seen).mean(dim=0) + 0.25 * student.padded.affine)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_deep_groups_have_a_shortcut(depth):
    group, images = model.Group(3, 5, depth).eval(), torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        first = torch.nn.functional.gelu(group.norms[0](torch.nn.functional.max_pool2d(group.convs[0](images), 2)))
        group.convs[-1].weight.zero_()
        torch.testing.assert_close(group(images), torch.nn.functional.gelu(first) * (depth > 2))


def test_answers_are_those_of_the_averaged_network():
    food = fed()
    student = learner.Student(network(), dataclasses.replace(recipe.PLAIN, batch=6), food, taught=True)
    wide = learner.Wide(model.Teacher(8, 3, 5, (6, 7), 3), dataclasses.replace(recipe.TEACHER, batch=6), food)
    images = food.images.permute(0, 3, 1, 2)
    for work, net in ((student, network().eval()), (wide, model.Teacher(8, 3, 5, (6, 7), 3).eval())):
        for _ in range(food.steps):
            work.step()
        with torch.no_grad():
            found = work.answer(images)
            net.load_state_dict(work.network())
            torch.testing.assert_close(found, net(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["NANDAKUMAR_2019", "AIHWKIT"])
def test_devices_of_a_stack_are_those_of_each_matrix(name):
    laws = pcmref.MODELS[name]
    weights = torch.linspace(-1, 1, 3000)
    stack = torch.stack([weights, 4 * weights])
    torch.manual_seed(6)
    found = noise.devices(laws, 1e5, 1e5, 1)(stack, 3)
    alone = noise.devices(laws, 1e5, 1e5, 1)(weights, 3)
    assert found.shape == (3, 2, 3000)
    for matrix, scale in enumerate((1, 4)):
        for chip in range(3):
            errors, expected = found[chip, matrix] / scale - weights, alone[chip] - weights
            assert errors.std().item() == pytest.approx(expected.std().item(), rel=0.1)
            assert errors.mean().item() == pytest.approx(expected.mean().item(), abs=0.01)
    padding = noise.devices(pcmref.MODELS["NANDAKUMAR_2019"], 25, 1e5, 1)(torch.tensor([[1.0, 0.0, 0.0]]), 2)
    assert (padding[..., 1:] == 0).all()


def samples(count):
    rng = np.random.default_rng(5)
    images = rng.integers(256, size=(count, 32, 32, 3), dtype=np.uint8)
    return data.without_test(pcmref.network.Samples(images=images, labels=rng.integers(10, size=count)), "files")


class Watch(TorchDispatchMode):
    """Notes what operations are done, and refuses those that wait for the device, or have to do with another one."""

    FORBIDDEN = ("_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "unique", "equal", "pin_memory")

    def __init__(self, device):
        super().__init__()
        self.device = device
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        self.seen.append(name)
        assert name not in self.FORBIDDEN, f"{name} waits for the device"
        found = func(*args, **(kwargs or {}))
        tensors = [x for x in torch.utils._pytree.tree_leaves((args, kwargs, found)) if isinstance(x, torch.Tensor)]
        assert {x.device for x in tensors} <= {self.device}, f"{name} on two devices"
        assert name != "index" or not any(x.dtype == torch.bool for x in tensors), "indexed by a mask"
        return found


def learners(device, full, dtype=torch.float32):
    """A learner of each stage, at full size or tiny."""
    chosen = recipe.FULL if full else recipe.tiny()
    images, side = (45_000, 32) if full else (100, 32)
    for stage in (chosen.teachers[0], chosen.plain, *chosen.hard):
        food = feed.Feed(images, stage.batch, (side, side, 3), 10, device, dtype)
        if stage in chosen.teachers:
            yield stage, learner.Wide(model.Teacher(side, 3, 10, chosen.widths, chosen.depth), stage, food)
        else:
            net = model.ResNet(architecture(chosen.arch), 3, 10)
            yield stage, learner.Student(net, stage, food, taught=True)


def test_a_step_does_not_wait_for_the_device():
    for stage, work in learners(CPU, full=False):
        with Watch(CPU) as watch:
            work.step()
        assert len(watch.seen) > 100, stage.name
    with pytest.raises(AssertionError, match="waits"), Watch(CPU):
        torch.ones(2).sum().item()


def test_full_size_on_one_device_in_bfloat16():
    """PyTorch's device without memory mixes with no other, and gives no number to wait for."""
    for stage, work in learners(META, full=True, dtype=torch.bfloat16):
        work.step()  # takes the laws of devices along
        with Watch(META) as watch:
            work.step()
        assert {tensor.device for tensor in work.changed} == {META}, stage.name
        products = [name for name in watch.seen if name == "convolution"]
        assert len(products) == (10 if stage.name.startswith("teacher") else 33 * max(1, stage.chips)), stage.name
        with torch.no_grad():
            images = work.feed.images[:1000].permute(0, 3, 1, 2)
            assert work.answer(images).shape == (1000, 10)


def test_views_and_answers_are_on_one_device():
    whole, teacher = samples(300), model.Teacher(32, 3, 10, (8, 12, 16), 3).to(META).eval()
    views = feed.Views(whole.training, whole, recipe.NOISE, [teacher], META, torch.float32)
    found = views.next()
    assert [tuple(x.shape) for x in found] == [(300, 32, 32, 3), (300, 10), (300, 10)]
    assert {x.device for x in found} == {META}


def views_of(stage):
    whole = samples(60)
    torch.manual_seed(3)
    return feed.Views(whole.training, whole, stage, [], CPU, torch.float32)


def test_views_are_shown_several_times():
    stage = dataclasses.replace(recipe.PLAIN, views=2, shows=3)
    views = views_of(stage)
    shown = [views.next()[0] for _ in range(8)]
    same = [[torch.equal(one, other) for other in shown] for one in shown]
    expected = [[(a < 6) == (b < 6) and a % 2 == b % 2 for b in range(8)] for a in range(8)]
    assert same == expected


def test_mirror_images_take_turns_for_teachers():
    views = views_of(dataclasses.replace(recipe.TEACHER, cutout=0, cutmix=0.0))
    first, second, third = (views.made() and views.images.pixels for _ in range(3))
    assert torch.equal(first.flip(3), second)
    assert torch.equal(first, third)
    original = views_of(recipe.TEACHER).images.pixels
    turned = (original.flip(3) == first).flatten(1).all(dim=1)
    assert ((original == first).flatten(1).all(dim=1) ^ turned).all()


def test_teachers_answer_for_mirror_images_too():
    torch.manual_seed(8)
    teachers = [model.Teacher(32, 3, 10, (6, 7, 8)).eval() for _ in range(2)]
    images = torch.randn(4, 32, 32, 3)
    batch = images.permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = sum(t(batch) + t(batch.flip(3)) for t in teachers) / 4
    torch.testing.assert_close(feed.answers(teachers, images), expected)


def test_each_image_once_an_epoch():
    food = fed(batch=6, steps=3)
    seen = torch.cat([food.take()[0] for _ in range(3)])
    for image in food.images.permute(0, 3, 1, 2):
        assert (seen == image).flatten(1).all(dim=1).sum() == 1
    begin, end = train.rate(0.3), train.rate(0.3 + 0.3 * 2 / 3)
    assert (food.rates[0].item(), food.rates[-1].item()) == pytest.approx((begin, end))


@pytest.fixture
def student():
    return learner.Student(network(), dataclasses.replace(recipe.PLAIN, batch=6), fed(steps=8), taught=True)


def taken(student, capture):
    """Which step is taken and what is said; nothing else may have happened to the student."""
    before, said = [tensor.clone() for tensor in student.changed], []
    step = replay.fastest(student, 0, said.append, capture)
    assert all(map(torch.equal, before, student.changed))
    return step, " ".join(said)


def test_a_recorded_step_is_replayed(student):
    recorded = []

    def capture(step):
        recorded.append(lambda: step())
        step()
        return recorded[0]

    step, said = taken(student, capture)
    assert step is recorded[0]
    assert "replayed as a graph" in said


@pytest.mark.parametrize("replayed", ["raises", "does nothing", "gives nan", "goes astray"])
def test_what_cannot_be_recorded_is_not(student, replayed):
    def capture(step):
        step()
        if replayed == "raises":
            raise RuntimeError("operation not permitted when stream is capturing")
        if replayed == "does nothing":
            return lambda: None
        wrong = torch.nan if replayed == "gives nan" else 1.0
        return lambda: (step(), student.feed.loss.add_(wrong))

    step, said = taken(student, capture)
    assert step == student.step
    assert "one operation at a time, since a graph failed" in said


def test_without_a_gpu_nothing_is_recorded(student):
    assert taken(student, None)[0] == student.step


def test_a_time_that_is_over_is_no_failure_of_recording(student):
    def capture(step):
        raise budget.TimeUpError

    with pytest.raises(budget.TimeUpError):
        replay.fastest(student, 0, print, capture)


def test_recording_warms_up_on_another_stream():
    step, cuda = mock.Mock(), mock.MagicMock()
    cuda.graph.side_effect = lambda graph: contextlib.nullcontext()
    with mock.patch.object(torch, "cuda", cuda):
        found = replay.captured(step)
    assert step.call_count == 4
    side = cuda.Stream.return_value
    names = [call[0] for call in cuda.mock_calls]
    assert names.index("stream") < names.index("graph")
    side.wait_stream.assert_called_once_with(cuda.current_stream.return_value)
    cuda.current_stream.return_value.wait_stream.assert_called_once_with(side)
    assert found == cuda.CUDAGraph.return_value.replay


class Clock:
    """A clock that goes on when it is told."""

    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


@pytest.mark.parametrize(
    ("costs", "least", "most"),
    [
        (lambda epoch: 1.0, 99, 100),
        (lambda epoch: 1.0 if epoch < 40 else 2.0, 65, 72),
        (lambda epoch: 3.0 if epoch % 12 < 4 else 1.0, 55, 61),
        (lambda epoch: 30.0, 3, 4),
        (lambda epoch: 0.01, 9_900, 10_000),
    ],
)
def test_a_stage_ends_with_its_time_and_a_rate_of_0(costs, least, most):
    clock = Clock()
    pace = budget.Pace(budget.Budget(100.0, clock), 250, 12)
    ends, epoch = [0.0], 0
    while pace.progress < 1:
        assert not pace.over()
        end = pace.following()
        clock.now_s += costs(epoch)
        pace.progress = end
        ends.append(end)
        epoch += 1
    assert least <= epoch <= most
    assert ends[-1] == 1.0
    assert train.rate(ends[-1]) == pytest.approx(0.0, abs=1e-12)
    assert (np.diff(ends) > 0).all()
    assert clock.now_s - 100.0 <= 100.0 + costs(epoch)


def test_a_stage_without_time_for_an_epoch_ends_after_it():
    clock = Clock()
    pace = budget.Pace(budget.Budget(100.0, clock), 250, 12)
    end = pace.following()
    clock.now_s += 1000.0
    pace.progress = end
    assert pace.over()
    assert pace.progress < 1


def test_a_stage_goes_on_where_it_was():
    pace = budget.Pace(budget.Budget(100.0, Clock()), 10, 12, progress=0.6)
    assert pace.following() == pytest.approx(0.64)


def test_alarms():
    def within():
        with pytest.raises(budget.TimeUpError), budget.alarm(0.05):
            time.sleep(5)
        with budget.alarm(10):  # not beyond the outer one
            time.sleep(5)

    begin = time.monotonic()
    with pytest.raises(budget.TimeUpError), budget.alarm(0.2):
        within()
    assert time.monotonic() - begin < 2
    with budget.alarm(0.2):
        pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    with pytest.raises(budget.TimeUpError), budget.alarm(-1):
        time.sleep(5)


def test_teachers_travel_in_a_byte_a_weight(tmp_path):
    chosen = recipe.FULL
    torch.manual_seed(3)
    net = model.Teacher(32, 3, 10, chosen.widths, chosen.depth)
    with torch.no_grad():
        for value in net.parameters():
            value.copy_(torch.randn(value.shape))
    keep.save_teacher(tmp_path / "teacher.npz", net.state_dict(), 0.25)
    tensors, progress = keep.read_teacher(tmp_path / "teacher.npz")
    assert progress == 0.25
    for name, tensor in net.state_dict().items():
        exact = tensor.dim() < 2 or name == "whiten.weight"
        step = 0.0 if exact else tensor.flatten(1).abs().amax(dim=1).view(-1, *[1] * (tensor.dim() - 1)) / 127
        assert ((tensors[name] - tensor).abs() <= 0.5001 * step + 0.0).all(), name
    model.Teacher(32, 3, 10, chosen.widths, chosen.depth).load_state_dict(tensors)

    student = model.ResNet(architecture(chosen.arch), 3, 10).state_dict()
    keep.save_student(tmp_path / "student.pt", {"network": student})
    one, other = ((tmp_path / name).stat().st_size for name in ("teacher.npz", "student.pt"))
    assert max(one, other) < 16 * 2**20
    between = len(chosen.teachers) * one + 2 * other + 2**20  # the student, network.h5, the log
    assert len(chosen.teachers) + 3 <= 8
    packed, tree = 2 * 41 * 2**20, 8 * 2**20  # as measured, and this repository with some room
    assert between < 64 * 2**20
    assert between + packed + 2 * tree < 2 * 64 * 2**20


def test_packed_images_are_the_images(tmp_path, monkeypatch):
    monkeypatch.setattr(pack, "DOWN", 1)
    whole = samples(300)
    sizes = list(pack.pack(whole, tmp_path))
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["part-1", "part-2"]
    assert sizes == [sum(f.stat().st_size for f in (tmp_path / f"part-{n}").iterdir()) for n in (1, 2)]
    found = pack.training_data(tmp_path)
    np.testing.assert_array_equal(found.training.images, whole.training.images)
    np.testing.assert_array_equal(found.training.labels, whole.training.labels)
    assert (found.normalisation, found.files, len(found.test)) == (whole.normalisation, "files", 0)
    next((tmp_path / "part-2").glob("images-*")).unlink()
    with pytest.raises(pcmref.PcmrefError, match="expected the 300 images that were packed"):
        pack.training_data(tmp_path)


def test_test_images_are_not_read(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(data, "find_cifar10", lambda _: tmp_path)
    monkeypatch.setattr(data, "load_cifar10", lambda _, split: asked.append(split) or samples(100).training)
    assert len(pack.training_data(tmp_path).training) == 100
    assert asked == ["train"]
