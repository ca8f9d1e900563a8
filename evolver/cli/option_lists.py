"""Lists of options that several commands have in common, written once as a dataclass."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from typing import Any, get_type_hints


def spread(options: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command that is typed the fields of `options` where its function takes one such object.

    The fields are `Annotated` as a command's own parameters are, each with a default; they take
    the place of that parameter in the order of the help.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        (name,) = [one for one in inspect.signature(command).parameters if hints[one] is options]
        listed = fields(options)

        def told(**typed: object) -> None:
            made = options(**{one.name: typed.pop(one.name) for one in listed})
            command(**typed, **{name: made})

        told.__name__, told.__doc__ = command.__name__, command.__doc__
        told.__module__ = command.__module__
        parameters = _parameters(command, name, hints, options)
        told.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # is read
        told.__annotations__ = {one.name: one.annotation for one in parameters}
        return told

    return decorate


def _parameters(
    command: Callable[..., None], name: str, hints: dict[str, Any], options: type[Any]
) -> list[inspect.Parameter]:
    """What is typed, in order; by name, as some without a default come after some with one."""
    typed: list[inspect.Parameter] = []
    of_list = get_type_hints(options, include_extras=True)
    for one in inspect.signature(command).parameters.values():
        if one.name == name:
            typed += [_keyword(item.name, of_list, _default(item)) for item in fields(options)]
        else:
            typed.append(_keyword(one.name, hints, one.default))
    return typed


def _default(item: Field[Any]) -> object:
    return inspect.Parameter.empty if item.default is MISSING else item.default


def _keyword(name: str, hints: dict[str, Any], default: object) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=hints[name])
