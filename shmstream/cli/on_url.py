"""A service behind a URL as the place where a command looks: the streams of one key."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from shmstream.cli.outcome import NO_DEPLOYMENT, REFUSED, USAGE, Failure
from shmstream.cli.place import Count, End
from shmstream.client import Following as Reader
from shmstream.client import Limits, StreamFailed, follow
from shmstream.client.address import beside, checked, with_query
from shmstream.client.exchange import Asked
from shmstream.client.exchange import Lost as NoAnswer
from shmstream.client.refusals import error_in
from shmstream.client.sockets import Sockets
from shmstream.errors import LocalError, OffsetLost, StreamNotFound, StreamReplaced
from shmstream.inspection.reading import Lost
from shmstream.memory.session_facts import SessionFacts
from shmstream.metrics.exposition import from_json
from shmstream.metrics.reading import Reading
from shmstream.ring.state import State
from shmstream.version import __version__

LIMITS = Limits(patience_s=30.0, connect_s=10.0, begin_s=30.0, idle_s=60.0)
"""An operator waits for less long than a program does."""

_LIST = '/_shmstream/sessions'
_METRICS = '/_shmstream/metrics'
_MOST_BYTES = 16 << 20
"""Bytes of an answer, at most. A page of a thousand streams has some 3 MB at the most.
"""

_MOST_PAGES = 100
"""A deployment has 65,536 streams at the most, and a page has a thousand of them."""

_MOST_NUMBER = (1 << 63) - 1

_ANSWER_S = 60.0
"""Seconds that an answer may take to arrive, but for its last piece."""


class OnUrl:
    """The streams of one key at a service (``place.Place``).

    Args:
        url: the address of the service.
        key: the API key; None: the service has none.

    Raises:
        Failure: the address cannot be used.
    """

    has_owners = False

    def __init__(self, url: str, key: str | None) -> None:
        if '@' in url.partition('://')[2].partition('/')[0]:
            # It would be told in errors, and the service takes keys only.
            raise Failure('--url: must not name a user or a password', USAGE)
        try:
            split = urlsplit(checked(url))
        except (LocalError, ValueError) as ex:
            raise Failure(f'--{ex}', USAGE) from None
        path = split.path.rstrip('/')
        self._base = urlunsplit((split.scheme, split.netloc, path, '', ''))
        self._headers = {'user-agent': f'shmstream/{__version__}'}
        if key is not None:
            self._headers['authorization'] = f'Bearer {key}'
        self._open = Sockets(LIMITS, None)
        self.name = self._base

    def sessions(self, count: Count) -> list[SessionFacts]:
        """Return all sessions of the key, page by page."""
        found: list[SessionFacts] = []
        after: str | None = None
        for _ in range(_MOST_PAGES):
            page = self._page(after=after)
            found += page['sessions']
            count(len(found))
            last, after = after, page.get('next')
            if after is None:
                return found
            if not isinstance(after, str) or (last is not None and after <= last):
                break
        raise Failure(f'{self.name}: its list of streams has no end', REFUSED)

    def named(self, conv_id: str) -> list[SessionFacts]:
        """Return the session with this id, if there is one."""
        sessions: list[SessionFacts] = self._page(conv_id=conv_id)['sessions']
        return sessions

    def _page(self, **query: str | None) -> dict[str, Any]:
        status, body = self._get(with_query(self._base + _LIST, **query))
        page = _json(body)
        if status == 200 and isinstance(page.get('sessions'), list):
            page['sessions'] = list(map(_facts, page['sessions']))
            return page
        self._refuse(status, body)
        raise self._another('no list of streams', _message(body, status))

    def _refuse(self, status: int, body: bytes) -> None:
        """Raise ``Failure`` if the service refuses, or has no deployment now."""
        if status in (401, 403, 421):
            raise Failure(f'{self.name}: {_message(body, status)}', REFUSED)
        if status == 503:
            raise Failure(f'{self.name}: {_message(body, status)}', NO_DEPLOYMENT)

    def _another(self, lacks: str, why: str) -> Failure:
        return Failure(
            f'{self.name} has {lacks} ({why}): it is of another version than this'
            f' command ({__version__}), or no shmstream',
            REFUSED,
        )

    def _get(
        self, url: str, method: str = 'GET', accept: str = '*/*'
    ) -> tuple[int, bytes]:
        try:
            headers = self._headers | {'accept': accept}
            answer = self._open(Asked(method, url, headers))
        except NoAnswer as ex:
            raise Failure(f'{self.name}: {ex}', NO_DEPLOYMENT) from None
        body = b''
        deadline = time.monotonic() + _ANSWER_S
        try:
            while len(body) < _MOST_BYTES and (data := answer.read()):
                body += data
                if time.monotonic() >= deadline:
                    raise Failure(f'{self.name}: its answer has no end', NO_DEPLOYMENT)
        except NoAnswer as ex:
            raise Failure(f'{self.name}: {ex}', NO_DEPLOYMENT) from None
        finally:
            answer.close()
        return answer.status, body

    def more(self, session: SessionFacts) -> dict[str, Any]:
        """Return where the stream is."""
        return {'url': self._address(session)}

    def _address(self, session: SessionFacts) -> str:
        return beside(self._base + '/v1/', session['conversation_id'])

    def stop(self, session: SessionFacts, evict: bool) -> str:
        """Stop and remove it: the service has no other stop for all streams."""
        url = with_query(self._address(session), generation=session['generation'])
        status, body = self._get(url, 'DELETE')
        if status != 204:
            code = REFUSED if status in (401, 403) else NO_DEPLOYMENT
            raise Failure(f'{self.name}: {_message(body, status)}', code)
        return 'evicted'

    def tail(self, session: SessionFacts) -> _Following:
        """Open the stream."""
        return _Following(self, self._address(session), session, self._headers)

    def reading(self) -> Reading:
        """Return the numbers of the service."""
        status, body = self._get(self._base + _METRICS, accept='application/json')
        self._refuse(status, body)
        try:
            if status == 200:
                return from_json(body)
            why = _message(body, status)
        except (ValueError, RecursionError):
            why = 'in another form'
        raise self._another('no metrics', why)

    def warnings(self) -> list[str]:
        """Nothing: what is wrong over there, the service itself says."""
        return []


class _Following:
    """A stream that is read over HTTP, over any number of connections."""

    def __init__(
        self,
        place: OnUrl,
        url: str,
        session: SessionFacts,
        headers: dict[str, str],
    ) -> None:
        self._place = place
        self._url = url
        self._session = session
        self._headers = headers
        self._end = End(State.LIVE)

    @property
    def content_type(self) -> str:
        """The media type of the bytes; asked for once more if it was not known."""
        if not self._session['content_type']:
            self._session = next(
                iter(self._place.named(self._session['conversation_id'])),
                self._session,
            )
        return self._session['content_type']

    def follow(self, offset: int) -> Iterator[bytes | Lost]:
        """Yield the bytes from an offset on, to the end."""
        while True:
            with follow(
                self._url,
                headers=self._headers,
                offset=offset,
                generation=self._session['generation'],
                limits=LIMITS,
            ) as stream:
                lost = yield from self._read(stream)
            if lost is None:
                return
            yield Lost(stream.offset, lost.dropped_prefix)
            offset = lost.dropped_prefix

    def _read(self, stream: Reader) -> Generator[bytes, None, OffsetLost | None]:
        try:
            yield from stream.raw()
        except OffsetLost as ex:
            return ex
        except (StreamNotFound, StreamReplaced):
            self._end = End(State.CANCELLED, gone=True)
        except StreamFailed as ex:
            self._end = End(State.ABORTED, reason=str(ex))
        else:
            self._end = End(stream.state)
        return None

    def end(self) -> End:
        """How it has ended."""
        return self._end


_BLANK = SessionFacts(
    conversation_id='',
    # A key's own streams have no other owner.
    owner='',
    generation='',
    state='',
    is_done=False,
    total_bytes=0,
    dropped_prefix=0,
    capacity=0,
    memory=0,
    followers=0,
    worker=None,
    content_type='',
    dialect='',
    alias='',
    failure='',
    started_at=0,
    completed_at=0,
)


def _facts(told: Any) -> SessionFacts:
    """Return what a service of whatever version tells of a session."""
    facts = _BLANK.copy()
    known = told if isinstance(told, dict) else {}
    for name, blank in _BLANK.items():
        value = known.get(name)
        if _fits(value, int if name == 'worker' else type(blank)):
            facts[name] = value  # type: ignore[literal-required]
    facts['owner'] = ''
    return facts


def _fits(value: Any, kind: type) -> bool:
    """Whether a value is of this kind, and a number no larger than any of ours."""
    if type(value) is int:
        return kind is int and 0 <= value <= _MOST_NUMBER
    return type(value) is kind


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _message(body: bytes, status: int) -> str:
    return f'{status} {error_in(body).get("message") or ""}'.strip()
