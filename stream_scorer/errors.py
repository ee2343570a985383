"""The exceptions of the project.

::

    ScorerError
    ├── RetryableError            abort, back off, retry the same batch
    ├── FatalError                this process cannot continue: it exits non-zero to be restarted
    ├── SettingsError             an invalid setting; raised only at start
    ├── UsageError                a mistake on the command line or in a user's file
    ├── StoreError                the artifact store failed or refused a request
    │   └── StoreConflict         another writer's conditional write won
    └── ArtifactError             a bundle that must not be used
        ├── ArtifactCorrupt       its bytes differ from the published ones, or cannot be read
        └── ArtifactIncompatible  intact, but not for this code

A record that cannot be decoded is a value, not an exception: a
:class:`schemas.rejections.Rejection`.
"""

from __future__ import annotations

from typing import Final

EXIT_FAILED: Final = 1
"""The exit code of a command that failed."""


class ScorerError(Exception):
    """Base class of all errors that this project raises."""


class RetryableError(ScorerError):
    """The same work may succeed later: abort, back off, retry."""


class FatalError(ScorerError):
    """The process cannot continue and must be replaced."""


class SettingsError(ScorerError):
    """One or more settings are invalid; the message lists all of them."""


class UsageError(ScorerError):
    """The user's arguments or files cannot be used; the message says what to do."""


class StoreError(ScorerError):
    """The artifact store could not be reached or refused a request."""


class StoreConflict(StoreError):
    """A conditional write failed: the object has changed or already exists."""


class ArtifactError(ScorerError):
    """A bundle that must not be used."""


class ArtifactCorrupt(ArtifactError):
    """The bundle's bytes differ from the published ones, or cannot be read."""


class ArtifactIncompatible(ArtifactError):
    """The bundle is intact but was built for other code, schemas or features."""
