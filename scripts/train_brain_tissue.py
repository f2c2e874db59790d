"""Train the sample network that tells the tissues of a brain apart, and write its model folder.

    python scripts/train_brain_tissue.py --template DIR [--out sample_data/models/brain-tissue] [--steps 800]

DIR holds the three maps mni_icbm152_{t1,gm,wm}_tal_nlin_sym_09a_converted.nii.gz, which the wheel of nilearn
0.14.1 (PyPI) has in nilearn/datasets/data. Takes about seven minutes on two cores. The same seed gives the same
volumes everywhere; the weights may differ in the last digits between machines and versions of torch.

There is one average brain to learn from, and it is smooth. Most training volumes are therefore drawn: a brain
of its own is drawn at random from the tissue probabilities, bent, and given grey values of its own.
Everything is on a grid of 2 mm.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

import napari_segxai as sx
from napari_segxai.models.card import read_card
from napari_segxai.models.zoo.unet import UNet

SAMPLE_DATA = Path(__file__).resolve().parent.parent / "sample_data"
MAPS = {key: f"mni_icbm152_{key}_tal_nlin_sym_09a_converted.nii.gz" for key in ("t1", "gm", "wm")}
LABELS = ("background", "csf and other", "grey matter", "white matter")
OTHER = 1
FEATURES = (8, 16, 32, 64)
BATCH = 4
PATCH = 48
STEPS = 800
CORNER = (18, 22, -4)
"""First voxel of the template that the sample image shows."""
SIZE = (80, 96, 80)
"""Size of the sample image, in voxels of 2 mm; it holds the whole brain."""
HELD_OUT = ((16, 24), (44, 52), (72, 80))
"""Coronal slabs of the sample image (first row, row behind the last) that no loss was ever taken in. They go
through both hemispheres, because the template's halves mirror each other."""
MARGIN = 1
"""Rows at either end of a held-out slab that are not counted: their neighbours were learned from."""

CARD = """\
name: Brain tissue
description: >-
  Tells grey matter, white matter and the rest (mostly cerebrospinal fluid) of a brain apart, in a T1-weighted
  MRI from which everything but the brain was removed. A small 3D U-Net with four levels and {parameters:,}
  parameters.
labels: [{labels}]
spatial_dims: 3
channels: [T1]
orientation: RAS
grid: {{spacing: [2, 2, 2], multiple: 8, interpolation: linear}}
intensity:
  - clip_percentiles: [0, 99.5]
  - rescale: [0, 1]
background_value: 0
activation: softmax
architecture: napari_segxai.models.zoo.unet:UNet
arguments: {{in_channels: 1, out_channels: {outputs}, features: {features}, spatial_dims: 3}}
trained_on: >-
  One brain: the symmetric ICBM 152 2009a average of 152 healthy young adults, skull-stripped, with its maps of
  grey and white matter, at 2 mm. {volumes} patches of {patch}x{patch}x{patch} voxels, all bent and given random contrast,
  smoothness, noise and uneven brightness; in three quarters of them the tissues are drawn at random from the
  maps, so that they are as sharp as a single brain's. Seed {seed}. No scan of a single person was used.
not_for: >-
  Diagnosis, measuring volumes, or any clinical use; images with a skull, other sequences than T1, children,
  lesions, atrophy. It was never checked against a segmentation of a single person's brain.
credit: >-
  Trained for napari-segxai. Template: Fonov et al., Unbiased average age-appropriate atlases for pediatric
  studies, NeuroImage 54, 313-327, 2011; Copyright 1993-2004 Louis Collins, McConnell Brain Imaging Centre,
  Montreal Neurological Institute, McGill University.
license: BSD-3-Clause (weights); MNI ICBM (the template they were trained on)
provenance: scripts/train_brain_tissue.py on the maps of nilearn 0.14.1; weights stored in half precision
validation: >-
  On the template itself (the sample image), with the stored weights, in three coronal slabs whose labels were
  left out of the training: Dice {held_out}.
  In all of it: {everywhere}.
  The reference is the most probable tissue of the template's own maps. An average brain is smoother than any
  single one, so this says little about other images. On the T1 head of the sample data, without its skull,
  there is no reference to measure with. {head}
"""
HEAD = """\
By eye, its cerebral white matter, cortex and ventricles are
  where they should be; most of the brain stem is called grey matter, as much of it is in the template's maps,
  and the cerebellum's white matter is found in part. {grey:.0%} of that brain become grey and {white:.0%} white matter."""
