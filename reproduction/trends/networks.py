"""Table 1 of MiSuRe on every network and layer: which verdicts hang on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import networks
from common import Row
from intervals import settled
from summary import Verdict

from trends import hasany_2026
from trends.rules import SGC

LEFT_OUT = ("time", "time-factor", "paper-sgc")
"""End of the keys of verdicts that do not depend on network or layer, or are told of elsewhere."""

SEEDS = 3
"""Trainings of a kind that a verdict on the kind needs."""

Place = tuple[str, str]
"""A network and a layer."""


def verdicts(rows: Sequence[Row]) -> dict[Place, list[Verdict]]:
    """Return the verdicts of table 1 for every network and layer of Seg-Grad-CAM."""
    out = {}
    for name in dict.fromkeys(row["dataset"] for row in rows):
        for layer in networks.LAYERS:
            others = {f"{networks.SGC} {other}" for other in networks.LAYERS if other != layer}
            own = [
                {**row, "dataset": "triangle", "method": row["method"].replace(f"{SGC} {layer}", SGC)}
                for row in rows
                if row["dataset"] == name and row["method"] not in others
            ]
            found = settled(lambda some: hasany_2026.table(some, "triangle"), own)
            out[name, layer] = [one for one in found if one.key.removeprefix("hasany-2026-") not in LEFT_OUT]
    return out


def of_kinds(found: Mapping[Place, Sequence[Verdict]]) -> dict[Place, dict[str, tuple[bool | None, int]]]:
    """Return for every kind of network and layer what its trainings agree in, by key, and how many trainings were told.

    A kind is told of only where at least `SEEDS` of its trainings are told, and alike.
    """
    out: dict[Place, dict[str, tuple[bool | None, int]]] = {}
    for (name, layer), some in found.items():
        of_kind = out.setdefault((name.rsplit("-", 1)[0], layer), {})
        for one in some:
            seen = [
                other.holds
                for (other_name, other_layer), others in found.items()
                if (other_name.rsplit("-", 1)[0], other_layer) == (name.rsplit("-", 1)[0], layer)
                for other in others
                if other.key == one.key and other.holds is not None
            ]
            agreed = len(seen) >= SEEDS and len(set(seen)) == 1
            of_kind[one.key] = (seen[0] if agreed else None, len(seen))
    return out
