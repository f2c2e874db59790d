"""What a stranger may type or leave on a disk, and a watch over what is done with it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from helpers.networks import card
from safetensors.torch import save_file

from napari_segxai.models.zoo.unet import UNet

ZOO = "napari_segxai.models.zoo.unet:UNet"
UNET = {"features": [2, 2], "out_channels": 3}
LABELS = ["background", "one", "two words"]
NAMES = [
    "", " ", ".", "..", "../../x", "/abs", "~nouser", "~", "a/b", "a\\b", "con", "x" * 300, "x" * 5000, "\x1b[31mred", "é", "病",
    "\u202e", "None", "all", "*", "--help", "-", "=", ":", "a=b", "a:b=c", ",", "[", "{x}", "%s", "$(id)", "image", "1,2", "99999,1",
    "--5,3", "²,3",
]  # fmt: skip
PLACES = [
    "IPython.__main__:X", "pygments.__main__:X", "pygments.cmdline:X", "this:X", "antigravity:X", "os:system", "builtins:exec",
    "__main__:X", "torch.nn:Module", "torch.nn:Conv2d", "torch.nn:Sequential", "torch.utils.bottleneck.__main__:X",
    "torch.testing._internal:X", "torch.hub:load", "evil:Net", "evil.net:Net", "beside:Net", "nothing:Net", "a:b:c", "torch.nn:",
    ":X", "x", "napari_segxai.cli.app:app", "napari_segxai.models.zoo:UNet", "xml.sax.expatreader:X", "pip.__main__:X", "setuptools:X",
]  # fmt: skip
EVIL = "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n"
LONGEST = 20
"""Seconds for one of them, on any machine: what takes longer runs for ever."""
REACHING = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "socket.connect",
    "socket.getaddrinfo",
)


def _place(path: str | bytes, folder: int) -> str:
    """Return the whole path of what an audit event names, which may lie in an open folder."""
    start = os.readlink(f"/proc/self/fd/{folder}") if folder != -1 else os.getcwd()
    return os.path.normpath(os.path.join(start, os.fsdecode(path)))


class Watch:
    """What this process did while it was on: files that were written, modules, programs and places that were reached."""

    def __init__(self) -> None:
        self.on = False
        self.written: list[str] = []
        self.reached: list[str] = []
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple) -> None:
        if not self.on:
            return
        if event == "open" and isinstance(arguments[0], str | bytes):
            if arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self.written.append(os.path.abspath(os.fsdecode(arguments[0])))
        elif event in ("os.mkdir", "os.remove", "os.rmdir"):
            self.written.append(_place(arguments[0], arguments[-1]))
        elif event in ("os.rename", "os.link"):
            self.written += [_place(arguments[0], arguments[2]), _place(arguments[1], arguments[3])]
        elif event == "os.symlink":
            self.written.append(_place(arguments[1], arguments[2]))
        elif event in REACHING:
            self.reached.append(f"{event} {arguments!r}"[:200])

    @contextlib.contextmanager
    def ing(self, allowed: Path) -> Iterator[None]:
        """Assert afterwards that nothing was written outside `allowed`, and nothing foreign run."""
        self.written.clear()
        self.reached.clear()
        loaded, self.on = set(sys.modules), True
        try:
            yield
        finally:
            self.on = False
        outside = [p for p in self.written if not Path(p).is_relative_to(allowed) and p != os.devnull]
        assert outside == [], outside
        assert self.reached == [], self.reached
        named = {place.partition(":")[0] for place in PLACES} - {"torch.nn"}
        named = {name for name in named if not name.startswith("napari_segxai")}
        assert not named & (set(sys.modules) - loaded)


@contextlib.contextmanager
def ends() -> Iterator[None]:
    """Fail, instead of running for ever."""

    def stop(*_: object) -> None:
        pytest.fail(f"ran for more than {LONGEST} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LONGEST)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def is_one_sentence(text: str) -> bool:
    return len(text.strip().splitlines()) == 1 and text.strip().isprintable() and len(text) < 3000


def write_model(folder: Path, changes: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    fields = card(labels=LABELS, architecture=ZOO, arguments=UNET, grid={"multiple": 2})
    (folder / "model.yaml").write_text(yaml.safe_dump({**fields, **changes}), encoding="utf-8")
    torch.manual_seed(0)
    save_file(UNet(**UNET).state_dict(), folder / "weights.safetensors")