"""What was seen of the head's segmentation when these weights were made: look again after training again."""


# ---------------------------------------------------------------- the template


def read_template(folder: Path) -> dict[str, np.ndarray]:
    """Return the T1 image and the maps of grey and white matter, uint8, with 1 mm voxels in RAS order."""
    return {key: np.asanyarray(nib.load(folder / name).dataobj) for key, name in MAPS.items()}


def template_affine(folder: Path) -> np.ndarray:
    """Return the affine of the sample image."""
    affine = nib.load(folder / MAPS["t1"]).affine.copy()
    affine[:3, 3] = affine[:3, :3] @ (np.array(CORNER) + 0.5) + affine[:3, 3]
    affine[:3, :3] *= 2
    return affine


def halve(volume: np.ndarray) -> np.ndarray:
    """Cut the sample image's box out of a 1 mm volume and return its means over 2x2x2 voxels."""
    padded = np.pad(volume.astype(np.float32), 8)
    box = padded[tuple(slice(c + 8, c + 8 + 2 * n) for c, n in zip(CORNER, SIZE, strict=True))]
    x, y, z = SIZE
    return box.reshape(x, 2, y, 2, z, 2).mean((1, 3, 5))


def sample_image(template: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the T1 image at 2 mm, 0 outside the brain, and the most probable tissue, both uint8."""
    share = halve(template["t1"] > 0)
    inside = share >= 0.5
    image = np.where(inside, halve(template["t1"]) / np.maximum(share, 0.5), 0).round().astype(np.uint8)
    gray, white = (halve(template[key]) / 255 for key in ("gm", "wm"))
    tissue = 1 + np.argmax([share - gray - white, gray, white], axis=0)
    return image, np.where(inside, tissue, 0).astype(np.uint8)


# ---------------------------------------------------------------- training volumes


class Painter:
    """Draws training volumes from the template; every call gives new ones."""

    def __init__(self, template: dict[str, np.ndarray], seed: int) -> None:
        self.rng = torch.Generator().manual_seed(seed)
        t1 = torch.from_numpy(template["t1"]).float() / 230
        gray, white = (torch.from_numpy(template[key]).float() / 255 for key in ("gm", "wm"))
        mask = (t1 > 0).float()
        learned = torch.ones_like(mask)
        for first, last in HELD_OUT:
            learned[:, CORNER[1] + 2 * first : CORNER[1] + 2 * last] = 0
        self.maps = torch.stack([t1, gray, white, mask, learned])[None]
        where = mask.nonzero()
        self.low, self.high = where.min(0).values + 20, where.max(0).values - 20

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=self.rng)

    def field(self, adaptive_nodes: int) -> Tensor:
        """Return a smooth random field of one patch, about -1 to 1, with `adaptive_nodes` per axis."""
        coarse = torch.randn((1, 1, adaptive_nodes, adaptive_nodes, adaptive_nodes), generator=self.rng) / 1.5
        return F.interpolate(coarse, (PATCH,) * 3, mode="trilinear", align_corners=True)[0, 0]

    def places(self) -> Tensor:
        """Return where in the template, in its voxels, the voxels of a patch lie: (patch, patch, patch, 3)."""
        turn = torch.eye(3)
        for axis, angle in enumerate(self.uniform(-0.3, 0.3, 3)):
            i, j = (k for k in range(3) if k != axis)
            one = torch.eye(3)
            one[i, i] = one[j, j] = angle.cos()
            one[i, j], one[j, i] = angle.sin(), -angle.sin()
            turn = turn @ one
        scale = 2 * self.uniform(0.85, 1.2, 1) * self.uniform(0.93, 1.07, 3)
        scale[0] *= 1 if self.uniform(0, 1, 1) < 0.5 else -1
        steps = torch.arange(PATCH) - (PATCH - 1) / 2
        grid = torch.stack(torch.meshgrid(steps, steps, steps, indexing="ij"), -1)
        center = self.low + (self.high - self.low) * self.uniform(0, 1, 3)
        bend = torch.stack([self.field(6) for _ in range(3)], -1) * self.uniform(0, 4, 1)
        return (grid * scale) @ turn.T + center + bend

    def draw(self) -> tuple[Tensor, Tensor]:
        """Return an image, (patch, patch, patch), and its labels; -1 where nothing may be learned."""
        size = torch.tensor(self.maps.shape[2:])
        where = (2 * self.places() + 1) / size - 1
        maps = F.grid_sample(self.maps, where.flip(-1)[None], align_corners=False)[0]
        t1, gray, white, share, learned = maps
        # The mask is drawn tighter or wider than the template's: programs that strip the skull differ.
        wider = smooth(share, self.uniform(0.5, 1.5, 3))
        inside = wider > self.uniform(0.15, 0.7, 1) + 0.1 * self.field(12)
        drawn = self.uniform(0, 1, 1) < 0.75
        odds = torch.stack([1 - gray - white, gray, white])
        if drawn:  # a brain that is not an average: sharp, with folds of its own
            spread = self.uniform(0.05, 0.4, 1)
            odds = odds + spread * torch.stack([self.field(int(PATCH / 2)) for _ in range(3)])
        tissue = 1 + odds.argmax(0)
        tissue[(share < 0.5) & inside] = OTHER
        tissue[~inside] = 0
        image = self.paint(tissue, t1, share, drawn=bool(drawn))
        return self.spoil(image, inside), torch.where(learned > 0.999, tissue, -1)

    def paint(self, tissue: Tensor, t1: Tensor, share: Tensor, *, drawn: bool) -> Tensor:
        """Return grey values: the template's own, or those of a drawn brain mixed with them."""
        other, gray = self.uniform(0.1, 0.6, 1), self.uniform(0.55, 0.85, 1)
        values = torch.cat([torch.zeros(1), torch.minimum(other, gray - 0.12), gray, torch.ones(1)])
        own = torch.where(share > 0.5, t1 / share.clamp(min=0.5), values[1])
        if not drawn:
            return own.clamp(min=0.01) ** self.uniform(0.7, 3, 1)
        image = smooth(values[tissue], self.uniform(0.3, 0.75, 3))
        # What the average brain has beyond its three tissues: deep nuclei are brighter than cortex.
        level = torch.tensor([0, 0.57, 0.83, 0.94])[tissue]
        return image + self.uniform(0, 1.2, 1) * smooth(own - level, torch.full((3,), 2.0))

    def spoil(self, image: Tensor, inside: Tensor) -> Tensor:
        """Add uneven brightness, unsharpness and noise; bring the values to 0..1 as the card does."""
        image = image * (self.field(3) * self.uniform(0, 0.15, 1)).exp()
        if self.uniform(0, 1, 1) < 0.5:
            image = smooth(image, self.uniform(0, 0.7, 3))
        noise = torch.randn(image.shape, generator=self.rng) * self.uniform(0, 0.06, 1)
        image = torch.where(inside, (image + noise).clamp(min=0), 0)
        if inside.sum() > 100:
            top = image[inside].quantile(self.uniform(0.9, 0.995, 1).item())
        else:
            top = torch.ones(())
        return (image / top.clamp(min=0.1)).clamp(max=1)

    def batch(self, count: int) -> tuple[Tensor, Tensor]:
        """Return images (count, 1, patch, patch, patch) and labels (count, patch, patch, patch)."""
        images, tissues = zip(*(self.draw() for _ in range(count)), strict=True)
        return torch.stack(images)[:, None], torch.stack(tissues)


def smooth(volume: Tensor, sigmas: Tensor) -> Tensor:
    """Return a volume convolved with a Gaussian of a width per axis, in voxels."""
    steps = torch.arange(-3, 4)
    for axis, sigma in enumerate(sigmas):
        kernel = (-0.5 * (steps / sigma.clamp(min=0.05)) ** 2).exp()
        kernel = (kernel / kernel.sum()).view([-1 if k == axis else 1 for k in range(3)])
        padding = [3 if k == axis else 0 for k in range(3)]
        volume = F.conv3d(volume[None, None], kernel[None, None], padding=padding)[0, 0]
    return volume


# ---------------------------------------------------------------- training, measuring


def loss_of(logits: Tensor, tissues: Tensor) -> Tensor:
    """Return cross entropy plus half of one minus the mean Dice of the labels, where labels are known."""
    known = (tissues >= 0)[:, None]
    truth = F.one_hot(tissues.clamp(min=0), len(LABELS)).movedim(-1, 1) * known
    found = logits.softmax(1) * known
    dims = (0, 2, 3, 4)
    overlap = (2 * (found * truth).sum(dims) + 1) / (found.sum(dims) + truth.sum(dims) + 1)
    return F.cross_entropy(logits, tissues, ignore_index=-1) + 0.5 * (1 - overlap.mean())


def train(template: dict[str, np.ndarray], steps: int, seed: int) -> UNet:
    """Return a network in evaluation mode, its weights rounded to half precision."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)  # small convolutions gain little from a second; that one paints
    painter = Painter(template, seed)
    network = UNet(1, len(LABELS), FEATURES, spatial_dims=3).to(memory_format=torch.channels_last_3d)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=steps, pct_start=0.2)
    start, total = time.perf_counter(), 0.0
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(painter.batch, BATCH)
        for step in range(1, steps + 1):
            images, tissues = coming.result()
            coming = pool.submit(painter.batch, BATCH)
            loss = loss_of(network(images.contiguous(memory_format=torch.channels_last_3d)), tissues)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
            if step % 50 == 0:
                print(f"step {step}: loss {total / 50:.4f}, {time.perf_counter() - start:.0f} s", flush=True)
                total = 0.0
    network = network.to(memory_format=torch.contiguous_format)
    network.load_state_dict({name: round_half(value) for name, value in network.state_dict().items()})
    return network.eval()


def round_half(value: Tensor) -> Tensor:
    """Return floating point numbers as they come back from half precision."""
    return value.half().float() if value.is_floating_point() else value


def dice(found: np.ndarray, truth: np.ndarray) -> list[float]:
    """Return the Dice of every label but the background."""
    scores = []
    for label in range(1, len(LABELS)):
        first, second = found == label, truth == label
        scores.append(float(2 * (first & second).sum() / (first.sum() + second.sum())))
    return scores


def held_out_rows(shape: tuple[int, ...]) -> np.ndarray:
    """Return a mask of the sample image's rows that count as held out."""
    rows = np.zeros(shape, bool)
    for first, last in HELD_OUT:
        rows[:, first + MARGIN : last - MARGIN] = True
    return rows


def listing(scores: list[float]) -> str:
    return ", ".join(f"{name} {score:.3f}" for name, score in zip(LABELS[1:], scores, strict=True))


def measure(folder: Path, template: dict[str, np.ndarray], affine: np.ndarray) -> dict[str, str]:
    """Return what the card says of the model in `folder`, measured with it as users run it."""
    model = sx.load_model(folder)
    image, truth = sample_image(template)
    found = model.predict(sx.Image(image, affine=affine))
    rows = held_out_rows(truth.shape)
    head, brain = (sx.read_image(SAMPLE_DATA / "images" / f"t1_head{part}.nii.gz") for part in ("", "_brain"))
    bare = np.where(brain.array > 0, head.array, 0)
    tissue = model.predict(sx.Image(bare, affine=head.affine))[brain.array > 0]
    gray, white = (float((tissue == label).mean()) for label in (2, 3))
    return {
        "held_out": listing(dice(found[rows], truth[rows])),
        "everywhere": listing(dice(found, truth)),
        "head": HEAD.format(gray=gray, white=white),
    }


def build(folder: Path, out: Path, steps: int = STEPS, seed: int = 1) -> None:
    """Train on the maps in `folder`, measure, and write the model folder `out`."""
    template = read_template(folder)
    start = time.perf_counter()
    network = train(template, steps, seed)
    parameters = sum(p.numel() for p in network.parameters())
    print(f"trained {parameters} parameters in {time.perf_counter() - start:.0f} s")

    out.mkdir(parents=True, exist_ok=True)
    weights = {name: v.half() if v.is_floating_point() else v for name, v in network.state_dict().items()}
    save_file(weights, out / "weights.safetensors", metadata={"format": "pt"})
    facts = {
        "labels": ", ".join(LABELS),
        "outputs": len(LABELS),
        "features": list(FEATURES),
        "parameters": parameters,
        "volumes": steps * BATCH,
        "patch": PATCH,
        "seed": seed,
    }
    card = out / "model.yaml"
    card.write_text(CARD.format(**facts, held_out="", everywhere="", head=""), encoding="utf-8")
    numbers = measure(out, template, template_affine(folder))
    card.write_text(CARD.format(**facts, **numbers), encoding="utf-8")
    read_card(card)
    print("\n".join(f"{name}: {value}" for name, value in numbers.items()))
    print(f"wrote {out}; what the card says of the head was seen with other weights: look again")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--template", type=Path, required=True, help="folder of the three maps")
    parser.add_argument(
        "--out", type=Path, default=SAMPLE_DATA / "models" / "brain-tissue", help="model folder"
    )
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    build(options.template, options.out, options.steps, options.seed)


if __name__ == "__main__":
    main()
