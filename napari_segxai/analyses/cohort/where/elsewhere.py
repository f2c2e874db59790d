"""Cases in other processes: each worker has one in hand, results go to the folder, and this process follows."""

from __future__ import annotations

import queue
import time
import uuid
from collections import Counter, deque
from pathlib import Path
from typing import Any

from napari_segxai.analyses.cohort.jobs.job import give_up
from napari_segxai.analyses.cohort.where.cases import UNIT, is_done, waiting
from napari_segxai.analyses.cohort.where.cluster import Cluster, opened
from napari_segxai.analyses.cohort.where.place import Where
from napari_segxai.analyses.cohort.where.task import Task
from napari_segxai.analyses.cohort.where.work import case_order, do_case, order_of
from napari_segxai.core.errors import UserError, reason_of
from napari_segxai.core.progress import Step, Steps
from napari_segxai.io.cases.case import Case

OFTEN = 0.25
"""Seconds between two reports."""

OWN_TRIES, OTHERS_TRIES = 3, 2
"""How often the worker of a case may be killed; a scheduler that is not ours has tried several times before it says so."""

SELDOM = 1.0
"""Seconds between two looks at what cases in hand have kept, and how many workers there are."""


def steps_elsewhere(task: Task, where: Where) -> Steps[None]:
    """Hand out all cases that are not done, and follow.

    Raises
    ------
    UserError
        If no worker can do what is asked, or something cannot be kept. What was done is kept.
    """
    order = order_of(task.plan)
    todo = waiting(task.plan, task.jobs, task.cases)
    held = UNIT * (len(task.cases) - len(todo)) * len(task.jobs)
    held += UNIT * sum(done for _, _, done in todo)
    yield Step(
        held, task.total, f"{len(task.cases) - len(todo)} of {len(task.cases)} cases are there", task.so_far
    )
    if not todo:
        return
    yield Step(held, task.total, "starting workers", task.so_far)
    with opened(task, where, len(todo)) as cluster:
        yield from _follow(task, where, cluster, order, todo)


def _follow(
    task: Task,
    where: Where,
    cluster: Cluster,
    order: dict[str, Any],
    todo: list[tuple[Case, Path, int]],
) -> Steps[None]:
    """Keep every worker busy with one case, until all are done."""
    ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
    left, hand = deque(range(len(todo))), {}
    kills, tries = Counter(), OWN_TRIES if cluster.process is not None else OTHERS_TRIES
    run, size, looked, workers = uuid.uuid4().hex, len(task.jobs), 0.0, 0
    all_done = size * (len(task.cases) - len(todo))
    counts = [done for _, _, done in todo]
    try:
        while left or hand:
            if time.monotonic() - looked >= SELDOM:
                task.check()
                workers = min(cluster.count(), where.workers or len(todo))
                for _, index in hand.values():
                    case, place, _ = todo[index]
                    counts[index] = sum(is_done(task.plan, case, job, place) for job in task.jobs)
                looked = time.monotonic()
            while left and len(hand) < workers:
                # Who lost several workers may have been beside the one that killed them: the last try is alone.
                if hand and any(
                    kills[index] >= tries - 1 for index in (left[0], *(i for _, i in hand.values()))
                ):
                    break
                index = left.popleft()
                case, place, _ = todo[index]
                name = f"case-{run}-{index}-{kills[index]}"
                future = cluster.client.submit(
                    do_case, order, case_order(task.plan, case, place), key=name, priority=-index, pure=False
                )
                hand[name] = future, index
                future.add_done_callback(ended.put)
            done = sum(count == size for count in counts) + len(task.cases) - len(todo)
            said = f"{len(hand)} in hand" if workers else "waiting for a worker"
            note = f"{done} of {len(task.cases)} cases, {said}"
            yield Step(UNIT * (all_done + sum(counts)), task.total, note, task.so_far)
            try:
                future = ended.get(timeout=OFTEN)
            except queue.Empty:
                future = None
            if future is not None and future.key in hand:
                _, index = hand.pop(future.key)
                case, place, _ = todo[index]
                if _is_settled(cluster, future):
                    counts[index] = size
                elif kills[index] + 1 < tries:
                    kills[index] += 1
                    left.append(index)
                    looked = 0.0  # there is a worker less now
                else:
                    for job in task.jobs:
                        if not is_done(task.plan, case, job, place):
                            give_up(case, job, task.plan.key(case, job), place, WHY)
                    counts[index] = size
        yield Step(task.total, task.total, f"{len(task.cases)} of {len(task.cases)} cases", task.so_far)
    finally:
        if hand and cluster.client.status == "running":
            cluster.client.cancel([future for future, _ in hand.values()], force=True)


def _is_settled(cluster: Cluster, future: Any) -> bool:
    """Tell whether a case came to its end; where not, its worker was killed.

    Raises
    ------
    UserError
        If it ended by something that is not the case's own.
    """
    from distributed import KilledWorker

    if future.status == "finished":
        return True
    error = future.exception(timeout=5) if future.status == "error" else None
    if isinstance(error, UserError):
        raise error
    if not isinstance(error, KilledWorker):
        raise cluster.lost("" if error is None else reason_of(error))
    return False


WHY = (
    "the process that did this was killed again and again, at last while it was the only one (most often for want of memory); try it "
    "on a machine with more memory, or with smaller images"
)
