"""What a client asks next, and what it makes of the answers. Does no I/O.

::

      POST  --- answer ------.      ,---- lost: wait (``Backoff``) ----.
       |                      v     v                                   |
       |  lost, id is ours   GET from=OFFSET&generation=G ---- answer --+--> reading
       '--------------------> |                                         |
                              |             ended, but live: ask again -'
          200, the state is final, and all of it has arrived: over
          404, 409 after an end that was clean:               over
          400, 404, 409, ...:                                 an error (``errors``)

**Which end is believed.** The end of an answer is the end of the stream only if the
answer's head has said that the stream is over (``Stream-State``). An answer that was
live when it began is followed by another request, which brings nothing but the final
state. A proxy can make a clean end of a cut (nginx does, if it speaks HTTP/1.0 to the
service), and then that request brings the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shmstream.client import address
from shmstream.client.backoff import Backoff
from shmstream.client.errors import NotResumable, Refused, StreamFailed, Unreachable
from shmstream.client.exchange import Asked, Lost
from shmstream.client.refusals import AGAIN, Stop, error_in, seconds_of
from shmstream.client.whole_events import WholeEvents
from shmstream.errors import OffsetLost, StreamNotFound, StreamReplaced
from shmstream.ring.state import State

_ONLY_OF_A_POST = frozenset(
    {
        'content-type',
        'content-length',
        'content-encoding',
        'x-conversation-id',
        'stream-on-disconnect',
        'idempotency-key',
    }
)

_STATES = {state.label: state for state in State}


@dataclass(frozen=True)
class Post:
    """The request that begins a stream.

    Attributes:
        conv_id: the id of the conversation.
        unique: whether nobody else can have a stream with this id, because the client
            has made it up.
    """

    body: bytes
    conv_id: str
    unique: bool


class Resumption:
    """One stream, through all its answers.

    Args:
        url: of the stream, or of the POST.
        headers: sent with each request, with names in lower case.
        post: begins the stream; None if it is there.
        offset: the first byte that is wanted.
        generation: the generation that is wanted; None: any.
        patience_s: see ``Backoff``.
        most: see ``WholeEvents``.

    Attributes:
        events: what has arrived.
        state: the state of the stream, as far as the service has told it.
        generation: the stream's generation.
        resumes: how many times an answer has gone on after a loss.
        over: whether nothing will follow what is ready.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        post: Post | None = None,
        *,
        offset: int = 0,
        generation: str | None = None,
        patience_s: float,
        most: int,
    ) -> None:
        self.events = WholeEvents(offset, most)
        self.state = State.PENDING
        self.generation = generation
        self.resumes = 0
        self.over = False
        self._begins = post is not None
        self._post = post
        self._post_url = url
        self._url = url if post is None else address.beside(url, post.conv_id)
        self._headers = headers
        self._patience_s = patience_s
        self._backoff = Backoff(patience_s)
        # Of the answer that is being read:
        self._kept = True  # a service keeps the stream
        self._believed = False  # its end is the end of the stream
        self._framed = True  # its end can be told from a cut
        self._got = 0
        # Of the next one:
        self._after_loss = False
        self._confirming = False
        self._tail = b''
        self._unsure = False  # whether the POST has begun the stream

    def request(self) -> Asked:
        """Return what to ask now."""
        if self._begins and self._post is not None:
            return Asked('POST', self._post_url, self._headers, self._post.body, True)
        asked = str(self.events.offset) if self.events.offset else None
        query = {'from': asked, 'generation': self.generation}
        return Asked('GET', address.with_query(self._url, **query), self._reading)

    def stop(self) -> Stop:
        """Return what stops this stream, and no other of the same id."""
        url = address.with_query(self._url, generation=self.generation)
        return Stop(Asked('DELETE', url, self._reading), self._patience_s)

    @property
    def _reading(self) -> dict[str, str]:
        headers = self._headers.items()
        return {name: text for name, text in headers if name not in _ONLY_OF_A_POST}

    def answered(self, status: int, headers: Mapping[str, str]) -> bool:
        """Take the head of an answer; return whether its body is to be read.

        Otherwise ``refused`` takes its body.

        Raises:
            StreamReplaced: it is another stream's.
            NotResumable: it begins at another offset.
        """
        if status not in (200, 201, 206):
            return False
        self._backoff.answered()
        if self._begins:
            self._begun(headers)
        else:
            self._check(headers)
        state = _STATES.get(headers.get('stream-state', ''))
        self._believed = state is None or state.final
        self.state = state or State.LIVE
        self._framed = 'content-length' in headers or 'transfer-encoding' in headers
        self._got = 0
        self._unsure = False
        if self._after_loss:
            self.resumes += 1
            self._after_loss = False
        self.events.begin(headers.get('content-type', ''), headers.items())
        return True

    def _begun(self, headers: Mapping[str, str]) -> None:
        self._begins = False
        generation = headers.get('stream-generation')
        self._kept = generation is not None
        self.generation = generation
        found = address.given(self._post_url, headers.get('content-location', ''))
        if self._kept and found is not None:
            self._url = found

    def _check(self, headers: Mapping[str, str]) -> None:
        generation = headers.get('stream-generation')
        if self.generation is None:
            self.generation = generation
        elif generation is not None and generation != self.generation:
            raise StreamReplaced(generation)
        offset = self.events.offset
        said = headers.get('stream-offset', '' if offset else '0')
        if said != str(offset):
            raise NotResumable(
                f'asked for offset {offset}, but the answer begins at {said or "?"}'
            )

    def refused(self, status: int, headers: Mapping[str, str], body: bytes) -> float:
        """Take an answer that is no stream; return the seconds to wait.

        Raises:
            OffsetLost: the ring has dropped the offset.
            StreamNotFound: there is no such stream any more.
            StreamReplaced: there is a newer stream with this id.
            StreamFailed: the stream has failed, and could not tell it.
            Unreachable: it is time to give up.
            Refused: it is another error.
        """
        error = error_in(body)
        refusal = Refused(status, str(error.get('message') or 'no stream'), body)
        retry_after_s = seconds_of(headers.get('retry-after', ''))
        if self._begins:
            # The upstream's errors are for the caller; only the service's own refusal
            # says that nothing has begun, and that it may be asked again.
            if status in (429, 503):
                return self._failed(refusal, retry_after_s)
            raise refusal
        if status in (404, 409) and self._confirming:
            # A stop and a replacement evict a stream as soon as its readers have had
            # its last words. Nobody can read more of it than we have.
            self._finish(State.CANCELLED)
            return 0.0
        if status == 404:
            if self._unsure:
                # The POST has not arrived, or its answer was none.
                self._begins = True
                return self._failed(refusal, retry_after_s)
            raise StreamNotFound(f'{self._url}: the stream is unknown, or it is gone')
        if status == 400 and 'dropped_prefix' in error:
            first, total = error['dropped_prefix'], error.get('total_bytes')
            raise OffsetLost(self.events.offset, _whole(first), _whole(total))
        if status == 409:
            raise StreamReplaced(str(error.get('generation', 'unknown')))
        if status == 502 and error.get('code') == 502:
            self.state = State.ABORTED
            raise StreamFailed(str(error.get('message')))
        if status in AGAIN:
            return self._failed(refusal, retry_after_s)
        raise refusal

    def received(self, data: bytes) -> None:
        """Take bytes of the body.

        Raises:
            EventTooLong: an event has more bytes than are to be held.
        """
        self._backoff.progress()
        self._got += len(data)
        if self._confirming:
            # The end was none.
            self._confirming = False
            self.resumes += 1
        self.events.feed(data)

    def ended(self, lost: Lost | None) -> float:
        """Take the end of the body; return the seconds to wait.

        Args:
            lost: what ended it; None if the end was clean.

        Raises:
            NotResumable: nobody keeps the stream.
            Unreachable: it is time to give up.
        """
        events = self.events
        tail = events.held() if lost is None else b''
        if lost is None and self._is_the_end():
            self._tail = tail
            self._finish()
            return 0.0
        if not self._kept:
            raise NotResumable(f'no service keeps this answer, and {lost}') from lost
        if (lost is None or events.said_over) and not self._confirming:
            self._confirming, self._tail = True, tail
            return 0.0
        self._after_loss = True
        return self._failed(lost or Lost('the answer ended, but the stream goes on'))

    def _is_the_end(self) -> bool:
        if not self._kept:
            return True
        # An end that cannot be told from a cut is believed if it brought nothing.
        return self._believed and (self._framed or not self._got)

    def not_answered(self, lost: Lost) -> float:
        """Take that no answer came; return the seconds to wait.

        Raises:
            NotResumable: a POST was sent, and nobody can say what became of it.
            Unreachable: it is time to give up.
        """
        if self._begins and lost.sent and self._post is not None:
            if not self._post.unique:
                raise NotResumable(
                    f'the POST was sent, but not answered ({lost}); '
                    f'if it has begun a stream, this is at {self._url}'
                ) from lost
            self._begins, self._unsure = False, True
        self._after_loss = not self._begins
        return self._failed(lost)

    def _failed(self, error: Exception, retry_after_s: float = 0.0) -> float:
        if self._confirming and self.events.said_over:
            # It has all of the stream. What is missing is only whether it was stopped.
            self._finish()
            return 0.0
        self._confirming = False
        wait_s = self._backoff.failed(retry_after_s)
        if wait_s is None:
            raise Unreachable(self.events.offset, str(error)) from error
        return wait_s

    def _finish(self, state: State | None = None) -> None:
        self.over = True
        if state is not None or not self.state.final:
            self.state = state or State.COMPLETE
        if self._tail:
            self.events.put(self._tail)
            self._tail = b''


def _whole(number: object) -> int:
    return number if isinstance(number, int) else 0
