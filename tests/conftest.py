"""What tests share, and the scripts of the benchmarks, are modules that tests find by name.

Properties are tried on few examples for each change, and on many once a night (`.ci/nightly`).
"""

import os
import sys
from pathlib import Path

from hypothesis import settings

settings.register_profile("change", max_examples=25)
settings.register_profile("nightly", max_examples=250)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "change"))

# Hundreds of processes are started here: each would compile all that it imports, for itself alone.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

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
