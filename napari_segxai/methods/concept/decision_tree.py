"""Decision tree: which decisions between groups of labels lead to the label, and where each of them looks.

The last layer of the network has a row of weights for every label. Rows that are alike belong to labels that it tells apart last: normalised rows, merged by Ward's method, make a tree whose leaves are
the labels. The logit of a node's side is the mean of the logits of its leaves, its probability is the softmax over both sides, and that of a leaf the product along its path; together the leaves have 1.

    S_node = sum over channels G^k A^k,      G = gradient by the layer of the mean over M of (logit of the label's side - logit of the other)

is Grad-PAM (Grad-CAM without pooling) of a decision. Every decision on the path to the label has its map, `node_1` at the root; the main map is their sum. Choose a point as the region for the path of one pixel.
The table `nodes` has a row per decision: the labels on the side of the label (`toward`) and on the other (`against`), the `height` of the merger, whether it is on the path, and the mean `probability` over M of going toward the label.
The table `labels` tells how well the tree agrees with the network: `dice` of what both draw. `agreement` is the share of pixels on which they draw the same. Cost: 1 forward, a backward pass for every decision that has a map (through windows also a forward pass). Contributions of windows add up.

SegNBDT, Ho, Wan et al., arXiv 2006.06868, after Wan et al., ICLR 2021. There the network is trained further for its tree; here it stays as it is, and the tree is a reading of it.

When not to believe it: where tree and network disagree (a warning below 90 %), the path is not the way in which the network decides. Below four labels there is one tree or nearly so, and it says little. That rows are alike may come from
where labels lie beside each other, not from what they look like. Labels that may overlap (sigmoid outputs) are each decided by themselves:
there the one decision is between the label and its absence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from napari_segxai.core.chart import Chart, Series
from napari_segxai.core.options import LayerName, option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.primitives.activations import LayerRecorder, products
from napari_segxai.engine.question import Question
from napari_segxai.engine.scores import dice
from napari_segxai.methods.concept.label_tree import (
    Node,
    decision,
    head_rows,
    leaf_probabilities,
    places,
    ward_tree,
)
from napari_segxai.methods.registry import explainer

ENOUGH, FEW = 0.9, 4
"""Agreement below which the tree is not how the network decides; labels below which a tree says little."""


@dataclass(frozen=True)
class Options:
    """Parameters of decision-tree."""

    layer: LayerName = option("bottleneck", help="network layer in which the maps of the decisions are made")
    decisions: int = option(8, ge=1, le=64, help="how many decisions of the path get a map, from the root on")
    head: LayerName | None = option(
        None, help="layer whose weights have a row for every label; the last one by default", advanced=True
    )


@explainer(
    "decision-tree",
    title="Decision tree",
    question="layer",
    summary="which decisions between groups of labels lead to the label, and where each of them looks",
    unit="part of the difference of logits",
    source="SegNBDT, Ho, Wan et al., arXiv 2006.06868",
    cites=("wan2020",),
    options=Options,
    passes=lambda options, size: Passes(1, options.decisions),
    needs=("network layers", "gradients"),
)
def decision_tree(question: Question, options: Options) -> Steps[Finding]:
    """Make the tree, follow the path to the label, and differentiate its decisions."""
    tree = _Tree(question, options)
    maps: dict[str, Tensor] = {}
    nodes = tree.path[: options.decisions]

    def toward(logits: Tensor, node: Node) -> Tensor:
        weights = question.weights  # by then of logits that a recorder has found on its way
        return (decision(tree.leaf_logits(logits), node, tree.leaf)[0] * weights).sum() / weights.sum()

    if question.model.windows is not None:
        for number, node in enumerate(nodes, 1):
            score = lambda logits, node=node: toward(logits, node)  # noqa: E731
            map, _ = yield from products(
                question, options.layer, lambda gradient: gradient, warn=False, score=score
            )
            maps[f"node_{number}"] = map
            yield question.step(f"decision {number} of {len(tree.path)}")
        return tree.finding(tree.leaf_logits(question.logits), maps)
    tape = LayerRecorder(question, [options.layer])
    yield question.step("forward pass")
    for number, node in enumerate(nodes, 1):
        (gradient,) = tape.gradients(toward(tape.logits, node), keep=number < len(nodes))
        maps[f"node_{number}"] = (gradient * tape.activations[0]).sum(1)[0]
        yield question.step(f"decision {number} of {len(tree.path)}")
    return tree.finding(tree.leaf_logits(tape.logits).detach(), maps)


class _Tree:
    """The tree of a network, and the path to a label."""

    def __init__(self, question: Question, options: Options):
        self.question, model = question, question.model
        self.alone = model.labeling.thresholds is not None  # sigmoid outputs: each label against its absence
        self.leaf, self.names = question.label, list(model.labels)
        if self.alone:
            name = model.labels[question.label]
            self.leaf, self.names = 1, [f"not {name}", name]
        # Two leaves make one tree, whatever the weights are.
        two = len(self.names) == 2 and options.head is None
        self.head, rows = ("", None) if two or self.alone else head_rows(model, options.head)
        self.nodes = (Node((0,), (1,), 1.0),) if rows is None else ward_tree(rows)
        self.path = [node for node in self.nodes if self.leaf in node.leaves]

    def leaf_logits(self, logits: Tensor) -> Tensor:
        """Return the logits of the leaves, of which the highest is what the network draws: (1, leaves, *grid)."""
        if not self.alone:
            return logits
        half = self.question.margin(logits) / 2
        return torch.stack([-half, half], 1)

    def words(self, group: Sequence[int]) -> str:
        return ", ".join(self.names[k] for k in group)

    def finding(self, logits: Tensor, maps: dict[str, Tensor]) -> Finding:
        question, model = self.question, self.question.model
        inside = question.prepared.placement.inside().to(logits.device)
        with torch.inference_mode():
            of_leaves = leaf_probabilities(logits, self.nodes)
            by_tree, by_network = of_leaves.argmax(1)[0], logits.argmax(1)[0]
            same = (by_tree == by_network) & inside
            agreement = float(same.sum() / inside.sum())
            probabilities = {
                node: float(decision(logits, node, self.leaf)[0].sigmoid()[question.pixels].mean())
                for node in self.path
            }
            chosen = torch.bincount(by_tree[question.pixels], minlength=len(self.names))
            decided = int(chosen.argmax())
            own = float(of_leaves[0, self.leaf][question.pixels].mean())
            labels = [
                {
                    "label": name,
                    "dice": float(dice((by_tree == k)[None], by_network == k, inside)[0])
                    if bool(((by_network == k) & inside).any())
                    else None,
                    "pixels": int(((by_network == k) & inside).sum()),
                    "pixels_tree": int(((by_tree == k) & inside).sum()),
                }
                for k, name in enumerate(self.names)
            ]
        nodes: list[dict[str, Any]] = []
        for number, node in enumerate(self.nodes, 1):
            on_path = node in probabilities
            toward, against = node.toward(self.leaf) if on_path else (node.left, node.right)
            place = self.path.index(node) + 1 if on_path else None
            nodes.append(
                {
                    "node": number,
                    "on_path": place,
                    "toward": self.words(toward),
                    "against": self.words(against),
                    "height": node.height,
                    "probability": probabilities.get(node),
                }
            )
        warnings = []
        if agreement < ENOUGH:
            warnings.append(
                f"the tree draws what the network draws on {agreement:.0%} of the pixels alone: its path is not how the network decides."
            )
        if len(self.names) < FEW:
            warnings.append(f"a tree of {len(self.names)} labels says little.")
        if model.overlapping:
            warnings.append(
                "every label of this network is decided by itself, since labels may overlap: there is one decision alone."
            )
        if len(self.path) > len(maps):
            warnings.append(
                f"the last {len(self.path) - len(maps)} decisions of the path have no map; raise decisions."
            )
        path = [f"{self.words(node.toward(self.leaf)[0])} ({probabilities[node]:.2f})" for node in self.path]
        numbers = {
            "path": " > ".join(path),
            "agreement": agreement,
            "probability": own,
            "decided": self.names[decided],
            "head": self.head or None,
        }
        return Finding(
            torch.stack(list(maps.values())).sum(0),
            maps=maps if len(maps) > 1 else {},
            masks={"tree_disagrees": (by_tree != by_network) & inside},
            tables={"nodes": nodes, "labels": labels},
            charts=(self.chart(),),
            numbers=numbers,
            warnings=warnings,
        )

    def chart(self) -> Chart:
        """Draw the tree; the path to the label is a line of its own."""
        order, at = places(self.nodes)
        leaves = Series("", tuple(self.names[k] for k in order), (0.0,) * len(order), kind="points")

        def lines(nodes: Sequence[Node], leaf: int | None) -> tuple[list[float], list[float | None]]:
            x: list[float] = []
            y: list[float | None] = []
            for node in nodes:
                middle = at[node.leaves][0]
                for side in (node.left, node.right):
                    if leaf is None or leaf in side:
                        x += [middle, at[side][0], at[side][0], at[side][0]]
                        y += [node.height, node.height, at[side][1], None]
            return x, y

        all_x, all_y = lines(self.nodes, None)
        path_x, path_y = lines(self.path, self.leaf)
        series = (
            leaves,
            Series("decisions", tuple(all_x), tuple(all_y), kind="lines"),
            Series(f"path to {self.names[self.leaf]}", tuple(path_x), tuple(path_y)),
        )
        title = f"Labels as {self.question.model.name} tells them apart"
        caption = "Ward's tree of the weights of the last layer; what joins low is told apart last."
        return Chart("lines", title, "label", "height", series, caption)
