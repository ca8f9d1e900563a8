"""A list of options in the signature of a command, which is typed each of them."""

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from evolver.cli.option_lists import spread


@dataclass(frozen=True)
class Common:
    depth: Annotated[int, typer.Option("--depth", min=1)] = 3
    names: Annotated[list[str] | None, typer.Option("--name")] = None


def outcome(*words):
    got = []
    app = typer.Typer()

    @app.command()
    @spread(Common)
    def dig(*, where: Annotated[str, typer.Argument()], common: Common, loud: bool = False) -> None:
        """Dig."""
        got.append((where, common, loud))

    ran = CliRunner().invoke(app, words)
    return got[0] if got else ran


def test_what_is_typed_arrives_as_one_object_and_what_is_not_as_its_default():
    assert outcome("here") == ("here", Common(), False)
    wanted = Common(depth=7, names=["a", "b"])
    assert outcome("here", "--name", "a", "--depth", "7", "--name", "b", "--loud") == (
        "here", wanted, True,
    )  # fmt: skip


def test_the_lists_bounds_count_and_the_help_has_its_options_in_place():
    assert outcome("here", "--depth", "0").exit_code == 2
    shown = outcome("--help").output
    assert "Dig." in shown
    assert shown.index("--depth") < shown.index("--name") < shown.index("--loud")
