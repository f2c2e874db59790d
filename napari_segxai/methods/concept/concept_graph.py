"""Concept graph: which groups of units of one network layer carry those of a later one, and which carry a label.

A node is a group of units of one layer that answer alike: units are grouped by the correlation of their activations over all cases (average linkage), about `nodes` groups over all layers, fewer where the rest is
alike (correlation above .95). Preset `paper` groups them by their kernels. A node's map is the mean activation of its units. Units that answer with one value everywhere are in no group.

What a node A carries is tried out on `images` cases: only its units are left in its layer, the others are filled with their means, which tell nothing of where. Then

    kept(A -> B)     = AMI of B's map as it was with B's map as it is then          of a label: Dice of the prediction as it was with that
    bypass           = the same with no unit of A's layer left: what goes past that layer, as over the skip connections of a U-Net
    strength(A -> B) = (kept - bypass) / (1 - bypass)

AMI is the normalized mutual information of the values of two maps, in 16 steps over the range of B's map, less what maps of shuffled cells have in common by chance (adjusted mutual information): without that correction
coarse maps look alike. *Control*: as many other units of A's layer, chosen by chance, left instead (`control`: the most that any of `draws` keeps). An edge is drawn where the strength is above `threshold` and more is kept than in the control. Where nearly all (.95)
goes past a layer, strength is not defined and empty.

The table has a row per pair of nodes of different layers, and per node and label; `nodes.csv` has a row per node, with the label that its map alone separates best.
Maps of a few cases are those of the nodes, and crops show where they rise highest.

Cost: 1 forward pass for every case; and for `images` of them 1, 1 per layer, and 1 + `draws` per node.

It is a heuristic: what is left when all else is filled is not what each part adds. Two nodes that need each other have no edge alone, a node that holds most units of its layer (`count`) carries most of what follows, and a network with its units filled is one that was not trained.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.chart import Chart, Series, matrix, plain_value
from napari_segxai.core.errors import UserError
from napari_segxai.core.extras import need
from napari_segxai.core.gallery import Gallery
from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.cases import CaseMap, CasesQuestion, CaseView, SurveyFinding
from napari_segxai.engine.crops import Strongest
from napari_segxai.engine.primitives.kept_units import keep_units
from napari_segxai.engine.scores import dice
from napari_segxai.methods.concept.parts import columns
from napari_segxai.methods.concept.parts.directions import drawn_labels, said_of_undrawn
from napari_segxai.methods.concept.parts.unit_groups import Alike, groups_of, weight_distances
from napari_segxai.methods.registry import surveyor
from napari_segxai.methods.size import Extent
from napari_segxai.metrics.functional.layer_maps import Features, shares, unit_abilities
from napari_segxai.models.introspection.call_names import module_of
from napari_segxai.models.introspection.layers import NetworkLayer
from napari_segxai.models.introspection.modules import find_module

STEPS, MOST_CELLS = 16, 4096
"""Steps of a map's values, and cells that are compared, at most."""

FLAT = 0.01
"""A map with a smaller share of the range that it had tells nothing."""

LAYERS = 4
"""Network layers, where none are named."""

BYPASSED = 0.95
"""Beyond it a strength would be a quotient of remainders."""

MOVED, GOLDEN = 0.5, 0.382
"""How far groups are moved in the figure."""

CROPS = 6
"""Cases that are shown of a node."""


@dataclass(frozen=True)
class Options:
    """Parameters of concept-graph."""

    layers: str | None = option(
        None, help="network layers, with commas; four that are spread over the network by default"
    )
    nodes: int = option(12, ge=2, le=60, help="groups of units, about as many in every layer")
    threshold: float = option(0.5, ge=0, le=1, help="strength above which there is an edge")
    by: Literal["activations", "weights"] = option(
        "activations", help="what units of a group have in common; weights needs convolutions"
    )
    images: int = option(10, ge=1, le=1000, help="cases on which nodes are left alone, chosen by chance")
    draws: int = option(
        3, ge=1, le=99, help="units by chance beside each node, which are the control", advanced=True
    )
    examples: int = option(2, ge=0, le=20, help="cases whose maps are kept", advanced=True)


