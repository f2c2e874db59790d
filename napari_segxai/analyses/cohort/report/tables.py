"""The tables of a report in files: CSV for programs, LaTeX for papers, BibTeX for their sources."""

from __future__ import annotations

from pathlib import Path

from napari_segxai.analyses.cohort.report.parts import Report, Table, written
from napari_segxai.io.names import file_names
from napari_segxai.io.saving import replacing
from napari_segxai.io.tables import write_csv

_ESCAPED = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    '"': r"\textquotedbl{}", "\N{MINUS SIGN}": "$-$", "–": "--", "²": r"\textsuperscript{2}", "³": r"\textsuperscript{3}",
}  # fmt: skip


def write_tables(report: Report, folder: Path) -> list[Path]:
    """Write every table of a report as NAME.csv and NAME.tex, and references.bib.

    Raises
    ------
    UserError
        If they cannot be written.
    """
    files = file_names([table.name for table in report.tables], taken=("references",))
    out = []
    for table in report.tables:
        path = folder / f"{files[table.name]}.csv"
        out.append(write_csv(path, [dict(zip(table.heads, row, strict=True)) for row in table.rows]))
        out.append(_write(path.with_suffix(".tex"), latex_of(table)))
    return [*out, _write(folder / "references.bib", report.bibtex)]


def _write(path: Path, text: str) -> Path:
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")
    return path


def escaped(text: str) -> str:
    """Return a text as LaTeX prints it: nothing in it is a command."""
    return "".join(_ESCAPED.get(letter, letter if letter.isprintable() else " ") for letter in text)


def latex_of(table: Table) -> str:
    """Return a table for LaTeX's packages booktabs and longtable, with numbers to the right."""
    sides = "".join(
        "r"
        if any(isinstance(row[k], int | float) and not isinstance(row[k], bool) for row in table.rows)
        else "l"
        for k in range(len(table.heads))
    )
    lines = [
        "% needs the packages booktabs and longtable",
        rf"\begin{{longtable}}{{{sides}}}",
        rf"\caption{{{escaped(table.title)}}}\\",
        r"\toprule",
        " & ".join(map(escaped, table.heads)) + r" \\",
        r"\midrule",
        r"\endhead",
        *(" & ".join(escaped(written(cell)) for cell in row) + r" \\" for row in table.rows),
        r"\bottomrule",
        r"\end{longtable}",
    ]
    return "\n".join(lines) + "\n"
