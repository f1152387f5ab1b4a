"""What shmstream.js keeps of a page that is left, and how the next page goes on."""

from __future__ import annotations

from playwright.sync_api import Page

from tests.support.chromium import needs_chromium
from tests.support.service import Service

pytestmark = needs_chromium

LEAVE = """async () => {
    const { resumable } = await import('/_shmstream/shmstream.js')
    const body = JSON.stringify({ messages: [], stream: true, max_tokens: 60 })
    const asked = ['/v1/chat/completions', { method: 'POST', body }]
    const answer = resumable(asked, { as: 'json', store: 'answer' })
    const seen = { text: '' }
    let words = 0
    for await (const { choices } of answer) {
        seen.text += choices[0].delta.content ?? ''
        words += 1
        if (words === 10) answer.keep(seen)
        if (words === 20) {
            dispatchEvent(new Event('pagehide'))
            break
        }
    }
}"""

GO_ON = """async () => {
    const { restore } = await import('/_shmstream/shmstream.js')
    const answer = restore('answer', { as: 'json' })
    const { offset, kept } = answer
    const resumes = []
    answer.addEventListener('resume', ({ detail }) => resumes.push(detail))
    let { text } = kept
    for await (const { choices } of answer) text += choices[0].delta.content ?? ''
    answer.keep({ text })
    return { text, offset, kept, resumes, state: answer.state }
}"""

AGAIN = """async () => {
    const { restore } = await import('/_shmstream/shmstream.js')
    const answer = restore('answer', { as: 'json' })
    for await (const more of answer) throw new Error(JSON.stringify(more))
    return { text: answer.kept.text, state: answer.state }
}"""


def test_a_page_goes_on_from_what_was_kept(demo: Service, page: Page) -> None:
    # A page of the service without a script of its own.
    page.goto(f'http://127.0.0.1:{demo.port}/healthz')
    page.evaluate(LEAVE)
    page.reload()
    found = page.evaluate(GO_ON)
    asked = b'{"messages": [], "max_tokens": 60}'
    whole = demo.client().call('POST', '/v1/chat/completions', asked).json()
    # The rest comes from there on, although more had been read, and the value changed.
    assert found['text'] == whole['choices'][0]['message']['content']
    assert found['kept']['text'] == ' '.join(found['text'].split()[:9]) + ' '
    # A reload is a loss like any other.
    (resume,) = found['resumes']
    assert resume['from'] == found['offset'] > 0
    assert resume['missed'] > 0
    assert resume['away'] >= 0
    assert resume['before'].isdecimal()
    assert found['state'] == 'complete'
    page.reload()
    assert page.evaluate(AGAIN) == {'text': found['text'], 'state': 'complete'}
