"""Object edit: the least change of the object's brightness, contrast, size or place after which it is no longer drawn.

The object is taken out of the image, what it leaves behind is filled in, and it is put back edited:

    brightness   a share of the range is added        contrast   differences from its mean are multiplied
    size         it is enlarged or made smaller        shift      it is moved along an axis

The strength of an edit is its share of what is allowed (`brightness`, `contrast`, `size`, `shift`), from -1 to 1; a factor goes up or down by its logarithm. Every edit is tried alone, in both directions; from where the object goes
(less than `bound` of its pixels, where it lies then, are drawn as the label) the least strength is found by halving. With `together` all strengths are searched at once by gradient descent, which prices their sum; of what was found, edits that are not needed are
taken back, and the rest made as weak as it can be. The answer is what has the least sum of strengths.

With `space=latent` (preset `latent`) the look of the object is edited instead: by principal components of crops of the image itself, as large as the object, which are the latent space of a linear autoencoder. Strength 1 is `most` deviations of a component over these
crops; what is decoded is added to the object's pixels.

The table `alone` has a row per edit and direction: the least `strength` and what it stands for (`amount`), empty where the object is drawn all the way, and the share that is drawn at full strength (`drawn_at_end`); the chart shows the share that is drawn over the strength. The results have the least change
(`brightness`, `contrast`, ...) and its `strength`. The map is what was added to the image, summed over its channels.

This is *not OCTET* (Zemni et al., CVPR 2023), which edits objects in the latent space of a generator that is trained for the images: it is training-free, knows five or six numbers of an object, or what varies between crops of one image, and its edits are no more realistic than that. Cost: about (2 steps + 10) forward passes for every edit, and iterations forward and backward.

When not to believe it: what is filled in behind the object and the edge around it are seen by the network as well; try another `baseline`. An object that stays drawn may go by an edit that is not among these. An object that is moved onto another one may go because of
that. It says what is enough, not that the network looks at this.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from napari_segxai.core.chart import Chart, Series
from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.masking.baselines import HELP, Baseline
from napari_segxai.engine.primitives.optimize import optimize
from napari_segxai.engine.primitives.optimizers import AdamW
from napari_segxai.engine.primitives.perturb import stream
from napari_segxai.engine.question import Question
from napari_segxai.methods.counterfactual.edits import NUMBERS, Bounds, Edits
from napari_segxai.methods.counterfactual.latent_edits import LatentEdits
from napari_segxai.methods.registry import Size, explainer

HALVINGS = 5
"""Of the distance between a strength that is enough and one that is not."""
BEYOND = 0.1
"""How far past the boundary the descent pushes, as a share of the margin at the start."""
LEFT = 0.5
"""Share of the object that has to lie on the grid still for an edit to count."""


@dataclass(frozen=True)
class Options:
    """Parameters of object-edit."""

    maps_change: ClassVar[bool] = True

    steps: int = option(8, ge=2, le=50, help="strengths of every edit that are tried in each direction")
    bound: float = option(
        0.5, gt=0, le=1, help="share of the object's pixels that are drawn, below which it counts as gone"
    )
    space: Literal["numbers", "latent"] = option(
        "numbers",
        help="edit the object by a few numbers, or its look, in the latent space of a small autoencoder",
    )
    brightness: float = option(1.0, gt=0, le=10, unit="of the range", help="what is added at most")
    contrast: float = option(4.0, gt=1, le=100, help="factor by which contrast is changed at most")
    size: float = option(
        2.0, gt=1, le=10, help="factor by which the object is made larger or smaller at most"
    )
    shift: float = option(1.0, gt=0, le=10, unit="diameters", help="how far the object is moved at most")
    components: int = option(8, ge=1, le=64, help="of the latent space")
    most: float = option(
        3.0,
        gt=0,
        le=100,
        unit="deviations",
        help="how far a component of the latent space is changed at most",
    )
    together: bool = option(True, help="whether all edits are searched at once as well, by gradient descent")
    iterations: int = option(60, ge=1, help="steps of that search", advanced=True)
    baseline: Baseline = option("inpaint", help=HELP, advanced=True)

    @property
    def needs(self) -> tuple[str, ...]:
        """What it needs of the network."""
        return ("gradients",) if self.together else ()


def _passes(options: Options, size: Size) -> Passes:
    edits = options.components if options.space == "latent" else len(NUMBERS) + len(size.grid)
    descent = options.iterations if options.together else 0
    halvings = HALVINGS * 2 * edits + (2 * HALVINGS + edits if options.together else 0)
    return Passes(1 + 2 * edits * options.steps + halvings + descent + 1, descent)


@explainer(
    "object-edit",
    title="Object edit",
    question="what-if",
    summary="the least change of the object's brightness, contrast, size or place after which it is no longer drawn (not OCTET)",
    unit="change of the input",
    source="after Zemni et al. (OCTET), CVPR 2023, without its generator",
    cites=("zemni2023",),
    options=Options,
    passes=_passes,
    needs_drawn=True,
    presets={"latent": {"space": "latent"}},
)
def object_edit(question: Question, options: Options) -> Steps[Finding]:
    """Try every edit alone, then all together, and keep the least that is enough."""
    search = _Search(question, options)
    yield question.step("prediction")
    yield from search.alone()
    if options.together:
        yield from search.together()
    return (yield from search.checked())


class _Search:
    """What was tried, and what was enough."""

    def __init__(self, question: Question, options: Options):
        self.question, self.options = question, options
        self.object = question.drawn_object()
        self.edits: Edits | LatentEdits
        if options.space == "latent":
            self.edits = LatentEdits(
                question.input, self.object, options.components, options.most, question.seed
            )
        else:
            behind = question.hide(options.baseline)((~self.object).to(question.input.dtype)[None, None])
            bounds = Bounds(options.brightness, options.contrast, options.size, options.shift)
            self.edits = Edits(question.input, behind, self.object, bounds)
        self.count = len(self.edits.names)
        self.nothing = torch.zeros(1, self.count, device=question.device)
        self.before = float(self.share(question.logits, self.edits.mask, self.nothing)[0])
        self.tried: dict[int, dict[float, float]] = {k: {0.0: self.before} for k in range(self.count)}
        self.enough: list[Tensor] = []  # strengths that are
        self.least: dict[tuple[int, int], float] = {}  # by edit and direction
        self.after: dict[str, Any] = {}

    def share(self, logits: Tensor, masks: Tensor, strengths: Tensor) -> Tensor:
        """Return which share of the object's pixels, where it lies then, is drawn: (n,); NaN where it lies outside."""
        inside = masks[:, 0] > 0.5
        counts = inside.flatten(1).sum(1)
        drawn = (self.question.drawn(logits) & inside).flatten(1).sum(1)
        expected = self.edits.expected_pixels(strengths)
        return torch.where(counts >= LEFT * expected, drawn / counts.clamp(min=1), torch.nan)

    def judge(self, strengths: Tensor, note: str) -> Steps[list[float]]:
        """Return the share that is drawn after each of (n, edits) strengths."""
        question, found = self.question, []

        def run(start: int, n: int) -> Tensor:
            some = strengths[start : start + n]
            images, masks = self.edits(some)
            return self.share(question.forward(images), masks, some)

        yield from stream(
            question,
            len(strengths),
            run,
            lambda start, shares: found.extend(shares.tolist()),
            note=note,
            partial=self.finding,
        )
        return found

    def _one(self, edit: int, strength: float) -> Tensor:
        out = torch.zeros(self.count, device=self.question.device)
        out[edit] = strength
        return out

    def alone(self) -> Steps[None]:
        """Find the least strength of every edit, in both directions."""
        steps = self.options.steps
        wanted = [
            (k, sign * n / steps) for k in range(self.count) for sign in (-1, 1) for n in range(1, steps + 1)
        ]
        shares = yield from self.judge(torch.stack([self._one(*one) for one in wanted]), "one edit, trying")
        for (edit, strength), share in zip(wanted, shares, strict=True):
            if share == share:
                self.tried[edit][strength] = share
        between: dict[tuple[int, int], tuple[float, float]] = {}
        for edit in range(self.count):
            for sign in (-1, 1):
                known = [s for s in sorted(self.tried[edit], key=abs) if s * sign >= 0]
                first = next((s for s in known if self.is_gone(self.tried[edit][s])), None)
                if first is not None:
                    between[edit, sign] = (known[known.index(first) - 1], first)
        for _ in range(HALVINGS if between else 0):
            middles = {key: (low + high) / 2 for key, (low, high) in between.items()}
            shares = yield from self.judge(
                torch.stack([self._one(edit, s) for (edit, _), s in middles.items()]), "halving, trying"
            )
            for (key, middle), share in zip(middles.items(), shares, strict=True):
                low, high = between[key]
                between[key] = (low, middle) if self.is_gone(share) else (middle, high)
        self.least = {key: high for key, (_, high) in between.items()}
        self.enough = [self._one(edit, strength) for (edit, _), strength in self.least.items()]

    def is_gone(self, share: float) -> bool:
        """Tell whether this share is below the bound; False where the object lies outside."""
        return share < self.options.bound

    def together(self) -> Steps[None]:
        """Search all strengths at once, take back what is not needed, and make the rest weak."""
        question, options = self.question, self.options
        strengths = torch.zeros(1, self.count, device=question.device)
        start = max(float(self._margin(question.logits, self.edits.mask)), 1e-12)
        masks: list[Tensor] = []
        reached: list[Tensor] = []

        def inputs(now: Tensor) -> Tensor:
            images, mask = self.edits(now)
            masks[:] = [mask]
            return images

        def loss(now: Tensor, logits: Tensor) -> Tensor:
            with torch.no_grad():
                if self.is_gone(float(self.share(logits, masks[0], now)[0])):
                    reached.append(now.detach()[0].clone())
            return self._margin(logits, masks[0], BEYOND * start) / start + PRICE * now.abs().sum()

        yield from optimize(
            question,
            strengths,
            inputs,
            loss,
            iterations=options.iterations,
            descent=partial(AdamW, lr=RATE),
            after=_within,
            note="all edits, step",
            partial=self.finding,
        )
        if not reached:
            return
        best = min(reached, key=_sum)
        best = yield from self._weaker(best)
        for edit in best.abs().argsort().tolist():
            if not float(best[edit]) or int((best != 0).sum()) < 2:
                continue
            without = best.clone()
            without[edit] = 0
            (share,) = yield from self.judge(without[None], "taking back, trying")
            best = without if self.is_gone(share) else best
        best = yield from self._weaker(best)
        self.enough.append(best)

    def _margin(self, logits: Tensor, masks: Tensor, beyond: float = 0.0) -> Tensor:
        """Return by how much the object is drawn where it lies: the mean, 0 where it is not."""
        margin = (self.question.margin(logits) + beyond).clamp(min=0)
        return (margin * masks[:, 0]).sum() / masks.sum().clamp(min=1)

    def _weaker(self, strengths: Tensor) -> Steps[Tensor]:
        """Bring all strengths towards 0 as far as they stay enough."""
        low, high = 0.0, 1.0
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            (share,) = yield from self.judge((middle * strengths)[None], "weaker, trying")
            low, high = (low, middle) if self.is_gone(share) else (middle, high)
        return high * strengths

    def chosen(self) -> Tensor:
        """Return the least strengths that are enough; zeros where none are."""
        return (
            min(self.enough, key=_sum)
            if self.enough
            else torch.zeros(self.count, device=self.question.device)
        )

    def checked(self) -> Steps[Finding]:
        """Run the network on the edited image itself, and report that."""
        with torch.inference_mode():
            image, mask = self.edits(self.chosen()[None])
            logits = self.question.forward(image)
            self.after = {
                "share": float(self.share(logits, mask, self.chosen()[None])[0]),
                "prediction_after": self.question.drawn(logits)[0].clone(),
            }
        yield self.question.step("checked", self.finding)
        return self.finding()

    def finding(self) -> Finding:
        """Put together what there is."""
        question, strengths = self.question, self.chosen()
        with torch.inference_mode():
            image, mask = self.edits(strengths[None])
        names = [""] if image.shape[1] == 1 else [f"_{name}" for name in question.model.card.channels]
        masks = {"edited_object": mask[0, 0] > 0.5}
        if "prediction_after" in self.after:
            masks["prediction_after"] = self.after["prediction_after"]
        status = "searching" if not self.after else "reached" if self.enough else "not reached"
        warnings = []
        if status == "not reached":
            warnings.append(
                f"the object stays drawn, whatever is tried (at least {min(min(t.values()) for t in self.tried.values()):.0%} of it); allow stronger edits."
            )
        return Finding(
            (image - question.input).sum(1)[0],
            maps={f"edited_image{name}": image[0, k] for k, name in enumerate(names)},
            masks=masks,
            tables={"alone": self._rows()},
            charts=(self._chart(),),
            numbers={
                "status": status,
                "answer": self._words(strengths),
                "strength": float(strengths.abs().sum()) if self.enough else None,
                **(self.edits.amounts(strengths) if self.enough else dict.fromkeys(self.edits.names)),
                "drawn_before": self.before,
                "drawn_after": self.after.get("share"),
            },
            warnings=warnings,
            why_zero="no edit was found after which the object is gone.",
        )

    def _rows(self) -> list[dict[str, Any]]:
        out = []
        for edit, name in enumerate(self.edits.names):
            for sign, direction in ((-1, "less"), (1, "more")):
                least = self.least.get((edit, sign))
                known = [s for s in self.tried[edit] if s * sign > 0]
                end = max(known, key=abs, default=None)
                out.append(
                    {
                        "edit": name,
                        "direction": direction,
                        "strength": least,
                        "amount": None if least is None else self.edits.amounts(self._one(edit, least))[name],
                        "drawn_at_end": None if end is None else self.tried[edit][end],
                    }
                )
        return out

    def _words(self, strengths: Tensor) -> str:
        label = self.question.model.labels[self.question.label]
        if not self.enough:
            return f"No edit of {self.edits.what} was found after which {label} is no longer drawn."
        amounts = self.edits.amounts(strengths)
        said = [
            self.edits.say(name, amounts[name])
            for name, one in zip(self.edits.names, strengths.tolist(), strict=True)
            if one
        ]
        left = self.after.get("share")
        rest = f"; {left:.0%} of it is left" if left else ""  # `bound` says how much may be left
        return f"{label} is no longer drawn with {' and '.join(said)}{rest}."

    def _chart(self) -> Chart:
        label = self.question.model.labels[self.question.label]
        lines = []
        for edit, name in enumerate(self.edits.names):
            at = sorted(self.tried[edit])
            lines.append(Series(name, tuple(at), tuple(self.tried[edit][s] for s in at)))
        bound = self.options.bound
        lines.append(Series("gone below", (-1.0, 1.0), (bound, bound), kind="lines"))
        caption = "Every edit alone; strength 1 is the most that is allowed."
        return Chart(
            "lines",
            f"What is drawn of {label} when it is edited",
            "strength",
            "share of the object",
            tuple(lines),
            caption,
        )


def _within(strengths: Tensor) -> None:
    strengths.clamp_(-1, 1)


RATE, PRICE = 0.03, 0.05
"""Of the descent: its learning rate, and what a strength of 1 costs beside the margin at the start."""


def _sum(strengths: Tensor) -> float:
    return float(strengths.abs().sum())
