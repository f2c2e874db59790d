"""What users write of where a cohort runs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import torch

from napari_segxai.core.arguments import quoted, whole_number
from napari_segxai.core.errors import UserError, nearest

PLACES = ("here", "local", "slurm")

SCHEMES = ("tcp", "tls")
"""How a scheduler can be spoken to."""

SLURM = {
    "walltime": "the time of a job, as in 04:00:00",
    "memory": "of a job, as in 16GB",
    "queue": "the partition",
    "account": "who is charged",
    "gres": "as in gpu:1",
    "interface": "the network interface between nodes, as in ib0",
    "setup": "a line of shell before each worker, as in module load cuda",
}
"""Options of SLURM jobs."""

NEEDED = ("walltime", "memory")

MOST_WORKERS = 4096


@dataclass(frozen=True)
class Where:
    """Where a cohort runs.

    Attributes
    ----------
    kind
        "here", "local", "slurm", or "address" of a scheduler that runs already.
    address
        Of that scheduler.
    workers
        How many processes or jobs; None where that is to be chosen.
    slurm
        Options of the jobs; see `SLURM`.
    gpu
        The number of the only GPU that workers of this machine use; None where they share all that there are.
    """

    kind: str = "here"
    address: str = ""
    workers: int | None = None
    slurm: Mapping[str, str] = field(default_factory=dict)
    gpu: int | None = None


HERE = Where()


def read_where(
    where: str, workers: int | None, slurm: Mapping[str, str] | None, device: str = "auto"
) -> Where:
    """Read what a user writes.

    Parameters
    ----------
    device
        As `run_cohort` takes it.

    Raises
    ------
    UserError
        If it is none of these, or does not fit together.
    """
    if workers is not None:
        workers = whole_number(workers, "workers", 1, MOST_WORKERS)
    if slurm and where != "slurm":
        raise UserError(f"options of SLURM are for where 'slurm', not {quoted(where)}; leave them out.")
    if where == "here":
        if workers is not None:
            raise UserError(
                "workers are processes of their own: say where='local' (--where local), or leave them out."
            )
        return HERE
    if where == "local":
        number = re.fullmatch(r"cuda:(\d+)", device)
        return Where("local", workers=workers, gpu=None if number is None else int(number[1]))
    elsewhere = where == "slurm" or urlsplit(where).scheme in SCHEMES
    if elsewhere and re.fullmatch(r"cuda:\d+", device):
        raise UserError(
            f"which GPU a worker elsewhere has is decided there: say device 'cuda' instead of {quoted(device)}."
        )
    if where == "slurm":
        return Where("slurm", workers=_needed(workers), slurm=_options(slurm or {}))
    if elsewhere:
        return Where("address", address=_address(where), workers=workers)
    raise UserError(
        f"where {quoted(where)} is unknown; {nearest(where, PLACES)} The address of a scheduler begins with tcp:// or tls://."
    )


def device_at(place: Where, device: str) -> str | torch.device:
    """Return where the cases are computed, as a plan takes it: what a SLURM job or the worker of a scheduler has need not be on this machine."""
    if place.kind == "slurm" and device == "auto":
        device = "cuda" if "gpu" in place.slurm.get("gres", "") else "cpu"
    if place.kind in ("slurm", "address") and device == "cuda":
        return torch.device("cuda")
    return device


def _needed(workers: int | None) -> int:
    if workers is None:
        raise UserError("say how many SLURM jobs are wanted: workers=4 (--workers 4).")
    return workers


def _address(where: str) -> str:
    try:
        parts = urlsplit(where)
        known = bool(parts.hostname) and bool(parts.port)
    except ValueError:  # a port that is no number
        known = False
    if not known or parts.path or parts.query or "@" in where:
        raise UserError(
            f"where {quoted(where)} is not the address of a scheduler; write for example tcp://node7:8786."
        )
    return where


def _options(given: Mapping[str, str]) -> dict[str, str]:
    """Return the options of SLURM; what would become lines of a script keeps to one."""
    for name, value in given.items():
        if name not in SLURM:
            raise UserError(f"SLURM jobs have no option {quoted(name)}; {nearest(str(name), SLURM)}")
        # Those but `setup`, which is the user's own line, are words after #SBATCH.
        odd = re.search(r"[\r\n\0]" if name == "setup" else r"[^\w.:,=+@/%\[\]-]", str(value))
        if odd or not str(value):
            raise UserError(f"SLURM option {name} is {quoted(value)}; write {SLURM[name]}.")
    for name in NEEDED:
        if name not in given:
            raise UserError(f"SLURM jobs need the option {name}: {SLURM[name]}.")
    seconds(given["walltime"])
    return {name: str(value) for name, value in given.items()}


def seconds(walltime: str) -> int:
    """Return how many seconds a time is as SLURM writes it: minutes, minutes:seconds, hours:minutes:seconds, days-hours:...

    Raises
    ------
    UserError
        If it is none.
    """
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", walltime)
    if found is None:
        raise UserError(f"SLURM option walltime is {quoted(walltime)}; write {SLURM['walltime']}.")
    days, *rest = found.groups()
    numbers = [int(one) for one in rest if one is not None]
    if days is None and len(numbers) < 3:  # minutes[:seconds]
        numbers = [0, *numbers]
    hours, minutes, rest_seconds = [*numbers, 0, 0][:3]
    return int(days or 0) * 86400 + hours * 3600 + minutes * 60 + rest_seconds


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
