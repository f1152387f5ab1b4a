// LangGraph's client: cut in the middle, it comes back for the rest of a run.

import { Client } from '@langchain/langgraph-sdk'
import { args, bye, say } from './talk.js'

const [apiUrl, conversation] = args
const client = new Client({
  apiUrl,
  apiKey: null,
  defaultHeaders: { 'X-Conversation-Id': conversation },
})
const numbers = []
for await (const part of client.runs.stream(null, 'agent', { input: {} })) {
  if (part.event === 'values') numbers.push(part.data.n)
}
say(numbers)
bye()
