"""What the papers say of their numbers, and rules by which it is looked for in ours.

Nothing here knows an outcome: a verdict comes from rows by its rule. "in 7 of 8 cases" counts the cases in which a
comparison of means also holds for the single case. What differs by rounding is a tie, and neither more nor less
(`napari_segxai.metrics.functional.ties`).
"""

from __future__ import annotations

from collections.abc import Sequence

import hasany_2025_table1
import hasany_2026_sweeps
import paper
from common import Row
from hasany_2026_table1 import AREA, MSR
from summary import Line, Verdict, grouped, line, mean, more, number, ordered, paired

SGC, HIRES = "Seg-Grad-CAM", "Seg-HiRes-Grad-CAM"
CLEARLY = 5
"""What "an order of magnitude" has to be at least."""


def of_dataset(rows: Sequence[Row], dataset: str) -> list[Row]:
    """Return the rows of one data set."""
    return [row for row in rows if row["dataset"] == dataset]


def beyond_chance(name: str, lines: Sequence[Line]) -> tuple[str, str, bool | None, str]:
    """Return claim, rule, verdict and evidence of a Dice explained that has to come of more than the map's area."""
    told = [
        f"{number(one.dice)} against {number(one.chance)} on average and up to {number(one.high)}, above in {one.above} of "
        f"{one.cases} cases"
        for one in lines
    ]
    known = all(one.chance is not None or one.empty == one.cases for one in lines)
    return (
        f"the Dice that {name} explains comes of where its map lies (the paper has no control)",
        "above the 95th percentile of random maps of the same area in more than half of the cases"
        + (", at both thresholds" if len(lines) > 1 else ""),
        all(2 * one.above > one.cases for one in lines) if known else None,
        "; ".join(told),
    )


# -- MiSuRe, table 1 -----------------------------------------------------------------------------------


