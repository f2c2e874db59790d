"""Opening what does the cases: processes on this machine, jobs of SLURM, or a scheduler that runs already."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from typing import IO, Any

from napari_segxai.analyses.cohort.hold import WORKERS
from napari_segxai.analyses.cohort.where.place import Where, cores, seconds
from napari_segxai.analyses.cohort.where.task import Task
from napari_segxai.core.errors import UserError, plain, reason_of
from napari_segxai.core.extras import need

SPARE = 120
"""Seconds before the end of a SLURM job in which its worker ends by itself; a fifth of shorter ones."""

CONNECT = 30
"""Seconds in which a scheduler has to answer."""

PATIENCE = {"local": 5, "slurm": 30}
"""Seconds in which processes have to end before they are killed; a busy SLURM takes its time to take back jobs."""

BEGIN = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from napari_segxai.analyses.cohort.where.server import begin; begin()"
)
"""What the process of the workers runs: it finds the modules that this one finds, and has no script that workers would import."""

WHAT = "running a cohort in other processes"


class Cluster:
    """What does the cases.

    Parameters
    ----------
    client
        Of distributed.
    name
        In sentences.
    process
        The one that keeps the workers, if it is ours.
    said
        What that has said.
    """

    def __init__(
        self, client: Any, name: str, process: subprocess.Popen | None = None, said: IO[str] | None = None
    ):
        self.client, self.name, self.process, self.said = client, name, process, said

    def count(self) -> int:
        """Return how many workers there are now.

        Raises
        ------
        UserError
            If the scheduler is not there any more.
        """
        gone = self.process is not None and self.process.poll() is not None
        try:
            found = {} if gone else self.client.nthreads()
        except (OSError, TimeoutError, RuntimeError) as error:
            raise self.lost(reason_of(error)) from None
        if gone:
            raise self.lost(_last_line(self.said))
        return len(found)

    def lost(self, reason: str) -> UserError:
        """Return the error of a scheduler that has gone."""
        said = f" ({reason})" * bool(reason)
        return UserError(f"{self.name} is not there any more{said}; what was done is kept: run it again.")


@contextlib.contextmanager
def opened(task: Task, where: Where, cases: int) -> Generator[Cluster]:
    """Start what does the cases, or connect to it; what was started ends with this, whatever happens.

    Parameters
    ----------
    cases
        How many there are to do.

    Raises
    ------
    UserError
        If it cannot be started or reached.
    """
    need("distributed", "cohort", WHAT)
    log = logging.getLogger("distributed")
    before = log.level
    log.setLevel(logging.CRITICAL)  # it warns of each connection that ends
    try:
        if where.kind == "address":
            with _connected(where.address, {}) as client:
                _check_versions(client, where.address)
                yield Cluster(client, f"the scheduler at {where.address}")
        else:
            with _served(task, where, cases) as cluster:
                yield cluster
    finally:
        log.setLevel(before)


@contextlib.contextmanager
def _served(task: Task, where: Where, cases: int) -> Generator[Cluster]:
    """Start the process that keeps the workers, and connect to it."""
    need("cryptography", "cohort", WHAT)
    if where.kind == "slurm":
        need("dask_jobqueue", "cohort", "running a cohort on SLURM")
        if shutil.which("sbatch") is None:
            raise UserError(
                "this machine has no command sbatch; run it where jobs are handed to SLURM, or say --where local."
            )
    # Nodes have to see the certificates of the jobs and write what goes wrong.
    with tempfile.TemporaryDirectory(
        prefix=WORKERS, dir=task.folder.absolute() if where.kind == "slurm" else None,
        ignore_cleanup_errors=True,
    ) as scratch, tempfile.TemporaryFile("w+") as said:  # fmt: skip
        process = _start(said)
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            asked = {"scratch": scratch, "threads": task.plan.threads, **_asked(task, where, cases)}
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(asked) + "\n")
                process.stdin.flush()
            line = process.stdout.readline()
            answer = json.loads(line) if line else {"error": _last_line(said)}
            if "error" in answer:
                raise UserError(
                    f"workers cannot be started ({plain(answer['error'])}); run here (--where here), or mend it."
                )
            address = answer.pop("address")
            name = "the process of the workers" if where.kind == "local" else "the process of the SLURM jobs"
            with _connected(address, answer) as client:
                yield Cluster(client, name, process, said)
        finally:
            _stop(process, PATIENCE[where.kind])


def _start(said: IO[str]) -> subprocess.Popen:
    # A group of its own: Ctrl-C is for this process alone.
    apart: dict[str, Any] = (
        {"start_new_session": True}
        if os.name == "posix"
        else {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
    )
    return subprocess.Popen(
        [sys.executable, "-P", "-c", BEGIN, json.dumps([_absolute(path) for path in sys.path])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        text=True,
        **apart,
    )


def _absolute(path: str) -> str:
    """Return an entry of `sys.path` that means the same in any folder; what is no path, such as the name of a hook, stays."""
    return os.path.abspath(path) if os.path.exists(path or ".") else path


def _asked(task: Task, where: Where, cases: int) -> dict[str, Any]:
    if where.kind == "slurm":
        limit = seconds(where.slurm["walltime"])
        return {
            "kind": "slurm",
            "slurm": dict(where.slurm),
            "workers": min(where.workers or 1, cases),
            "lifetime": max(limit - SPARE, limit * 4 // 5),
            "python": sys.executable,
        }
    return {"kind": "local", "devices": devices(task, where)[:cases]}


def devices(task: Task, where: Where) -> list[str | None]:
    """Return what each worker on this machine sees: the number of its GPU, or None on the CPU."""
    import torch

    if task.plan.device.type != "cuda":
        return [None] * (where.workers or max(1, cores() // task.plan.threads))
    # Numbers count among those that this process sees.
    count, visible = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name.strip() for name in visible.split(",")][:count] if visible else list(map(str, range(count)))
    chosen = names if where.gpu is None else [names[where.gpu]]
    return [chosen[number % len(chosen)] for number in range(where.workers or len(chosen))]


@contextlib.contextmanager
def _connected(address: str, keys: dict[str, Any]) -> Generator[Any]:
    from distributed import Client, Security

    names = {"ca_file": "tls_ca_file", "cert": "tls_client_cert", "key": "tls_client_key"}
    given = {names[key]: value for key, value in keys.items() if key in names}
    security = Security(**given, require_encryption=True) if given else None
    try:
        client = Client(address, security=security, timeout=CONNECT, set_as_default=False)
    except Exception as error:  # of the network, of TLS, of a server that speaks something else
        raise UserError(
            f"{address} cannot be reached ({reason_of(error)}); start a scheduler there (dask scheduler), or correct the address."
        ) from None
    try:
        yield client
    finally:
        with contextlib.suppress(Exception):  # of a connection that has ended already
            client.close(timeout=2)


def _check_versions(client: Any, address: str) -> None:
    """Refuse a scheduler or workers with which this process could not exchange even plain values."""
    try:
        found = client.get_versions()
    except Exception as error:
        raise UserError(f"{address} does not say its versions ({reason_of(error)}).") from None
    mine = _told(found["client"])
    others = {"scheduler": found["scheduler"], **found["workers"]}
    for who, facts in others.items():
        theirs = _told(facts)
        for name, version in mine.items():
            if theirs.get(name) != version:
                what = "the scheduler" if who == "scheduler" else f"the worker {who}"
                raise UserError(
                    f"{what} has {name} {theirs.get(name) or '(unknown)'}, and this process {version}; install the same version."
                )


def _told(facts: dict[str, Any] | None) -> dict[str, str]:
    """Return what has to agree: Python's first two numbers, and the version of distributed."""
    host, packages = (facts or {}).get("host", {}), (facts or {}).get("packages", {})
    python = ".".join(str(dict(host).get("python", "")).split(".")[:2])
    return {"Python": python, "distributed": str(packages.get("distributed"))}


def _stop(process: subprocess.Popen, patience: float = PATIENCE["local"]) -> None:
    """End the process that keeps the workers, and them with it."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        if os.name == "posix":
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
        process.kill()
        process.wait()
    process.stdout.close()


def _last_line(said: IO[str] | None) -> str:
    if said is None:
        return ""
    said.flush()
    said.seek(0)
    lines = [line.strip() for line in said.read().splitlines() if line.strip()]
    return plain(lines[-1]) if lines else "it ended without a word"
