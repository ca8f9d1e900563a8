"""A calibration: terms fitted to somebody's own engine, as a small file that a cluster names.

It holds numbers and the names it belongs to, and is refused when it does not belong: another GPU,
model or tensor-parallel degree, or step-time tables that have changed since it was fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sandbox.errors import SandboxError
from sandbox.identity import canonical_json, text_digest
from sandbox.profiles import Profile
from sandbox.profiles.profile import TERMS

MOST_BYTES = 64 * 2**10

Factor = Annotated[float, Field(gt=0, le=20, allow_inf_nan=False)]
Error = Annotated[float, Field(ge=-1, le=1e6, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,63}$")]


class CalibrationRefused(SandboxError):
    """A calibration file that is damaged, stale, or about something else."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Terms(_Part):
    """What `Profile.calibrated` takes; docs/fidelity.md says what each stands for."""

    step_overhead_ps: int = Field(ge=0, le=10**12)
    sequence_overhead_ps: int = Field(ge=0, le=10**10)
    request_overhead_ps: int = Field(ge=0, le=10**13)
    all_reduce_scale: Factor
    compute_scale: Factor
    decode_scale: Factor
    context_scale: Factor

    @classmethod
    def of(cls, profile: Profile) -> Terms:
        """The terms of a profile, factors to four digits."""
        values = {name: getattr(profile, name) for name in TERMS}
        return cls(**{n: v if n.endswith("_ps") else round(v, 4) for n, v in values.items()})

    def applied(self, profile: Profile) -> Profile:
        """The profile with these terms."""
        return profile.calibrated(**self.model_dump())


class Errors(_Part):
    """Signed relative errors on requests that the fit has not seen, 0.05 is 5 % too slow."""

    ttft_mean: Error
    ttft_p50: Error
    ttft_p99: Error
    tpot_mean: Error
    tpot_p50: Error
    tpot_p99: Error
    e2e_mean: Error
    e2e_p50: Error
    e2e_p99: Error


class Provenance(_Part):
    """Where a calibration that was fitted to live timings comes from.

    Attributes:
        fitted_unix_s: when; since_unix_s, until_unix_s: the window it was fitted to.
        window_error: relative errors of the whole cluster's means on that window, simulated under
            the live policy, before and after; None where that was not tried.
        replaces: digest of the calibration before it, empty for none.
        reason: why it was fitted.
    """

    fitted_unix_s: float = Field(ge=0, le=1e11, allow_inf_nan=False)
    since_unix_s: float = Field(ge=0, le=1e11, allow_inf_nan=False)
    until_unix_s: float = Field(ge=0, le=1e11, allow_inf_nan=False)
    window_error: tuple[Error, Error] | None = None
    replaces: str = Field(default="", pattern=r"^([0-9a-f]{12})?$")
    reason: str = Field(default="", max_length=300)


class Calibration(_Part):
    """One fitted replica.

    Attributes:
        gpu, model, tp: names of the profile.
        tables: digest of the step-time tables that the terms belong to.
        terms: what was fitted.
        kv_tokens: KV tokens the engine said it holds; None: as the profile reckons.
        source: what was measured; engine: whose it was, a name with a version.
        requests: how many were measured; fitted on half of them where they are known one by one.
        before, after: errors on the other half, untuned and with the terms.
        differential_error: error of a ratio of two loads, see `Profile.differential_error`.
        provenance: of one that was fitted to live timings.
    """

    schema_version: Literal[1] = 1
    gpu: Name
    model: Name
    tp: int = Field(ge=1, le=16)
    tables: str = Field(pattern=r"^[0-9a-f]{16}$")
    terms: Terms
    kv_tokens: int | None = Field(default=None, ge=16, le=10**9)
    source: Literal["timings", "histograms"]
    engine: Name = "vllm"
    requests: int = Field(ge=1, le=10**9)
    before: Errors
    after: Errors
    differential_error: float = Field(ge=0, le=10, allow_inf_nan=False)
    provenance: Provenance | None = None

    @property
    def digest(self) -> str:
        """Of what it says about step times, 12 hex digits; provenance does not count."""
        said = self.model_dump(mode="json", exclude={"provenance"})
        return text_digest(canonical_json(said))[:12]

    @property
    def key(self) -> str:
        """What it is about, for messages."""
        return f"{self.gpu} x {self.model} x TP{self.tp}"

    def fits(self, profile: Profile) -> bool:
        """Whether it is about this replica."""
        return (self.gpu, self.model, self.tp) == (profile.gpu, profile.model, profile.tp)

    def applied(self, profile: Profile) -> Profile:
        """The profile with these terms.

        Raises:
            CalibrationRefused: the tables have changed since.
        """
        if profile.tables_digest != self.tables:
            raise CalibrationRefused(
                f"The calibration of {self.key} was fitted to step-time tables that have changed "
                "since; run evolver calibrate again."
            )
        held = profile.kv_capacity_tokens if self.kv_tokens is None else self.kv_tokens
        made = self.terms.applied(profile)
        return replace(made, kv_capacity_tokens=held, differential_error=self.differential_error)

    def to_json(self) -> str:
        """The file."""
        return self.model_dump_json(indent=1, exclude_none=True) + "\n"


def read_calibration(path: Path) -> Calibration:
    """A calibration from its file.

    Raises:
        CalibrationRefused: no such file, too large, or not a calibration.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise CalibrationRefused(f"{path.name} is too large for a calibration; name another.")
        return Calibration.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CalibrationRefused(
            f"The calibration {path.name} cannot be read: {error.strerror}; check the path."
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise CalibrationRefused(
            f"{path.name} is no calibration: {place}: {first['msg']}; run evolver calibrate again."
        ) from None


def calibrated(profile: Profile, calibrations: Sequence[Calibration]) -> Profile:
    """The profile with whichever of these is about it; the last one counts."""
    for calibration in reversed(calibrations):
        if calibration.fits(profile):
            return calibration.applied(profile)
    return profile
