"""Completes ids on the command line, from the runtime directory.

Only ids of harmless characters are offered: a shell puts what is offered into the
command line as it is, and would run what an id like ``$(...)`` says. A place behind a
URL is not asked, because a key press must not wait for a network.
"""

from __future__ import annotations

import re

import click
from click.shell_completion import CompletionItem

from shmstream.errors import ShmstreamError

_HARMLESS = re.compile(r'[\w./:@%+=,-]+', re.ASCII)
_MOST = 200


def complete_ids(
    ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the ids that begin like this."""
    if ctx.params.get('url'):
        return []
    from shmstream.cli.options import directory_of
    from shmstream.inspection.sessions import all_sessions

    try:
        listing = all_sessions(directory_of(ctx.params.get('directory')))
    except (ShmstreamError, OSError):
        # There is nothing to complete, and nowhere to say why.
        return []
    found: dict[str, str] = {}
    for facts in listing.found:
        conv_id = facts['conversation_id']
        if conv_id.startswith(incomplete) and _HARMLESS.fullmatch(conv_id):
            found[conv_id] = facts['state']
    return [CompletionItem(name, help=found[name]) for name in sorted(found)[:_MOST]]
