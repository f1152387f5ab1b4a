// Reads a stream with shmstream.js, one step at a time, as the test says.

import { resumable } from '../../shmstream/browser/shmstream.js'
import { args, bye, hear, say } from './talk.js'

const [input, { stopWhen, ...options }] = args
const answer = resumable(input, options), events = answer[Symbol.asyncIterator]()
const seen = { resumes: [], gaps: [], states: [] }
answer.addEventListener('resume', ({ detail }) => seen.resumes.push(detail))
answer.addEventListener('gap', ({ detail }) => seen.gaps.push(detail))
answer.addEventListener('state', ({ detail: { state } }) => {
  seen.states.push(state)
  if (state === stopWhen) answer.stop()
})

const calls = {
  next: async (as) => {
    answer.as = as
    const { done, value } = await events.next()
    return { done, value: as === 'bytes' && !done ? Buffer.from(value).toString('latin1') : value }
  },
  stop: () => answer.stop(),
  cut: () => answer.cut(),
}

for (;;) {
  const [call, ...rest] = await hear()
  if (call === 'bye') break
  let found
  try {
    found = await calls[call](...rest)
  } catch ({ code, message, ...details }) {
    found = { error: { code: code ?? 'bug', message, ...details } }
  }
  const { offset, state, id, worker, generation = null } = answer
  say({ ...found, offset, state, id, worker, generation, ...seen })
}
events.return()
bye()
