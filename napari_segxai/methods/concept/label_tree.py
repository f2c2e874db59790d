"""A tree of labels, from the weights with which the last layer of a network tells them apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.errors import UserError
from napari_segxai.models.introspection.call_names import module_of
from napari_segxai.models.introspection.modules import find_module

if TYPE_CHECKING:
    from napari_segxai.models.network import Network


@dataclass(frozen=True)
class Node:
    """A decision between two groups of leaves.

    Attributes
    ----------
    left, right
        Positions of leaves.
    height
        Of the merger, as Ward's method has it: the more the groups differ, the higher.
    """

    left: tuple[int, ...]
    right: tuple[int, ...]
    height: float

    @property
    def leaves(self) -> tuple[int, ...]:
        """All leaves below it."""
        return (*self.left, *self.right)

    def toward(self, leaf: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the side on which a leaf is, and the other."""
        return (self.left, self.right) if leaf in self.left else (self.right, self.left)


def head_rows(model: Network, name: str | None = None) -> tuple[str, np.ndarray]:
    """Return the layer that makes a network's logits, and its weights: a row per output.

    Parameters
    ----------
    name
        The layer; by default the last one whose weights have a row for every label.

    Raises
    ------
    UserError
        If there is none.
    """
    labels = len(model.labels)
    layers = (
        [model.find_layer(name)]
        if name is not None
        else sorted(model.example_layers, key=lambda one: -one.order)
    )
    for layer in layers:
        rows = _rows(model, layer.name)
        if rows is not None and layer.stage != "unused" and len(rows) == labels:
            return layer.name, rows
    where = f"{name} is no" if name is not None else "it has no"
    raise UserError(
        f"decision-tree reads the tree of {model.name} from the weights of its last layer, and {where} convolution with a row "
        f"of weights for each of the {labels} labels; name it by head."
    )


def _rows(model: Network, name: str) -> np.ndarray | None:
    """Return the weights of a layer by output; None where it is no convolution or linear layer."""
    weight = getattr(find_module(model.module, module_of(name)), "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim < 2:
        return None
    values = weight.detach().float().cpu()
    if getattr(find_module(model.module, module_of(name)), "transposed", False):
        values = values.transpose(0, 1)
    return values.flatten(1).double().numpy()


def ward_tree(rows: np.ndarray) -> tuple[Node, ...]:
    """Return the nodes of the tree of rows, the root first: normalised rows, merged by Ward's method.

    Parameters
    ----------
    rows : ndarray of shape (leaves, weights)
        At least two.

    References
    ----------
    Wan et al., NBDT, ICLR 2021; Ho, Wan et al., SegNBDT, arXiv 2006.06868.
    """
    from scipy.cluster.hierarchy import linkage

    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    merged = linkage(rows / np.where(lengths > 0, lengths, 1), method="ward")
    groups: list[tuple[int, ...]] = [(k,) for k in range(len(rows))]
    nodes = []
    for one, other, height, _ in merged:
        left, right = sorted((groups[int(one)], groups[int(other)]), key=min)
        nodes.append(Node(left, right, float(height)))
        groups.append((*left, *right))
    return tuple(reversed(nodes))


def decision(logits: Tensor, node: Node, leaf: int) -> Tensor:
    """Return the logit of the side of a leaf less that of the other: (N, leaves, *grid) -> (N, *grid), differentiable.

    The logit of a side is the mean of those of its leaves.
    """
    own, other = node.toward(leaf)
    return logits[:, list(own)].mean(1) - logits[:, list(other)].mean(1)


def leaf_probabilities(logits: Tensor, nodes: Sequence[Node]) -> Tensor:
    """Return the probability of every leaf: the product along its path, (N, leaves, *grid), in sum 1."""
    out = torch.ones_like(logits)
    for node in nodes:
        left = decision(logits, node, node.left[0]).sigmoid()
        out[:, list(node.left)] *= left[:, None]
        out[:, list(node.right)] *= 1 - left[:, None]
    return out


def places(nodes: Sequence[Node]) -> tuple[list[int], dict[tuple[int, ...], tuple[float, float]]]:
    """Return the order of the leaves along the tree, and where each group stands: (place, height)."""
    at: dict[tuple[int, ...], tuple[float, float]] = {}
    order = list(nodes[0].leaves)
    for place, leaf in enumerate(order):
        at[(leaf,)] = (float(place), 0.0)
    for node in reversed(nodes):
        at[node.leaves] = ((at[node.left][0] + at[node.right][0]) / 2, node.height)
    return order, at
