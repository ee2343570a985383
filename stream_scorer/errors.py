"""The exceptions of the project.

::

    ScorerError
    ├── RetryableError            abort, back off, take the same batch again
    ├── FatalError                this process cannot go on: exit non-zero, be restarted
    ├── SettingsError             a wrong setting; only at start
    ├── UsageError                a user's mistake on the command line or in a file
    ├── StoreError                the artifact store did not answer as it should
    │   └── StoreConflict         somebody else's conditional write won
    └── ArtifactError             a bundle that must not be used
        ├── ArtifactCorrupt       its bytes are not the published ones, or cannot be read
        └── ArtifactIncompatible  sound, but not for this code

A record that cannot be decoded is no exception but a value:
:class:`schemas.rejections.Rejection`.
"""

from __future__ import annotations

from typing import Final

EXIT_FAILED: Final = 1
"""The exit code of a command that could not do what it was asked to."""


class ScorerError(Exception):
    """Base of every error this project raises on purpose."""


class RetryableError(ScorerError):
    """The same work may succeed later: abort, back off, try again."""


class FatalError(ScorerError):
    """The process cannot continue and must be replaced."""


class SettingsError(ScorerError):
    """One or more settings are wrong; the message lists all of them."""


class UsageError(ScorerError):
    """The user's input (arguments, files) cannot be used; the message says what to do."""


class StoreError(ScorerError):
    """The artifact store could not be reached or refused a request."""


class StoreConflict(StoreError):
    """A conditional write lost: the object changed or exists already."""


class ArtifactError(ScorerError):
    """A bundle that must not be served."""


class ArtifactCorrupt(ArtifactError):
    """The bundle's bytes are not the ones that were published, or cannot be read."""


class ArtifactIncompatible(ArtifactError):
    """The bundle is sound but was made for other code, schemas or features."""
