"""Skip connections: what jumps over a lower resolution on the path of the image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from napari_segxai.models.introspection.image_path import ImagePath


@dataclass(frozen=True)
class Skip:
    """A skip connection.

    Attributes
    ----------
    source, target
        Network layers: where it leaves ("input" for the image itself), and the first one behind the place where it comes
        back.
    stride
        Cells of the model grid per cell and axis, where it leaves.
    """

    source: str
    target: str
    stride: float


def find_skips(path: ImagePath, bottoms: Sequence[int]) -> Iterator[Skip]:
    """Yield the inputs of joins that were downsampled less than another input, or bypassed the bottleneck that it passed.

    Parameters
    ----------
    bottoms
        The bottlenecks.
    """
    dips_from: dict[int, dict[int, int]] = {}
    for join in path.order:
        reads = [p for p in path.main[join] if p in path.dominator]
        if len(reads) < 2:
            continue
        start = path.dominator[join]
        # A network that puts windows together has thousands of joins with one start.
        if start not in dips_from:
            dips_from[start] = _dips(path, start)
        dips = dips_from[start]
        lowest = max(dips.get(p, 0) for p in reads)
        passed = _passed(path, join, reads, bottoms)
        latest = max(passed.values())
        if lowest <= (path.level[join] or 0) and latest < 0:
            continue  # nothing came back up
        deep = [p for p in reads if dips.get(p, 0) == lowest]
        main = path.furthest([p for p in deep if passed[p] == latest] or deep)
        for p in reads:
            if dips.get(p, 0) < lowest or passed[p] < latest:
                leaves = p
                while not path.before[main] >> leaves & 1 and path.main[leaves]:
                    leaves = path.furthest(path.main[leaves])
                source, _ = path.name_at_or_before(leaves)
                yield Skip(source or "input", path.name_behind(join), path.stride(leaves))


def _dips(path: ImagePath, start: int) -> dict[int, int]:
    """Return the lowest resolution on the ways from `start` to each node behind it."""
    found: dict[int, int] = {start: path.level[start] or 0}
    for k in path.order:
        if start < k:
            ways = [found[p] for p in path.main[k] if p in found]
            if ways:
                found[k] = max(*ways, path.level[k] or 0)
    return found


def _passed(path: ImagePath, join: int, reads: Sequence[int], bottoms: Sequence[int]) -> dict[int, int]:
    """Return the latest bottleneck that each input of a join has passed and another one missed; -1 for none."""
    found = dict.fromkeys(reads, -1)
    for bottom in bottoms:
        deeper = (path.level[bottom] or 0) > (path.level[join] or 0)
        if bottom != join and deeper and any(not path.depends(p, bottom) for p in reads):
            for p in reads:
                if path.depends(p, bottom):
                    found[p] = max(found[p], bottom)
    return found
