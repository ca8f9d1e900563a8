"""What an engine shows of itself and of its requests, so that a policy can be asked about them."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias, TypeVar

import numpy.typing as npt

Columns: TypeAlias = dict[str, npt.NDArray[Any]]
"""Views of the fields of one row: `of["prompt_tokens"][0] = 7`."""

R = TypeVar("R", contravariant=True)


class EngineView(Protocol[R]):
    """One engine, as its scheduler thread sees it; `R` is whatever it has for requests."""

    def name_of(self, request: R) -> str:
        """What tells it from every other request here."""
        ...

    def arrived_s(self, request: R) -> float:
        """When it arrived, on any clock: by this the engine orders what no policy orders."""
        ...

    def show_request(self, of: Columns, request: R) -> None:
        """Fill what is known of a request; what is not stays missing."""
        ...

    def show_instance(self, of: Columns) -> None:
        """Fill what is known of the engine; what is not stays missing."""
        ...
