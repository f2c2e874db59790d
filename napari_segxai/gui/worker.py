"""Tasks in a worker thread: one at a time in a process; cancelling takes one forward pass at most.

What asks no network, but reads files or tables, need not wait for hours until a cohort is done: it runs beside.

Every error becomes part of the outcome: napari's generator workers swallow a RuntimeError, and most of torch's
errors are RuntimeErrors.
"""

from __future__ import annotations

import atexit
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from weakref import ref

from napari.qt.threading import create_worker
from qtpy.QtCore import QThreadPool

from napari_segxai.core.progress import Step, Steps, Stopped, within_passes
from napari_segxai.gui import triton_library
from napari_segxai.gui.viewer.layers import is_open

triton_library.guard()  # before any task imports what a network needs

INTERVAL = 0.1
"""Seconds between two reports to the window."""

PARTIAL_INTERVAL = 0.7
"""Least number of seconds between two partial results."""

PARTIAL_SHARE = 0.1
"""Largest share of the time that making partial results may take."""


@dataclass(frozen=True)
class Outcome:
    """How a task ended.

    Attributes
    ----------
    result
        What the task returned; after a cancel or an error the partial result, or None.
    error
        What it raised, without the frames that would keep tensors alive.
    trace
        The traceback as text.
    cancelled
        Whether it was stopped on request.
    seconds
        Wall-clock time.
    """

    result: Any = None
    error: Exception | None = None
    trace: str = ""
    cancelled: bool = False
    seconds: float = 0.0


@dataclass(frozen=True)
class PartialResult:
    """What a running task has found so far, made in its own thread while it waits."""

    result: Any


@dataclass(eq=False)
class WorkerTask:
    """A task that waits, runs or has ended. The callbacks are called in the GUI thread.

    If there is a viewer, they are no longer called once it is closed.
    """

    make: Callable[[], Steps[Any]]
    on_step: Callable[[Step], None]
    on_done: Callable[[Outcome], None]
    on_partial: Callable[[Any], None] | None = None
    viewer: ref[Any] | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    steps: Steps[Any] | None = None
    step: Step | None = None
    tell: Callable[[Step], None] = lambda step: None  # from the worker thread, in the midst of a pass

    def cancel(self) -> None:
        """Ask the task to stop; it ends before its next pass."""
        self.stop.set()

    def abandon(self, *_: object) -> None:
        """Stop without calling back, since the one who asked is gone."""
        self.on_step = self.on_done = lambda _: None
        self.on_partial = None
        self.stop.set()

    @property
    def is_orphaned(self) -> bool:
        """Whether the viewer, for which it is done, is closed."""
        if self.viewer is None:
            return False
        viewer = self.viewer()
        return viewer is None or not is_open(viewer)

    def forget(self) -> None:
        """Release everything that the task refers to: napari keeps every worker as long as its window."""
        if self.steps is not None:
            self.steps.close()
        self.make = self.on_step = self.on_done = _nothing
        self.on_partial = self.steps = self.step = None
        self.tell = _nothing

    def report(self, news: Step | PartialResult) -> None:
        """Pass on what the worker says."""
        if self.is_orphaned:
            self.abandon()
        if isinstance(news, Step):
            self.on_step(news)
        elif self.on_partial is not None:
            self.on_partial(news.result)


_waiting: deque[WorkerTask] = deque()
_running: WorkerTask | None = None
_beside: set[WorkerTask] = set()


def start(task: WorkerTask) -> WorkerTask:
    """Run `task` as soon as no other one runs."""
    _waiting.append(task)
    _next()
    return task


def start_beside(task: WorkerTask) -> WorkerTask:
    """Run `task` at once, in a thread of its own: it asks no network."""
    _beside.add(task)
    _begin(task, lambda: _beside.discard(task))
    return task


def is_waiting(task: WorkerTask) -> bool:
    """Tell whether another task has to end first."""
    return task in _waiting


def _next() -> None:
    global _running
    if _running is not None or not _waiting:
        return

    def ended() -> None:
        global _running
        _running = None

    _running = _waiting.popleft()
    _begin(_running, ended, _next)


def _begin(task: WorkerTask, ended: Callable[[], Any], then: Callable[[], Any] = lambda: None) -> None:
    """Run a task; `ended` is called before its outcome is told, and `then` after."""
    # Errors never leave the generator, so that nothing is raised in the GUI thread unexpectedly.
    worker = create_worker(_work, task, _start_thread=False, _ignore_errors=True)
    outcomes: list[Outcome] = []
    task.tell = worker.yielded.emit
    worker.yielded.connect(lambda news: task.report(news))
    worker.returned.connect(outcomes.append)

    def finished() -> None:
        ended()
        # A worker that napari itself aborted (the window closes) returns nothing.
        outcome = outcomes.pop() if outcomes else Outcome(cancelled=True)
        on_done = _nothing if task.is_orphaned else task.on_done
        task.forget()
        try:
            on_done(outcome)
        finally:
            then()

    worker.finished.connect(finished)
    worker.aborted.connect(task.cancel)
    worker.start()


@atexit.register
def end() -> None:
    """Stop the tasks that run and wait for them: a worker that outlives Qt's objects would abort the process.

    napari does this when its event loop ends, but a script or a console may have no event loop.
    """
    _waiting.clear()
    running = [*_beside, *([_running] if _running is not None else [])]
    for task in running:
        task.cancel()
    if running:
        QThreadPool.globalInstance().waitForDone()


def _work(task: WorkerTask) -> Iterator[Step | PartialResult]:
    start_time = time.perf_counter()
    reported = 0.0
    next_partial = start_time + PARTIAL_INTERVAL

    def within(done: int, of: int) -> None:
        nonlocal reported
        if task.stop.is_set():
            raise Stopped
        now = time.perf_counter()
        if now - reported > INTERVAL:
            reported = now
            step = task.step or Step(0, 1, "prediction")
            task.tell(step.within(done, of))

    try:
        task.steps = task.make()
        while True:
            if task.stop.is_set():
                return Outcome(_partial(task.step), cancelled=True, seconds=time.perf_counter() - start_time)
            try:
                with within_passes(within):
                    task.step = next(task.steps)
            except Stopped:
                continue
            except StopIteration as done:
                return Outcome(done.value, seconds=time.perf_counter() - start_time)
            now = time.perf_counter()
            if now - reported > INTERVAL:
                reported = now
                yield task.step
            if task.on_partial is not None and task.step.partial is not None and now > next_partial:
                partial = PartialResult(_partial(task.step))
                after = time.perf_counter()
                next_partial = after + max(PARTIAL_INTERVAL, (after - now) / PARTIAL_SHARE)
                if partial.result is not None:
                    yield partial
                del partial
    except Exception as error:
        trace = traceback.format_exc()
        error.__traceback__ = error.__context__ = error.__cause__ = None
        return Outcome(_partial(task.step), error, trace, seconds=time.perf_counter() - start_time)
    finally:
        if task.steps is not None:
            task.steps.close()


def _nothing(*_: object) -> None:
    pass


def _partial(step: Step | None) -> Any:
    if step is None or step.partial is None:
        return None
    try:
        return step.partial()
    except Exception:  # what is left of an out-of-memory error may not be showable
        return None
