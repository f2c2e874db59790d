"""Whose names a report tells: no path ever, and no name of a case where that is asked."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_segxai.analyses.cohort.result import Cohort
from napari_segxai.core.errors import plain

_PATH = r"(?<![\w.<])(?:[A-Za-z]:[\\/]|\\\\|~?/)(?=[^\s/\\])[^\s'\"<>|:;,()]*"
"""Where a path begins that is written from the root, up to a character that ends it."""

_SHORT = re.compile(r"\d{1,2}|.")
"""Names that stand in any sentence and tell nobody: a case 7, or `a`. Their files are found by their endings."""

A_FILE = "a file"


class Names:
    """What cases are called in a report.

    Parameters
    ----------
    cohort
        Whose cases they are.
    anonymous
        Whether numbers take the place of names, also in sentences.

    Attributes
    ----------
    shown : dict
        By the id of a case what it is called.
    """

    def __init__(self, cohort: Cohort, *, anonymous: bool):
        self.anonymous = anonymous
        cases: Sequence[Mapping[str, Any]] = cohort.record["cases"]
        digits = len(str(len(cases)))
        self.shown = {
            case["id"]: f"case {k:0{digits}d}" if anonymous else case["id"] for k, case in enumerate(cases, 1)
        }
        subjects = dict.fromkeys(
            row["subject"] for table in cohort.tables.values() for row in table if row.get("subject")
        )
        self.subjects = {one: f"subject {k}" if anonymous else one for k, one in enumerate(subjects, 1)}
        whole, words = self._replacements(cohort)
        self._known = words | whole
        paths = [*map(re.escape, whole), _PATH]
        self._paths = re.compile("|".join(paths))
        self._every = re.compile(
            "|".join(
                [*paths, *(rf"(?<![\w-])(?<!\d[.,]){re.escape(word)}(?![\w-]|[.,]\d)" for word in words)]
            )
        )

    def _replacements(self, cohort: Cohort) -> tuple[dict[str, str], dict[str, str]]:
        """Return what stands in the place of paths, and what in the place of names where that is asked, longest first."""
        whole: dict[str, str] = {}
        words: dict[str, str] = {}
        folders: set[Path] = {cohort.folder.absolute()}
        if cohort.record.get("source"):
            folders |= {Path(cohort.record["source"]), *Path(cohort.record["source"]).parents}
        for case in cohort.record["cases"]:
            name = self.shown[case["id"]]
            files = [*case.get("images", ()), *([case["truth"]] if case.get("truth") else [])]
            words[case["id"]] = name
            for file in map(Path, files):
                whole[str(file)] = name
                folders |= set(file.parents)
                words |= {file.name: name, file.name.split(".")[0]: name}
        words |= self.subjects
        for one in cohort.record.get("left_out", ()):
            words |= {one["name"]: A_FILE, one["name"].split(".")[0]: A_FILE}
        for path in {str(cohort.folder), str(cohort.folder.absolute())}:
            if os.sep in path:
                whole[path] = "the cohort"
        if len(cohort.folder.name) > 3:  # shorter ones are words of sentences, such as "out"
            words[cohort.folder.name] = "the cohort"
        whole |= {f"{folder}{os.sep}": "" for folder in folders if len(folder.parts) > 1}
        whole |= {
            str(folder): "the folder"
            for folder in folders - {cohort.folder.absolute()}
            if len(folder.parts) > 1
        }
        told = {word: name for word, name in words.items() if not _SHORT.fullmatch(word)}
        return _spelled(whole), _spelled(told) if self.anonymous else {}

    def own(self, sentence: str) -> str:
        """Return a sentence without paths; it was made of what is called by numbers already, so that it holds no name.

        Names are not looked for: those of many cases are numbers, or words of sentences.
        """
        return self._paths.sub(self._instead, sentence)

    def text(self, sentence: str) -> str:
        """Return a sentence without paths, and, where that is asked, without names."""
        return self._every.sub(self._instead, sentence)

    def _instead(self, found: re.Match[str]) -> str:
        # In one go: what stands in the place of a name may hold another's.
        return self._known.get(found[0], A_FILE)

    def cleaned(self, cohort: Cohort) -> Cohort:
        """Return the cohort with its cases as they are called, and sentences without paths; its maps can be opened as before."""
        cases = [{**case, "id": self.shown[case["id"]]} for case in cohort.record["cases"]]
        left = [
            {"name": A_FILE if self.anonymous else one["name"], "reason": self._reason(one["reason"])}
            for one in cohort.record.get("left_out", ())
        ]
        tables = {
            name: [self._row(row) for row in getattr(cohort, name)]
            for name in ("objects", "maps", "flow", "channels")
        }
        return replace(cohort, record={**cohort.record, "cases": cases, "left_out": left}, **tables)

    def _reason(self, reason: str) -> str:
        """Return why something is left out; in it other files may be named, which are of no case."""
        reason = self.text(reason)
        return re.sub(r"\(.*?\)|'.*?'|\".*?\"|\S+\.\w+", "…", reason) if self.anonymous else reason

    def _row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        known = {"case": self.shown, "subject": self.subjects}
        return {
            key: known[key].get(value, "") if key in known else self._cell(key, value)
            for key, value in row.items()
        }

    def _cell(self, key: str, value: Any) -> Any:
        # labels, maps, groups and methods are no names of cases, and may be those of a case by chance
        return (
            value
            if key in ("label", "map", "method", "group") or not isinstance(value, str)
            else self.text(value)
        )


def _spelled(found: Mapping[str, str]) -> dict[str, str]:
    """Return what is looked for, as sentences spell it, the longest first."""
    every = {way: new for old, new in found.items() for way in (old, plain(old), repr(old)[1:-1]) if way}
    return dict(sorted(every.items(), key=lambda item: -len(item[0])))
