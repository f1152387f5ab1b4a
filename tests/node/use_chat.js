// The AI SDK's Chat, which useChat is made of: does what the test says, and tells what
// its page would show.

import { Chat } from '@ai-sdk/react'
import { DefaultChatTransport } from 'ai'

import { args, bye, hear, say } from './talk.js'

const [{ api, id }] = args
let finished = null
let worker = null

/** fetch, whose bodies fail as in a browser: Node's 'terminated' is no disconnect. */
async function fetchAsBrowsersDo(...request) {
  const response = await fetch(...request)
  worker = Number(response.headers.get('stream-worker'))
  if (!response.body) return response
  const reader = response.body.getReader()
  const body = new ReadableStream({
    async pull(controller) {
      try {
        const { value, done } = await reader.read()
        if (done) controller.close()
        else controller.enqueue(value)
      } catch (error) {
        const cut = error instanceof TypeError && error.name !== 'AbortError'
        controller.error(cut ? new TypeError('network error') : error)
      }
    },
    cancel: (reason) => reader.cancel(reason),
  })
  const { status, headers } = response
  return new Response(body, { status, headers })
}

const chat = new Chat({
  id,
  transport: new DefaultChatTransport({ api, fetch: fetchAsBrowsersDo }),
  onFinish: ({ isAbort, isDisconnect, isError }) => {
    finished = { isAbort, isDisconnect, isError }
  },
})

function shown() {
  const last = chat.messages.at(-1)
  const text = last?.role === 'assistant' ? last.parts.map((part) => part.text ?? '') : []
  return {
    status: chat.status,
    error: chat.error?.message ?? null,
    text: text.join(''),
    messages: chat.messages.length,
    stopped: last?.metadata?.stopped ?? false,
    finished,
    worker,
  }
}

/** Wait until the last message has these characters, or nothing more comes.
 *  A text that an earlier response has brought does not count. */
async function until(text) {
  const enough = () => (worker !== null && shown().text.includes(text)) || !running
  while (!enough()) await Promise.race([changed(), running])
}

function changed() {
  return new Promise((resolve) => {
    const forget = chat['~registerMessagesCallback'](() => {
      forget()
      resolve()
    })
  })
}

let running = null

function run(work) {
  finished = worker = null
  running = work.finally(() => {
    running = null
  })
}

for (;;) {
  const { does, text, body } = await hear()
  if (does === 'bye') break
  if (does === 'send') run(chat.sendMessage({ text: text ?? 'Hi' }, { body }))
  if (does === 'resume') run(chat.resumeStream())
  if (does === 'show') run(chat['~resumeStreamIfDisconnected']())
  if (does === 'stop') chat.stop()
  if (does === 'until') await until(text)
  if (does === 'ends') await running
  say(shown())
}
bye()
