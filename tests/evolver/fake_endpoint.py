"""A chat-completions endpoint on loopback that behaves as well or as badly as a test wants."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, cycle


def completion(text, finish="stop", usage=(1000, 200)):
    """A well-formed answer."""
    return 200, {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "test-model",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish,
                "message": {"role": "assistant", "content": text},
            }
        ],
        "usage": {
            "prompt_tokens": usage[0],
            "completion_tokens": usage[1],
            "total_tokens": sum(usage),
        },
    }


def failure(status, message="no", headers=None):
    """An error in OpenAI's shape."""
    return status, {"error": {"message": message, "type": "error"}}, headers or {}


def chunk(text="", finish=None, usage=None, **delta):
    """One event of a stream."""
    delta = ({"content": text} if text else {}) | delta
    document = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "test-model"}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    document["choices"] = [choice] if usage is None else []
    document["usage"] = usage
    return f"data: {json.dumps(document)}\n\n"


def counted(tokens_in=1000, tokens_out=200):
    """The last chunk of a stream."""
    return chunk(usage={"prompt_tokens": tokens_in, "completion_tokens": tokens_out})


DONE = "data: [DONE]\n\n"


def stream(text, finish="stop", usage=(1000, 200), size=40):
    """A well-formed streamed answer."""
    pieces = [chunk(text[at : at + size]) for at in range(0, len(text), size)]
    end = [counted(*usage)] if usage else []
    return Script(chunk(role="assistant"), *pieces, chunk(finish=finish), *end, DONE)


class Script:
    """A streamed answer: texts are sent, numbers are seconds of silence, then it ends.

    With `cut` it ends without saying so; so many of the last steps go on `again` and again.
    """

    def __init__(self, *steps, cut=False, again=0):
        self.steps, self.cut, self.again = steps, cut, again


class FakeEndpoint:
    """Answers each request with the next of `answers`, the last one for ever.

    An answer is a `Script`, (status, body) or (status, body, headers); a str body is sent as it is;
    a number means: say nothing for that many seconds.
    """

    def __init__(self, *answers, port=0):
        self.answers = list(answers)
        self.requests = []
        self._stop = threading.Event()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                length = int(self.headers.get("Content-Length", 0))
                asked = json.loads(self.rfile.read(length))
                endpoint.requests.append((asked, dict(self.headers)))
                endpoint._answer(self, endpoint.answer_to(asked))

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    @property
    def prompts(self):
        return [request["messages"] for request, _ in self.requests]

    def answer_to(self, asked):
        """The next answer, whatever is asked."""
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def _answer(self, handler, answer):
        if isinstance(answer, int | float):
            self._stop.wait(answer)
            handler.close_connection = True
            return
        if isinstance(answer, Script):
            handler.send_response(200)
            handler.send_header("Content-Type", "text/event-stream")
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            with contextlib.suppress(OSError):  # whoever asked has gone
                self._play(answer, handler)
            return
        status, body, headers = (*answer, {})[:3]
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        handler.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def _play(self, script, handler):
        repeated = script.steps[-script.again :] if script.again else ()
        for step in chain(script.steps, cycle(repeated)):
            if self._stop.is_set():
                return
            if isinstance(step, str):
                data = step.encode()
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            else:
                self._stop.wait(step)
        if script.cut:
            handler.close_connection = True
        else:
            handler.wfile.write(b"0\r\n\r\n")

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
