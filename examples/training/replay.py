"""Steps without the cost of launching each operation: recorded once as a CUDA graph, then replayed.

If anything about that fails, the steps are taken one operation at a time, which always works.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from learner import Learner

#: Steps for a trial, and how far the mean losses of the two ways may differ in it, relative to the loss.
TRIAL, TOLERANCE = 4, 0.1


def captured(step: Callable[[], None]) -> Callable[[], None]:
    """Return what replays `step`, recorded as a CUDA graph.

    It was done a few times on another stream before, as PyTorch's documentation of graphs asks for.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def trial(learner: Learner, step: Callable[[], None], seed: int) -> float:
    """Return the mean loss of `TRIAL` steps from where `learner` stands; it stands there again afterwards."""
    kept = [tensor.clone() for tensor in learner.changed]
    torch.manual_seed(seed)
    learner.feed.loss.zero_()
    for _ in range(TRIAL):
        step()
    loss = learner.feed.loss.item() / TRIAL
    restore(learner, kept)
    return loss


@torch.no_grad()
def restore(learner: Learner, kept: list[torch.Tensor]) -> None:
    """Put a learner's tensors back to what they were."""
    for tensor, values in zip(learner.changed, kept, strict=True):
        tensor.copy_(values)


def fastest(
    learner: Learner,
    seed: int,
    say: Callable[[str], None],
    capture: Callable[[Callable[[], None]], Callable[[], None]] | None,
) -> Callable[[], None]:
    """Return a learner's step, replayed by `capture` if that gives the same losses; `say` is told which."""
    if capture is None:
        say("steps: one operation at a time")
        return learner.step
    kept = [tensor.clone() for tensor in learner.changed]
    try:
        expected = trial(learner, learner.step, seed)
        replay = capture(learner.step)
        restore(learner, kept)
        found = trial(learner, replay, seed)
        if not math.isclose(found, expected, rel_tol=TOLERANCE):  # no number is close to nothing
            raise ArithmeticError(f"a loss of {found:.4g} where {expected:.4g} was expected")
    except Exception as error:  # whatever goes wrong there, the plain step remains
        restore(learner, kept)
        say(f"steps: one operation at a time, since a graph failed: {type(error).__name__}: {error}")
        return learner.step
    say(f"steps: replayed as a graph (loss {found:.4g}, one operation at a time {expected:.4g})")
    return replay
