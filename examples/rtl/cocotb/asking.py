"""Synchronous code that needs the simulator: it runs in a thread and asks, a coroutine answers.

Simulated time stands still while the thread thinks, and the thread while the simulator runs.
"""

from __future__ import annotations

from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread

END = object()


async def ask_from_thread(work, answer):
    """Return ``work(ask)``, run in a thread, where ``ask(question)`` is what ``await answer(question)`` gives.

    Parameters
    ----------
    work : callable
    answer : coroutine function
        What it raises is raised where it was asked.
    """
    questions, answers, result = SimpleQueue(), SimpleQueue(), Future()

    def ask(question):
        questions.put(question)
        found, error = answers.get()
        if error is not None:
            raise error
        return found

    def run():
        try:
            result.set_result(work(ask))
        except BaseException as error:
            result.set_exception(error)
        questions.put(END)

    # a daemon: a simulation that ends early does not wait for an answer that nobody gives
    Thread(target=run, daemon=True).start()
    while (question := questions.get()) is not END:
        answers.put(await _outcome(answer, question))
    return result.result()


async def _outcome(answer, question):
    """Return an answer and None, or None and what was raised."""
    try:
        return await answer(question), None
    except Exception as error:
        return None, error
