"""What is more than the chance of a few images: intervals, and verdicts that hold for drawn samples as well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from common import Row, image_of
from summary import Verdict, number

from napari_segxai.analyses.cohort.study import interval

FEW = 5
"""Below so many images nothing is told of others."""

DRAWS = 400
SURE = 0.975
"""In so many of the drawn samples a rule has to come out alike: a 95 % interval on both sides."""


def settled(
    rules: Callable[[Sequence[Row]], list[Verdict]], rows: Sequence[Row], draws: int = DRAWS
) -> list[Verdict]:
    """Return the verdicts of rules on rows as far as the images tell.

    Images are drawn with replacement, as many as there are, and every rule is asked again: only what comes out alike in `SURE` of
    the samples is told. One image, or few, tell nothing of others, however clear their numbers are.
    """
    found = rules(rows)
    images: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        images.setdefault((row["dataset"], image_of(row)), []).append(row)
    fewest = min((_count(images, dataset) for dataset in {key[0] for key in images}), default=0)
    if fewest < FEW:
        said = f"{fewest} image{'s' * (fewest != 1)}"
        return [replace(one, holds=None, why=said) for one in found]
    random, of, count = np.random.default_rng(0), list(images.values()), dict.fromkeys(map(_key, found), 0)
    wanted = {_key(one): one.holds for one in found}
    for _ in range(draws):
        drawn = random.integers(0, len(of), len(of))
        sample = [{**row, "case": f"{row['case']} {k}"} for k, i in enumerate(drawn) for row in of[i]]
        for one in rules(sample):
            if _key(one) in count:
                count[_key(one)] += one.holds is wanted[_key(one)]
    out = []
    for one in found:
        share = count[_key(one)] / draws
        sure = one.holds is not None and share >= SURE
        out.append(
            replace(
                one,
                holds=one.holds if sure else None,
                why="" if one.holds is None else f"{'' if one.holds else 'not '}in {share:.0%} of samples",
            )
        )
    return out


def _count(images: dict[tuple[str, str], list[Row]], dataset: str) -> int:
    return sum(key[0] == dataset for key in images)


def _key(one: Verdict) -> tuple[str, str, str]:
    return one.key, one.claim, one.dataset


def mean_interval(rows: Sequence[Row], value: Callable[[Row], float], digits: int = 3) -> str:
    """Return the 95 % interval of a mean over images as text; nothing of fewer than `FEW`."""
    images = [image_of(row) for row in rows]
    if len(set(images)) < FEW:
        return ""
    found = interval(
        [value(row) for row in rows], images, lambda values: float(values.mean()), np.random.default_rng(0)
    )
    return "" if found is None else f" ({number(found[0], digits)} to {number(found[1], digits)})"
