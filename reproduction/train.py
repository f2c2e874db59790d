"""Train the networks of the reproduction on Triangle images, into reproduction/weights.

    make train-reproduction                                   # all that are not there yet; some hours
    python reproduction/train.py vgg-1 no-skips-2             # these

A small U-Net with skip connections, the same without, and one as near to the paper's as a laptop can train: an encoder like
VGG-16's, 224 x 224 pixels, items of 28. Three seeds each; the first small U-Net with skips is the sample network `triangle`.
Training may be stopped at any time: it goes on from its last hundred steps, which lie in build/training, and every step
draws its images from a generator of its own, so that a stopped training ends as any other.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from safetensors.torch import save_file

from napari_segxai.datasets.triangle import load_glyphs
from napari_segxai.models.card import read_card
from napari_segxai.models.zoo.unet import UNet

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "scripts"))

from designs import DESIGNS, ORDER, WEIGHTS, Stage  # noqa: E402
from train_triangle import BROKEN, dice, draw, predict, round_half  # noqa: E402

GLYPHS = ROOT / "sample_data" / "glyphs.npz"
KEEP = 100
"""Steps between two states on the disk."""


Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(images, truths) -> how wrong a network is."""


def train(name: str, glyphs: np.ndarray, states: Path) -> tuple[UNet, float]:
    """Train a network of `ORDER`, from its states where there are some.

    Returns
    -------
    UNet, float
        In evaluation mode, its weights rounded to half precision; seconds of processor time that it took.
    """
    kind, seed = name.rsplit("-", 1)
    design, seconds = DESIGNS[kind], 0.0
    torch.manual_seed(int(seed))
    network = UNet(**design.arguments).to(memory_format=torch.channels_last)
    if design.start is not None:
        head = torch.nn.Conv2d(design.arguments["features"][-1], 2, 1)
        both = torch.nn.ModuleList([network, head])
        coarse: Loss = lambda images, truths: coarse_loss(head(deepest(network, images)), truths)  # noqa: E731
        seconds += train_stage(
            both, coarse, design.start, glyphs, (int(seed), 0), states / f"{name}-start.pt"
        )
    whole: Loss = lambda images, truths: whole_loss(network(images), truths)  # noqa: E731
    seconds += train_stage(network, whole, design.stage, glyphs, (int(seed),), states / f"{name}.pt")
    network.load_state_dict({key: round_half(value) for key, value in network.state_dict().items()})
    return network.eval(), seconds


def train_stage(
    module: torch.nn.Module, loss: Loss, stage: Stage, glyphs: np.ndarray, seed: tuple[int, ...], path: Path
) -> float:
    """Train a module, from its state where there is one; return the seconds of processor time.

    Parameters
    ----------
    seed
        Of the images; every step has a generator of its own.
    path
        Of the state, which is kept every `KEEP` steps.
    """
    optimizer = torch.optim.AdamW(module.parameters(), weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, stage.rate, total_steps=stage.steps, pct_start=0.2
    )
    parts = {"network": module, "optimizer": optimizer, "schedule": schedule}
    first, before = 1, 0.0
    if path.is_file():
        state = torch.load(path, weights_only=True)
        for key, part in parts.items():
            part.load_state_dict(state[key])
        first, before = state["step"] + 1, state["seconds"]
    start, total = time.process_time(), 0.0
    for step in range(first, stage.steps + 1):
        rng = np.random.default_rng([*seed, step])
        torch.manual_seed(step)  # of dropout
        images, truths = draw(glyphs, rng, stage.batch, BROKEN, **stage.canvas)
        gain = torch.from_numpy(rng.uniform(0.6, 1, (stage.batch, 1, 1, 1))).float()
        wrong = loss((images * gain).contiguous(memory_format=torch.channels_last), truths)
        optimizer.zero_grad()
        wrong.backward()
        optimizer.step()
        schedule.step()
        total += wrong.item()
        if step % KEEP == 0 or step == stage.steps:
            seconds = before + time.process_time() - start
            print(
                f"{path.stem} step {step}: loss {total / KEEP:.4f}, {seconds:.0f} s of processor time",
                flush=True,
            )
            total = 0.0
            path.parent.mkdir(parents=True, exist_ok=True)
            part_ = path.with_suffix(".part")
            torch.save(
                {key: part.state_dict() for key, part in parts.items()} | {"step": step, "seconds": seconds},
                part_,
            )
            part_.replace(path)
    return before + time.process_time() - start


