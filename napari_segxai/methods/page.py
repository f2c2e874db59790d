"""What is known of a method, as Markdown: the page of the ? button, and a section of docs/methods.md."""

from __future__ import annotations

from collections.abc import Sequence

from napari_segxai.core.column import Column
from napari_segxai.core.options import Parameter
from napari_segxai.methods.registry import QUESTIONS, Method


def section(method: Method) -> str:
    """Return what a method shows, its formula, its cost, its parameters and its presets."""
    lines = [
        f"## {method.title} (`{method.name}`)",
        "",
        f"*{QUESTIONS[method.question]} ({method.family})* {_capital(method.summary)}.",
        "",
    ]
    lines += [method.doc.strip(), "", *parameter_table(method.parameters, "chosen by the method")]
    for name, values in method.presets.items():
        what = ", ".join(f"`{k}={v}`" for k, v in values.items()) or "the defaults"
        lines.append(f"\nPreset `{name}`: {what}.")
    if method.on_cases is not None and method.on_cases.columns:
        lines += ["", *column_table(method.on_cases.columns)]
    return "\n".join(lines)


def parameter_table(parameters: Sequence[Parameter], auto: str) -> list[str]:
    """Return the lines of a table; `auto` says who chooses where there is no default."""
    lines = ["| parameter | default | type | meaning |", "|---|---|---|---|"]
    for p in parameters:
        kind = " or ".join(f"`{c}`" for c in p.choices) or p.type_name
        kind += "".join(f", {fact}" for fact in (p.bounds, p.unit) if fact)
        default = _auto(p, auto) if p.default is None else f"`{p.default}`" if p.default != "" else "none"
        lines.append(f"| `{p.name}` | {default} | {kind} | {p.help} |")
    return lines


def column_table(columns: Sequence[Column]) -> list[str]:
    """Return the lines of a table that describes columns."""
    lines = ["| column | unit | better | meaning |", "|---|---|---|---|"]
    return lines + [f"| `{one.name}` | {one.unit} | {one.better or ''} | {one.meaning} |" for one in columns]


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _auto(parameter: Parameter, auto: str) -> str:
    return auto if parameter.usual is None else f"{auto} (`{parameter.usual}`)"
