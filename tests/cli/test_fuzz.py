"""Random command lines and random model files: one sentence or a result, nothing written elsewhere, nothing foreign run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import random
import signal
import sys
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import skimage.io
import torch
import typer
import yaml
from helpers.forks import Fork
from helpers.networks import card
from safetensors.torch import save_file
from typer.testing import CliRunner

import napari_segxai as sx
from napari_segxai.cli.app import app
from napari_segxai.io import saving
from napari_segxai.models.zoo.unet import UNet

COMMANDS = 500
MODELS = 300
LONGEST = 20
"""Seconds for one of them, on any machine: what takes longer runs for ever."""

ZOO = "napari_segxai.models.zoo.unet:UNet"
UNET = {"features": [2, 2], "out_channels": 3}
LABELS = ["background", "one", "two words"]

NUMBERS = [
    "0",
    "-1",
    "1",
    "3",
    "1e20",
    "-1e20",
    "nan",
    "inf",
    "1" * 400,
    "1" * 5000,
    "true",
    "",
    "1,2",
    "0x10",
    "١",
    "²",
    "1e-300",
]
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


@pytest.fixture(scope="module", autouse=True)
def _one_command():
    """The commands are made once: typer makes them anew for every line, which takes half of the time."""
    made = typer.main.get_command(app)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.testing._get_command", lambda _: made)
        yield


@pytest.fixture(scope="module")
def watch():
    return Watch()


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """A folder with images, models, and what a stranger left there; it is the working folder."""
    root = tmp_path_factory.mktemp("fuzz")
    rng = np.random.default_rng(0)
    skimage.io.imsave(root / "grey.png", rng.integers(0, 255, (16, 16), np.uint8), check_contrast=False)
    skimage.io.imsave(root / "dot.png", np.full((1, 1), 7, np.uint8), check_contrast=False)
    skimage.io.imsave(root / "colour.png", rng.integers(0, 255, (16, 16, 3), np.uint8), check_contrast=False)
    nib.save(
        nib.Nifti1Image(rng.normal(size=(8, 8, 4)).astype(np.float32), np.eye(4)), root / "volume.nii.gz"
    )
    mask = np.zeros((16, 16), np.uint8)
    mask[4:12, 4:12] = 1
    skimage.io.imsave(root / "mask.png", mask, check_contrast=False)
    (root / "noise.png").write_bytes(rng.bytes(300))
    (root / "empty.png").touch()
    (root / "evil.py").write_text(EVIL)
    (root / "folder.png").mkdir()
    os.mkfifo(root / "pipe.png")
    os.mkfifo(root / "pipe.yaml")
    (root / "loop.png").symlink_to("loop.png")
    (root / "taken").mkdir()
    (root / "taken" / "record.json").mkdir()
    write_model(root / "net", {})
    (root / "net" / "beside.py").write_text(EVIL)
    write_model(root / "names", {"labels": ["background", "../../x", "/abs"]})
    before = os.getcwd()
    os.chdir(root)
    yield root
    os.chdir(before)


def write_model(folder: Path, changes: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    fields = card(labels=LABELS, architecture=ZOO, arguments=UNET, grid={"multiple": 2})
    (folder / "model.yaml").write_text(yaml.safe_dump({**fields, **changes}), encoding="utf-8")
    torch.manual_seed(0)
    save_file(UNet(**UNET).state_dict(), folder / "weights.safetensors")


# -- command lines --------------------------------------------------------------------------------------

METHODS = ["vanilla-gradient", "seg-grad-cam", "rise", "misure", "occlusion", "seg-sobol"]
QUICK = {"rise": "masks=4", "misure": "iterations=2", "seg-sobol": "designs=2"}


def command_line(draw: random.Random) -> list[str]:
    """Return a command line, right but for some of its words."""
    command = draw.choices(["explain", "compare", "flow", "sweep", "channels", "layers"], [8, 2, 2, 2, 2, 1])[
        0
    ]
    method = draw.choice(METHODS)
    words = {"--model": "net", "--label": "one", "--out": f"out/{draw.randrange(40)}", "--region": "image"}
    image = "grey.png"
    if command == "layers":
        words, line = {}, [command, "net"]
    else:
        line = [command, image]
    if command == "explain":
        words |= {"--method": method, "-p": QUICK.get(method, "preset=none")}
    if command == "compare":
        words |= {"--methods": draw.choice(METHODS), "--metrics": "insertion-dice", "-o": "steps=2"}
    if command == "flow":
        words |= {"--layers": "bottleneck", "--tile": "one:bottleneck"}
    if command == "sweep":
        words |= {"--method": "rise", "--grid": "masks=2,3", "--metrics": "insertion-dice"}
    if command == "channels":
        if draw.random() < 0.5:
            words.pop("--out")
        words |= {"--how": "permutation", "--repeats": "2"}
    more = ["--seed", "--slice", "--frame", "--device", "--card", "--score", "--reduction", "--precision", "--check", "--truth",
            "--controls", "--noise-model", "--nonsense", "-p", "-o", "--grid", "--repeats", "--layers"]  # fmt: skip
    for _ in range(draw.choice([0, 1, 1, 1, 2, 2, 3])):
        key = draw.choice([*words, *draw.sample(more, 4), "image"])
        parameter = draw.choice(
            [
                "masks",
                "cells",
                "iterations",
                "seed",
                "method",
                "model",
                "steps",
                "layer",
                "preset",
                "stride",
                "x" * 300,
            ]
        )
        value = draw.choice(
            [
                draw.choice(NUMBERS), draw.choice(NAMES), f"{parameter}={draw.choice(NUMBERS)}", f"{parameter}={draw.choice(NAMES)}",
                draw.choice(["dot.png", "colour.png", "volume.nii.gz", "mask.png", "noise.png", "empty.png", "folder.png", "pipe.png",
                             "loop.png", "pipe.yaml", "taken", "names", "net/model.yaml", "net/weights.safetensors", "/dev/null",
                             "/dev/zero", "/dev/full", "/proc/self/mem", "cuda:99", "mps", "other-seed:seeds=1e9", "all"]),
            ]
        )  # fmt: skip
        if key == "image":
            line[1] = value
        else:
            words[key] = f"out/{value}" if key == "--out" else value
    flags = draw.sample(["--overwrite", "--trust", "--json", "--causal"], draw.choice([0, 0, 1, 2]))
    return [*line, *(part for pair in words.items() for part in pair), *flags]


def warm_up(out: Path) -> None:
    """Load what the commands load when they are first used, and let libraries make their caches."""
    common = ["grey.png", "--model", "net", "--label", "one", "--region", "image", "--out"]
    lines = (
        ["explain", *common, f"{out}/w1", "--method", "rise", "-p", "masks=2"],
        ["flow", *common, f"{out}/w2", "--layers", "bottleneck"],
        ["compare", *common, f"{out}/w3", "--methods", "vanilla-gradient", "--metrics", "insertion-dice"],
        ["explain", *common, f"{out}/w4", "--method", "no such method"],
    )
    for line, status in zip(lines, (0, 0, 0, 2), strict=True):
        done = CliRunner().invoke(app, line)
        assert done.exit_code == status, done.output


def test_random_command_lines(field, watch):
    draw = random.Random(12)
    warm_up(field / "out")
    results = {0: 0, 2: 0}
    for number in range(COMMANDS):
        line = command_line(draw)
        said = f"{number}: {' '.join(word[:60] for word in line)}"
        with watch.ing(field / "out"), ends():
            done = CliRunner().invoke(app, line)
        assert done.exit_code in (0, 2), f"{said}\n{done.output}\n{done.exc_info}"
        assert "Traceback" not in done.output, said
        if done.exit_code == 2:
            assert is_one_sentence(done.stderr), f"{said}\n{done.stderr}"
        results[done.exit_code] += 1
    assert min(results.values()) > COMMANDS / 20, results
    assert not list(field.rglob("ran"))


# -- model files ----------------------------------------------------------------------------------------


class Evil:
    """A pickle that leaves a file behind where it is loaded."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


