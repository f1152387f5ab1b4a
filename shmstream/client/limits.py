"""How long a client waits for what, and how much it holds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The limits of a client.

    Attributes:
        patience_s: seconds of nothing but failures after which it gives up. It covers
            the restart of a service, and a prefill that readers wait for.
        connect_s: seconds that a connection may take, TLS included.
        begin_s: seconds until the answer to a POST begins: as long as a model may think
            before its first token.
        idle_s: seconds of silence after which a connection counts as lost. A model that
            is silent for longer is asked for again, which costs one small request. A
            connection of which the other end has vanished is noticed by this only.
        event_bytes: bytes that one event may have.

    Example:
        >>> Limits(patience_s=30).idle_s
        60.0
    """

    patience_s: float = 300.0
    connect_s: float = 10.0
    begin_s: float = 600.0
    idle_s: float = 60.0
    event_bytes: int = 64 * 1024 * 1024
