"""What a model's tokens cost: by its settings, else by the table that litellm brings along.

The table is read as a file, since importing litellm takes seconds.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from evolver.model_errors import ModelSetupWrong
from evolver.model_settings import ModelSettings

_TABLE = "model_prices_and_context_window_backup.json"


def price_usd(settings: ModelSettings, tokens_in: int, tokens_out: int) -> float | None:
    """Dollars for tokens at full price, without discounts for cached ones; None: unknown."""
    prices = prices_of(settings)
    return None if prices is None else (tokens_in * prices[0] + tokens_out * prices[1]) / 1e6


def price_known(settings: ModelSettings) -> bool:
    """Whether dollars can be counted for this model."""
    return prices_of(settings) is not None


def require_price(settings: ModelSettings) -> None:
    """Pass when a limit in dollars can be kept.

    Raises:
        ModelSetupWrong: nobody knows what the model costs.
    """
    if not price_known(settings):
        raise ModelSetupWrong(
            f"What {settings.model} costs is not known, so a limit in dollars cannot be kept: give "
            "its prices per million tokens, or limit tokens instead."
        )


def prices_of(settings: ModelSettings) -> tuple[float, float] | None:
    """Dollars per million tokens, in and out; None when neither settings nor table know."""
    if settings.price_in is not None or settings.price_out is not None:
        return settings.price_in or 0.0, settings.price_out or 0.0
    for name in (settings.model, settings.name):
        found = _table().get(name)
        if found is not None:
            return found
    return None


@functools.cache
def _table() -> Mapping[str, tuple[float, float]]:
    """Prices by name; empty without litellm, or when its table is not what we take it for."""
    spec = find_spec("litellm")
    folder = Path(spec.origin).parent if spec is not None and spec.origin else None
    if folder is None:
        return {}
    try:
        table = json.loads((folder / _TABLE).read_bytes())
    except (OSError, ValueError):
        return {}
    rows = table.items() if isinstance(table, dict) else ()
    found = {name: _prices(row) for name, row in rows if isinstance(row, dict)}
    return {name: prices for name, prices in found.items() if prices is not None}


def _prices(row: Mapping[str, object]) -> tuple[float, float] | None:
    per_token = [row.get("input_cost_per_token"), row.get("output_cost_per_token")]
    prices = [float(x) * 1e6 for x in per_token if isinstance(x, int | float)]
    good = len(prices) == 2 and all(0 <= x < math.inf for x in prices)
    return (prices[0], prices[1]) if good else None
