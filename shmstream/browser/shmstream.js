// Reads a stream that shmstream keeps, and goes on after any loss; see shmstream.d.ts.
//
//  1. An offset counts the bytes of the body up to the end of the last whole event.
//  2. After a loss, the stream is asked for from there; any worker has it.
//  3. The generation goes along: an offset means nothing in another answer.
//  4. The end of an answer is the end of the stream only if the stream was over when the
//     answer began. Otherwise one more request brings the rest, or the final state.

const FINAL = ['complete', 'cancelled', 'aborted']
const AGAIN = [408, 425, 429, 502, 503, 504] // a proxy says 502 and 504 during a restart
const ID = 'x-conversation-id'
const OF_A_POST = [ID, 'content-type', 'stream-on-disconnect', 'idempotency-key']
const MOST = 1 << 26 // bytes of one event
const LF = 10, CR = 13

export class StreamError extends Error {
  constructor(code, message, details) {
    super(message)
    Object.assign(this, { name: 'StreamError', code, ...details })
  }
}

export const resumable = (input, options) => new Resumable(input, options)

export function restore(store, options) {
  let saved = null
  try { saved = JSON.parse(sessionStorage.getItem(store)) } catch { /* it is off */ }
  return saved && new Resumable([saved.stream, options?.init], { ...options, ...saved, store })
}

/** Cuts bytes into whole events: up to a blank line, or lines, or anything as it comes. */
class Framer {
  held = new Uint8Array() // the beginning of an event
  empty = true // nothing is on this line yet
  decoder = new TextDecoder()
  afterCR = false

  constructor(type) {
    this.sse = /event-stream/.test(type)
    this.lines = /ndjson|json-?l|json-seq/.test(type)
  }

  *feed(bytes) {
    if (!this.sse && !this.lines) return yield bytes
    const { length } = this.held, all = new Uint8Array(length + bytes.length)
    all.set(this.held)
    all.set(bytes, length)
    let begin = 0
    const ends = []
    for (let i = length; i < all.length; i++) {
      const byte = all[i], second = byte === LF && this.afterCR // of the end of a line
      if (second && ends.at(-1) === i) ends[ends.length - 1]++
      if (!second) {
        const ended = byte === LF || (byte === CR && this.sse)
        if (ended && (this.empty || this.lines)) ends.push(i + 1)
        this.empty = ended
      }
      this.afterCR = byte === CR && this.sse
    }
    this.held = all.subarray(ends.at(-1) ?? 0)
    if (this.held.length > MOST) throw new StreamError('too-long', `an event of over ${MOST} bytes`)
    for (const end of ends) yield all.subarray(begin, (begin = end))
  }

  /** What an event says; nothing if it is a comment only. */
  read(bytes) {
    const found = { event: 'message', data: [], id: '' }
    // Without events or lines, a letter may be in two pieces.
    const text = this.decoder.decode(bytes, { stream: !this.sse && !this.lines })
    if (!this.sse) {
      const data = this.lines ? text.replace(/^\x1e|\r?\n$/g, '') : text
      return data ? { ...found, data } : null
    }
    for (const line of text.split(/\r\n|\n|\r/)) {
      const at = line.indexOf(':'), name = at < 0 ? line : line.slice(0, at)
      const value = at < 0 ? '' : line.slice(line[at + 1] === ' ' ? at + 2 : at + 1)
      if (name === 'data') found.data.push(value)
      else if (name === 'id' || (name === 'event' && value)) found[name] = value
    }
    return found.data.length ? { ...found, data: found.data.join('\n') } : null
  }
}

class Resumable extends EventTarget {
  state = 'connecting'
  worker = ''
  #done // the offset after all that the caller has dealt with
  #over = false // whether nothing is wanted any more
  #stopped = false
  #confirming = false // whether all that is missing is the final state
  #unsure = false // whether a POST has been sent that was not answered
  #posts // whether the POST can be sent again
  #skip = false // whether the beginning of the next event is missing
  #failures = 0; #failing = 0; #lost = 0 // how many in a row, since when; when it was lost
  #begunAt = 0; #heard = 0 // when the answer began, and when its last bytes came
  #connection = new AbortController()
  #wake = () => {}
  #ears = []

