"""The environment variables that our processes and their libraries read."""

from __future__ import annotations

import importlib
import re
from functools import cache

from pydantic_settings import BaseSettings

from tests.k8s.support.rendering import ROOT

# Credentials and CA of boto3, CA of OpenSSL, thread counts of OpenMP and numba, compiled kernels of
# numba, temporary folder of Python.
OF_LIBRARIES = frozenset(
    {
        "AWS_ACCESS_KEY_ID",
        "AWS_CA_BUNDLE",
        "AWS_ROLE_ARN",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "NUMBA_CACHE_DIR",
        "NUMBA_CPU_FEATURES",
        "NUMBA_CPU_NAME",
        "NUMBA_NUM_THREADS",
        "OMP_NUM_THREADS",
        "PATH",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONUNBUFFERED",
        "SSL_CERT_FILE",
        "TMPDIR",
    }
)


@cache
def settings_classes() -> dict[str, type[BaseSettings]]:
    """Every settings class of the processes, by name."""
    found: dict[str, type[BaseSettings]] = {}
    for package in ("stream_scorer", "trainer", "dashboard"):
        for path in (ROOT / package).rglob("*.py"):
            if not re.search(r"^class \w+Settings\(", path.read_text("utf-8"), re.MULTILINE):
                continue
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for value in vars(importlib.import_module(name)).values():
                if isinstance(value, type) and issubclass(value, BaseSettings):
                    found[value.__name__] = value
    return found


@cache
def known_names() -> frozenset[str]:
    """The variables that have an effect."""
    fields = {name for cls in settings_classes().values() for name in cls.model_fields}
    return frozenset(name.upper() for name in fields) | OF_LIBRARIES


def default_of(variable: str) -> object:
    """The default of ``variable``, the same in every process."""
    defaults = {
        cls.model_fields[variable.lower()].default
        for cls in settings_classes().values()
        if variable.lower() in cls.model_fields
    }
    assert len(defaults) == 1, f"{variable}: {defaults}"
    return defaults.pop()
