import { useChat } from '@ai-sdk/react'
import { createRoot } from 'react-dom/client'

const id = new URLSearchParams(location.search).get('chat') ?? 'chat-1'

function Chat() {
  const { messages, sendMessage, status, error } = useChat({ id, resume: true })

  function ask(event) {
    event.preventDefault()
    sendMessage({ text: event.target.question.value })
  }

  // useChat's own stop() hangs up, and no more: the answer would go on.
  function stop() {
    fetch(`/api/chat/${encodeURIComponent(id)}/stop`, { method: 'POST' })
  }

  return (
    <>
      {messages.map(({ id, role, parts }) => (
        <p key={id} className={role}>
          {parts.map((part) => part.text)}
        </p>
      ))}
      <form onSubmit={ask}>
        <input name="question" placeholder="Ask" />
        <button>Send</button>
        <button type="button" onClick={stop}>Stop</button>
      </form>
      <output>{error ? error.message : status}</output>
    </>
  )
}

createRoot(document.querySelector('main')).render(<Chat />)