def hasany_2026_table(rows: Sequence[Row], dataset: str) -> list[Verdict]:
    """Trends of table 1 and section 5.2."""
    rows = of_dataset(rows, dataset)
    areas = {
        t: found
        for (t,), found in grouped([r for r in rows if r["method"] == f"{AREA} {SGC}"], "threshold").items()
    }
    rows = [row for row in rows if not row["method"].startswith(AREA)]
    by = grouped(rows, "method", "threshold")
    lines = {key: line(found) for key, found in by.items()}
    rise = next((method for method, _ in by if method.startswith("RISE")), None)
    needed = [(SGC, 0.05), (SGC, 0.1), (rise, 0.2), (rise, 0.4), (MSR, None)]
    if any(key not in lines or not lines[key].cases for key in needed):
        return []
    sgc_low, sgc_high, rise_low, rise_high, msr = (lines[key] for key in needed)
    out: list[Verdict] = []

    def say(key: str, claim: str, rule: str, holds: bool | None, evidence: str) -> None:
        out.append(Verdict(f"hasany-2026-{key}", claim, rule, dataset, holds, evidence))

    def each(first: tuple, second: tuple, quantity: str, above: bool) -> str:
        sign = 1 if above else -1
        compare = lambda a, b: more(sign * (a[quantity] or 0.0), sign * (b[quantity] or 0.0))  # noqa: E731
        hits, both = paired(by[first], by[second], compare)
        return f" (in {hits} of {both} cases)"

    say(
        "rise-best",
        "RISE at 0.2 explains the highest Dice of all",
        "mean Dice of RISE at 0.2 above that of every other row",
        more(rise_low.dice, max(one.dice for one in (sgc_low, sgc_high, rise_high, msr))),
        f"RISE at 0.2 {number(rise_low.dice)}, RISE at 0.4 {number(rise_high.dice)}, MSR {number(msr.dice)}, "
        f"Seg-Grad-CAM {number(sgc_low.dice)} and {number(sgc_high.dice)}",
    )
    say(
        "sgc-worst",
        "Seg-Grad-CAM does not obtain good results",
        "mean Dice of Seg-Grad-CAM at 0.05 and at 0.1 below that of MSR and of RISE at 0.2",
        more(min(msr.dice, rise_low.dice), max(sgc_low.dice, sgc_high.dice)),
        f"Seg-Grad-CAM {number(sgc_low.dice)} and {number(sgc_high.dice)}, MSR {number(msr.dice)}, RISE "
        f"{number(rise_low.dice)}"
        + each((SGC, 0.05), (MSR, None), "dice", above=False).replace("(", "(below MSR "),
    )
    others = (sgc_low, sgc_high, rise_low, rise_high)
    lowest = min(one.ratio for one in others)
    say(
        "msr-ratio",
        "MSR's ratio is the lowest by an order of magnitude",
        f"mean ratio of MSR, counted on the image as the paper seems to, at most 1/{CLEARLY} of the lowest other, "
        "counted on the mask",
        msr.image * CLEARLY <= lowest,
        f"MSR {number(msr.image)}, lowest other {number(lowest)}: {number(lowest / msr.image, 1) if msr.image else '-'} "
        "times",
    )
    fair = min(one.image for one in others)
    say(
        "msr-ratio-fair",
        "MSR's ratio is the lowest by an order of magnitude",
        f"the same with all of them counted on the image: MSR at most 1/{CLEARLY} of the lowest other",
        msr.image * CLEARLY <= fair,
        f"MSR {number(msr.image)}, lowest other {number(fair)}: {number(fair / msr.image, 1) if msr.image else '-'} times",
    )
    medical = dataset in ("tissue", "head")
    say(
        "msr-below-one",
        "MSR needs more pixels than the object has on medical images (Synapse)"
        if medical
        else "MSR needs fewer pixels than the object has (Triangle, COCO)",
        f"mean ratio of MSR, counted on the image, {'above' if medical else 'below'} 1",
        msr.image > 1 if medical else msr.image < 1,
        f"{number(msr.image)}",
    )
    if dataset == "triangle":
        say(
            "msr-dice",
            "MSR's Dice explained stays high on Triangle (0.965)",
            "mean Dice of MSR at least 0.9",
            msr.dice >= 0.9,
            f"{number(msr.dice)}",
        )
    for name, low, high, keys in (
        ("RISE", rise_low, rise_high, ((rise, 0.2), (rise, 0.4))),
        (SGC, sgc_low, sgc_high, ((SGC, 0.05), (SGC, 0.1))),
    ):
        say(
            f"threshold-{'rise' if name == 'RISE' else 'sgc'}",
            f"{name}: a smaller threshold gives a better Dice at the expense of a worse ratio",
            "mean Dice and mean ratio both higher at the smaller threshold",
            more(low.dice, high.dice) and more(low.ratio, high.ratio),
            f"Dice {number(low.dice)} and {number(high.dice)}{each(*keys, 'dice', above=True)}, ratio {number(low.ratio, 2)} "
            f"and {number(high.ratio, 2)}",
        )
    for name, key, found in (
        (SGC, "sgc", (sgc_low, sgc_high)),
        ("RISE", "rise", (rise_low, rise_high)),
        ("MSR", "msr", (msr,)),
    ):
        say(f"chance-{key}", *beyond_chance(name, found))
    if areas:
        printed = {t: dice for method, t, dice, *_ in paper.HASANY_2026_TRIANGLE if method == SGC}
        reached = {t: mean(row["chance_high"] for row in found) for t, found in areas.items()}
        say(
            "paper-sgc",
            f"Seg-Grad-CAM explains a Dice of {' and '.join(f'{dice:g}' for dice in printed.values())} on Triangle",
            "the paper's numbers above what random maps with the paper's ratios explain on our images (95th percentile)",
            all(more(printed[t], reached[t]) for t in printed),
            "random maps as large: "
            + ", ".join(
                f"at {t:g} {number(mean(row['chance'] for row in found))} on average and up to {number(reached[t])}"
                for t, found in areas.items()
            ),
        )
    slow, fast = rise_low.seconds, msr.seconds
    say(
        "time",
        "Seg-Grad-CAM takes less than a second, MSR seconds, RISE with 2000 masks longest",
        "mean seconds: Seg-Grad-CAM below 1 and below MSR, MSR below RISE",
        sgc_low.seconds < min(1, fast) and fast < slow,
        f"Seg-Grad-CAM {number(sgc_low.seconds)} s, MSR {number(fast, 1)} s, {rise} {number(slow, 1)} s",
    )
    asked = int(rise.split()[1])
    factor = slow * 2000 / asked / fast
    say(
        "time-factor",
        "MSR is 15 times faster than RISE with 2000 masks (3.38 s against 52 s)",
        "mean seconds of RISE, as if of 2000 masks, at least ten times those of MSR",
        factor >= 10,
        f"{number(factor, 1)} times" + ("" if asked == 2000 else f", from {asked} masks"),
    )
    return out