  constructor(input, options = {}) {
    super()
    const [url, init = {}] = [input].flat(), headers = new Headers(init.headers)
    const named = options.id ?? headers.get(ID)
    Object.assign(this, { as: 'events', idle: 60, patience: 300, offset: options.from ?? 0 }, options)
    this.fetch ??= (...call) => fetch(...call)
    this.url = new URL(url, globalThis.document?.baseURI)
    this.begins = !/^get$/i.test(init.method ?? 'get')
    this.unique ??= !named // whether nobody else can have a stream with this id
    this.id = named ?? (this.begins ? newId() : '')
    if (this.begins && !headers.has(ID)) headers.set(ID, asBytes(this.id))
    this.init = { ...init, headers }
    // Where the stream is, as far as one knows before the server says it.
    const [prefix, ...below] = this.url.pathname.split('/v1/')
    const beside = below.length ? `${prefix}/v1/stream?conv_id=${encodeURIComponent(this.id)}` : null
    this.stream ??= this.begins ? beside : this.url.href
    this.#done = this.offset
    this.#lost = options.left ?? 0 // a reload is a loss, too
    this.#unsure = options.unsure ?? false
    this.#posts = this.begins
    this.#over = FINAL.includes(this.state) || (init.signal?.aborted ?? false)
    init.signal?.addEventListener('abort', () => this.close())
  }

  keep(value) {
    this.kept = structuredClone(value) // it may change before it is saved again
    this.#done = this.offset
    this.#save()
  }

  cut() {
    this.#connection.abort()
    this.#wake()
  }

