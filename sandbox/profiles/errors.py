"""The errors that profiles raise on purpose, a branch of `SandboxError`.

ProfileError
├── UnknownProfile     no such GPU, model or TP: the message lists what exists
└── ProfileDataError   a table file that is damaged or of another schema
"""

from __future__ import annotations

from sandbox.errors import SandboxError


class ProfileError(SandboxError):
    """Root of the profile errors; each message is one sentence and what to do next."""


class UnknownProfile(ProfileError):
    """The GPU, model or tensor-parallel degree has no shipped profile."""


class ProfileDataError(ProfileError):
    """A profile's numbers are inconsistent; the file must be regenerated."""
