// Follows events with @microsoft/fetch-event-source, until the end or for good.

import { fetchEventSource } from '@microsoft/fetch-event-source'

import { args, bye, say } from './talk.js'

// It is made for browsers.
globalThis.window = globalThis
globalThis.document = { removeEventListener() {} }

class Final extends Error {}
let ended = false

await fetchEventSource(args[0], {
  openWhenHidden: true,
  // By itself it comes back after any status, for ever.
  async onopen(response) {
    if (response.status !== 200) throw new Final()
  },
  onmessage(event) {
    ended = event.event === 'end'
    say({ name: event.event || 'message', data: event.data, id: event.id })
  },
  onclose() {
    if (!ended) throw new Error('cut off')
  },
  onerror(error) {
    if (error instanceof Final) throw error
  },
}).catch((error) => {
  if (!(error instanceof Final)) throw error
})
say(null)
bye()
