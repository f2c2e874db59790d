"""The engine: what every explainer is built on."""

import os

# Feature maps are large and short-lived. With huge pages the CPU does not fault them in 4 KiB at a time: measured,
# 1.1 to 8 times faster. torch reads this when it first allocates; a script that used torch before keeps its setting.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
