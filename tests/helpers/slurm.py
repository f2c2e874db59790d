"""A stand-in for SLURM: commands `sbatch` and `scancel` that start jobs as processes of this machine and end them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil

SBATCH = """
import argparse, os, pathlib, shlex, subprocess, sys
spool, script = pathlib.Path({spool!r}), pathlib.Path(sys.argv[1]).read_text()
known = argparse.ArgumentParser(allow_abbrev=False)
for option in ("-J", "-e", "-o", "-p", "-A", "-n", "--cpus-per-task", "--mem", "-t", "--gres"):
    known.add_argument(option)
words = [word for line in script.splitlines() if line.startswith("#SBATCH ") for word in shlex.split(line)[1:]]
asked = known.parse_args(words)
number = 1
while True:
    try:
        job = spool / f"{{number}}.sh"
        file = os.fdopen(os.open(job, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o700), "w")
        break
    except FileExistsError:
        number += 1
with file:
    file.write(script)
said = open(asked.o.replace("%J", str(number)), "w"), open(asked.e.replace("%J", str(number)), "w")
run = subprocess.Popen([job], stdin=subprocess.DEVNULL, stdout=said[0], stderr=said[1], start_new_session=True)
job.with_suffix(".pid").write_text(str(run.pid))
print("Submitted batch job", number)
"""
"""As the real one, it refuses options that it does not know, keeps the script, and starts it in the folder of whoever calls."""

SCANCEL = """
import os, pathlib, signal, sys
path = pathlib.Path({spool!r}, sys.argv[1] + ".pid")
try:
    os.killpg(int(path.read_text()), signal.SIGKILL)
except ProcessLookupError:
    sys.exit(1)
"""


def make_commands(folder: Path) -> Path:
    """Write the commands into a folder that is to stand first on PATH, and return where the jobs are noted."""
    spool = folder / "spool"
    spool.mkdir(parents=True)
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (folder / name).write_text(f"#!{sys.executable}\n{text.format(spool=str(spool))}")
        (folder / name).chmod(0o755)
    return spool


def alive(spool: Path) -> list[psutil.Process]:
    """Return the processes of all jobs that have not ended."""
    groups = {int(path.read_text()) for path in spool.glob("*.pid")}
    return [one for one in psutil.process_iter() if _group(one) in groups]


def _group(process: psutil.Process) -> int:
    try:
        return os.getsid(process.pid) if process.status() != psutil.STATUS_ZOMBIE else 0
    except (ProcessLookupError, psutil.NoSuchProcess):
        return 0
