"""Commands that are killed at any step: records and files belong together, and nothing of the user's is lost."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
from pathlib import Path

import pytest
import torch
from helpers.forks import Fork
from typer.testing import CliRunner

from napari_segxai.cli.app import app
from napari_segxai.io import saving

KILLED = {
    "explain": (6, ["--label", "one", "--method", "vanilla-gradient"]),
    "channels": (4, ["--label", "background", "--how", "mean"]),
    "sweep": (4, ["--label", "one", "--method", "rise", "--grid", "masks=2,3", "--metrics", "insertion-dice", "-o", "steps=2"]),
    "compare": (4, ["--label", "one", "--methods", "vanilla-gradient", "--metrics", "insertion-dice", "-o", "steps=2"]),
    "flow": (4, ["--label", "one", "--layers", "bottleneck", "--tile", "one:bottleneck"]),
}  # fmt: skip
"""How often each command is killed, and its words."""


CHANGING = ("open", "os.mkdir", "os.remove", "os.rename", "os.rmdir")


def killed_at(line: list[str], step: int) -> int:
    """Run a command line until it changes files for the `step`-th time, and kill it there; returns how often it did, at most."""
    here, there = os.pipe()

    def child() -> None:
        torch.set_num_threads(1)
        done = 0

        def count(event: str, arguments: tuple) -> None:
            nonlocal done
            if event not in CHANGING or (event == "open" and not (arguments[2] & (os.O_WRONLY | os.O_RDWR))):
                return
            done += 1
            if done == step:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            app(line)
        finally:
            os.write(there, str(done).encode())

    run = Fork(child, Path("killed.txt"))
    os.close(there)
    status = run.wait()
    assert status in (0, -signal.SIGKILL), run.said
    return int(os.read(here, 20) or 0)


def check_whole(folder: Path, users: dict[str, bytes]) -> bool:
    """Assert that a folder's record and files belong together, and nothing of the user's is lost; tell if there is a record."""
    for name, data in users.items():
        assert (folder / name).read_bytes() == data
    record = folder / "record.json"
    if not record.is_file():
        return False
    files = json.loads(record.read_text())["files"]
    there = {
        p.relative_to(folder).as_posix()
        for p in folder.rglob("*")
        if p.is_file() and saving.STAGE not in p.parts
    }
    assert there == {*files, *users, "record.json"}
    for name, digest in files.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name
    return True


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("command", KILLED)
def test_a_command_that_is_killed_at_any_step_mixes_nothing(field, command):
    times, words = KILLED[command]
    out, users = field / f"killed {command}", {"notes.txt": b"the user's"}
    line = [
        command,
        "grey.png",
        "--model",
        "net",
        "--region",
        "image",
        "--out",
        str(out),
        "--overwrite",
        *words,
    ]
    out.mkdir()
    (out / "notes.txt").write_bytes(users["notes.txt"])
    outside = {path.name for path in field.iterdir()} | {"killed.txt"}
    steps = killed_at(line, 10**9)
    assert steps > 5
    assert check_whole(out, users)
    draw = random.Random(command)
    last = [steps - k for k in range(3)]  # where the old record has gone, and the new one comes
    for step in [*last, *(draw.randrange(1, steps) for _ in range(times - len(last)))]:
        killed_at(line, step)
        check_whole(out, users)
    assert CliRunner().invoke(app, line).exit_code == 0
    assert check_whole(out, users)
    assert not (out / saving.STAGE).exists()
    assert {path.name for path in field.iterdir()} == outside
