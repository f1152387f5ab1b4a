// Reads a stream with shmstream.js: says each state, resume and event, does what it is told.

import { resumable } from '../../shmstream/browser/shmstream.js'
import { args, bye, hear, say } from './talk.js'

const [input, options] = args
const answer = resumable(input, options)
for (const name of ['state', 'resume', 'gap']) {
  answer.addEventListener(name, ({ detail }) => say({ [name]: detail }))
}

async function read() {
  try {
    for await (const event of answer) {
      say({ event: options.as === 'bytes' ? Buffer.from(event).toString('latin1') : event, offset: answer.offset })
    }
    say({ over: answer.state, generation: answer.generation, id: answer.id })
  } catch ({ name, code, message, ...details }) {
    say({ error: { name, code, message, ...details } })
  }
}

read().then(bye)
for (;;) {
  const { call } = await hear()
  await answer[call]()
  say({ called: call })
}
