// TanStack AI's client: it resumes by the same POST, and joins a run by a GET.

import { ChatClient, fetchServerSentEvents } from '@tanstack/ai-client'
import { args, bye, say } from './talk.js'

const [url, headers] = args
const posted = []
const options = {
  headers,
  reconnect: { delayMs: 10, maxAttempts: 5 },
  fetchClient: (address, init) => {
    posted.push([init.method, new Headers(init.headers).get('Last-Event-ID')])
    return fetch(address, init)
  },
}
const errors = []
const client = new ChatClient({
  connection: fetchServerSentEvents(url, options),
  onError: (error) => errors.push(error.message),
})
await client.sendMessage('Count.')
say({
  text: client
    .getMessages()
    .filter((message) => message.role === 'assistant')
    .flatMap((message) => message.parts)
    .map((part) => part.content)
    .join(''),
  posted,
  errors,
})
bye()
