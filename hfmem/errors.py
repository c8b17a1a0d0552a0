"""Everything that hfmem raises on purpose.

HfmemError
├── UsageError                    the command line or a call's arguments are wrong
│   └── InvalidListLineError      a line of a model list
├── SourceError                   the facts could not be had
│   ├── ModelNotFoundError
│   ├── GatedModelError
│   ├── RevisionNotFoundError
│   ├── OfflineError
│   ├── HubUnavailableError
│   └── RateLimitedError
├── CheckpointError               the files do not say what they must
│   ├── NoWeightsError
│   └── MalformedHeaderError
├── ConfigError                   config.json does not say what it must
│   ├── MissingKeyError
│   └── InvalidValueError
├── UnsupportedArchitectureError  a cache layout that is neither known nor conventional
└── InternalError                 a bug of hfmem at one model of an audit

A TypeError or KeyError that escapes is a bug: it ends an estimate, and becomes the row of its model
in an audit.
"""

from __future__ import annotations

from typing import ClassVar


class HfmemError(Exception):
    """A failure with a stable ``code``, one line that says what is wrong, and a ``hint``."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.hint))


def _rebuild(cls: type[HfmemError], message: str, hint: str) -> HfmemError:
    return cls(message, hint=hint)


class UsageError(HfmemError):
    """The command line, or an argument of the Python interface, is wrong."""

    code = "usage"


class InvalidListLineError(UsageError):
    """A line of a model list does not name a model."""

    code = "invalid_list_line"


class SourceError(HfmemError):
    """The facts about a model could not be had."""


class ModelNotFoundError(SourceError):
    """There is no such repository, folder or file, or it is private."""

    code = "model_not_found"


class GatedModelError(SourceError):
    """The repository exists, but its files need an accepted licence and a token."""

    code = "gated_model"


class RevisionNotFoundError(SourceError):
    """The repository exists, the branch, tag or commit does not."""

    code = "revision_not_found"


class OfflineError(SourceError):
    """Offline mode is on and the facts are neither cached, bundled nor recorded."""

    code = "offline"


class HubUnavailableError(SourceError):
    """The Hub could not be reached, or answered with something that is no answer."""

    code = "hub_unavailable"


class RateLimitedError(SourceError):
    """The Hub's quota is used up for longer than hfmem may wait."""

    code = "rate_limited"


class CheckpointError(HfmemError):
    """The weight files do not say what they must."""


class NoWeightsError(CheckpointError):
    """The repository or folder holds no weights that hfmem can read."""

    code = "no_weights"


class MalformedHeaderError(CheckpointError):
    """A weight file's header breaks a rule of its format."""

    code = "malformed_header"


class ConfigError(HfmemError):
    """config.json does not say what it must."""


class MissingKeyError(ConfigError):
    """A key that the answer depends on is absent and its class has no default."""

    code = "missing_key"


class InvalidValueError(ConfigError):
    """A value has the wrong type or lies outside of what is possible."""

    code = "invalid_value"


class UnsupportedArchitectureError(HfmemError):
    """The cache layout is neither known to hfmem nor told by conventional keys."""

    code = "unsupported_architecture"


class InternalError(HfmemError):
    """hfmem has a bug that this model, one of a list, brings out."""

    code = "internal_error"
