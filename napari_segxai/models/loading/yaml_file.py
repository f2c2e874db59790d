"""Reading a small YAML file of a stranger: nothing in it may take long, run deep or be endless."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from napari_segxai.core.errors import UserError

LARGEST = 256 * 1024
"""Bytes of a file that is read; reading so much takes some seconds."""

DEEPEST = 16
"""Lists and mappings in each other."""


MOST = 100_000
"""Values that a file holds once its aliases are written out."""


class _Loader(yaml.SafeLoader):
    """Refuses what a description has no use for.

    Aliases that stand for billions of items or for themselves, deep nesting, and keys that are given twice, of which one would be
    forgotten.
    """

    def __init__(self, stream: Any):
        super().__init__(stream)
        self.depth = 0
        self.sizes: dict[int, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        mark = event.start_mark
        known = self.anchors.get(event.anchor) if self.check_event(yaml.AliasEvent) else None
        if known is not None and known.end_mark is None:  # it is being read
            raise ComposerError(None, None, "an alias stands for what it lies in", mark)
        if self.depth >= DEEPEST:
            raise ComposerError(None, None, f"nested more than {DEEPEST} deep", mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        if id(node) not in self.sizes:
            self.sizes[id(node)] = 1 + sum(self.sizes[id(part)] for part in _parts(node))
        if self.sizes[id(node)] > MOST:
            raise ComposerError(
                None, None, f"it holds more than {MOST} values, with its aliases written out", mark
            )
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                problem = f"the key {key.value!r} is given twice"
                raise ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _parts(node: Any) -> list[Any]:
    """Return the nodes in a list or mapping."""
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def read_mapping(path: Path, what: str) -> dict[Any, Any]:
    """Read a mapping from a YAML file.

    Parameters
    ----------
    what
        The kind of file, in words, such as "model card".

    Raises
    ------
    UserError
        If the file is missing, is not a regular file, is too long, is not YAML or not a mapping.
    """
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise UserError(
                f"{path}: cannot be read as a {what} (it is a folder, a pipe or a device, not a file)."
            )
        if facts.st_size > LARGEST:
            raise UserError(
                f"{path}: is {facts.st_size / 1024:.0f} KB long; a {what} has at most {LARGEST // 1024} KB."
            )
        fields = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such {what}.") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read as a {what} ({error.strerror}).") from None
    except (yaml.YAMLError, ValueError) as error:  # a ValueError: bad encoding, or a date such as 2024-13-45
        mark = getattr(error, "problem_mark", None)
        parts = [getattr(error, "context", None), getattr(error, "problem", None)] if mark else [str(error)]
        reason = ": ".join(part.splitlines()[0] for part in parts if part)
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: not a YAML file ({reason}).") from None
    if not isinstance(fields, dict):
        raise UserError(f"{path}: a {what} is a mapping of keys to values.")
    return fields


def read_value(text: str, where: str) -> Any:
    """Read a value that a user typed: a number, a word, a list or a mapping in the words of YAML.

    Parameters
    ----------
    where
        What it is for, for messages.

    Raises
    ------
    UserError
        If it is not YAML, or too long.
    """
    if len(text) > LARGEST:
        raise UserError(f"{where}: is too long.")
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError) as error:
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(
            f"{where}: {text[:60]!r} is no value ({reason}); write a number, a word, true, null or a list such as [16, 32]."
        ) from None
