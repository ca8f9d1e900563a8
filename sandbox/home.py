"""Where state lives: EVOLVER_HOME, or the platform's data directory for this user."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """The directory of store, runs and caches; not created here."""
    given = os.environ.get("EVOLVER_HOME")
    if given:
        return Path(given).expanduser().resolve()
    from platformdirs import user_data_path  # only who needs the default pays for it

    return user_data_path("evolver", appauthor=False)