  close() {
    this.#over = true
    this.cut()
    for (const [target, ...ear] of this.#ears.splice(0)) target.removeEventListener(...ear)
  }

  async stop() {
    this.#stopped = true
    this.#wake()
    if (!this.stream) return this.close()
    const until = Date.now() + 30e3
    for (let failures = 0; ; failures++) {
      const answer = await this.#ask('DELETE', AbortSignal.timeout(10e3)).catch(() => new Response('', { status: 503 }))
      if (answer.ok) return
      if (!AGAIN.includes(answer.status) || Date.now() > until) throw await refusal(answer)
      await sleep(Math.min(pause(failures, answer), 5))
    }
  }

  async *[Symbol.asyncIterator]() {
    this.#listen()
    try {
      for await (const [bytes, framer] of this.#events()) {
        const upToHere = this.#done === this.offset
        this.offset += bytes.length
        let found = this.as === 'bytes' ? bytes : framer.read(bytes) ?? undefined
        if (this.as === 'json') {
          const said = found?.data && found.data !== '[DONE]'
          found = said ? JSON.parse(found.data) : undefined
        }
        if (found !== undefined) yield found
        // Whoever keeps a value goes on from where it was kept, or after what says nothing.
        if (this.kept === undefined || (upToHere && found === undefined)) this.#done = this.offset
      }
      this.#save()
    } finally {
      this.close()
    }
  }

  async *#events() {
    while (!this.#over) {
      let answer, problem
      if (this.#stopped && this.begins) return this.#end('cancelled')
      this.#connection = new AbortController()
      if (!this.#confirming) this.#set('connecting')
      try {
        answer = await this.#within(this.begins ? 600 : this.idle, this.#ask())
        if (answer.ok) {
          yield* this.#read(answer)
          if (this.#confirming) continue
          problem = new Error('the answer ended, but the stream goes on')
        } else {
          problem = await this.#within(this.idle, refusal(answer))
          if (this.#settled(problem)) continue
        }
      } catch (error) {
        if (error instanceof StreamError) throw error
        if (this.#over) return
        problem = error
        if (!this.begins && this.generation === null) {
          throw new StreamError('not-resumable', `no service keeps this answer: ${error.message}`)
        }
        if (this.begins && !answer) {
          if (!this.stream) throw new StreamError('unreachable', `no answer: ${error.message}`)
          // A second POST would begin the answer anew, so look for it first.
          this.begins = false
          this.#unsure = true
          this.#save()
        }
      }
      if (!this.#over) await this.#wait(problem, answer)
    }
  }

  async *#read({ headers, body }) {
    const state = headers.get('stream-state'), framer = new Framer(headers.get('content-type'))
    const before = this.worker, kept = this.#begun(headers), reader = body.getReader()
    let got = 0
    for (;;) {
      const { done, value } = await this.#within(this.idle, reader.read())
      if (done) break
      this.#heard = Date.now()
      got += value.length
      for (const event of framer.feed(value)) {
        if (this.#confirming) { // the end was none
          this.#resumed(headers, before)
          this.#set('streaming')
        }
        this.#confirming = false
        this.#failures = this.#failing = 0
        if (this.#skip) this.offset += event.length
        else yield [event, framer]
        this.#skip = false
        if (this.#over) return
      }
    }
    const whole = headers.has('content-length') && !headers.has('content-encoding')
    const again = this.#confirming && got === framer.held.length // the end of the last answer
    if (!kept || (FINAL.includes(state) && (whole || !got || again))) {
      if (framer.held.length) yield [framer.held, framer]
      this.#end(state ?? 'complete')
    } else this.#confirming = !this.#confirming
  }

  /** Take the head of an answer; return whether a server keeps the stream. */
  #begun(headers) {
    const generation = headers.get('stream-generation'), begins = this.begins
    const offset = +headers.get('stream-offset'), place = headers.get('content-location')
    const worker = headers.get('stream-worker'), { worker: before } = this
    if (begins) {
      this.begins = false
      this.generation = generation
      const found = place && new URL(place, this.url)
      if (found && found.origin === this.url.origin) this.stream = found.href
      // The stop may have overtaken the POST. Its failures have been told already.
      if (this.#stopped) this.#ask('DELETE', AbortSignal.timeout(10e3)).catch(() => {})
    } else if (this.#unsure && !this.unique) {
      throw new StreamError('not-resumable', 'the POST may have been lost: this stream may be older')
    } else if (generation && this.generation && generation !== this.generation) {
      throw new StreamError('replaced', 'there is a newer stream', { generation })
    } else if (offset !== this.offset) {
      throw new StreamError('not-resumable', `asked for offset ${this.offset}, got ${offset}`)
    }
    if (generation) this.generation = generation
    this.#begunAt = this.#heard = Date.now()
    this.worker = worker
    this.#unsure = false
    if (this.#lost && !this.#confirming) this.#resumed(headers, before)
    if (!this.#confirming) this.#set('streaming')
    this.#save()
    return this.generation !== null
  }

  #resumed(headers, before) {
    const { worker } = this, from = +headers.get('stream-offset')
    const total = headers.get('stream-total-bytes') ?? from + +headers.get('content-length')
    const missed = Math.max(total - from, 0), away = this.#lost && (Date.now() - this.#lost) / 1000
    this.#tell('resume', { from, missed, away, worker, before })
    this.#lost = 0
  }

  /** Take a refusal; return whether to ask again at once. */
  #settled(problem) {
    const { code, status, dropped_prefix: dropped, total_bytes: total } = problem
    if (this.begins ? [429, 503].includes(status) : AGAIN.includes(status) && code !== 'failed') return false
    const gone = [404, 409].includes(status) && (this.#confirming || this.#stopped)
    if (gone || (this.begins && this.#stopped)) {
      this.#end('cancelled')
    } else if (status === 404 && this.#unsure && this.#posts) { // the POST has not arrived
      this.#unsure = false
      this.begins = true
      return false
    } else if (code === 'lost' && this.lost === 'skip') {
      // A live ring drops more bytes meanwhile, so begin a little after the first one.
      const to = dropped + Math.floor((total - dropped) / 16)
      this.#tell('gap', { from: this.offset, to })
      this.offset = to
      this.#skip = true
    } else {
      if (code === 'failed') this.#end('aborted')
      throw problem
    }
    return true
  }

  async #wait({ message }, answer) {
    const now = Date.now()
    // An answer that lasted was none of a series of failures, however quiet it was.
    if (this.#begunAt && now - this.#begunAt >= 5000) this.#failures = this.#failing = 0
    this.#begunAt = 0
    const wait = pause(this.#failures++, answer)
    this.#failing ||= now
    if (!this.begins && !this.#unsure) this.#lost ||= now
    if (now + wait * 1000 - this.#failing > this.patience * 1000) {
      throw new StreamError('unreachable', `gave up at offset ${this.offset}: ${message}`)
    }
    this.#set('waiting', { problem: message, wait })
    await sleep(wait, (wake) => { this.#wake = wake })
  }

  #ask(method = 'GET', { signal } = this.#connection) {
    if (this.begins && method === 'GET') {
      this.#save()
      return this.fetch(this.url.href, { ...this.init, signal })
    }
    const { init, generation, offset } = this, headers = new Headers(init.headers)
    const url = new URL(this.stream, this.url)
    for (const name of OF_A_POST) headers.delete(name)
    if (generation) url.searchParams.set('generation', generation)
    if (offset && method === 'GET') url.searchParams.set('from', offset)
    const keepalive = method === 'DELETE' // a stop is sent although the page is left
    return this.fetch(url.href, { ...init, method, headers, signal, keepalive, body: undefined, cache: 'no-store' })
  }

  /** Lose the connection if this takes longer. */
  async #within(seconds, promise) {
    const connection = this.#connection
    const timer = setTimeout(() => connection.abort(new Error(`silent for ${seconds} s`)), seconds * 1000)
    try { return await promise } finally { clearTimeout(timer) }
  }

  #end(state) {
    this.#over = true
    this.#set(state)
  }

  #set(state, details) {
    this.state = state
    this.#tell('state', { state, ...details })
  }

  #tell(name, detail) { this.dispatchEvent(new CustomEvent(name, { detail })) }

  #save() {
    const { store, stream, id, unique, generation, kept, worker, state } = this
    const offset = this.#done, left = this.#lost || Date.now(), unsure = this.begins || this.#unsure
    if (!store) return
    const saved = { stream, id, unique, generation, offset, kept, worker, left, unsure }
    if (FINAL.includes(state) && offset === this.offset) saved.state = state
    try {
      // What was there belongs to the answer before; of this one nobody could be sure.
      if (unsure && !(stream && unique)) sessionStorage.removeItem(store)
      else sessionStorage.setItem(store, JSON.stringify(saved))
    } catch { /* it is full, or off: a reload goes on from what was saved before */ }
  }

  /** Do not wait, and do not trust a connection that was silent for so long. */
  #hurry(silent) {
    if (this.state === 'waiting') this.#wake()
    else if (!this.begins && this.generation && Date.now() - this.#heard >= silent) this.cut()
  }

  /** A network that is back, or a tab that is shown again, need not wait. */
  #listen() {
    const { window, document } = globalThis, ears = [
      [window, 'online', () => this.#hurry(0)],
      [window, 'pagehide', () => this.#save()],
      [document, 'visibilitychange', () => {
        if (document.hidden) this.#save()
        else this.#hurry(5000)
      }],
    ]
    this.#ears = window ? ears : []
    for (const [target, ...ear] of this.#ears) target.addEventListener(...ear)
  }
}

async function refusal(answer) {
  const { status, headers } = answer, text = await answer.text().catch(() => '')
  let error = {}
  try { error = JSON.parse(text).error ?? {} } catch { /* an error of a proxy is HTML */ }
  const code = { 404: 'gone', 409: 'replaced' }[status] ??
    (error.dropped_prefix !== undefined ? 'lost' : status === 502 && error.code === 502 ? 'failed' : 'refused')
  return new StreamError(code, error.message ?? `${status} ${answer.statusText}`, { ...error, code, status, headers })
}

/** Seconds. Random, because all readers of a worker that leaves come back at once. */
const pause = (failures, answer) => Math.max(
  Math.min(0.1 * 2 ** failures, 5) * (0.5 + Math.random() / 2), +answer?.headers.get('retry-after') || 0)

const sleep = (seconds, waker) => new Promise((done) => {
  const timer = setTimeout(done, seconds * 1000)
  waker?.(() => { clearTimeout(timer); done() })
})

/** As UTF-8, of which a header has each byte as a character. */
const asBytes = (text) => String.fromCharCode(...new TextEncoder().encode(text))

// randomUUID is missing if the page comes over plain http from another machine.
const newId = () => crypto.randomUUID?.() ??
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('')
