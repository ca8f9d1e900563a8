"""The configuration of a daemon: one TOML file, checked whole before anything is done."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from evolver.budget import Limits
from evolver.errors import DaemonSetupWrong
from evolver.model_settings import ModelSettings, check_settings

MAX_BYTES = 1 << 16
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Whole = Annotated[int, Field(ge=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str | Path) else value


class Watch(_Part):
    """What is watched.

    Attributes:
        request_log: of the gateway, JSON lines, or a list of those of several.
        keep_mib: of segments made from it; the oldest go first.
        cluster: a cluster file, or the name of one that ships; what serves the traffic.
        calibration: files of `evolver calibrate`.
        signals: signal profile of the door that policies run behind.
        every_s: between two looks.
        span_s: how far back a look goes, and what a search gets.
        least_requests, least_s: below either there is nothing to search on.
        clock_speed: engine seconds that pass in one second; above 1 for emulated fleets only.
    """

    request_log: Annotated[tuple[Path, ...], BeforeValidator(_listed), Field(min_length=1)]
    cluster: str
    calibration: tuple[Path, ...] = ()
    signals: str | None = "gateway"
    every_s: Annotated[float, Field(ge=0.05, le=3600.0)] = 10.0
    span_s: Positive = 3600.0
    least_requests: Whole = 500
    least_s: Positive = 600.0
    clock_speed: Positive = 1.0
    keep_mib: Annotated[int, Field(ge=256)] = 4096


class Events(_Part):
    """Where it is heard that nodes come and go; POST /cluster-events is always one, with a token.

    Attributes:
        file: JSON lines that somebody appends to.
        ray: address of a Ray cluster; kubernetes: watch the nodes of the cluster around.
        node: `GPU:COUNT` or `zone:COUNT`, what one node is in the cluster file; with it, searches
            replay what came and went, and look for planners too.
        engines: base URLs to scrape; one that answers is a node as `node` says, one GPU without.
    """

    file: Path | None = None
    ray: str | None = None
    kubernetes: bool = False
    node: str | None = None
    engines: tuple[str, ...] = ()


class Calibrate(_Part):
    """Whether the simulator is compared with what is served, and refitted.

    Attributes:
        every_s: between two comparisons; 0 makes none.
    """

    every_s: Amount = 3600.0


class Decide(_Part):
    """When a search is worth its price.

    Attributes:
        point_s: of one monitoring point of the change detector; 0 does without it.
        drift_units: distance in regime from the last search at which traffic counts as another.
        stale_after_s: evidence about what is live that is older is measured again.
        cool_down_s: from the end of one episode to the next.
        horizon_s: for how long a regime is expected to last, so that a gain pays.
        usual_gain: of a search about which nothing is known, as a share of time.
        worth: a search may cost this share of what it is expected to save.
        cpu_usd_per_hour: of one core that searches.
    """

    point_s: Amount = 60.0
    drift_units: Positive = 1.0
    stale_after_s: Positive = 7 * 86_400.0
    cool_down_s: Amount = 1800.0
    horizon_s: Positive = 86_400.0
    usual_gain: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.03
    worth: Positive = 1.0
    cpu_usd_per_hour: Amount = 0.05


class Budget(_Part):
    """Of one search, or of all in 24 hours; None is no limit."""

    seconds: Positive | None = None
    evaluations: Positive | None = None
    tokens: Whole | None = None
    usd: Positive | None = None

    @model_validator(mode="after")
    def _has_a_limit(self) -> Budget:
        if all(value is None for value in self.model_dump().values()):
            raise ValueError("give at least one of seconds, evaluations, tokens and usd")
        return self

    def limits(self) -> Limits:
        """As a search takes them."""
        return Limits(self.evaluations, self.seconds, self.tokens, self.usd)


class Run(Budget):
    """One search.

    Attributes:
        workers: processes that score.
        nice: how far they stand back for others on this machine.
        accept_missing: layers of isolation that may be missing; see `evolver doctor`.
        tries: a search that breaks off is gone on with so many times.
    """

    seconds: Positive | None = 600.0
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    nice: Annotated[int, Field(ge=0, le=19)] = 10
    accept_missing: tuple[str, ...] = ()
    tries: Whole = 3


class Day(Budget):
    """All searches that began in the last 24 hours; `runs` of them at most."""

    runs: Whole = 24
    seconds: Positive | None = 4 * 3600.0


class Model(_Part):
    """A language model that writes candidates; its key comes from the environment."""

    name: str
    api_base: str | None = None
    patience_s: Positive = 60.0
    price_in: Amount | None = None
    price_out: Amount | None = None

    def settings(self) -> ModelSettings:
        """As the search takes them."""
        return ModelSettings(
            self.name, self.api_base, patience_s=self.patience_s, price_in=self.price_in,
            price_out=self.price_out,
        )  # fmt: skip


class Lease(_Part):
    """One daemon leads; another takes over when it has not said anything for `ttl_s`."""

    ttl_s: Annotated[float, Field(ge=0.5, le=3600.0)] = 30.0


class Http(_Part):
    """Health, metrics, and a door for cluster events.

    Attributes:
        port: 0 is any free one.
        token_file: who posts events must have the token in it; without one nobody may.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 9464
    token_file: Path | None = None


class DaemonConfig(_Part):
    """All of it.

    Attributes:
        deployment: whose policy it looks after.
        folder: for windows and logs of searches; below EVOLVER_HOME where it is left out.
        stop_s: bound on a clean stop.
        hosts_s: a host that was silent for longer is not counted.
    """

    deployment: str = "default"
    folder: Path | None = None
    stop_s: Annotated[float, Field(ge=1.0, le=600.0)] = 20.0
    hosts_s: Positive = 60.0
    watch: Watch
    events: Events = Events()
    calibrate: Calibrate = Calibrate()
    decide: Decide = Decide()
    run: Run = Run()
    day: Day = Day()
    models: tuple[Model, ...] = ()
    lease: Lease = Lease()
    http: Http = Http()

    @property
    def actor(self) -> str:
        """Who acts, as the audit log names it."""
        return f"daemon:{self.deployment}"[:80]


def read_config(path: Path) -> DaemonConfig:
    """The configuration in a file; what it names by a relative path lies beside it.

    Raises:
        DaemonSetupWrong: with what to mend.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise DaemonSetupWrong(f"{path} is no configuration: it has over {MAX_BYTES} bytes.")
        config = DaemonConfig.model_validate(tomllib.loads(content.decode("utf-8")))
    except OSError as error:
        raise DaemonSetupWrong(f"{path} cannot be read ({error.strerror}): check it.") from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DaemonSetupWrong(f"In {path}, {where}: {first['msg']}.") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise DaemonSetupWrong(f"{path} is no TOML ({error}): write key = value.") from None
    for model in config.models:
        check_settings(model.settings())
    return _beside(config, path.absolute().parent)


def _beside(config: DaemonConfig, folder: Path) -> DaemonConfig:
    """With every path absolute."""
    watch, http = config.watch, config.http
    cluster = folder / watch.cluster
    watch = watch.model_copy(
        update={
            "request_log": tuple(folder / one for one in watch.request_log),
            "calibration": tuple(folder / one for one in watch.calibration),
            "cluster": str(cluster) if cluster.is_file() else watch.cluster,
        }
    )
    if http.token_file is not None:
        http = http.model_copy(update={"token_file": folder / http.token_file})
    events = config.events
    if events.file is not None:
        events = events.model_copy(update={"file": folder / events.file})
    own = None if config.folder is None else folder / config.folder
    return config.model_copy(update={"watch": watch, "http": http, "events": events, "folder": own})