SCALARS = [
    0,
    -1,
    1,
    10**9,
    10**30,
    -(10**400),
    1e308,
    float("nan"),
    True,
    None,
    "",
    "x" * 3000,
    "../x",
    "\x1b[2J",
    "病",
]
TEXTS = [
    b"[" * 10**5, b"- " * 5000, b"a: &a [x]\nb: [*a, *a]", b"x: " + b"9" * 5000, b"!!python/object/apply:os.system ['touch ran']",
    b"name: x\n" + b"#" * 300_000, b"\xff\xfe", b"{" * 99, b"", b"\0",
]  # fmt: skip


def deep(draw: random.Random, depth: int = 0) -> object:
    """Return a random value, of lists and mappings in each other."""
    kind = draw.randrange(9 if depth < 5 else 7)
    if kind == 7:
        return [deep(draw, depth + 1) for _ in range(draw.randrange(4))]
    if kind == 8:
        return {draw.choice(["a", "size", "1", ""]): deep(draw, depth + 1) for _ in range(draw.randrange(4))}
    return draw.choice(SCALARS)


def spoil_card(draw: random.Random, fields: dict) -> dict:
    """Change one or two keys of a card."""
    more = ["output", "tokens", "intensity", "orientation", "threshold", "background_value", "nonsense"]
    for _ in range(draw.randint(1, 2)):
        fields[draw.choice([*fields, *more])] = draw.choice(
            [
                deep(draw),
                draw.choice(PLACES),
                [draw.choice(NAMES) for _ in range(draw.randrange(1, 5))],
                {"size": [draw.choice([0, 1, 8, 2**16, 2**31, 10**30]) for _ in range(draw.randrange(1, 4))]},
                {"multiple": draw.choice([0, 1, 2, 3, 64, 10**4, 10**12])},
                {"spacing": [draw.choice([1e-300, 1, 1e300])] * 2},
                {**UNET, draw.choice(["features", "pretrained", "weights", "norm", "x"]): deep(draw)},
                {**UNET, "features": [draw.choice([0, 2, 10**5, 2**20])] * draw.choice([1, 2, 8, 500])},
                [{draw.choice(["clip", "window", "divide", "zscore", "normalize"]): deep(draw)}],
                draw.choice([2, 3, "2", "sigmoid", "probabilities", 0.5, -1]),
            ]
        )
    return fields


