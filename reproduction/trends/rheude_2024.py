"""Trends of Seg-HiRes-Grad CAM (Rheude et al. 2024): what its figures show."""

from __future__ import annotations

from collections.abc import Sequence

from common import Row
from summary import Verdict, grouped, mean, more, number, paired

from trends.rules import SGC, of_dataset

HIRES = "Seg-HiRes-Grad-CAM"


def pictures(rows: Sequence[Row], dataset: str) -> list[Verdict]:
    """What the figures show and the text says of them, in numbers."""
    rows = of_dataset(rows, dataset)
    sets = grouped([row for row in rows if row["part"] == "pixel sets"], "method", "pixels")
    if not sets:
        return []
    out: list[Verdict] = []

    def say(key: str, claim: str, rule: str, holds: bool | None, evidence: str) -> None:
        out.append(Verdict(f"rheude-2024-{key}", claim, rule, dataset, holds, evidence))

    inside = {name: mean(row["inside"] for row in sets[name, "class"]) for name in (SGC, HIRES)}
    hits, total = paired(
        sets[HIRES, "class"], sets[SGC, "class"], lambda a, b: more(a["inside"] or 0, b["inside"] or 0)
    )
    say(
        "inside",
        "at the deepest layer, Seg-HiRes highlights the object's pixels, Seg-Grad-CAM other regions too (figures 2 to 5)",
        "mean share of positive mass in the prediction higher for Seg-HiRes",
        more(inside[HIRES] or 0, inside[SGC] or 0),
        f"Seg-HiRes {number(inside[HIRES])}, Seg-Grad-CAM {number(inside[SGC])} (in {hits} of {total} cases)",
    )
    near = {name: mean(row["near"] for row in sets[name, "point"]) for name in (SGC, HIRES)}
    hits, total = paired(
        sets[HIRES, "point"], sets[SGC, "point"], lambda a, b: more(a["near"] or 0, b["near"] or 0)
    )
    say(
        "point",
        "the pixel set decides what is highlighted; Seg-HiRes follows it in place (figure 6)",
        "asked about one pixel: mean share of positive mass near to it higher for Seg-HiRes",
        more(near[HIRES] or 0, near[SGC] or 0),
        f"Seg-HiRes {number(near[HIRES])}, Seg-Grad-CAM {number(near[SGC])} (in {hits} of {total} cases)",
    )
    nothing = [
        row["highest"] for name in (SGC, HIRES) for row in sets[name, "none"] if row["highest"] is not None
    ]
    say(
        "none",
        "an empty pixel set gives an empty map (the authors' option zero)",
        "map exactly 0 wherever the network finds nothing in a black image",
        max(nothing) == 0 if nothing else None,
        f"{len(nothing)} maps, highest value {number(max(nothing))}"
        if nothing
        else "it finds something in a black image",
    )
    layers = grouped([row for row in rows if row["part"] == "layers"], "method", "layer")
    names = list(dict.fromkeys(layer for _, layer in layers))
    better = [
        name
        for name in names
        if more(*(mean(row["inside"] for row in layers[method, name]) or 0 for method in (HIRES, SGC)))
    ]
    body = [name for name in names if layers[SGC, name][0]["stage"] != "head"]
    say(
        "layers-inside",
        "Seg-HiRes is the more accurate at most levels of the network (figure 8)",
        "mean share in the prediction higher for Seg-HiRes at more than half of the blocks without the head",
        2 * len([name for name in better if name in body]) > len(body),
        f"{len([name for name in better if name in body])} of {len(body)}: "
        + ", ".join(name for name in better if name in body),
    )
    stages = {name: layers[HIRES, name][0]["stage"] for name in names}
    encoder = [mean(row["dice"] for row in layers[HIRES, n]) for n in names if stages[n] == "encoder"]
    decoder = [mean(row["dice"] for row in layers[HIRES, n]) for n in names if stages[n] == "decoder"]
    say(
        "emergence",
        "towards the end of the decoder the map comes to look like the segmentation (figure 8)",
        "Seg-HiRes: Dice of the map at half its maximum with the prediction highest at the last block of the decoder, of "
        "all blocks of encoder and decoder",
        bool(decoder) and decoder[-1] == max([*encoder, *decoder]),
        "encoder "
        + ", ".join(number(v) for v in encoder)
        + "; decoder "
        + ", ".join(number(v) for v in decoder),
    )
    return out


def medical(rows: Sequence[Row], datasets: Sequence[str]) -> list[Verdict]:
    """Whether the two methods differ more on medical images than on others."""
    gaps = {}
    for dataset in datasets:
        sets = grouped(
            [r for r in of_dataset(rows, dataset) if r["part"] == "pixel sets" and r["pixels"] == "class"],
            "method",
        )
        if (HIRES,) in sets:
            values = [mean(row["inside"] for row in sets[name,]) or 0 for name in (HIRES, SGC)]
            gaps[dataset] = values[0] - values[1]
    medical = [gaps[name] for name in ("tissue", "head") if name in gaps]
    if "photograph" not in gaps or not medical:
        return []
    return [
        Verdict(
            "rheude-2024-medical",
            "on medical images the two differ strikingly, on natural images subtly",
            "share in the prediction: Seg-HiRes minus Seg-Grad-CAM larger on every medical data set than on the photograph",
            "all",
            more(min(medical), gaps["photograph"]),
            ", ".join(f"{name} {number(value)}" for name, value in gaps.items()),
        )
    ]