def _passes(options: Options, extent: Extent) -> Passes:
    layers = LAYERS if options.layers is None else extent.layers
    nodes = layers * max(1, round(options.nodes / layers))
    return Passes(
        extent.cases + min(options.images, extent.cases) * (1 + layers + nodes * (1 + options.draws))
    )


@surveyor(
    "concept-graph",
    title="Concept graph",
    question="learnt",
    summary="which groups of units of one network layer carry those of a later one, and which carry a label",
    unit="mean activation",
    source="after Kori et al., 2020, and Natekar et al., 2020",
    options=Options,
    passes=_passes,
    needs=("network layers",),
    presets={"paper": {"by": "weights"}},
    cites=("kori2020", "natekar2020"),
    columns=columns.CONCEPT_GRAPH,
    fewest=2,
    packages=("sklearn", "networkx"),
)
def concept_graph(cases: CasesQuestion, options: Options) -> Steps[SurveyFinding]:
    """Group units, and leave one group after the other alone."""
    work = _Work(cases, options)
    yield from cases.each(work.count, note="correlating units")
    work.group()
    yield from cases.each(work.leave, note="leaving units alone", only=work.chosen, partial=work.finding)
    return work.finding()


@dataclass(frozen=True, eq=False)
class Node:
    """A group of units."""

    name: str
    layer: NetworkLayer
    units: np.ndarray

    @property
    def shown_in(self) -> dict[str, str]:
        """Which rows its maps and crops belong to: its own, and those of the pairs that begin or end at it."""
        return {"node": self.name, "start|end": self.name}


Pair = tuple[str, str]


