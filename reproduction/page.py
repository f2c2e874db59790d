"""The page: the papers' numbers, ours, and whether the trends are seen."""

from __future__ import annotations

import os
import platform
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import hasany_2025_table1
import sections.aabid_sicre
import sections.cohorts
import sections.hasany_2025
import sections.hasany_2026
import sections.networks
import sections.rheude_2024
import trends.aabid_sicre
import trends.cohorts
import trends.hasany_2025
import trends.hasany_2026
import trends.networks
import trends.rheude_2024
from common import BASELINE, Row, cases
from figures import draw
from intervals import FEW, SURE, settled
from kept import Store
from reasons import REASONS
from sections.tables import plural, table
from settings import DATASETS, Settings
from summary import Verdict, mean, number
from trends.rules import of_dataset

from napari_segxai.metrics.functional.chance import CELLS, MARK

SAYS = {True: "holds", False: "**does not hold**", None: "cannot be told"}
COHORTS = "cohorts"
PAPERS = {
    "MiSuRe (Hasany et al. 2026)": ("hasany_2026_table1", "hasany_2026_sweeps", COHORTS),
    "A guided tour (Hasany et al. 2025)": ("hasany_2025_table1",),
    "Seg-HiRes-Grad CAM (Rheude et al. 2024)": ("rheude_2024_figures",),
    "Foreground metrics (Aabid and Sicre)": ("aabid_sicre_table1",),
}
"""Experiments of every paper."""


@dataclass(frozen=True)
class Experiment:
    """A section of the page.

    Attributes
    ----------
    name
        Under which its rows are kept.
    title
        In the overview.
    section
        (rows, settings, pictures) -> paragraphs.
    trends
        (rows, data set) -> verdicts.
    """

    name: str
    title: str
    section: Callable[[Sequence[Row], Settings, Mapping[str, Path]], list[str]]
    trends: Callable[[Sequence[Row], str], list[Verdict]]


EXPERIMENTS = (
    Experiment(
        "hasany_2026_table1", "MiSuRe, table 1", sections.hasany_2026.methods, trends.hasany_2026.table
    ),
    Experiment(
        "hasany_2026_sweeps", "MiSuRe, tables 2 to 6", sections.hasany_2026.sweeps, trends.hasany_2026.sweeps
    ),
    Experiment(
        "hasany_2025_table1", "A guided tour, table 1", sections.hasany_2025.methods, trends.hasany_2025.table
    ),
    Experiment(
        "rheude_2024_figures",
        "Seg-HiRes-Grad CAM, figures",
        sections.rheude_2024.figures,
        trends.rheude_2024.pictures,
    ),
    Experiment(
        "aabid_sicre_table1",
        "Foreground metrics, table 1",
        sections.aabid_sicre.metrics,
        trends.aabid_sicre.table,
    ),
)


def write_page(
    folder: Path,
    rows: Mapping[str, Sequence[Row]],
    settings: Settings,
    store: Store,
    told: Mapping[str, Row],
) -> Path:
    """Write reproduction.md and its images to a folder, and return the page; `told` is what the cohorts' studies say."""
    found = cases(settings)
    pictures = draw(found, store, folder / "images")
    charts = sections.cohorts.draw(told, folder / "images")
    verdicts = _verdicts(rows, settings.datasets)
    verdicts[COHORTS] = trends.cohorts.verdicts(told)
    on_networks = trends.networks.verdicts(rows["networks"])
    text = "\n".join(
        [
            _head(settings, store, found, rows),
            _overview(verdicts),
            _of_papers(verdicts, on_networks, told),
            *_paragraphs(sections.networks.methods(rows["networks"], settings, on_networks)),
            *(
                _section(
                    one.section(rows[one.name], settings, pictures), verdicts[one.name], rows["diagnostics"]
                )
                for one in EXPERIMENTS
            ),
            _section(sections.cohorts.studies(told, charts), verdicts[COHORTS], rows["diagnostics"]),
            _left_out(settings),
        ]
    )
    path = folder / "reproduction.md"
    path.write_text(text.rstrip() + "\n", encoding="utf-8")
    return path


def _paragraphs(parts: Sequence[str]) -> list[str]:
    return ["\n\n".join(part for part in parts if part) + "\n"] if parts else []


