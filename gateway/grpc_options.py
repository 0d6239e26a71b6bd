"""What grpc itself bounds, from the settings: sizes, streams, connections, their age, and pings."""

from __future__ import annotations

from runtime.settings import GatewaySettings

#: Pings too many that a client is forgiven before it is disconnected.
_PING_STRIKES = 2


def server_options(settings: GatewaySettings) -> tuple[tuple[str, int], ...]:
    """Channel arguments of the server. grpc spreads the age of connections by 10 % by itself."""
    return (
        ("grpc.so_reuseport", 1),
        ("grpc.max_receive_message_length", settings.grpc_max_receive_bytes),
        ("grpc.max_send_message_length", settings.grpc_max_receive_bytes),
        # The soft limit refuses some calls by chance before the hard one is reached: the same for both.
        ("grpc.max_metadata_size", settings.grpc_max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", settings.grpc_max_metadata_bytes),
        ("grpc.max_concurrent_streams", settings.grpc_max_streams),
        ("grpc.max_allowed_incoming_connections", settings.grpc_max_connections),
        ("grpc.max_connection_age_ms", _ms(settings.grpc_connection_age_seconds)),
        ("grpc.max_connection_age_grace_ms", _ms(settings.grpc_connection_grace_seconds)),
        ("grpc.keepalive_time_ms", _ms(settings.grpc_keepalive_seconds)),
        ("grpc.keepalive_timeout_ms", _ms(settings.grpc_keepalive_timeout_seconds)),
        # What counts in grpc 1.85: without it an unanswered keepalive ping closes the connection after a minute only.
        ("grpc.http2.ping_timeout_ms", _ms(settings.grpc_keepalive_timeout_seconds)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _ms(settings.grpc_min_ping_seconds)),
        ("grpc.http2.max_ping_strikes", _PING_STRIKES),
    )


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
