import {
  AssistantRuntimeProvider,
  ComposerPrimitive,
  MessagePrimitive,
  ThreadPrimitive,
  useExternalStoreRuntime,
} from '@assistant-ui/react'
import { useEffect, useState } from 'react'
import { createRoot } from 'react-dom/client'
import { resumable, restore } from '../../shmstream/browser/shmstream.js'

const options = { as: 'json', store: 'chat' } // a key of sessionStorage

function Chat() {
  const [messages, setMessages] = useState([])
  const [answer, setAnswer] = useState(null) // the one that is being written

  /** Show an answer. What it keeps is the conversation, with what it has come to. */
  async function show(answer) {
    const { role, content } = answer.kept.at(-1)
    const asked = role === 'user' ? answer.kept : answer.kept.slice(0, -1)
    let text = role === 'user' ? '' : content
    setMessages(answer.kept)
    setAnswer(answer)
    for await (const { choices } of answer) {
      text += choices?.[0]?.delta.content ?? ''
      const all = [...asked, { role: 'assistant', content: text }]
      answer.keep(all)
      setMessages(all)
    }
    setAnswer(null)
  }

  useEffect(() => {
    const answer = restore('chat', options) // goes on after a reload
    if (answer) show(answer)
    return () => answer?.close()
  }, [])

  const runtime = useExternalStoreRuntime({
    messages,
    isRunning: answer !== null,
    convertMessage: ({ role, content }) => ({ role, content }),
    onNew: async ({ content: [{ text }] }) => {
      const asked = [...messages, { role: 'user', content: text }]
      const body = JSON.stringify({ model: 'm', stream: true, messages: asked })
      const answer = resumable(['/v1/chat/completions', { method: 'POST', body }], options)
      answer.keep(asked)
      await show(answer)
    },
    onCancel: () => answer.stop(),
  })

  return (
    <AssistantRuntimeProvider runtime={runtime}>
      <ThreadPrimitive.Root>
        <ThreadPrimitive.Messages components={{ Message }} />
        <ComposerPrimitive.Root>
          <ComposerPrimitive.Input placeholder="Ask" />
          <ComposerPrimitive.Send>Send</ComposerPrimitive.Send>
          <ComposerPrimitive.Cancel>Stop</ComposerPrimitive.Cancel>
        </ComposerPrimitive.Root>
      </ThreadPrimitive.Root>
    </AssistantRuntimeProvider>
  )
}

const Message = () => (
  <MessagePrimitive.Root>
    <MessagePrimitive.Parts components={{ Text: ({ text }) => text }} />
  </MessagePrimitive.Root>
)

createRoot(document.querySelector('main')).render(<Chat />)
