"""The section of table 1 on several networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import networks
from common import Row
from designs import DESIGNS
from hasany_2026_table1 import MSR
from intervals import FEW, mean_interval
from paper import HASANY_2026_TRIANGLE
from settings import Settings
from summary import Verdict, grouped, line, mean, number
from trends.networks import SEEDS, Place, of_kinds

from sections.tables import CHANCE, marked, reached, table, threshold_text

DEPENDS = {
    "kind": f"Told alike by {SEEDS} trainings of a kind, and of no kind otherwise",
    "network": "Told of fewer trainings, and of none otherwise",
    "kinds": "It depends on the kind of network or on Seg-Grad-CAM's layer",
    "networks": "It depends on the network or on the layer, with fewer trainings",
    "training": "It depends on the training: two of one kind are told otherwise",
}
"""Of what a verdict hangs on, the words before the claims."""

CELL = {True: "yes", False: "no", None: "?"}


def methods(rows: Sequence[Row], settings: Settings, found: dict[Place, list[Verdict]]) -> list[str]:
    """Return the paragraphs of table 1 on every network that is there."""
    there = [one for one in networks.trained() if any(row["dataset"] == one.name for row in rows)]
    if not there:
        return []
    missing = [name for name in networks.ORDER if name not in {one.name for one in there}]
    out = [
        "## Several networks: skips, layer and training (table 1 of MiSuRe again)",
        (
            f"Table 1 again, on the first {settings.network_images} Triangle images of each network's own size, RISE with "
            f"{settings.network_masks} masks, Seg-Grad-CAM at the *bottleneck* and at the last layer of the encoder *before pooling*. "
            "In brackets the 95 % interval over images. Every row has its control: what random maps of the same area explain."
        ),
        table(
            ["network", "what it is", "Dice of its prediction", "trained on"],
            [
                [
                    one.name,
                    DESIGNS[one.kind].title
                    + (" (the sample network)" if one.name == networks.SAMPLE else ""),
                    one.dice,
                    (one.model.card.trained_on or "").split(", generated")[0] + _minutes(one),
                ]
                for one in there
            ],
        ),
    ]
    if missing:
        out.append(
            f"Not trained yet, so that nothing is told of a kind of network, which needs {SEEDS} trainings: {', '.join(missing)} "
            "(`make train-reproduction` trains what is missing, and `make reproduce` takes what is there)."
        )
    left_out = [design.left_out for design in DESIGNS.values() if design.left_out]
    out.append(
        " ".join(
            [
                "The networks trained here saw fewer images than the sample network, and are worse; their verdicts are theirs.",
                *left_out,
            ]
        )
    )
    out += [_table(rows), *_over_seeds(rows), *_verdicts(found)]
    return out


def _minutes(one: networks.Trained) -> str:
    said = (one.model.card.trained_on or "").rsplit(". ", 1)[-1]
    return f"; {said.rstrip('.')}" if "minutes" in said else ""


def _table(rows: Sequence[Row]) -> str:
    printed = {(method.split(" ")[0], t): values for method, t, *values in HASANY_2026_TRIANGLE}
    body = []
    for (name, method, threshold), own in grouped(rows, "dataset", "method", "threshold").items():
        one, used = line(own), [row for row in own if row["size"]]
        paper = printed["MSR" if method == MSR else method.split(" ")[0], threshold]
        body.append(
            [
                name,
                method,
                threshold_text(threshold),
                f"{one.cases}, {one.empty} empty" if one.empty else f"{one.cases}",
                marked(one) + mean_interval(used, lambda row: row["dice"] or 0.0),
                *reached(one),
                number(one.ratio, 2) + mean_interval(used, lambda row: row["mask"] / row["size"], 2),
                number(one.image, 2),
                f"{paper[0]} / {paper[1]}",
            ]
        )
    order = list(dict.fromkeys((row[0], row[1]) for row in body))
    body.sort(key=lambda row: order.index((row[0], row[1])))
    return table(
        ["network", "method", "threshold", "images", "Dice explained", *CHANCE, "ratio", "on the image", "the paper: Dice / ratio"],
        body,
    )  # fmt: skip


def _over_seeds(rows: Sequence[Row]) -> list[str]:
    """Return means of trainings of one kind and the span between them, for kinds with several."""
    body = []
    by_kind = grouped(
        [{**row, "kind": row["dataset"].rsplit("-", 1)[0]} for row in rows], "kind", "method", "threshold"
    )
    for (kind, method, threshold), own in by_kind.items():
        lines = [line(some) for some in grouped(own, "dataset").values()]
        if len(lines) > 1:
            dices, ratios = [one.dice for one in lines], [one.ratio for one in lines]
            body.append(
                [
                    kind,
                    str(len(lines)),
                    method,
                    threshold_text(threshold),
                    f"{number(mean(dices))} ({number(min(dices))} to {number(max(dices))})",
                    f"{number(mean(ratios), 2)} ({number(min(ratios), 2)} to {number(max(ratios), 2)})",
                ]
            )
    return (
        [
            "Over trainings of one kind: mean, and lowest to highest mean of a training.",
            table(["kind", "trainings", "method", "threshold", "Dice explained", "ratio"], body),
        ]
        if body
        else []
    )


def _verdicts(found: dict[Place, list[Verdict]]) -> list[str]:
    claims = {one.key: one.claim for some in found.values() for one in some}
    if not claims:
        return []
    names = {key: chr(ord("A") + k) for k, key in enumerate(claims)}
    body = [
        [name, layer, *(CELL[next((one.holds for one in some if one.key == key), None)] for key in claims)]
        for (name, layer), some in found.items()
    ]
    kinds = of_kinds(found)
    body += [
        [f"*all {kind}*", layer, *(f"{CELL[some[key][0]]} ({some[key][1]} told)" for key in claims)]
        for (kind, layer), some in kinds.items()
    ]
    return [
        (
            f"Whether the paper's trends are seen, by network and by Seg-Grad-CAM's layer: yes, no, or ? where the images do not tell "
            f"(fewer than {FEW}, or drawn samples of them disagree). Of a kind, where {SEEDS} trainings are told and agree."
        ),
        table(["network", "layer of Seg-Grad-CAM", *names.values()], body),
        "\n".join(
            f"- {names[key]}: {claim} (`{key.removeprefix('hasany-2026-')}`)" for key, claim in claims.items()
        ),
    ]


def depends(found: dict[Place, list[Verdict]]) -> str:
    """Say in sentences which verdicts of table 1 hang on the kind of network, on the layer, or on the training."""
    if len({name for name, _ in found}) < 2:
        return ""
    claims = {one.key: one.claim for some in found.values() for one in some}
    kinds = of_kinds(found)
    by: dict[str, list[str]] = {words: [] for words in DEPENDS.values()}
    for key, claim in claims.items():
        seen = {
            place: one.holds
            for place, some in found.items()
            for one in some
            if one.key == key and one.holds is not None
        }
        agreed = {place: some[key][0] for place, some in kinds.items() if some[key][0] is not None}
        of_kind: dict[Place, set[bool]] = {}
        for (name, layer), holds in seen.items():
            of_kind.setdefault((_kind(name), layer), set()).add(holds)
        split = {place for place, values in of_kind.items() if len(values) > 1}
        if split:
            by[DEPENDS["training"]].append(f"*{claim}* ({_listed(split)})")
        for told, which in ((agreed, ("kind", "kinds")), (seen, ("network", "networks"))):
            if told and not (split and told is seen):
                others = {place: v for place, v in seen.items() if {v} != set(told.values())}
                but = f"; but {_yes_and_no(others)}" if others and len(set(told.values())) == 1 else ""
                by[DEPENDS[which[len(set(told.values())) > 1]]].append(
                    f"*{claim}* ({_yes_and_no(told)}{but})"
                )
                break
    count = len({name for name, _ in found})
    parts = [f"{words}: {'; '.join(some)}." for words, some in by.items() if some]
    return f"On {count} networks for the Triangle images. {' '.join(parts)}"


def _yes_and_no(told: Mapping[Place, bool | None]) -> str:
    parts = {
        word: {place for place, v in told.items() if v is wanted}
        for word, wanted in (("yes", True), ("no", False))
    }
    return "; ".join(f"{word}: {_listed(places)}" for word, places in parts.items() if places)


def _kind(name: str) -> str:
    return name.rsplit("-", 1)[0]


def _listed(places: set[Place]) -> str:
    """Name networks or kinds, and the layer where the other one does not belong to them."""
    names = sorted({name for name, _ in places})
    return ", ".join(
        name if all((name, layer) in places for layer in networks.LAYERS) else f"{name} at the {layer}"
        for name in names
        for layer in [next(one for one in networks.LAYERS if (name, one) in places)]
    ).replace("at the before", "before")
