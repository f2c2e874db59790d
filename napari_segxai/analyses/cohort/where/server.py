"""The process that keeps workers: its own child processes, or jobs of SLURM; it ends, and they with it, when whoever started it ends.

It reads one line of JSON, writes one line with the address, and stays until its standard input is closed. That a process of its own
does this keeps the user's script out of the workers (nothing imports it a second time), and event loops and signals out of napari.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import shutil
import signal
import sys
from typing import IO, Any

FAILURES = 0
"""How often a case is tried again by the scheduler when its worker was killed: whoever handed it out knows more, and does that."""

PRIVATE = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
"""No dashboard, and what is left of its server where nobody else reaches it."""

SETTINGS = {
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.worker.preload": [],
    "distributed.nanny.preload": [],
    "distributed.nanny.pre-spawn-environ": {},
}
"""What a settings file of dask on this machine does not change."""


THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

WORK = "napari_segxai.analyses.cohort.where.work"
"""What workers import."""


async def main() -> None:
    """Start what is asked for, tell where it is, and wait."""
    asked = json.loads(sys.stdin.readline())
    # What a network prints goes where errors go: the answer is the one line that is read.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import dask
    from distributed import Security

    dask.config.set({**SETTINGS, "temporary-directory": asked["scratch"]})
    count = str(asked["threads"])
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), count))
    try:
        security = Security.temporary()
        cluster = await (_slurm if asked["kind"] == "slurm" else _local)(asked, security)
    except Exception as error:  # of a system that has no sbatch, no room, no network
        _tell(answer, {"error": f"{type(error).__name__}: {error}"})
        return
    keys = security.get_tls_config_for_role("client")
    _tell(answer, {"address": cluster.scheduler_address, **keys})
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    if asked["kind"] == "slurm":
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(cluster.close(), 25)  # takes back the jobs
    shutil.rmtree(asked["scratch"], ignore_errors=True)
    _end()


def _tell(answer: IO[str], what: dict[str, Any]) -> None:
    with answer:
        answer.write(json.dumps(what) + "\n")


async def _local(asked: dict[str, Any], security: Any) -> Any:
    """Start workers on this machine, one for each entry of `devices`."""
    import dask
    from distributed import Nanny, Scheduler, SpecCluster
    from distributed.utils import get_mp_context

    if (
        sys.platform == "linux"
    ):  # where a process may fork after its imports: they are done once for all workers
        dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})
        get_mp_context().set_forkserver_preload(["distributed", WORK])
    shared = {"host": "127.0.0.1", "protocol": "tls://", "security": security, **PRIVATE}
    workers = {
        number: {
            "cls": Nanny,
            "options": {
                **shared,
                "nthreads": 1,
                "memory_limit": 0,
                "local_directory": asked["scratch"],
                "env": {} if device is None else {"CUDA_VISIBLE_DEVICES": device},
            },
        }
        for number, device in enumerate(asked["devices"])
    }
    scheduler = {"cls": Scheduler, "options": {**shared, "port": 0, "allowed_failures": FAILURES}}
    return await SpecCluster(workers=workers, scheduler=scheduler, security=security, asynchronous=True)


async def _slurm(asked: dict[str, Any], security: Any) -> Any:
    """Start a scheduler that has SLURM start workers; one that has gone, as at the end of its time, is replaced."""
    from dask_jobqueue import SLURMCluster

    # Jobs begin in the folder from which they are handed in; so no line of their script has a path that the user chose.
    os.chdir(asked["scratch"])
    options = asked["slurm"]
    cluster = await SLURMCluster(
        cores=asked["threads"],
        processes=1,
        memory=options["memory"],
        walltime=options["walltime"],
        queue=options.get("queue"),
        account=options.get("account"),
        interface=options.get("interface"),
        job_extra_directives=[f"--gres={options['gres']}"] if "gres" in options else [],
        job_script_prologue=[options["setup"]] if "setup" in options else [],
        worker_extra_args=[
            "--lifetime", f"{asked['lifetime']}s", "--no-dashboard", "--dashboard-address", "127.0.0.1:0",
        ],
        python=shlex.quote(asked["python"]),
        log_directory=".",
        shared_temp_directory=".",
        security=security,
        scheduler_options={**PRIVATE, "allowed_failures": FAILURES},
        asynchronous=True,
    )  # fmt: skip
    cluster.adapt(minimum_jobs=asked["workers"], maximum_jobs=asked["workers"])
    return cluster


def _end() -> None:
    """End this process and its children at once: what they were doing is done again, and nothing of theirs is half written."""
    if os.name == "posix" and os.getpgrp() == os.getpid():  # a group of its own
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(0)  # the children end with it


def begin() -> None:
    """Be the process of the workers."""
    asyncio.run(main())