def spoil_bytes(draw: random.Random, data: bytes) -> bytes:
    """Cut a file, or change, repeat or insert some of its bytes."""
    at, other = draw.randrange(len(data) + 1), draw.randbytes(draw.choice([1, 2, 8, 50]))
    rest = data[at + len(other) :]
    return draw.choice(
        [data[:at], data[:at] + other + rest, data[:at] + other + data[at:], data * 3, other, b""]
    )


def write_spoiled(draw: random.Random, folder: Path, marker: Path) -> None:
    """Write a model that is right but for something."""
    write_model(folder, {})
    text, weights = folder / "model.yaml", folder / "weights.safetensors"
    fields = yaml.safe_load(text.read_text())
    kind = draw.choices(["card", "text", "weights", "torch", "file", "none"], [8, 3, 3, 3, 2, 1])[0]
    if kind == "card":
        text.write_text(yaml.safe_dump(spoil_card(draw, fields)), encoding="utf-8")
    if kind == "text":
        text.write_bytes(draw.choice([spoil_bytes(draw, text.read_bytes()), draw.choice(TEXTS)]))
    if kind == "weights":
        weights.write_bytes(spoil_bytes(draw, weights.read_bytes()))
    if kind == "torch":
        state = UNet(**UNET).state_dict()
        content = draw.choice(
            [
                *(Evil(marker), {"head.bias": Evil(marker), **state}, {"model": state, "x": Evil(marker)}),
                *(
                    torch.nn.Conv2d(1, 1, 1),
                    state,
                    [],
                    3,
                    None,
                    {},
                    {1: torch.zeros(1)},
                    {**state, "\x1b[2J" * 999: torch.zeros(1)},
                ),
                *(
                    {k: v.to(torch.complex64) for k, v in state.items()},
                    {k: v[None] for k, v in state.items()},
                ),
            ]
        )
        text.write_text(yaml.safe_dump({**fields, "weights": "weights.pt"}))
        torch.save(content, folder / "weights.pt")
        if draw.random() < 0.4:
            data = draw.choice(
                [pickle.dumps(content), spoil_bytes(draw, (folder / "weights.pt").read_bytes())]
            )
            (folder / "weights.pt").write_bytes(data)
    if kind == "file":
        spoiled = draw.choice([text, weights])
        spoiled.unlink()
        draw.choice(
            [
                lambda: os.mkfifo(spoiled),
                spoiled.mkdir,
                lambda: spoiled.symlink_to(draw.choice([spoiled.name, "/dev/zero", "/dev/null"])),
                lambda: None,
            ]
        )()


