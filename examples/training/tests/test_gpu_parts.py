"""What a run on a GPU has around its steps: images, recording, time, and what is kept."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import signal
import time
from unittest import mock

import numpy as np
import pytest

import pcmref
from examples.training.tests.small import CPU, META, fed, network, samples
from pcmref.importers.resnet import architecture

torch = pytest.importorskip("torch")
MODULES = ("budget", "data", "feed", "keep", "learner", "model", "pack", "recipe", "replay", "train")
budget, data, feed, keep, learner, model, pack, recipe, replay, train = map(importlib.import_module, MODULES)


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


@pytest.mark.parametrize("taught", [False, True])
def test_students_see_mirror_images_at_random(taught):
    ramp = np.broadcast_to(np.arange(0, 160, 5, dtype=np.uint8)[:, None], (200, 32, 32, 3)).copy()
    whole = data.without_test(pcmref.Samples(images=ramp, labels=np.zeros(200, np.int64)), "")
    stage = dataclasses.replace(recipe.TEACHER, cutout=0, cutmix=0.0)
    views = feed.Views(whole.training, whole, stage, [lambda x: x[:, :, 0, 0]] if taught else [], CPU, torch.float32)
    seen = views.made()[0][:, 16, :, 0]
    rises = views.images.pixels[:, 0, 16, 20] > views.images.pixels[:, 0, 16, 12]
    kept = ((seen[:, 20] > seen[:, 12]) == rises).float().mean().item()
    assert kept == 1 if not taught else 0.3 < kept < 0.7


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
