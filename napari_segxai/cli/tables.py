"""A comparison as text: what `compare` and `sweep` print."""

from __future__ import annotations

from typing import Any

from napari_segxai.core.errors import plain


def print_table(found: Any) -> None:
    """Print a row per map, then why numbers are missing, one line for each reason, and the warnings."""
    from napari_segxai.analyses.compare.result import ARROWS
    from napari_segxai.metrics.functional.chance import MARK

    heads = ["map", *(m.name + ARROWS[m.better] for m in found.metrics), "seconds"]
    rows = [
        [
            row["map"],
            *(
                _number(row.get(m.name)) + MARK * (row.get(f"{m.name} above chance") is False)
                for m in found.metrics
            ),
            _number(row["seconds"], none=""),
        ]
        for row in found.table
    ]
    widths = [max(len(line[k]) for line in [heads, *rows]) for k in range(len(heads))]
    for line in [heads, *rows]:
        print("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))
    for line in _levels(found):
        print(f"{MARK} {line}")
    for line in _reasons(found):
        print(f"– {line}")
    for warning in found.warnings:
        print(f"⚠ {plain(warning)}")


def _levels(found: Any) -> list[str]:
    """Say what random maps reach: a line per metric whose chance level was measured."""
    from napari_segxai.metrics.functional.chance import HIGH

    lines = []
    for metric in found.metrics:
        rows = [row for row in found.rows if row["metric"] == metric.name and row.get("chance") is not None]
        told = [f"{row['map']} {row['chance']:.3g} / {row['chance_high']:.3g}" for row in rows]
        if told:
            lines.append(f"{metric.name}, random maps of the same area (mean / {HIGH} %): {', '.join(told)}")
    if any(row.get("above_chance") is False for row in found.rows):
        lines.append("behind a number: no better than random maps.")
    return lines


def _reasons(found: Any) -> list[str]:
    """Say why numbers are undefined: one line for each reason, with the metrics and maps that it holds for."""
    cells: dict[str, list[tuple[str, str]]] = {}
    for row in found.rows:
        if row["value"] is None:
            cells.setdefault(row["reason"], []).append((row["map"], row["metric"]))
    lines = []
    for reason, pairs in cells.items():
        maps, metrics = (", ".join(dict.fromkeys(names)) for names in zip(*pairs, strict=True))
        lines.append(f"{reason} ({metrics}; {maps})")
    measured = {(row["map"], row["metric"]) for row in found.rows}
    random = [name for name in found.names if name not in found.maps]
    if any((name, metric.name) not in measured for name in random for metric in found.metrics):
        lines.append("random orders go through insertion and deletion alone.")
    return lines


def _number(value: float | None, none: str = "–") -> str:
    return none if value is None else f"{value:.3g}"