# -- MiSuRe, tables 2 to 6 -----------------------------------------------------------------------------


def hasany_2026_sweep(rows: Sequence[Row], dataset: str) -> list[Verdict]:
    """Trends of learning rate and lambda (tables 2 to 5) and of the size of the mask (table 6)."""
    rows = [row for row in of_dataset(rows, dataset) if row["size"]]
    if not rows:
        return []
    whole = grouped([row for row in rows if row["share"] == 1], "lr", "lam")
    ratio = {key: line(found).image for key, found in whole.items()}
    dice = {key: line(found).dice for key, found in whole.items()}
    low, high, lambdas = hasany_2026_sweeps.RATES[0], hasany_2026_sweeps.RATES[-1], hasany_2026_sweeps.LAMBDAS
    out: list[Verdict] = []

    def say(key: str, claim: str, rule: str, holds: bool | None, evidence: str) -> None:
        out.append(Verdict(f"hasany-2026-{key}", claim, rule, dataset, holds, evidence))

    slowest = grouped([row for row in rows if row["share"] == 1 and row["lr"] == low], "case")
    same = sum(len({row["image"] for row in found}) == 1 for found in slowest.values())
    say(
        "lr-identical",
        "at learning rate 0.001 the ratio is the same for every lambda",
        "exactly equal in every case: nothing can be pruned at 0.001",
        same == len(slowest),
        f"equal in {same} of {len(slowest)} cases; mean {number(ratio[low, lambdas[0]])}",
    )
    falling = [ratio[high, lam] for lam in lambdas]
    say(
        "lr-high-ratio",
        "at learning rate 0.1 the ratio falls as lambda grows",
        "mean ratios fall from each lambda to the next",
        ordered(falling, falling=True),
        ", ".join(f"{number(value)}" for value in falling),
    )
    say(
        "lr-high-dice",
        "at learning rate 0.1 and lambda 0.1 that is at the expense of Dice",
        "mean Dice at lambda 0.1 below that at lambda 0.01",
        more(dice[high, 0.01], dice[high, 0.1]),
        f"{number(dice[high, 0.1])} and {number(dice[high, 0.01])}",
    )
    best = all(
        more(min(ratio[rate, lam] for rate in hasany_2026_sweeps.RATES[:-1]), ratio[high, lam])
        for lam in lambdas
    )
    say(
        "lr-high-best",
        "the lowest ratios are those of learning rate 0.1",
        "for every lambda, the mean ratio at 0.1 below those at 0.001 and 0.01",
        best,
        "; ".join(
            f"lambda {lam:g}: " + ", ".join(number(ratio[rate, lam]) for rate in hasany_2026_sweeps.RATES)
            for lam in lambdas
        ),
    )
    sizes = grouped([row for row in rows if row["lr"] == 0.1 and row["lam"] == 0.01], "share")
    ratios = [line(sizes[share,]).image for share in hasany_2026_sweeps.SHARES]
    dices = [line(sizes[share,]).dice for share in hasany_2026_sweeps.SHARES]
    say(
        "mask-ratio",
        "the ratio falls as the mask gets finer",
        "mean ratios fall from a quarter to half to the whole of the network's grid",
        ordered(ratios, falling=True),
        ", ".join(number(value) for value in ratios),
    )
    spread = [(max(values) - min(values)) / mean(values) if mean(values) else 0 for values in (ratios, dices)]
    say(
        "mask-matters",
        "the mask's size matters more for the ratio than for Dice",
        "range over mean of the three mean ratios above that of the three mean Dice",
        more(spread[0], spread[1]),
        f"{number(spread[0])} and {number(spread[1])}",
    )
    return out


# -- A guided tour, table 1 ----------------------------------------------------------------------------


