"""Random model files: one sentence or a model, nothing written elsewhere, nothing foreign run."""

from __future__ import annotations

import os
import pickle
import random
import signal
import zipfile
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from helpers.forks import Fork
from helpers.networks import card
from helpers.strangers import (
    LABELS,
    LONGEST,
    NAMES,
    PLACES,
    UNET,
    ends,
    is_one_sentence,
    write_model,
)

import napari_segxai as sx
from napari_segxai.models.zoo.unet import UNet

MODELS = 150


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


SCRIPTS = MODELS // 5
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
