"""Trends of MiSuRe (Hasany et al. 2026): table 1, and the sweeps of tables 2 to 6."""

from __future__ import annotations

from collections.abc import Sequence

import hasany_2026_sweeps
import paper
from common import Row
from hasany_2026_table1 import AREA, MSR
from summary import Verdict, grouped, line, mean, more, number, ordered, paired

from trends.rules import SGC, beyond_chance, of_dataset

CLEARLY = 5
"""What "an order of magnitude" has to be at least."""


def table(rows: Sequence[Row], dataset: str) -> list[Verdict]:
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
        "MSR's ratio is the lowest by an order of magnitude, all counted on the image",
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


def sweeps(rows: Sequence[Row], dataset: str) -> list[Verdict]:
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