class _Work:
    """The units of all layers, their groups, and what these carry."""

    def __init__(self, cases: CasesQuestion, options: Options):
        self.cases, self.options = cases, options
        self.layers = _layers(cases, options)
        self.alike = [Alike() for _ in self.layers]
        self.chosen = cases.some(options.images)
        self.nodes: list[Node] = []
        self.measured: dict[Pair, list[tuple[float, float, float]]] = {}  # kept, bypass, control of each case
        self.abilities: dict[Pair, list[tuple[float, float]]] = {}  # by node and label
        self.maps: list[CaseMap] = []
        self.crops = Strongest(CROPS)
        self.drawn: set[str] = set()

    def count(self, view: CaseView) -> None:
        """Add one case to the correlations."""
        alike = copy.deepcopy(self.alike)  # of a case all is counted or nothing

        def add(k: int, channels: slice, one: Tensor) -> None:
            alike[k].add(one, shares(view.inside, one.shape[2:]).flatten())

        view.each_block([layer.name for layer in self.layers], add, whole=True)
        self.alike = alike

    def group(self) -> None:
        """Make the nodes."""
        many = max(1, round(self.options.nodes / len(self.layers)))
        for layer, alike in zip(self.layers, self.alike, strict=True):
            correlation, alive = alike.correlation()
            distances: np.ndarray | None = 1 - correlation
            if self.options.by == "weights":
                distances = _kernels(self.cases, layer, len(alive))
            assert distances is not None  # which has been checked
            for n, units in enumerate(groups_of(distances, alive, many)):
                self.nodes.append(Node(f"{layer.name} {n + 1}", layer, units))

    def leave(self, view: CaseView) -> Steps[None]:
        """Leave one node after the other alone in a case."""
        names = [layer.name for layer in self.layers]
        whole = dict(zip(names, view.activations(names), strict=True))
        labels = drawn_labels(self.cases, view)
        self.drawn |= {label for label, _ in labels}
        inside = view.inside
        random = np.random.default_rng([self.cases.seed, *view.id.encode()])
        cells = {name: _cells_of(inside, whole[name].shape[2:], random) for name in names}
        first = {
            node.name: _map_of(whole[node.layer.name], node)[cells[node.layer.name]] for node in self.nodes
        }
        found: dict[Pair, list[tuple[float, float, float]]] = {}
        for at, layer in enumerate(self.layers):
            own = [node for node in self.nodes if node.layer is layer]
            later = [node for node in self.nodes if node.layer.order > layer.order]
            watch = names[at + 1 :]

            def look(units: np.ndarray, layer=layer, later=later, watch=watch) -> dict[str, float]:
                kept = torch.from_numpy(units).to(self.cases.device)
                logits, maps = keep_units(view.question, layer.name, kept, watch, whole[layer.name])
                by_layer = dict(zip(watch, maps, strict=True))
                out = {}
                for node in later:
                    value = _map_of(by_layer[node.layer.name], node)[cells[node.layer.name]]
                    agreed = agreement(first[node.name].cpu().numpy(), value.cpu().numpy())
                    if agreed is not None:
                        out[node.name] = agreed
                for label, question in labels:
                    drawn = question.drawn(logits)
                    out[label] = float(dice(drawn, question.predicted, inside)[0])
                return out

            bypass = look(np.zeros(whole[layer.name].shape[1], bool))
            yield self.cases.step(f"without {layer.name}")
            for node in own:
                kept = look(node.units)
                yield self.cases.step(f"{node.name} alone")
                draws = []
                for _ in range(self.options.draws):
                    draws.append(look(_others(node.units, random)))
                    yield self.cases.step(f"units by chance beside {node.name}")
                for end, value in kept.items():
                    control = max(draw[end] for draw in draws)
                    found.setdefault((node.name, end), []).append((value, bypass[end], control))
        for pair, values in found.items():
            self.measured.setdefault(pair, []).extend(values)
        self._describe(view, whole, labels)

    def _describe(self, view: CaseView, whole: dict[str, Tensor], labels: list[tuple[str, Any]]) -> None:
        """Keep what the maps of the nodes separate, and the maps themselves of some cases."""
        for node in self.nodes:
            values = _map_of(whole[node.layer.name], node)
            self.crops.offer(node.name, view, values - values.mean(), of=node.shown_in)
            features = Features.of(values[None, None])
            for label, question in labels:
                moved = torch.roll(
                    question.predicted, [n // 2 for n in view.inside.shape], tuple(range(view.inside.ndim))
                )
                both = [
                    float(unit_abilities(features, shares(mask & view.inside, values.shape).flatten())[0])
                    for mask in (question.predicted, moved)
                ]
                self.abilities.setdefault((node.name, label), []).append((both[0], both[1]))
        kept = {one.case for one in self.maps}
        if len(kept) < self.options.examples and view.id not in kept:
            self.maps += [
                CaseMap(
                    view.id,
                    node.name,
                    _map_of(whole[node.layer.name], node).cpu(),
                    view.placement,
                    node.shown_in,
                )
                for node in self.nodes
            ]

    def rows(self) -> list[dict[str, Any]]:
        """Return the table of pairs."""
        out = []
        for (start, end), values in self.measured.items():
            kept, bypass, control = (float(value) for value in np.mean(values, 0))
            strength = (kept - bypass) / (1 - bypass) if bypass < BYPASSED else None
            edge = None if strength is None else strength > self.options.threshold and kept > control
            row: dict[str, Any] = {"start": start, "end": end, "kept": kept}
            row |= {
                "bypass": bypass,
                "control": control,
                "strength": strength,
                "edge": edge,
                "cases": len(values),
            }
            out.append({key: plain_value(value) for key, value in row.items()})
        return out

    def finding(self) -> SurveyFinding:
        """Put together what there is."""
        rows = self.rows()
        about = []
        for node in self.nodes:
            abilities = {
                label: np.mean(found, 0)
                for (name, label), found in self.abilities.items()
                if name == node.name
            }
            best = max(abilities, key=lambda label: abilities[label][0], default=None)
            own = (None, None) if best is None else tuple(map(float, abilities[best]))
            units = " ".join(map(str, np.flatnonzero(node.units)))
            about.append(
                {
                    "node": node.name,
                    "layer": node.layer.name,
                    "stage": node.layer.stage,
                    "count": int(node.units.sum()),
                    "units": units,
                }
                | {"label": best, "ability": own[0], "ability_elsewhere": own[1]}
            )
        graph = _graph(self.nodes, self.cases.labels, rows)
        warnings = said_of_undrawn(self.cases.labels, self.drawn)
        lost = [layer.name for layer in self.layers if all(node.layer is not layer for node in self.nodes)]
        if lost and self.nodes:
            warnings.append(
                f"{', '.join(lost)}: every unit answers with one value everywhere, so that there is no group."
            )
        layer_of = {node.name: node.layer.name for node in self.nodes}
        past = list(dict.fromkeys(layer_of[row["start"]] for row in rows if row["strength"] is None))
        if past:
            warnings.append(
                f"what follows {', '.join(past)} is nearly the same without that layer, so that nothing can be said of some of its edges."
            )
        pictures = self.crops.pictures()
        caption = "Of each node the cases in which its map rises highest above its mean, around that cell."
        return SurveyFinding(
            rows,
            _sentence(graph, rows),
            _charts(graph, self.nodes, self.cases.labels, rows),
            tuple(self.maps),
            {"nodes": about},
            {"nodes": len(self.nodes), "edges": graph.number_of_edges()},
            tuple(warnings),
            (Gallery("nodes", "What groups of units answer to", pictures, caption),) if pictures else (),
        )


def _layers(cases: CasesQuestion, options: Options) -> list[NetworkLayer]:
    """Return the layers that are named, or some that are spread over the network."""
    if options.layers is not None:
        found = cases.layers(options.layers)
    else:
        many = cases.layers("all" if options.by == "weights" else None)
        many = [layer for layer in many if layer.shape[0] > 1 and layer.stage != "head"] or many
        if options.by == "weights":
            many = [one for one in many if one.convolution and _kernels(cases, one, one.shape[0]) is not None]
        if not many:
            raise UserError(
                f"{cases.model.name} has no convolutions whose kernels could be grouped; choose by activations."
            )
        found = [many[k] for k in sorted({round(k) for k in np.linspace(0, len(many) - 1, LAYERS)})]
    if options.by == "weights":
        for layer in found:
            if _kernels(cases, layer, layer.shape[0]) is None:
                raise UserError(
                    f"concept-graph: {layer.name} is no convolution, whose kernels could be grouped; name convolutions, or choose by activations."
                )
    return found


def _kernels(cases: CasesQuestion, layer: NetworkLayer, channels: int) -> np.ndarray | None:
    return weight_distances(find_module(cases.model.module, module_of(layer.name)), channels)


def _map_of(activation: Tensor, node: Node) -> Tensor:
    """Return the map of a node: (1, channels, *cells) -> (*cells)."""
    return activation[0, torch.from_numpy(node.units).to(activation.device)].mean(0)


def _cells_of(inside: Tensor, cells: tuple[int, ...], random: np.random.Generator) -> Tensor:
    """Return which cells are compared: boolean (*cells)."""
    mask = shares(inside, cells) > 0.5
    there = np.flatnonzero(mask.flatten().cpu().numpy())
    if len(there) > MOST_CELLS:
        there = random.permutation(there)[:MOST_CELLS]
    out = torch.zeros(mask.numel(), dtype=torch.bool, device=mask.device)
    out[torch.from_numpy(there).to(mask.device)] = True
    return out.view(mask.shape)


def _others(units: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return as many other units by chance; all others where there are fewer."""
    out = np.zeros(len(units), bool)
    out[random.permutation(np.flatnonzero(~units))[: units.sum()]] = True
    return out


def agreement(first: np.ndarray, then: np.ndarray) -> float | None:
    """Return the adjusted mutual information of a map with what became of it; None where the map is flat.

    Parameters
    ----------
    first, then
        (n,): values of the same cells. Steps have the width of a 16th of the range of each, but what has less than a hundredth of the range
        that it had is flat, and tells nothing.
    """
    score = need("sklearn.metrics", "concepts", "concept-graph").adjusted_mutual_info_score
    had = float(np.ptp(first)) if len(first) else 0.0
    if had <= 1e-9 * max(float(np.abs(first).max(initial=0)), 1e-30):
        return None
    own = float(np.ptp(then))
    if own < FLAT * had:
        return 0.0
    steps = [
        np.minimum(((values - values.min()) * (STEPS / width)).astype(int), STEPS - 1)
        for values, width in ((first.astype(float), had), (then.astype(float), own))
    ]
    return max(0.0, float(score(*steps)))


def _graph(nodes: list[Node], labels: tuple[str, ...], rows: list[dict[str, Any]]) -> Any:
    """Return what is drawn: a node per group and label, and the edges."""
    graph = need("networkx", "concepts", "concept-graph").DiGraph()
    graph.add_nodes_from([*(node.name for node in nodes), *labels])
    graph.add_weighted_edges_from((row["start"], row["end"], row["strength"]) for row in rows if row["edge"])
    return graph


def _sentence(graph: Any, rows: list[dict[str, Any]]) -> str:
    networkx = need("networkx", "concepts", "concept-graph")
    if not rows:
        return "No node could be left alone, so that nothing can be said."
    if not graph.number_of_edges():
        return "No group of units carries one of a later layer, or a label, by itself."
    way = networkx.dag_longest_path(graph)
    return f"{graph.number_of_edges()} edges between {graph.number_of_nodes()} nodes; the strongest way is {' → '.join(way)}."


def _charts(
    graph: Any, nodes: list[Node], labels: tuple[str, ...], rows: list[dict[str, Any]]
) -> tuple[Chart, ...]:
    """Draw the layers from left to right, their groups above each other, and the edges between them; and all strengths as a matrix."""
    if not rows:
        return ()
    layers = list(dict.fromkeys([*(node.layer.name for node in nodes), "label"]))
    shift = {
        name: MOVED * (GOLDEN * k % 1) for k, name in enumerate(layers)
    }  # or lines would lie on each other
    at: dict[str, tuple[str, float]] = {}
    for name, layer in [
        *((node.name, node.layer.name) for node in nodes),
        *((label, "label") for label in labels),
    ]:
        number = 1 + sum(place[0] == layer for place in at.values())
        at[name] = (layer, number + shift[layer])
    own = [node.name for node in nodes]
    groups = Series("group of units", *_columns([at[name] for name in own]), text=tuple(own))
    ends = [Series(label, *_columns([at[label]]), text=(label,)) for label in labels]
    edges = [Series("", *_columns([at[start], at[end]]), kind="lines") for start, end in graph.edges]
    caption = "A line says that the group in which it begins, left alone in its layer, keeps what it ends at."
    title, series = "Which units carry which", (groups, *ends, *edges)
    drawn = Chart("points", title, "network layer", "group (moved a little)", series, caption)
    strength = {(row["start"], row["end"]): row["strength"] for row in rows}
    starts, stops = ([name for name in at if any(pair[k] == name for pair in strength)] for k in (0, 1))
    values = [[strength.get((start, stop)) for stop in stops] for start in starts]
    return drawn, matrix("Strength", starts, stops, values, x="what is kept", y="group that is left alone")


def _columns(places: list[tuple[str, float]]) -> tuple[tuple[str, ...], tuple[float, ...]]:
    return tuple(x for x, _ in places), tuple(y for _, y in places)
