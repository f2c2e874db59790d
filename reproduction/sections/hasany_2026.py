"""The sections of MiSuRe (Hasany et al. 2026)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import hasany_2026_sweeps
import hasany_2026_table1
import paper
from common import Row
from settings import DATASETS, Settings
from summary import grouped, line, mean, number
from trends.rules import of_dataset

from sections.tables import (
    CHANCE,
    METHOD_HEAD,
    marked,
    method_lines,
    picture,
    plural,
    reached,
    table,
    threshold_text,
)


def methods(rows: Sequence[Row], settings: Settings, pictures: Mapping[str, Path]) -> list[str]:
    """Return the paragraphs of table 1."""
    out = [
        "## MiSuRe, table 1: methods and thresholds",
        (
            "Hasany, Mériaudeau and Petitjean 2026. MSR is the minimally sufficient region that MiSuRe ends with; it needs no "
            "threshold."
        ),
        "**Paper** (other data, other networks):",
        table(
            ["data set, network", "method", "threshold", "Dice explained", "ratio", "seconds"],
            [
                [data, method, threshold_text(threshold), *(f"{value:g}" for value in values)]
                for data, lines in paper.HASANY_2026_TABLE1.items()
                for method, threshold, *values in lines
            ],
        ),
    ]
    for dataset in settings.datasets:
        out += [
            f"**Ours, {DATASETS[dataset]}**:",
            table(
                METHOD_HEAD,
                method_lines(
                    row
                    for row in of_dataset(rows, dataset)
                    if not row["method"].startswith(hasany_2026_table1.AREA)
                ),
            ),
        ]
    areas = grouped(
        [row for row in rows if row["method"].startswith(hasany_2026_table1.AREA)], "method", "threshold"
    )
    if areas:
        printed = {(method, t): values for method, t, *values in paper.HASANY_2026_TRIANGLE}
        body = []
        for (method, threshold), found in areas.items():
            own = method.removeprefix(hasany_2026_table1.AREA).strip()
            values = [number(mean(row[key] for row in found)) for key in ("chance", "chance_high")]
            body.append(
                [
                    own,
                    threshold_text(threshold),
                    *(f"{v:g}" for v in printed[own, threshold][:2]),
                    *values,
                    str(len(found)),
                ]
            )
        out += [
            "**Random maps as large as the paper's**, on our Triangle images and network: what a map of that ratio explains by chance.",
            table(
                ["the paper's map", "threshold", "its Dice explained", "its ratio", *CHANCE[:2], "cases"],
                body,
            ),
        ]
    out += [
        picture(
            pictures,
            "hasany_2026_maps",
            "First case of every data set; maps with their positive part, each on its own scale",
        )
    ]
    return out


def sweeps(rows: Sequence[Row], settings: Settings, pictures: Mapping[str, Path]) -> list[str]:
    """Return the paragraphs of tables 2 to 6."""
    rates = [f"rate {rate:g}" for rate in hasany_2026_sweeps.RATES]
    head = ["", "lambda", *(f"Dice, {r}" for r in rates), *(f"ratio, {r}" for r in rates)]
    ours = [*head[:5], *(f"random maps, {r}" for r in rates), *head[5:]]
    out = [
        "## MiSuRe, tables 2 to 6: learning rate, lambda and the size of the mask",
        (
            "Our ratios are counted on the image, as the paper's seem to be. Table 4 needs a transformer network (TransUNet), "
            "of which none comes with this project: it is not reproduced."
        ),
        "**Paper** (other data, other networks), tables 2 to 5:",
        table(
            head,
            [
                [title if k == 0 else "", f"{lam:g}", *(f"{v:g}" for v in (*dice[k], *ratio[k]))]
                for title, (dice, ratio) in paper.HASANY_2026_SWEEPS.items()
                for k, lam in enumerate(hasany_2026_sweeps.LAMBDAS)
            ],
        ),
        "**Ours**:",
    ]
    body, sizes = [], []
    for dataset in settings.datasets:
        own = of_dataset(rows, dataset)
        whole = grouped([row for row in own if row["share"] == 1], "lr", "lam")
        for k, lam in enumerate(hasany_2026_sweeps.LAMBDAS if whole else ()):
            lines = [line(whole[rate, lam]) for rate in hasany_2026_sweeps.RATES]
            title = f"{dataset}, {lines[0].cases} {plural('case', lines[0].cases)}" if k == 0 else ""
            body.append(
                [
                    title,
                    f"{lam:g}",
                    *(marked(v) for v in lines),
                    *(f"{number(v.chance)} / {number(v.high)}" for v in lines),
                    *(number(v.image) for v in lines),
                ]
            )
        swept = [row for row in own if row["lr"] == 0.1 and row["lam"] == 0.01]
        for share in hasany_2026_sweeps.SHARES:
            found = [row for row in swept if row["share"] == share]
            if found:
                one = line(found)
                side = " and ".join(sorted({str(row["mask_size"]) for row in found}))
                sizes.append(
                    [
                        dataset,
                        side,
                        str(one.cases),
                        marked(one),
                        *reached(one),
                        number(one.image),
                        number(one.median),
                    ]
                )
    out += [
        table(ours, body),
        "**Paper**, table 6 (learning rate 0.1, lambda 0.01):",
        table(
            ["data set, network", "side of the mask", "Dice explained", "ratio"],
            [
                [title, *(f"{v:g}" for v in values)]
                for title, lines in paper.HASANY_2026_MASK_SIZE.items()
                for values in lines
            ],
        ),
        "**Ours**: a quarter, half and the whole of the network's grid.",
        table(
            ["data set", "side of the mask", "cases", "Dice explained", *CHANCE, "ratio on the image: mean", "ratio on the mask: median"],
            sizes,
        ),
    ]  # fmt: skip
    return out
