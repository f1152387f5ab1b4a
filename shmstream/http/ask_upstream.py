"""Asks the upstream, and decides whether its answer becomes a stream."""

from __future__ import annotations

import logging
from collections.abc import Collection

from shmstream.logs.shown_path import shown_path
from shmstream.serving.problems import Problem
from shmstream.upstream.source import (
    Answer,
    Source,
    TargetRefused,
    UpstreamRequest,
    UpstreamTimeout,
    UpstreamUnreachable,
    why_no_stream,
)

log = logging.getLogger('shmstream.http')


async def ask(source: Source, asked: UpstreamRequest) -> Answer:
    """Return the source's answer when its headers have arrived.

    Raises:
        Problem: the error to answer with, because there is no answer.
    """
    try:
        return await source.send(asked)
    except TargetRefused as ex:
        raise Problem(400, str(ex)) from None
    except UpstreamTimeout as ex:
        raise Problem(504, str(ex)) from ex
    except UpstreamUnreachable as ex:
        raise Problem(502, str(ex)) from ex


def becomes_stream(
    asked: UpstreamRequest, answer: Answer, stream_types: Collection[str]
) -> bool:
    """Return whether the answer becomes a stream. If it does not, log why.

    Args:
        asked: the request.
        answer: the answer to the request.
        stream_types: media types that become streams, beside the usual ones.
    """
    why = why_no_stream(answer, stream_types)
    if why:
        path = shown_path(asked.target)
        log.info('no session for %s %s: %s', asked.method, path, why)
    return not why
