"""Trust checks on the command line: the command `checks`, and reading `--check`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from napari_segxai.cli.common import AsJson, parameter_line
from napari_segxai.core.errors import UserError


def checks(as_json: AsJson = False) -> None:
    """List the trust checks, what they cost and their parameters."""
    from napari_segxai import list_checks

    found = list_checks()
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for check in found:
        print(f"{check['name']}\n    {check['question']}\n    {check['source']}\n    cost: {check['cost']}")
        for parameter in check["parameters"]:
            print(parameter_line(parameter))
        print()


def read_checks(texts: Sequence[str] | None) -> dict[str, dict[str, Any]] | None:
    """Read NAME or NAME:PARAMETER=VALUE, checked; of a check that is named twice the parameters come together.

    Raises
    ------
    UserError
        If it is neither, or there is no such check or parameter.
    """
    from napari_segxai.analyses.compare.plan import read_method
    from napari_segxai.checks import run as checking

    if not texts:
        return None
    wanted: dict[str, dict[str, Any]] = {}
    for text in texts:
        try:
            name, parameters = read_method(text)
        except UserError:
            raise UserError(
                f"--check {text!r}: write its parameters as in other-seed:seeds=3:threshold=0.9."
            ) from None
        wanted.setdefault(name, {}).update(parameters)
    checking.choose(wanted)
    return wanted
