"""Random command lines: one sentence or a result, nothing written elsewhere, nothing foreign run."""

from __future__ import annotations

import random
from pathlib import Path

from helpers.strangers import (
    NAMES,
    ends,
    is_one_sentence,
)
from typer.testing import CliRunner

from napari_segxai.cli.app import app

COMMANDS = 250
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
