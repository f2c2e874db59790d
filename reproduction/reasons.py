"""Why a trend is not seen, where somebody looked into it; by trend and data set ("" for any)."""

from __future__ import annotations

REASONS: dict[tuple[str, str], str] = {}
