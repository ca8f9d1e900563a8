"""The made-up fleet is a module that tests find by name."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
