"""Steps on a GPU: they are those of the trainer, and nothing in them waits for the device."""

from __future__ import annotations

import dataclasses
import importlib

import pytest

import pcmref
from examples.training.tests.small import CPU, META, fed, network
from pcmref.importers.resnet import architecture

torch = pytest.importorskip("torch")
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

MODULES = ("feed", "learner", "model", "noise", "padded", "recipe", "train")
feed, learner, model, noise, padded, recipe, train = map(importlib.import_module, MODULES)


def uneven(weights, chips):
    """Errors that differ from chip to chip, and are no random numbers."""
    return torch.stack([weights * (0.8 + 0.2 * chip) for chip in range(chips)])


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