def _verdicts(rows: Mapping[str, Sequence[Row]], datasets: Sequence[str]) -> dict[str, list[Verdict]]:
    """Return the verdicts of every experiment, as far as the images tell."""
    out = {
        one.name: [
            v
            for dataset in datasets
            for v in settled(
                lambda some, o=one, d=dataset: o.trends(some, d), of_dataset(rows[one.name], dataset)
            )
        ]
        for one in EXPERIMENTS
    }
    figures = rows["rheude_2024_figures"]
    out["rheude_2024_figures"] += settled(lambda some: trends.rheude_2024.medical(some, datasets), figures)
    return out


def _head(settings: Settings, store: Store, found: Sequence, rows: Mapping[str, Sequence[Row]]) -> str:
    counts = {name: len({case.key for case in found if case.dataset == name}) for name in settings.datasets}
    empty = sorted({row["case"] for row in rows["hasany_2025_table1"] if not row["size"]})
    versions = ", ".join(
        f"{name} {version(name)}" for name in ("napari-segxai", "torch", "numpy", "scikit-image")
    )
    dates = store.dates()
    data = "\n".join(f"- **{name}**: {DATASETS[name]}; {n} {plural('case', n)}" for name, n in counts.items())
    return f"""# The papers' experiments, run again

The experiments of the papers that this plugin builds on, with its own code, on the data that come with it. The papers
used other images and other networks, so **no number here can equal theirs**: what can be compared are trends - which
method is better at what, and what a parameter does. For every trend there is a rule, and a program decides by it. What does
not hold is said, with a reason as far as one was found. `make reproduce` writes this page (`reproduction/`).

## Data and settings

{data}

A case is one object (label) in one image. Triangle images are generated from items that the network was not trained on, by
one seed each. The blocks have {settings.block} voxels of 2 mm per side; every label of a block is a case. One photograph,
one head and one average brain are not a sample: what they show, they show of themselves alone.
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
| machine | {os.cpu_count()} CPU cores ({platform.machine()}); {settings.processes} {plural("process", settings.processes, "processes")} side by side, {settings.threads} {plural("thread", settings.threads)} in each; times are wall-clock and suffer from whatever else runs{f". {settings.note}" if settings.note else ""} |
| time | {_time(store)} |
| computed | {" to ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else "-"} |

Ratios are pixels of the mask per pixel of the prediction. The papers give the mean over images, which small objects
dominate; here are also the median and the ratio of sums. "On the image" counts only pixels that differ from the baseline:
so the first paper seems to count MiSuRe's region, but not the masks of the other methods.

Beside every Dice explained stands what *random maps* of the same area explain: coarse grids of {CELLS} random cells per axis,
enlarged and cut to that area, {settings.draws} draws; their mean, their 95th percentile, and in how many cases the map is above the
latter. {MARK} marks a mean Dice that is not above the mean of the 95th percentiles. The papers have no such control. A map without a positive value is
"empty": it shows the network nothing, and its Dice counts as 0, as does that of random maps beside it.
"""


def _time(store: Store) -> str:
    """Say what all results took, how many were computed now, and how many an earlier state of the code made."""
    seconds, unknown = store.cpu()
    which = (
        f"{len(store.used) - unknown} of {len(store.used)} results, of which it is known,"
        if unknown
        else f"{len(store.used)} results"
    )
    told = f"{which} took {seconds / 60:.0f} minutes of one processor core"
    told += f"; {len(store.computed)} of them were computed in this run, the others kept from earlier ones"
    others = len(store.other_code)
    return told + (f", {others} of them of an earlier state of the code that ran for them" if others else "")


