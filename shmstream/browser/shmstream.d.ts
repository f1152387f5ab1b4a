/**
 * Reads a stream that shmstream keeps, and goes on by itself after any loss.
 *
 *     const answer = resumable(['/v1/chat/completions', { method: 'POST', body }], { as: 'json' })
 *     for await (const chunk of answer) show(chunk.choices?.[0]?.delta.content ?? '')
 *
 * What the iteration yields comes once, in order and whole, whatever happens to the
 * connection, the worker or the network. At the end of the iteration `state` says how
 * the stream has ended. Leaving the loop early ends the connection, not the stream.
 */

/** What `fetch` takes: an address, or an address and how to ask. */
export type Input = string | URL | [url: string | URL, init?: RequestInit]

/**
 * An event of a stream. JSON lines, and pieces of text of other types as they arrive, are
 * events named `message`, without an id.
 */
export interface StreamEvent {
  event: string
  data: string
  id: string
}

/** How a stream has ended, or what its reader does until then. */
export type State =
  | 'connecting'
  | 'streaming'
  /** The connection is lost; the reader asks again after a pause. */
  | 'waiting'
  | 'complete'
  /** It was stopped, or another one has replaced it. */
  | 'cancelled'
  /** It has failed; its last event tells why. */
  | 'aborted'

export interface Options {
  /**
   * What is yielded: events (default), the parsed data of events or JSON lines (without
   * `[DONE]`), or the bytes of whole events.
   */
  as?: 'events' | 'json' | 'bytes'
  /**
   * The conversation's id. Without it and without a header `X-Conversation-Id`, a POST
   * gets a new one.
   */
  id?: string
  /** The first byte that is wanted. */
  from?: number
  /** The generation that is wanted; by default the one that is there. */
  generation?: string
  /**
   * Where the stream of a POST is read. The server says it with its answer; this is for
   * the time before, if the POST does not go to a `/v1/` path of the service.
   */
  stream?: string
  /** A key of `sessionStorage`, under which the stream is kept over a reload. */
  store?: string
  /** Seconds of silence after which a connection counts as lost (60). */
  idle?: number
  /** Seconds of nothing but failures after which it gives up (300). */
  patience?: number
  /** What to do if the server has dropped the bytes that are asked for (`throw`). */
  lost?: 'throw' | 'skip'
  /** Used instead of the browser's `fetch`. */
  fetch?: typeof fetch
}

/** The reader has gone on after a loss, or after a reload. */
export interface Resume {
  /** The offset at which it went on. */
  from: number
  /** Bytes that were written meanwhile. */
  missed: number
  /** Seconds since the loss. */
  away: number
  /** The worker that sends now, and the one that sent before. */
  worker: string | null
  before: string | null
}

export interface Events {
  /** `problem` is what the connection was lost by, `wait` the pause in seconds. */
  state: CustomEvent<{ state: State; problem?: string; wait?: number }>
  resume: CustomEvent<Resume>
  /** Bytes that are missing, with `lost: 'skip'`. */
  gap: CustomEvent<{ from: number; to: number }>
}

/**
 * Why a stream cannot be read to its end: `code` is
 *
 * - `lost`: the server has dropped the bytes (`dropped_prefix`, `total_bytes`)
 * - `gone`: the stream is unknown, or it has expired
 * - `replaced`: the id has a newer stream (`generation`)
 * - `failed`: the stream has failed, and its format cannot tell it
 * - `refused`: another answer that is no stream (`status`)
 * - `unreachable`: nothing but failures for as long as `patience`
 * - `not-resumable`: no server keeps the answer, or does not know offsets; or nobody can
 *   say whether a POST has arrived, because its id has a stream that may be an older one
 * - `too-long`: one event has more than 64 MiB
 */
export class StreamError extends Error {
  code: 'lost' | 'gone' | 'replaced' | 'failed' | 'refused' | 'unreachable' | 'not-resumable' | 'too-long'
  status?: number
  dropped_prefix?: number
  total_bytes?: number
  generation?: string
  headers?: Headers
}

export interface Resumable<T> extends AsyncIterable<T>, EventTarget {
  readonly state: State
  readonly id: string
  readonly generation: string | null | undefined
  /** Bytes of the stream up to the end of what was yielded last. */
  readonly offset: number
  /** The process that sends, as the server names it. */
  readonly worker: string | null
  /** What `keep` was given last, also before a reload. */
  readonly kept: unknown
  /**
   * Keep a copy of a value (JSON) together with the offset: what all that was yielded has
   * come to. After a reload, `restore` goes on from the last `keep`.
   */
  keep(value: unknown): void
  /** Stop the stream, wherever it is written; resolves once the server has said so. */
  stop(): Promise<void>
  /** Lose the connection and go on over a new one. */
  cut(): void
  /** Leave; the stream goes on at the server. */
  close(): void
  addEventListener<K extends keyof Events>(
    name: K,
    listener: (event: Events[K]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void
  addEventListener(
    name: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void
}

/** Begin a stream (a POST), or read one that is there (an address). */
export function resumable(input: Input, options: Options & { as: 'bytes' }): Resumable<Uint8Array>
export function resumable(input: Input, options: Options & { as: 'json' }): Resumable<any>
export function resumable(input: Input, options?: Options): Resumable<StreamEvent>

/**
 * Go on with what a page before this one has read with the option `store`: from the
 * offset of the last `keep`, or after the last event that its loop has dealt with.
 *
 * @param store the key
 * @param options as for `resumable`; `init` has the headers that reading needs
 * @returns null if nothing is stored
 */
export function restore(
  store: string,
  options: Options & { init?: RequestInit; as: 'bytes' },
): Resumable<Uint8Array> | null
export function restore(
  store: string,
  options: Options & { init?: RequestInit; as: 'json' },
): Resumable<any> | null
export function restore(
  store: string,
  options?: Options & { init?: RequestInit },
): Resumable<StreamEvent> | null
