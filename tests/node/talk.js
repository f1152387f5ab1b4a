// The script's side of tests/support/child.py: lines of JSON, on stdin and stdout.

import { createInterface } from 'node:readline'

/** The arguments that the test gave. */
export const args = JSON.parse(process.argv[2])

/** Tell the test something. */
export function say(message) {
  process.stdout.write(JSON.stringify(message) + '\n')
}

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()

/** Wait for what the test says; the script ends if the test has gone. */
export async function hear() {
  const { value, done } = await lines.next()
  if (done) process.exit(0)
  return JSON.parse(value)
}

/** End, although connections are open. */
export function bye() {
  process.stdout.write('', () => process.exit(0))
}
