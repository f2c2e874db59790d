"""The page: the papers' numbers, ours, and whether the trends are seen."""

from __future__ import annotations

import os
import platform
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hasany_2025_table1
import hasany_2026_sweeps
import hasany_2026_table1
import paper
import torch
import trends
from common import BASELINE, DATASETS, Row, Settings, Store, cases
from figures import draw
from reasons import REASONS
from summary import Line, Verdict, grouped, line, mean, number

from napari_segxai.metrics.functional.chance import CELLS, MARK

SAYS = {True: "holds", False: "**does not hold**", None: "cannot be told"}


def write_page(folder: Path, rows: Mapping[str, Sequence[Row]], settings: Settings, store: Store) -> Path:
    """Write reproduction.md and its images to a folder, and return the page."""
    found = cases(settings)
    pictures = draw(found, store, folder / "images")
    verdicts = _verdicts(rows, settings.datasets)
    text = "\n".join(
        [
            _head(settings, store, found, rows),
            _overview(verdicts),
            *(
                _section(make(rows[name], settings, pictures), verdicts[name], rows["diagnostics"])
                for name, make in (
                    ("hasany_2026_table1", _hasany_2026_table),
                    ("hasany_2026_sweeps", _hasany_2026_sweeps),
                    ("hasany_2025_table1", _hasany_2025),
                    ("rheude_2024_figures", _rheude_2024),
                    ("aabid_sicre_table1", _aabid_sicre),
                )
            ),
            _left_out(settings),
        ]
    )
    path = folder / "reproduction.md"
    path.write_text(text.rstrip() + "\n", encoding="utf-8")
    return path


def _verdicts(rows: Mapping[str, Sequence[Row]], datasets: Sequence[str]) -> dict[str, list[Verdict]]:
    """Return the verdicts of every experiment."""
    makers = {
        "hasany_2026_table1": trends.hasany_2026_table,
        "hasany_2026_sweeps": trends.hasany_2026_sweep,
        "hasany_2025_table1": trends.hasany_2025_table,
        "rheude_2024_figures": trends.rheude_2024_pictures,
        "aabid_sicre_table1": trends.aabid_sicre_table,
    }
    out = {
        name: [v for dataset in datasets for v in make(rows[name], dataset)] for name, make in makers.items()
    }
    out["rheude_2024_figures"] += trends.rheude_2024_medical(rows["rheude_2024_figures"], datasets)
    return out


# -- sections ------------------------------------------------------------------------------------------


def _head(settings: Settings, store: Store, found: Sequence, rows: Mapping[str, Sequence[Row]]) -> str:
    counts = {name: len({case.key for case in found if case.dataset == name}) for name in settings.datasets}
    empty = sorted({row["case"] for row in rows["hasany_2025_table1"] if not row["size"]})
    versions = ", ".join(
        f"{name} {version(name)}" for name in ("napari-segxai", "torch", "numpy", "scikit-image")
    )
    dates = store.dates()
    data = "\n".join(
        f"- **{name}**: {DATASETS[name]}; {n} {_plural('case', n)}" for name, n in counts.items()
    )
    return f"""# The papers' experiments, run again

The experiments of the papers that this plugin builds on, with its own code, on the data that come with it. The papers
used other images and other networks, so **no number here can equal theirs**: what can be compared are trends - which
method is better at what, and what a parameter does. For every trend there is a rule, and a program decides by it. What does
not hold is said, with a reason as far as one was found. `make reproduce` writes this page (`reproduction/`).

## Data and settings

{data}

A case is one object (label) in one image. Triangle images are generated from items that the network was not trained on, by
one seed each. The blocks have {settings.block} voxels of 2 mm per side; every label of a block is a case. One photograph,
one head and one average brain are no sample: what they show, they show of themselves alone.
{f"In {len(empty)} of the cases the network finds no object, and they count for nothing." if empty else "In every case the network finds an object."}

| setting | |
|---|---|
| hidden pixels become | {BASELINE}: black, or air |
| RISE | the papers' variant: 7 x 7 blocky masks, kept with 0.54, weighted by Dice; {settings.masks} masks in 2D, {settings.masks_tissue} on blocks, {settings.masks_head} on the head |
| MiSuRe | learning rate 0.1, lambda 0.01, {settings.iterations} iterations, a mask as fine as the network's grid, unless said otherwise |
| CAMs | at the bottleneck, unless said otherwise; the logit, averaged over the predicted pixels |
| sweeps | {settings.sweep_images} Triangle images; of the blocks, the first one's white matter; data sets {", ".join(settings.sweep_datasets)} |
| seed | {settings.seed} |
| versions | {versions}, Python {platform.python_version()} |
| machine | {os.cpu_count()} CPU cores ({platform.machine()}), {torch.get_num_threads()} {_plural("thread", torch.get_num_threads())}; times are wall-clock and suffer from whatever else runs{f". {settings.note}" if settings.note else ""} |
| time | {store.computed} of {len(store.done)} results computed in {store.seconds / 60:.0f} minutes, the others kept from an earlier run of the same code |
| computed | {" to ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else "-"} |

Ratios are pixels of the mask per pixel of the prediction. The papers give the mean over images, which small objects
dominate; here are also the median and the ratio of sums. "On the image" counts only pixels that differ from the baseline:
so the first paper seems to count MiSuRe's region, but not the masks of the other methods.

Beside every Dice explained stands what *random maps* of the same area explain: coarse grids of {CELLS} random cells per axis,
enlarged and cut to that area, {settings.draws} draws; their mean, their 95th percentile, and in how many cases the map is above the
latter. {MARK} marks a mean Dice that is not above the mean of the 95th percentiles. The papers have no such control. A map without a positive value is
"empty": it shows the network nothing, and its Dice counts as 0, as does that of random maps beside it.
"""