def _overview(verdicts: Mapping[str, Sequence[Verdict]]) -> str:
    every = [v for found in verdicts.values() for v in found]
    controls = [v for v in every if "-chance-" in v.key]  # ours, no trend of a paper
    trends_ = {name: [v for v in found if v not in controls] for name, found in verdicts.items()}
    every = [v for found in trends_.values() for v in found]
    held, told = sum(v.holds is True for v in every), sum(v.holds is not None for v in every)
    titles = {one.name: one.title for one in EXPERIMENTS} | {COHORTS: "MiSuRe, figures 4 to 7 and table 7"}
    body = [
        [titles[name], *(f"{sum(v.holds is wanted for v in found)}" for wanted in (True, False, None))]
        for name, found in trends_.items()
    ]
    return f"""## In short

Of {len(every)} verdicts, {held} say that a paper's trend is seen here, {told - held} that it is not, and {len(every) - told} that it
cannot be told. A verdict is told where at least {FEW} images were looked at and the rule comes out alike in {SURE:.1%} of samples that are drawn
of them with replacement; so nothing is told of others by one photograph, one head and one brain, however clear their numbers are. (Figures 4 to 7 are looked
at on blocks of one brain too: what is told there is told of that brain alone.)

{table(["experiment", "holds", "does not hold", "cannot be told"], body)}

{_chance_in_short(controls)}
"""


def _of_papers(
    verdicts: Mapping[str, Sequence[Verdict]],
    on_networks: dict[tuple[str, str], list[Verdict]],
    told: Mapping[str, Row],
) -> str:
    """Say in a paragraph what of each paper holds, and on what it depends."""
    out = ["## What of each paper holds, and on what it depends"]
    for paper, names in PAPERS.items():
        found = [v for name in names for v in verdicts[name] if "-chance-" not in v.key]
        held, not_held = (
            [f"*{v.claim}* ({v.dataset})" for v in found if v.holds is wanted] for wanted in (True, False)
        )
        open_ = [v for v in found if v.holds is None]
        few = sum(v.why.endswith(("image", "images")) for v in open_)
        words = f"**{paper}.** Holds: {'; '.join(held) or 'nothing that could be told'}. "
        words += f"Does not hold: {'; '.join(not_held) or 'nothing that could be told'}. "
        words += f"{len(open_)} of {len(found)} cannot be told, {few} of them because there are fewer than {FEW} images."
        if paper.startswith("MiSuRe"):
            words += f" {sections.networks.depends(on_networks)}"
            for dataset, one in told.items():
                words += f" Reliability, {sections.cohorts.TITLES[dataset]}: {one['studies']['reliability']['sentence']}"
        else:
            words += " Tried on one network for each kind of images, with one training each: on what it depends is not told."
        out.append(words)
    return "\n\n".join(out) + "\n"


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


def _left_out(settings: Settings) -> str:
    lines = [
        (
            "The papers' own data and networks (Synapse, COCO-2017, Cityscapes, OPG, KiTS23, Oxford-IIIT Pet): they do not come "
            "with this project."
        ),
        "TransUNet (MiSuRe, tables 1, 4 and 6): no transformer network comes with this project.",
        "MiSuRe, figures 8 and 9 (ROC curves and single examples of the reliability study): its numbers are in the section on many objects.",
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


def _section(parts: Sequence[str], verdicts: Sequence[Verdict], measured: Sequence[Row]) -> str:
    body: list[list[str]] = []
    reasons: dict[tuple[str, str], list[str]] = {}
    for verdict in verdicts:
        says = SAYS[verdict.holds] + (f" ({verdict.why})" if verdict.why else "")
        body.append([verdict.dataset, verdict.claim, verdict.rule, says, verdict.evidence])
        if verdict.holds is False:
            known = REASONS.get((verdict.key, verdict.dataset), REASONS.get((verdict.key, "")))
            why = (known or "no reason was found yet.").format_map(_numbers(measured, verdict.dataset))
            claims = reasons.setdefault((verdict.dataset, why), [])
            claims += [f"*{verdict.claim}*"] if f"*{verdict.claim}*" not in claims else []
    out = [*parts, "### Trends", table(["data set", "the paper", "rule", "here", "our numbers"], body)]
    if reasons:
        told = [f"- {dataset}, {'; '.join(claims)}: {why}" for (dataset, why), claims in reasons.items()]
        out += ["### What does not hold, and why", "\n".join(told)]
    return "\n\n".join(part for part in out if part) + "\n"


def _numbers(measured: Sequence[Row], dataset: str) -> Mapping[str, str]:
    """Return the means of a data set's diagnostics, for the reasons to cite; a dash for what was not measured."""
    own = of_dataset(measured, dataset)
    keys = dict.fromkeys(key for row in own for key in row if key not in ("dataset", "case"))
    return defaultdict(lambda: "-", {key: number(mean(row.get(key) for row in own)) for key in keys})
