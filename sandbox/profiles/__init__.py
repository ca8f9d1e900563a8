"""Step-time profiles: how long an engine step takes on a GPU, and how much fits into its memory.

Reading guide: `profile.py` has the arithmetic (one page of it is the model), `catalog.py` finds a
shipped profile by name, `errors.py` says what can go wrong. The numbers are in `tables.json` and
`gpus.json`, where they come from in `NOTICE`, and `benchmarks/build_profiles.py` makes them anew.
"""

from sandbox.profiles.catalog import Gpu, available, gpus, load_gpu, load_profile
from sandbox.profiles.errors import ProfileDataError, ProfileError, UnknownProfile
from sandbox.profiles.profile import Profile, Provenance

__all__ = [
    "Gpu",
    "Profile",
    "ProfileDataError",
    "ProfileError",
    "Provenance",
    "UnknownProfile",
    "available",
    "gpus",
    "load_gpu",
    "load_profile",
]
