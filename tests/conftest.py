"""What tests share, and the scripts of the benchmarks, are modules that tests find by name."""

import sys
from pathlib import Path

HERE = Path(__file__).parent

sys.path[:0] = [
    *(
        str(HERE / folder)
        for folder in (
            ".",
            "evolver",
            "sandbox",
            "policy_store",
            "policy_store/review",
            "policy_store/review/browser",
        )
    ),
    str(HERE.parent / "benchmarks"),
]
