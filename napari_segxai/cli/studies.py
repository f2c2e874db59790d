"""The commands `cohort report`, `cohort study` and `cohort studies`: what the tables of a cohort tell."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from napari_segxai.cli.cohort import cohort
from napari_segxai.cli.common import AsJson, Seed, parameter_line, read_parameters
from napari_segxai.core.errors import plain


@cohort.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a cohort.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The report; .html or .pdf by its ending.")
    ],
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="Numbers take the place of the names of cases, everywhere.")
    ] = False,
    key: Annotated[
        Path | None,
        typer.Option(
            "--key", metavar="FILE", help="Write which number is which case (CSV), with --anonymous."
        ),
    ] = None,
    tables: Annotated[
        Path | None,
        typer.Option("--tables", metavar="DIR", help="Write every table as CSV and for LaTeX, and BibTeX."),
    ] = None,
    seed: Seed = 0,
) -> None:
    """Write what a cohort tells as one file: data, settings, every study, the worst cases, what failed, references."""
    from napari_segxai import write_report

    written = write_report(folder, out, anonymous=anonymous, key=key, tables=tables, seed=seed)
    print(plain(str(written[0])))


class _WithStudies(TyperCommand):
    """Its help ends with what studies there are, those of other packages among them."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from napari_segxai import list_studies

        lines = [f"{one['name']}: {one['summary']}." for one in list_studies()]
        self.epilog = "\n\n".join(map(plain, lines))
        super().format_help(ctx, formatter)


@cohort.command(cls=_WithStudies)
def study(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a cohort.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="One of those below.")],
    param: Annotated[
        list[str] | None,
        typer.Option(
            "-p", "--param", metavar="NAME=VALUE", help="Parameter of the study; `cohort studies` lists them."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Write the table as CSV too, and beside it further tables, FILE_NAME.csv, and pictures, FILE_NAME.png.",
        ),
    ] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Say what the tables of a cohort tell, with what speaks against it."""
    from napari_segxai import study as say
    from napari_segxai.analyses.cohort.report.pictures import save_gallery
    from napari_segxai.core.record import as_json as to_json
    from napari_segxai.io.names import file_names
    from napari_segxai.io.saving import check_file
    from napari_segxai.io.tables import write_csv

    if out is not None:
        check_file(out)
    found = say(folder, name, seed=seed, **read_parameters(param, of=[say]))
    if out is not None:
        write_csv(out, found.rows)
        for more, file in file_names(found.tables).items():
            write_csv(out.with_name(f"{out.stem}_{file}.csv"), found.tables[more])
        for gallery in found.galleries:
            save_gallery(gallery, out.with_name(f"{out.stem}_{file_names([gallery.name])[gallery.name]}.png"))
    if as_json:
        told = {"sentence": found.sentence, "caveats": found.caveats, "rows": found.rows}
        charts = [chart.as_json() for chart in found.charts]
        print(to_json({**told, "tables": dict(found.tables), "charts": charts}))
        return
    heads = list(dict.fromkeys(key for row in found.rows for key in row))
    lines = [heads, *([_cell(row.get(head)) for head in heads] for row in found.rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(heads))]
    for line in lines if found.rows else []:
        print("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))
    print(plain(found.sentence))
    for caveat in found.caveats:
        print(plain(f"⚠ {caveat}"))
    if found.tables and out is None:
        names = ", ".join(found.tables)
        print(plain(f"There are further tables ({names}): --out FILE writes them, --json prints them."))
    if found.galleries and out is None:
        names = ", ".join(gallery.title for gallery in found.galleries)
        print(plain(f"There are pictures ({names}): --out FILE writes them."))


@cohort.command()
def studies(as_json: AsJson = False) -> None:
    """List the studies and their parameters."""
    from napari_segxai import list_studies
    from napari_segxai.core.record import as_json as to_json

    found = list_studies()
    if as_json:
        print(to_json(found))
        return
    for one in found:
        print(plain(f"{one['name']}  ({one['title']})"))
        print("    " + plain(one["summary"]) + "\n    " + plain(one["source"]))
        for parameter in one["parameters"]:
            print(parameter_line(parameter))
        print()


def _cell(value: object) -> str:
    return "–" if value in (None, "") else f"{value:.4g}" if isinstance(value, float) else plain(str(value))
