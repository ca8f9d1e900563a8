"""What every program around a policy host is told on the command line, listed once."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evolver.cli.failures import Misused
from evolver.cli.policies import read_policy_file
from evolver.cli.publishing import snapshot_path, state_folder, trust_path
from evolver.cli.serve_control import (
    ControlEvery,
    HostToken,
    ReportToStore,
    ReportUrl,
    SnapshotUrl,
    control_of,
)
from evolver.cli.serve_options import Address, TlsCertificate, TlsClientCa, TlsKey, tls_of
from sandbox.home import home

if TYPE_CHECKING:
    from serving_adapter.gateway.listening import TlsFiles
    from serving_adapter.gateway.service import ServiceSettings
    from serving_adapter.safety.limits import LiveLimits


class EngineMode(StrEnum):
    """How a policy runs."""

    COMPILED = "compiled"
    INTERPRETED = "interpreted"
    SIDE = "side"


Snapshot = Annotated[
    Path | None, typer.Option(metavar="FILE", help="What to follow; this home's active.json.")
]
Trust = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Trusted keys, or a folder of such files.")
]
Deployment = Annotated[
    str, typer.Option(metavar="NAME", help="What this host serves; snapshots name it.")
]
State = Annotated[Path | None, typer.Option(metavar="DIR", help="What must outlive a restart.")]
RequestLog = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A JSON line per request, without text.")
]
HashKey = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="For numbers in the log; the same where logs are joined."),
]
ModeOption = Annotated[EngineMode, typer.Option(help="side: in a locked-down process of its own.")]
Untrusted = Annotated[
    bool, typer.Option("--untrusted", help="Run --policy, which nobody approved.")
]
PolicyFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="With --untrusted: the policy to run.")
]
Accepted = Annotated[
    list[str] | None,
    typer.Option(metavar="LAYER", help="With --untrusted: isolation to do without; repeatable."),
]
AdminPort = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Of the kill switch, on loopback.")
]
Bounds = Annotated[
    list[str] | None,
    typer.Option(
        "--bound",
        metavar="NAME=NUMBER",
        help="Of the watchdog, as slo_ttft_s=1.5; docs/live-safety.md has them all; repeatable.",
    ),
]
Drain = Annotated[float, typer.Option(min=0.0, help="For requests inside, at the end.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOptions:
    """What was typed; a command has all of it by `option_lists.spread`."""

    snapshot: Snapshot = None
    trust: Trust = None
    deployment: Deployment = "default"
    host: Address = "127.0.0.1"
    state: State = None
    request_log: RequestLog = None
    hash_key: HashKey = None
    engine_mode: ModeOption = EngineMode.COMPILED
    untrusted: Untrusted = False
    policy: PolicyFile = None
    accept_missing: Accepted = None
    admin_port: AdminPort = None
    drain_s: Drain = 60.0
    tls_certificate: TlsCertificate = None
    tls_key: TlsKey = None
    tls_client_ca: TlsClientCa = None
    snapshot_url: SnapshotUrl = None
    report_url: ReportUrl = None
    host_token: HostToken = None
    control_every_s: ControlEvery = 2.0
    report_to_store: ReportToStore = False
    bound: Bounds = None

    @property
    def tls(self) -> TlsFiles | None:
        """The files of HTTPS; None without.

        Raises:
            Misused: half of them is missing.
        """
        return tls_of(self.tls_certificate, self.tls_key, self.tls_client_ca)

    def settings(self, engines: tuple[str, ...], port: int) -> ServiceSettings:
        """What was typed, with this home's places for what was not.

        Raises:
            Misused: what was typed does not go together, or there is no such bound.
            AdapterError: a bound is out of its range, or the token cannot be read.
        """
        from serving_adapter.gateway.service import ServiceSettings

        if self.untrusted != (self.policy is not None):
            raise Misused("--untrusted and --policy FILE go together; a snapshot needs neither.")
        return ServiceSettings(
            engines=engines,
            host=self.host,
            port=port,
            snapshot=self.snapshot or snapshot_path(home(), self.deployment),
            trust=self.trust or trust_path(home()),
            deployment=self.deployment,
            untrusted=None if self.policy is None else read_policy_file(self.policy),
            state=self.state or state_folder(home(), self.deployment),
            request_log=self.request_log,
            hash_key=self.hash_key,
            drain_s=self.drain_s,
            admin_port=self.admin_port,
            control=control_of(
                self.snapshot_url, self.report_url, self.host_token, self.control_every_s
            ),
            bounds=_live_limits(self.bound or []),
        )


def _live_limits(texts: list[str]) -> LiveLimits:
    """The usual bounds, and those that were typed."""
    from dataclasses import asdict

    from serving_adapter.safety.limits import LiveLimits

    usual = asdict(LiveLimits())
    typed: dict[str, Any] = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            typed[name] = type(usual[name])(number)
        except (KeyError, ValueError):
            raise Misused(
                f"--bound {text}: give NAME=NUMBER with a name of docs/live-safety.md."
            ) from None
    return LiveLimits(**typed)
