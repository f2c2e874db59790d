"""Write docs/trust.md from the registry of trust checks."""

from __future__ import annotations

from pathlib import Path

from napari_segxai.checks.registry import Check, all_checks
from napari_segxai.methods.page import parameter_table

PAGE = Path(__file__).parents[1] / "docs" / "trust.md"
HEAD = """# Trust checks

Written by `scripts/trust_page.py` from the checks themselves; edit their files, not this page.

A check asks one question of a finished explanation, measures one number and holds it against a threshold. It says *pass*,
*warn*, or *undecided* where the question cannot be answered, each in a sentence with the number. The verdicts go into the
record, and so into `record.json` and the layers. A pass is not a proof: each check looks for one way in which maps mislead.

- Python: `sx.check(explanation, model, checks=["other-seed"])`, or with parameters `{"other-seed": {"seeds": 3}}`.
- Command line: `napari-segxai explain ... --check other-seed:seeds=3`, `--check all`; `napari-segxai checks` lists them.
- napari: *Check* below a result in the Explain dock, where every check says what it would cost.

Costs are in passes of the network; *the method's passes* are those that the explanation itself took (of one slice, where a
2D model explained many: the one with the most of the label is checked). The network's weights are made random in a copy.
"""


def section(check: Check) -> str:
    text = check.doc.strip().partition("\n")[2].strip()
    lines = [f"## {check.title} (`{check.name}`)", "", f"*{check.question}*", "", text, ""]
    lines += [
        f"Cost: {check.cost}. Source: {check.source}.",
        "",
        *parameter_table(check.parameters, "as the method"),
    ]
    return "\n".join(lines)


def page() -> str:
    return HEAD + "\n" + "\n\n".join(section(check) for check in all_checks()) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