def _overview(verdicts: Mapping[str, Sequence[Verdict]]) -> str:
    every = [v for found in verdicts.values() for v in found]
    controls = [v for v in every if "-chance-" in v.key]  # ours, no trend of a paper
    trends_ = {name: [v for v in found if v not in controls] for name, found in verdicts.items()}
    every = [v for found in trends_.values() for v in found]
    held, told = sum(v.holds is True for v in every), sum(v.holds is not None for v in every)
    titles = {
        "hasany_2026_table1": "MiSuRe, table 1",
        "hasany_2026_sweeps": "MiSuRe, tables 2 to 6",
        "hasany_2025_table1": "A guided tour, table 1",
        "rheude_2024_figures": "Seg-HiRes-Grad CAM, figures",
        "aabid_sicre_table1": "Foreground metrics, table 1",
    }
    body = [
        [titles[name], *(f"{sum(v.holds is wanted for v in found)}" for wanted in (True, False, None))]
        for name, found in trends_.items()
    ]
    return f"""## In short

Of {told} verdicts, {held} say that a paper's trend is seen here, {told - held} that it is not.

{_table(["experiment", "holds", "does not hold", "cannot be told"], body)}

{_chance_in_short(controls)}
"""


def _chance_in_short(verdicts: Sequence[Verdict]) -> str:
    """Say which Dice explained are more than chance, and what that means for the papers' comparisons."""

    def listed(wanted: bool) -> str:
        by: dict[str, list[str]] = {}
        for v in verdicts:
            if v.holds is wanted:
                by.setdefault(v.dataset, []).append(CHANCE_OF[v.key.rpartition("-")[2]])
        return "; ".join(f"{dataset}: {', '.join(names)}" for dataset, names in by.items()) or "none"

    return (
        f"**Against random maps of the same area** (see below): above what they reach in more than half of the cases, at every "
        f"threshold, are {listed(True)}. Not so {listed(False)}. Where a method is among the latter, its Dice explained tells "
        "how much of the image its map keeps rather than whether it keeps the right part, and to compare it with another "
        "method's, as the papers do, is to compare areas."
    )


CHANCE_OF = {
    "sgc": "Seg-Grad-CAM",
    "rise": "RISE",
    "msr": "MSR",
    "xres": "Seg-XRes-CAM",
    "eigen": "Seg-Eigen-CAM",
    "ablation": "Seg-Ablation-CAM",
}
"""End of a verdict's key -> whose Dice explained it is about."""

CHANCE = ["random maps: mean", "95 %", "above"]
"""Columns beside a Dice explained."""

METHOD_HEAD = ["method", "threshold", "cases", "Dice explained", *CHANCE, "ratio: mean", "median", "of sums",
               "on the image: mean", "seconds"]  # fmt: skip


def marked(one: Line) -> str:
    """Return a Dice, marked where it is no better than that of random maps."""
    return number(one.dice) + (f" {MARK}" if one.is_chance else "")


