"""What the serving core needs of a deployment. ``shmstream.Streams`` has all of it."""

from __future__ import annotations

from typing import Any, Protocol

from shmstream.consumer import Consumer


class Deployment(Protocol):
    """The streams that are served; ``Streams`` says more about each method."""

    def open(self, conv_id: str, *, owner: bytes = ...) -> Consumer:
        """Return a consumer of the stream with this id. Does not ask the supervisor."""

    def evict(
        self, conv_id: str, *, generation: str | None = ..., owner: bytes = ...
    ) -> bool:
        """Stop and remove a stream. Asks the supervisor, which blocks."""

    def stop(
        self, conv_id: str, *, generation: str | None = ..., owner: bytes = ...
    ) -> bool:
        """Stop a stream, and keep it. Asks the supervisor, which blocks."""

    def lookup(
        self, conv_ids: list[str], *, owner: bytes = ...
    ) -> list[dict[str, Any]]:
        """Describe the streams of these ids. Asks the supervisor, which blocks."""

    def leaving(self) -> bool:
        """Whether this process has been told to stop serving."""


class Aliased(Protocol):
    """What is needed of a deployment whose streams are found by their aliases."""

    def open_alias(self, alias: str, *, owner: bytes = ...) -> Consumer:
        """Return a consumer by a stream's alias. Asks the supervisor, which blocks."""

    def cancel(
        self, conv_id: str, *, generation: str | None = ..., owner: bytes = ...
    ) -> bool:
        """Stop a stream, and keep it. Asks the supervisor, which blocks."""
