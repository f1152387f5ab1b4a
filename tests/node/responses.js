// OpenAI's client for Node: a response is lost on the way, and fetched by its id.

import OpenAI from 'openai'
import { args, bye, say } from './talk.js'

const [baseURL, conversation] = args
const client = new OpenAI({ baseURL, apiKey: 'any', maxRetries: 0 })

async function numbers(stream, most = Infinity) {
  const found = []
  for await (const event of stream) {
    found.push(event.sequence_number)
    // This hangs up.
    if (found.length >= most) break
  }
  return found
}

async function failure(promise) {
  return promise.then(() => null, (error) => [error.status, error.message])
}

const asked = { model: 'm', input: 'Count.', stream: true, max_output_tokens: 60 }
const headers = { 'X-Conversation-Id': conversation }
const stream = await client.responses.create(asked, { headers })
let id
const first = []
for await (const event of stream) {
  id ??= event.response.id
  first.push(event.sequence_number)
  if (first.length >= 7) break
}

const after = (number) => ({ stream: true, starting_after: number })
const second = await numbers(await client.responses.retrieve(id, after(first.at(-1))), 5)
const rest = await numbers(await client.responses.retrieve(id, after(second.at(-1))))
const over = await client.responses.retrieve(id)
const helper = client.responses.stream({ response_id: id, starting_after: 60 })
const filtered = await numbers(helper)
const final = await helper.finalResponse()
say({
  numbers: [...first, ...second, ...rest],
  statuses: [over.status, final.status],
  text: over.output_text,
  filtered,
  refused: await failure(client.responses.retrieve(id, { stream: true, starting_after: 'x' })),
  unknown: await failure(client.responses.retrieve('resp_unknown')),
})

// So slow that it is not over before it is stopped.
const slow = { ...asked, tokens_per_second: 1 }
const again = await client.responses.create(slow, { headers })
let live, stopped
const kinds = []
for await (const event of again) {
  kinds.push(event.type)
  if (event.type === 'response.created') {
    live = await client.responses.retrieve(event.response.id)
    stopped = await client.responses.cancel(event.response.id)
  }
}
say({
  live: live.status,
  cancelled: stopped.status,
  then: (await client.responses.retrieve(stopped.id)).status,
  last: kinds.at(-1),
})
bye()