def reached(one: Line) -> list[str]:
    """Return what random maps explain, and in how many cases the map explains more."""
    return [
        number(one.chance),
        number(one.high),
        f"{one.above} of {one.cases}" if one.chance is not None else "-",
    ]


def _method_lines(rows: Iterable[Row]) -> list[list[str]]:
    body, groups = [], grouped(rows, "method", "threshold")
    names = list(dict.fromkeys(method for method, _ in groups))
    for (method, threshold), found in sorted(groups.items(), key=lambda item: names.index(item[0][0])):
        one = line(found)
        values = [
            marked(one),
            *reached(one),
            *(number(v, 2) for v in (one.ratio, one.median, one.of_sums, one.image)),
        ]
        count = f"{one.cases}, {one.empty} empty" if one.empty else f"{one.cases}"
        body.append([method, _threshold(threshold), count, *values, number(one.seconds)])
    return body


def _hasany_2026_table(rows: Sequence[Row], settings: Settings, pictures: Mapping[str, Path]) -> list[str]:
    out = [
        "## MiSuRe, table 1: methods and thresholds",
        (
            "Hasany, Mériaudeau and Petitjean 2026. MSR is the minimally sufficient region that MiSuRe ends with; it needs no "
            "threshold."
        ),
        "**Paper** (other data, other networks):",
        _table(
            ["data set, network", "method", "threshold", "Dice explained", "ratio", "seconds"],
            [
                [data, method, _threshold(threshold), *(f"{value:g}" for value in values)]
                for data, lines in paper.HASANY_2026_TABLE1.items()
                for method, threshold, *values in lines
            ],
        ),
    ]
    for dataset in settings.datasets:
        out += [
            f"**Ours, {DATASETS[dataset]}**:",
            _table(
                METHOD_HEAD,
                _method_lines(
                    row
                    for row in trends.of_dataset(rows, dataset)
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
                    _threshold(threshold),
                    *(f"{v:g}" for v in printed[own, threshold][:2]),
                    *values,
                    str(len(found)),
                ]
            )
        out += [
            "**Random maps as large as the paper's**, on our Triangle images and network: what a map of that ratio explains by chance.",
            _table(
                ["the paper's map", "threshold", "its Dice explained", "its ratio", *CHANCE[:2], "cases"],
                body,
            ),
        ]
    out += [
        _picture(
            pictures,
            "hasany_2026_maps",
            "First case of every data set; maps with their positive part, each on its own scale",
        )
    ]
    return out


def _hasany_2026_sweeps(rows: Sequence[Row], settings: Settings, pictures: Mapping[str, Path]) -> list[str]:
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
        _table(
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
        own = trends.of_dataset(rows, dataset)
        whole = grouped([row for row in own if row["share"] == 1], "lr", "lam")
        for k, lam in enumerate(hasany_2026_sweeps.LAMBDAS if whole else ()):
            lines = [line(whole[rate, lam]) for rate in hasany_2026_sweeps.RATES]
            title = f"{dataset}, {lines[0].cases} {_plural('case', lines[0].cases)}" if k == 0 else ""
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
        _table(ours, body),
        "**Paper**, table 6 (learning rate 0.1, lambda 0.01):",
        _table(
            ["data set, network", "side of the mask", "Dice explained", "ratio"],
            [
                [title, *(f"{v:g}" for v in values)]
                for title, lines in paper.HASANY_2026_MASK_SIZE.items()
                for values in lines
            ],
        ),
        "**Ours**: a quarter, half and the whole of the network's grid.",
        _table(
            ["data set", "side of the mask", "cases", "Dice explained", *CHANCE, "ratio on the image: mean", "ratio on the mask: median"],
            sizes,
        ),
    ]  # fmt: skip
    return out


def _hasany_2025(rows: Sequence[Row], settings: Settings, pictures: Mapping[str, Path]) -> list[str]:
    out = [
        "## A guided tour, table 1: five methods, and RISE with more masks",
        "Hasany, Petitjean and Mériaudeau 2025. RISE's times with fewer masks are read within one run.",
        "**Paper** (a subset of COCO-2017, DeepLabv3):",
        _table(
            ["method", "threshold", "Dice explained", "ratio", "seconds"],
            [
                [method, _threshold(t), *(f"{v:g}" for v in values)]
                for method, t, *values in paper.HASANY_2025_TABLE1
            ],
        ),
    ]
    for dataset in settings.datasets:
        out += [
            f"**Ours, {DATASETS[dataset]}**:",
            _table(METHOD_HEAD, _method_lines(trends.of_dataset(rows, dataset))),
        ]
    out += [
        _picture(pictures, "hasany_2025_maps", "Five methods (figure 2 of the paper)"),
        _picture(
            pictures,
            "hasany_2025_masks",
            "RISE with 100, 500, 1000 and 2000 masks (figure 3); grey: not run with so many",
        ),
    ]
    return out


def _rheude_2024(rows: Sequence[Row], settings: Settings, pictures: Mapping[str, Path]) -> list[str]:
    quality = grouped([row for row in rows if row["part"] == "network"], "dataset")
    out = [
        "## Seg-HiRes-Grad CAM: figures and table 2",
        (
            "Rheude, Wirtz, Kuijper and Wesarg 2024. The paper shows maps without measuring them; here the same are also "
            "measured. *Inside* is the share of a map's positive mass in the prediction."
        ),
        "**Paper**, table 2: how good the networks are.",
        _table(
            ["data set", "F1", "IoU"],
            [[name, f"{f1:g}", f"{iou:g}"] for name, f1, iou in paper.RHEUDE_2024_TABLE2],
        ),
        "**Ours**, means over cases (of the photograph no truth is known):",
        _table(
            ["data set", "cases", "F1", "IoU"],
            [
                [name, str(len(found)), *(number(mean(row[key] for row in found)) for key in ("f1", "iou"))]
                for (name,), found in quality.items()
            ],
        ),
        (
            "**Ours**, pixel sets at the bottleneck (figures 2 to 6): mean share inside the prediction, and within an eighth of the "
            "image of the chosen pixel."
        ),
    ]
    body = []
    for (dataset, method, pixels), found in grouped(
        [row for row in rows if row["part"] == "pixel sets" and row["pixels"] != "none"],
        "dataset",
        "method",
        "pixels",
    ).items():
        values = [
            number(mean(row[key] for row in found)) for key in ("inside", "chance", "chance_high", "near")
        ]
        body.append([dataset, method, pixels, str(len(found)), *values])
    out += [
        _table(["data set", "method", "pixel set", "cases", "inside", *CHANCE[:2], "near the pixel"], body),
        _picture(pictures, "rheude_2024_sets", "Pixel sets: the whole image, the class, one pixel"),
        (
            "**Ours**, per block of the network (figures 7 and 8): mean share inside, and Dice with the prediction of the map at "
            "half its maximum. In brackets, what random maps with the same values hold inside (95th percentile)."
        ),
    ]
    layers = [row for row in rows if row["part"] == "layers"]
    body = []
    for (dataset, layer), found in grouped(layers, "dataset", "layer").items():
        by = grouped(found, "method")
        values = [
            f"{number(mean(row['inside'] for row in own))} ({number(mean(row['chance_high'] for row in own))})"
            for own in by.values()
        ] + [number(mean(row["dice"] for row in own)) for own in by.values()]
        body.append([dataset, layer, found[0]["stage"], *values])
    out += [
        _table(
            ["data set", "block", "stage", "inside: Seg-Grad-CAM", "Seg-HiRes", "Dice: Seg-Grad-CAM", "Seg-HiRes"],
            body,
        ),
        _picture(pictures, "rheude_2024_layers", "Levels of the first case's network as rows, the deepest last (figure 8)"),
    ]  # fmt: skip
    return out


def _aabid_sicre(rows: Sequence[Row], settings: Settings, pictures: Mapping[str, Path]) -> list[str]:
    keys = list(paper.AABID_SICRE_TABLE1)
    body = []
    for (dataset, method), found in grouped(rows, "dataset", "method").items():
        values = [
            number(mean(row[key] for row in found))
            + (
                f" ({number(mean(row[f'{key} chance'] for row in found))} / "
                f"{number(mean(row[f'{key} chance_high'] for row in found))})"
                if f"{key} chance" in found[0]
                else ""
            )
            for key in keys
        ]
        lost = [number(1 - (mean(row[key] for row in found) or 0)) for key in ("recall", "masked recall")]
        body.append([dataset, method, str(len(found)), *values, *lost])
    out = [
        "## Foreground metrics, table 1: boxes against masks",
        (
            "Aabid and Sicre. LE and MLE: localisation error of the box and of the mask. EPG and MEPG: share of the map in the box "
            "and in the mask. The paper's program divides by the truth alone where IoU is meant, so that its LE and MLE are 1 - "
            "recall: an IoU of 0.75 would force an F1 of 0.86, not 0.51. Ours are 1 - IoU; 1 - recall stands beside them. In brackets "
            "behind EPG and MEPG, what random maps with the same values reach: mean and 95th percentile."
        ),
        "**Paper** (Oxford-IIIT Pet, an ImageNet classifier, Grad-CAM):",
        _table(keys, [[f"{value:g}" for value in paper.AABID_SICRE_TABLE1.values()]]),
        "**Ours** (of the photograph, the prediction stands in for the truth):",
        _table(["data set", "method", "maps", *keys, "1 - recall, box", "1 - recall, mask"], body),
    ]
    return out


def _left_out(settings: Settings) -> str:
    lines = [
        (
            "The papers' own data and networks (Synapse, COCO-2017, Cityscapes, OPG, KiTS23, Oxford-IIIT Pet): they do not come "
            "with this project."
        ),
        "TransUNet (MiSuRe, tables 1, 4 and 6): no transformer network comes with this project.",
        "MiSuRe, figures 4 to 9 and table 7 (object size, reliability): not part of this page.",
    ]
    lines += [f"In this run: {DATASETS[name]}." for name in DATASETS if name not in settings.datasets]
    unswept = [name for name in ("photograph", "tissue") if name not in settings.sweep_datasets]
    if unswept:
        lines.append(f"In this run: the sweeps (MiSuRe, tables 3, 5 and 6) on {' and '.join(unswept)}.")
    if min(settings.masks_tissue, settings.masks_head) < hasany_2025_table1.COUNTS[-1]:
        lines.append(
            f"RISE with more than {settings.masks_tissue} masks on blocks, or {settings.masks_head} on the head: a pass in 3D "
            "takes long; `--full` runs all."
        )
    return "## What is not reproduced\n\n" + "\n".join(f"- {words}" for words in lines) + "\n"


# -- pieces --------------------------------------------------------------------------------------------


def _section(parts: Sequence[str], verdicts: Sequence[Verdict], measured: Sequence[Row]) -> str:
    body: list[list[str]] = []
    reasons: dict[tuple[str, str], list[str]] = {}
    for verdict in verdicts:
        body.append([verdict.dataset, verdict.claim, verdict.rule, SAYS[verdict.holds], verdict.evidence])
        if verdict.holds is False:
            known = REASONS.get((verdict.key, verdict.dataset), REASONS.get((verdict.key, "")))
            why = (known or "no reason was found yet.").format_map(_numbers(measured, verdict.dataset))
            claims = reasons.setdefault((verdict.dataset, why), [])
            claims += [f"*{verdict.claim}*"] if f"*{verdict.claim}*" not in claims else []
    out = [*parts, "### Trends", _table(["data set", "the paper", "rule", "here", "our numbers"], body)]
    if reasons:
        told = [f"- {dataset}, {'; '.join(claims)}: {why}" for (dataset, why), claims in reasons.items()]
        out += ["### What does not hold, and why", "\n".join(told)]
    return "\n\n".join(part for part in out if part) + "\n"


def _numbers(measured: Sequence[Row], dataset: str) -> Mapping[str, str]:
    """Return the means of a data set's diagnostics, for the reasons to cite; a dash for what was not measured."""
    own = trends.of_dataset(measured, dataset)
    keys = dict.fromkeys(key for row in own for key in row if key not in ("dataset", "case"))
    return defaultdict(lambda: "-", {key: number(mean(row.get(key) for row in own)) for key in keys})


def _table(head: Sequence[Any], body: Iterable[Sequence[Any]]) -> str:
    lines = [f"| {' | '.join(map(str, row))} |" for row in (head, ["---"] * len(head), *body)]
    return "\n".join(lines)


def _picture(pictures: Mapping[str, Path], name: str, words: str) -> str:
    return f"![{words}](images/{pictures[name].name})\n\n*{words}.*" if name in pictures else ""


def _threshold(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _plural(word: str, n: int) -> str:
    return word if n == 1 else f"{word}s"
