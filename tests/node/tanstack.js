// TanStack AI's client: it resumes by the same POST, and joins a run by a GET.

import { ChatClient, fetchServerSentEvents } from '@tanstack/ai-client'
import { args, bye, say } from './talk.js'

const [url, tells] = args
const sent = []
const options = {
  reconnect: { delayMs: 10, maxAttempts: 5 },
  fetchClient: (address, init) => {
    const head = new Headers(init.headers)
    sent.push([init.method, head.get('Last-Event-ID'), head.get('X-Run-Id')])
    return fetch(address, init)
  },
}
const errors = []
const client = new ChatClient({
  connection: fetchServerSentEvents(url, options),
  onError: (error) => errors.push(error.message),
  onChunk: (chunk) => {
    // The test does something to the run, which it has to name.
    if (tells && chunk.delta === '2 ') say({ run: sent[0][2] })
  },
})
await client.sendMessage('Count.')
// As after a reload: what joins the run knows its id only.
const joined = []
const adapter = fetchServerSentEvents(url, options)
const runId = sent[0][2]
if (!tells) for await (const chunk of adapter.joinRun(runId)) joined.push(chunk.delta ?? '')
say({
  joined: joined.join(''),
  text: client
    .getMessages()
    .filter((message) => message.role === 'assistant')
    .flatMap((message) => message.parts)
    .map((part) => part.content)
    .join(''),
  requests: sent.map(([method, last]) => [method, last]),
  errors,
})
bye()