def hasany_2025_table(rows: Sequence[Row], dataset: str) -> list[Verdict]:
    """Trends of table 1 and figure 3."""
    rows = of_dataset(rows, dataset)
    by = grouped(rows, "method", "threshold")
    lines: dict[tuple, Line] = {key: line(found) for key, found in by.items()}
    if not lines or not all(one.cases for one in lines.values()):
        return []
    cams, low, high = tuple(hasany_2025_table1.CAMS), *hasany_2025_table1.CAM_THRESHOLDS
    rises = [method for method, threshold in by if method.startswith("RISE") and threshold == 0.2]
    out: list[Verdict] = []

    def say(key: str, claim: str, rule: str, holds: bool | None, evidence: str) -> None:
        out.append(Verdict(f"hasany-2025-{key}", claim, rule, dataset, holds, evidence))

    def both(first: str, second: str, quantity: str) -> str:
        return "; ".join(
            f"at {t:g} {number(getattr(lines[first, t], quantity))} and {number(getattr(lines[second, t], quantity))}"
            for t in (low, high)
        )

    say(
        "xres-ratio",
        "Seg-XRes-CAM keeps fewer pixels than Seg-Grad-CAM",
        "lower mean ratio at both thresholds",
        all(more(lines[SGC, t].ratio, lines["Seg-XRes-CAM", t].ratio) for t in (low, high)),
        both("Seg-XRes-CAM", SGC, "ratio"),
    )
    say(
        "xres-dice",
        "Seg-XRes-CAM explains more Dice than Seg-Grad-CAM",
        "higher mean Dice at both thresholds",
        all(more(lines["Seg-XRes-CAM", t].dice, lines[SGC, t].dice) for t in (low, high)),
        both("Seg-XRes-CAM", SGC, "dice"),
    )
    said = "; ".join(
        f"{name} {number(lines[name, low].dice)} and {number(lines[name, high].dice)}" for name in cams
    )
    say(
        "eigen-worst",
        "Seg-Eigen-CAM explains the least Dice of the four",
        "lowest mean Dice of the four at both thresholds",
        all(
            more(
                min(lines[name, t].dice for name in cams if name != "Seg-Eigen-CAM"),
                lines["Seg-Eigen-CAM", t].dice,
            )
            for t in (low, high)
        ),
        said,
    )
    say(
        "ablation-best",
        "Seg-Ablation-CAM leads the methods on features",
        "highest mean Dice of the four at both thresholds",
        all(
            more(
                lines["Seg-Ablation-CAM", t].dice,
                max(lines[name, t].dice for name in cams if name != "Seg-Ablation-CAM"),
            )
            for t in (low, high)
        ),
        said,
    )
    say(
        "rise-threshold",
        "RISE: a higher threshold lowers Dice and ratio",
        "mean Dice and mean ratio lower at 0.4 than at 0.2, for every number of masks",
        all(
            more(lines[name, 0.2].dice, lines[name, 0.4].dice)
            and more(lines[name, 0.2].ratio, lines[name, 0.4].ratio)
            for name in rises
        ),
        "; ".join(
            f"{name}: Dice {number(lines[name, 0.2].dice)}, {number(lines[name, 0.4].dice)}, ratio "
            f"{number(lines[name, 0.2].ratio, 2)}, {number(lines[name, 0.4].ratio, 2)}"
            for name in rises
        ),
    )
    for name in cams[1:]:  # Seg-Grad-CAM is told of with the other paper's table
        found = tuple(lines[name, t] for t in (low, high))
        say(f"chance-{name.split('-')[1].lower()}", *beyond_chance(name, found))
    ratios = {t: [lines[name, t].ratio for name in rises] for t in hasany_2025_table1.RISE_THRESHOLDS}
    say(
        "rise-masks-ratio",
        "RISE: more masks lower the ratio",
        "mean ratios fall with every step of masks, at both thresholds",
        None if len(rises) < 2 else all(ordered(values, falling=True) for values in ratios.values()),
        "; ".join(f"at {t:g} " + ", ".join(number(v, 2) for v in values) for t, values in ratios.items()),
    )
    dices = [lines[name, 0.4].dice for name in rises]
    say(
        "rise-masks-dice",
        "RISE at 0.4: more masks lower Dice",
        "mean Dice at 0.4 falls with every step of masks",
        ordered(dices, falling=True),
        ", ".join(number(value) for value in dices),
    )
    inside = [lines[name, 0.2].inside for name in (rises[0], rises[-1])]
    hits, total = paired(
        by[rises[-1], 0.2], by[rises[0], 0.2], lambda a, b: more(a["inside"] or 0, b["inside"] or 0)
    )
    say(
        "rise-concentrated",
        "RISE: with more masks the map is more concentrated on the object (figure 3)",
        f"mean share of the scaled map in the prediction higher with {rises[-1]} than with {rises[0]}",
        None if len(rises) < 2 else more(inside[1], inside[0]),
        f"{number(inside[0])} and {number(inside[1])} (in {hits} of {total} cases)",
    )
    seconds = {name: lines[name, low].seconds for name in cams} | {
        name: lines[name, 0.2].seconds for name in rises
    }
    say(
        "time",
        "Seg-Grad-CAM and Seg-XRes-CAM take less than a second; Seg-Ablation-CAM and RISE take many passes",
        f"the first two below 1 s; Seg-Ablation-CAM and {rises[-1]} longer than both",
        max(seconds[SGC], seconds["Seg-XRes-CAM"]) < min(1, seconds["Seg-Ablation-CAM"], seconds[rises[-1]]),
        ", ".join(f"{name} {number(value)} s" for name, value in seconds.items()),
    )
    return out


