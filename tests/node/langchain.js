// LangChain's ChatOpenAI for Node: the header goes with each call.

import { ChatOpenAI } from '@langchain/openai'
import { args, bye, hear, say } from './talk.js'

const [baseURL, conversation] = args
const model = new ChatOpenAI({
  model: 'm',
  apiKey: 'any',
  maxRetries: 0,
  configuration: { baseURL },
})

const headers = { 'X-Conversation-Id': conversation }
const stream = await model.stream('Count.', { headers })
let text = ''
for await (const chunk of stream) {
  if (text === '') {
    say(chunk.content)
    // The test stops it, or says that it goes on.
    await hear()
  }
  text += chunk.content
}
say(text)
bye()
