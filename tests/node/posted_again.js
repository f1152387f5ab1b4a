// @microsoft/fetch-event-source: it resumes a POST by the same POST.

import { fetchEventSource } from '@microsoft/fetch-event-source'
import { args, bye, say } from './talk.js'

// The package is made for browsers.
globalThis.window = globalThis
globalThis.document = new EventTarget()

const [url, run] = args
const data = []
await fetchEventSource(url, {
  method: 'POST',
  headers: { 'Content-Type': 'application/json', 'X-Run-Id': run },
  body: '{"stream": true}',
  openWhenHidden: true,
  onmessage: (event) => data.push(event.data),
  onerror: (error) => {
    if (!(error instanceof TypeError)) throw error
    return 10
  },
})
say(data)
bye()
