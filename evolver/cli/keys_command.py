"""`evolver keys`: who signs what goes live, and whose signatures hosts believe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evolver.cli.failures import Declined, Misused
from evolver.cli.options import OutFile, Output, OutputOption, Quiet, screen_of
from evolver.cli.publishing import keys_folder, make_key, trust_path, user_name
from evolver.cli.results import show_result
from sandbox.home import home

if TYPE_CHECKING:
    from policy_store.keys import PublicKey, TrustedKeys
    from sandbox.report import Report

keys_app = typer.Typer(
    name="keys", no_args_is_help=True, help="Who signs what goes live, and whom hosts trust."
)
Owner = Annotated[str | None, typer.Option(metavar="NAME", help="Whose it is; the user's name.")]
TrustFile = Annotated[
    Path | None, typer.Option("--trust", metavar="FILE", help="A trust file; this home's if none.")
]


@keys_app.command()
def new(
    context: typer.Context,
    owner: Owner = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put the present one aside; it stays trusted.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Make the key that signs what goes live.

    \b
    evolver keys new
    evolver keys new --replace     then: evolver policy publish, and distrust the old one
    """
    screen = screen_of(context, quiet)
    present = _signing_id()
    if present is not None and not replace:
        raise Declined(
            f"Key {present} signs here already; add --replace to change it.", "evolver keys list"
        )
    key = make_key(home(), screen, owner or user_name())
    screen.text(key.public.id)
    screen.next("evolver keys export > key.json", "evolver policy publish")


@keys_app.command(name="list")
def list_keys(
    context: typer.Context,
    trust: TrustFile = None,
    output: OutputOption = Output.TABLE,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """List the keys that are trusted, and the one that signs here.

    \b
    evolver keys list
    evolver keys list -o json
    """
    from policy_store.keys import read_trusted

    screen = screen_of(context, quiet)
    path, signing = trust or trust_path(home()), _signing_id()
    trusted = read_trusted(path)
    show_result(
        screen, output, out,
        lambda: {"signing": signing, "trust_file": str(path), "trusted": [
            {"id": key.id, "owner": key.owner, "public_key": key.raw.hex()}
            for key in trusted.keys]},
        lambda: _report(path, trusted, signing),
    )  # fmt: skip
    if signing is None:
        screen.next("evolver keys new")


@keys_app.command()
def export(context: typer.Context, owner: Owner = None, quiet: Quiet = False) -> None:
    """Print the public half of the signing key, for `evolver keys trust` on a serving host.

    \b
    evolver keys export > store-key.json
    """
    from policy_store.keys import keys_text, load_signing_key

    screen = screen_of(context, quiet)
    key = load_signing_key(keys_folder(home()))
    known = _trusted_here().find(key.public.id)
    name = owner or (known.owner if known else user_name())
    screen.text(keys_text([load_signing_key(keys_folder(home()), name).public]))
    screen.next("evolver keys trust FILE     on each host")


@keys_app.command()
def trust(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Of `evolver keys export`.")],
    trust: TrustFile = None,
    quiet: Quiet = False,
) -> None:
    """Believe what these keys sign; running hosts notice it at once.

    Compare the id with the one that `evolver keys list` shows where the key was made.

    \b
    evolver keys trust store-key.json
    """
    from policy_store.keys import parse_keys, read_trusted, write_trusted

    screen = screen_of(context, quiet)
    path = _one_file(trust)
    if not file.is_file():
        raise Misused(f"There is no file {file}; check the path.")
    trusted = read_trusted(path)
    for key in parse_keys(file.read_bytes(), file):
        trusted = trusted.with_key(key)
        screen.text(f"trusted {key.id} ({key.owner or 'no owner'})")
    write_trusted(path, trusted)
    screen.note(f"written to {path}")


@keys_app.command()
def distrust(
    context: typer.Context,
    key: Annotated[str, typer.Argument(metavar="ID", help="As `evolver keys list` shows it.")],
    trust: TrustFile = None,
    quiet: Quiet = False,
) -> None:
    """Believe a key no more; what it put live runs on until something else does.

    \b
    evolver keys distrust 0f3a5c6d7e8f9012
    """
    from policy_store.keys import read_trusted, write_trusted

    path = _one_file(trust)
    trusted = read_trusted(path)
    known = trusted.find(key)
    if known is None:
        raise Misused(f"No key {key} is trusted in {path}.", "evolver keys list")
    write_trusted(path, trusted.without(key))
    screen_of(context, quiet).text(f"distrusted {known.id} ({known.owner or 'no owner'})")


def _signing_id() -> str | None:
    from policy_store.errors import KeyMissing
    from policy_store.keys import load_signing_key

    try:
        return load_signing_key(keys_folder(home())).public.id
    except KeyMissing:
        return None


def _trusted_here() -> TrustedKeys:
    from policy_store.keys import read_trusted

    return read_trusted(trust_path(home()))


def _one_file(trust: Path | None) -> Path:
    path = trust or trust_path(home())
    if path.is_dir():
        raise Misused(f"{path} is a folder; name the file in it.")
    return path


def _report(path: Path, trusted: TrustedKeys, signing: str | None) -> Report:
    from sandbox.report import Report, Tone

    report = Report("Keys").say(f"trusted by hosts that read {path}")
    if not trusted.keys:
        return report.say("No key is trusted, so no snapshot goes live.", tone=Tone.BAD)
    rows = [(key.id, key.owner or "-", _role(key, signing)) for key in trusted.keys]
    return report.grid(("trusted key", "owner", "signs here"), rows)


def _role(key: PublicKey, signing: str | None) -> str:
    return "yes" if key.id == signing else "no"