SCRIPTS = MODELS // 10
"""TorchScript files: torch reads them in C++, where damage can end the process, so that each is loaded in a fork."""


class Doubled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 1), torch.nn.ReLU())

    def forward(self, x):
        return self.head(x) + 1


def write_script(draw: random.Random, good: Path, file: Path) -> None:
    """Write a TorchScript file of which one record was spoiled, or all of it."""
    if draw.random() < 0.2:
        file.write_bytes(spoil_bytes(draw, good.read_bytes()))
        return
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(file, "w") as new:
        chosen = draw.choice([name for name in old.namelist() if not name.endswith("debug_pkl")])
        for name in old.namelist():
            data = old.read(name)
            if name == chosen and name.endswith(".py") and draw.random() < 0.5:
                evil = [
                    "torch.save(x, 'ran')",
                    "ops.aten.save(x, 'ran')",
                    "x.save('ran')",
                    "torch.from_file('ran', True, 4)",
                ]
                data = data.replace(b"    head = ", f"    _9 = {draw.choice(evil)}\n    head = ".encode())
            elif name == chosen:
                data = spoil_bytes(draw, data)
            new.writestr(name, data)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_random_torchscript_files(field):
    draw, loaded = random.Random(12), 0
    place = field / "scripts"
    place.mkdir()
    torch.jit.script(Doubled().eval()).save(str(place / "good.pt"))
    fields = card(labels=LABELS)

    def load(file: Path) -> None:
        torch.set_num_threads(1)
        signal.alarm(LONGEST)
        try:
            sx.load_model(file, card=fields)
        except sx.UserError as error:
            raise SystemExit(2 if is_one_sentence(str(error)) else str(error)) from None

    for number in range(SCRIPTS):
        file = place / f"{number}.pt"
        write_script(draw, place / "good.pt", file)
        run = Fork(partial(load, file), place / "said")
        status = run.wait()
        assert status in (0, 2), f"{number}: {status} {run.said}"
        loaded += status == 0
        assert not list(field.rglob("ran")), number
    assert 0 < loaded < SCRIPTS, loaded
    names = {path.name for path in place.iterdir()} - {f"{number}.pt" for number in range(SCRIPTS)}
    assert names == {"good.pt", "said"}


def test_random_model_files(field, watch):
    draw, loaded = random.Random(12), 0
    for number in range(MODELS):
        folder = field / "models" / str(number)
        write_spoiled(draw, folder, field / "ran")
        card_file = folder / "model.yaml"
        said = f"{number}: {card_file.read_bytes()[:500]!r}" if card_file.is_file() else str(number)
        problem = ""
        with watch.ing(folder), ends():
            try:
                sx.load_model(folder)
                loaded += 1
            except sx.UserError as error:
                problem = str(error)
            except Exception as error:
                raise AssertionError(said) from error
        assert not problem or is_one_sentence(problem), f"{said}\n{problem!r}"
        assert not list(field.rglob("ran")), said
    assert MODELS / 20 < loaded < MODELS / 2, loaded


# -- kills ----------------------------------------------------------------------------------------------

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
