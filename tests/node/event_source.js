// Follows events with the package eventsource, until the end or for good.

import { EventSource } from 'eventsource'

import { args, bye, say } from './talk.js'

const source = new EventSource(args[0])

function give_up() {
  say(null)
  bye()
}

for (const name of ['message', 'end', 'lost', 'replaced']) {
  source.addEventListener(name, (event) => {
    say({ name, data: event.data, id: event.lastEventId })
    if (name === 'end') {
      source.close()
      give_up()
    }
  })
}
source.addEventListener('error', () => {
  if (source.readyState === source.CLOSED) give_up()
})
