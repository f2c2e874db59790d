"""What a pass over a folder costs beside the plain passes, and that memory does not grow with the cases: prints a table for docs/performance.md.

Every measurement runs in a process of its own, so that its peak memory is its own. Time is that of the processor, on one thread.

    python benchmarks/concepts.py
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

COUNTS = (10, 40, 160)
METHODS = (
    "plain passes",
    "network-dissection",
    "cav",
    "segmentation-ability",
    "bottleneck-map",
    "nmf-concepts",
)


def measure(method: str, count: int) -> dict[str, float]:
    """Ask one method about so many cases."""
    from concepts_figure import write_cases

    import napari_segxai as sx

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        images, concepts = write_cases(Path(folder), count)
        model, cases = sx.load_model("triangle"), sx.find_cases(images)
        model.predict(cases[0].read())
        start = time.process_time()
        if method == "plain passes":
            for case in cases:
                model.predict(case.read())
        else:
            asked = concepts if method in ("network-dissection", "cav") else None
            sx.survey(model, cases, method, concepts=asked)
        seconds = time.process_time() - start
    return {"seconds": seconds, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> None:
    print("| method | cases | CPU s | CPU ms per case | peak memory, MB |\n|---|---|---|---|---|")
    for method in METHODS:
        for count in COUNTS:
            done = subprocess.run(
                [sys.executable, __file__, method, str(count)], capture_output=True, text=True, check=True
            )
            found = json.loads(done.stdout.splitlines()[-1])
            each = 1000 * found["seconds"] / count
            print(
                f"| {method} | {count} | {found['seconds']:.1f} | {each:.0f} | {found['mb']:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
    else:
        main()
