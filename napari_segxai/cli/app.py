"""The command line: the same names, defaults and numbers as in Python."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Any, NoReturn

import typer

from napari_segxai.cli.channels import channels
from napari_segxai.cli.common import plugin_notes
from napari_segxai.cli.compare import compare
from napari_segxai.cli.concepts import concepts
from napari_segxai.cli.demo import demo
from napari_segxai.cli.errors import errors
from napari_segxai.cli.explain import explain
from napari_segxai.cli.export import export
from napari_segxai.cli.flow import flow
from napari_segxai.cli.listings import checks, layers, methods, metrics, models
from napari_segxai.cli.saving import save_model
from napari_segxai.cli.studies import cohort  # with all commands of cohort.py
from napari_segxai.cli.sweep import sweep
from napari_segxai.core.errors import UserError, plain

app = typer.Typer(
    name="napari-segxai",
    help="Explain image segmentation networks: why did the network draw this object here?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


_Usage: Any = typer.BadParameter.__base__
"""What is raised for an option that is missing, unknown or no number; click's, or typer's copy of it."""


class _Group(typer.core.TyperGroup):
    """Turns a user's mistake into one line on stderr and exit status 2."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with _one_line(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        with _one_line(ctx), plugin_notes():
            result = super().invoke(ctx)
            _flush()
            return result


@contextmanager
def _one_line(ctx: Any) -> Iterator[None]:
    try:
        yield
    except (UserError, MemoryError) as error:
        _fail(plain(str(error)))
    except BrokenPipeError:  # whoever reads has seen enough, as `head` does
        raise
    except OSError as error:  # a disk that is full, a folder that may not be written to
        place = f"{error.filename}: " if error.filename else ""
        _fail(plain(f"{place}{error.strerror or error}."))
    except _Usage as error:
        if not error.format_message():  # no arguments at all: the help is shown
            raise
        _fail(
            plain(
                f"{error.format_message()}{_parameter_hint(error)} See {(error.ctx or ctx).command_path} --help."
            )
        )


def _parameter_hint(error: Any) -> str:
    """Say how a parameter of a method is given, to one who gives it as an option of its own."""
    option, context = getattr(error, "option_name", ""), getattr(error, "ctx", None)
    takes = () if context is None else [one.name for one in context.command.params]
    if "param" not in takes or not option.startswith("--"):
        return ""
    from napari_segxai.methods.registry import all_methods

    name = option.removeprefix("--").replace("-", "_")
    known = {parameter.name for method in all_methods() for parameter in method.parameters}
    return f" {name} is a parameter of methods: -p {name}=VALUE." if name in known else ""


def _flush() -> None:
    """Write what was printed now, while it can still be said that it cannot be."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError):  # nor is it tried again when Python ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


app.info.cls = _Group
for command in (
    compare,
    sweep,
    metrics,
    channels,
    checks,
    concepts,
    demo,
    methods,
    models,
    layers,
    save_model,
    explain,
    errors,
    flow,
    export,
):
    app.command()(command)
app.add_typer(cohort, name="cohort")


def _fail(message: str) -> NoReturn:
    print(f"napari-segxai: {message}", file=sys.stderr)
    raise typer.Exit(2)


def _version(value: bool) -> None:
    if value:
        from napari_segxai import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Explain image segmentation networks: why did the network draw this object here?"""
    for stream in (sys.stdout, sys.stderr):  # an arrow must not end a long run where the terminal has none
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
