"""What an operator can do about a Kafka error, by its name and text. Pure."""

from __future__ import annotations

from typing import Final

_WRONG_LOGIN: Final = "check KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD and KAFKA_SASL_MECHANISM"
_WRONG_PROTOCOL: Final = "check KAFKA_SECURITY_PROTOCOL and the port in KAFKA_BOOTSTRAP_SERVERS"
_WRONG_CA: Final = (
    "set KAFKA_SSL_CA_LOCATION to the PEM file of the CA that signed the broker's certificate"
)
_WRONG_CERTIFICATE: Final = (
    "the broker requires a client certificate that it trusts: set ssl.certificate.location and "
    "ssl.key.location in KAFKA_CONFIG_FILE"
)

_BY_NAME: Final = {
    "_AUTHENTICATION": _WRONG_LOGIN,
    "SASL_AUTHENTICATION_FAILED": _WRONG_LOGIN,
    "TOPIC_AUTHORIZATION_FAILED": "grant this user READ on INPUT_TOPIC and WRITE on OUTPUT_TOPIC "
    "and DLQ_TOPIC",
    "GROUP_AUTHORIZATION_FAILED": "grant this user READ on the group KAFKA_GROUP_ID",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED": "grant this user WRITE on transactional ids that "
    "begin with KAFKA_GROUP_ID (a prefixed ACL)",
    "CLUSTER_AUTHORIZATION_FAILED": "grant this user access to the cluster",
}

CERTIFICATE_ALERTS: Final = (
    "alert certificate required",
    "alert bad certificate",
    "alert unknown ca",
    "alert certificate unknown",
    "alert certificate expired",
)
"""TLS alerts by which a broker rejects the client's certificate or requires one."""


def advice(name: str, text: str) -> str | None:
    """What to check; None for a transient error or one without known advice.

    Args:
        name: librdkafka's name of the error, such as ``_SSL``.
        text: its error message.
    """
    if any(alert in text for alert in CERTIFICATE_ALERTS):
        return _WRONG_CERTIFICATE
    if "certificate verify failed" in text:
        return _WRONG_CA
    if "PLAINTEXT broker listener" in text or "security.protocol" in text:
        return _WRONG_PROTOCOL
    if name == "_SSL":
        return f"{_WRONG_PROTOCOL}, or {_WRONG_CA}"
    return _BY_NAME.get(name)


def with_advice(name: str, text: str) -> str:
    """``text``, followed by advice if there is any."""
    found = advice(name, text)
    return f"{text}; {found}" if found else text