def whole_loss(logits: torch.Tensor, truths: torch.Tensor) -> torch.Tensor:
    """Return the loss of a network's logits: cross entropy and half of what is missing of the Dice of the whole batch."""
    object_ = logits.softmax(1)[:, 1]
    overlap = (2 * (object_ * truths).sum() + 1) / (object_.sum() + truths.sum() + 1)
    return F.cross_entropy(logits, truths) + 0.5 * (1 - overlap)


def coarse_loss(logits: torch.Tensor, truths: torch.Tensor) -> torch.Tensor:
    """Return the cross entropy of logits of cells with the share of each that is object."""
    share = F.adaptive_avg_pool2d(truths[:, None].float(), logits.shape[-2:])
    return F.cross_entropy(logits, torch.cat([1 - share, share], 1))


def deepest(network: UNet, images: torch.Tensor) -> torch.Tensor:
    """Return what comes out of a network's bottleneck, without the decoder's work."""
    for k in range(1, network.levels + 1):
        images = F.max_pool2d(network.get_submodule(f"encoder{k}")(images), 2)
    return network.bottleneck(images)


def card(name: str, seconds: float, scores: torch.Tensor, glyphs: int) -> dict[str, Any]:
    """Return the model card of a network of `ORDER`."""
    kind, seed = name.rsplit("-", 1)
    design = DESIGNS[kind]
    stage, start = design.stage, design.start
    side, item = stage.canvas.get("size", 112), stage.canvas.get("item", 14)
    told = (
        f"{start.steps * start.batch} of {start.canvas['size']}x{start.canvas['size']} for the encoder alone"
        if start
        else ""
    )
    return {
        "name": f"Triangle {name}",
        "description": f"Finds three pieces of clothing at the corners of a right-angled triangle: {design.title}. "
        "Trained for the reproduction of papers, to tell what depends on the network.",
        "labels": ["background", "triangle"],
        "spatial_dims": 2,
        "grid": {"multiple": 2 ** (len(design.arguments["features"]) - 1)},
        "intensity": [{"divide": 255}],
        "background_value": 0,
        "activation": "softmax",
        "architecture": "napari_segxai.models.zoo.unet:UNet",
        "arguments": design.arguments,
        "trained_on": f"{stage.steps * stage.batch} images of {side}x{side} pixels{told and f' (and before, {told})'}, generated on the fly "
        f"(napari_segxai.datasets.triangle) from {glyphs} items of Fashion-MNIST's training part at {item}x{item} pixels; "
        f"{BROKEN:.0%} of the images hold an incomplete triangle and no object. Seed {seed}. The brightness was scaled by a "
        f"random 0.6 to 1 per image. {seconds / 60:.0f} minutes of one processor core.",
        "not_for": "Anything but the Triangle images of this project.",
        "credit": "Trained for napari-segxai. Data set after Hasany et al. (MiSuRe, 2024) and Riva et al. (2022); items from "
        "Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017; Zalando SE).",
        "license": "BSD-3-Clause (weights); MIT (the Fashion-MNIST items they were trained on)",
        "provenance": "reproduction/train.py; weights stored in half precision",
        "validation": f"Mean Dice {scores.mean():.3f} on {len(scores)} fresh images from held-out items, with the stored "
        f"weights; lowest {scores.min():.3f}, below 0.9 in {(scores < 0.9).float().mean():.0%} of them.",
    }


def build(name: str, states: Path, out: Path) -> Path:
    """Train and measure a network of `ORDER`, and write its model folder."""
    glyphs = load_glyphs(GLYPHS)
    network, seconds = train(name, glyphs, states)
    canvas = DESIGNS[name.rsplit("-", 1)[0]].stage.canvas
    images, truths = draw(load_glyphs(GLYPHS, "held-out"), np.random.default_rng(2024), 100, **canvas)
    with torch.no_grad():
        scores = dice(predict(network, images), truths)
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in network.state_dict().items()
    }
    save_file(weights, folder / "weights.safetensors", metadata={"format": "pt"})
    text = yaml.safe_dump(
        card(name, seconds, scores, len(glyphs)), sort_keys=False, allow_unicode=True, width=110
    )
    (folder / "model.yaml").write_text(text, encoding="utf-8")
    read_card(folder / "model.yaml")
    print(f"{name}: Dice {scores.mean():.3f}, {seconds:.0f} s of processor time, wrote {folder}", flush=True)
    return folder


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is asked for, or all that is not there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", choices=[[], *ORDER], help="of these only, anew where they are there"
    )
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder of the model folders")
    parser.add_argument(
        "--states", type=Path, default=ROOT / "build" / "training", help="folder of unfinished trainings"
    )
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(asked.threads)
    for name in asked.names or [one for one in ORDER if not (asked.out / one / "model.yaml").is_file()]:
        build(name, asked.states, asked.out)


if __name__ == "__main__":
    main()