# -- Seg-HiRes-Grad CAM, figures -----------------------------------------------------------------------


def rheude_2024_pictures(rows: Sequence[Row], dataset: str) -> list[Verdict]:
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


def rheude_2024_medical(rows: Sequence[Row], datasets: Sequence[str]) -> list[Verdict]:
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


# -- Foreground metrics, table 1 -----------------------------------------------------------------------


def aabid_sicre_table(rows: Sequence[Row], dataset: str) -> list[Verdict]:
    """Trends of table 1, for Seg-Grad-CAM and Seg-HiRes-Grad-CAM together."""
    rows = of_dataset(rows, dataset)
    if not rows:
        return []
    means = {key: mean(row[key] for row in rows) for key in ("LE", "MLE", "EPG", "MEPG", "F1", "MF1")}
    lost = [1 - (mean(row[key] for row in rows) or 0) for key in ("recall", "masked recall")]
    known = [row for row in rows if row["EPG"] is not None and row["MEPG"] is not None]
    out: list[Verdict] = []

    def say(key: str, claim: str, rule: str, holds: bool | None, evidence: str) -> None:
        out.append(Verdict(f"aabid-sicre-{key}", claim, rule, dataset, holds, evidence))

    def two(first: str, second: str) -> str:
        return f"{number(means[first])} and {number(means[second])}"

    say(
        "le",
        "the localisation error of boxes is larger than that of masks",
        "mean LE above mean MLE, both 1 - IoU",
        more(means["LE"], means["MLE"]),
        two("LE", "MLE"),
    )
    say(
        "le-recall",
        "the localisation error of boxes is larger than that of masks",
        "the same with 1 - recall, which is what the paper's program computes in place of 1 - IoU",
        more(lost[0], lost[1]),
        f"{number(lost[0])} and {number(lost[1])}",
    )
    hits = sum(not more(row["MEPG"], row["EPG"]) for row in known)
    say(
        "epg",
        "boxes always contain more of the map than masks",
        "EPG at least MEPG in every map",
        hits == len(known) if known else None,
        f"{two('EPG', 'MEPG')}; in {hits} of {len(known)} maps",
    )
    say(
        "f1",
        "F1 of masks is close to F1 of boxes",
        "means differ by at most 0.1 (0.08 in the paper)",
        abs(means["F1"] - means["MF1"]) <= 0.1,
        two("F1", "MF1"),
    )
    say(
        "strict",
        "metrics of masks are stricter than those of boxes (conclusion)",
        "masks give the worse mean in all three: MLE above LE, MEPG below EPG, MF1 below F1",
        bool(known)
        and more(means["MLE"], means["LE"])
        and more(means["EPG"], means["MEPG"])
        and more(means["F1"], means["MF1"]),
        f"LE {two('LE', 'MLE')}, EPG {two('EPG', 'MEPG')}, F1 {two('F1', 'MF1')}",
    )
    return out
