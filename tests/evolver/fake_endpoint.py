"""A chat-completions endpoint on loopback that behaves as well or as badly as a test wants."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


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


class FakeEndpoint:
    """Answers each request with the next of `answers`, the last one for ever.

    An answer is (status, body) or (status, body, headers); a str body is sent as it is; a number
    means: say nothing for that many seconds.
    """

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []
        self._stop = threading.Event()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                length = int(self.headers.get("Content-Length", 0))
                endpoint.requests.append((json.loads(self.rfile.read(length)), dict(self.headers)))
                endpoint._answer(self)

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
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

    def _answer(self, handler):
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, int | float):
            self._stop.wait(answer)
            handler.close_connection = True
            return
        status, body, headers = (*answer, {})[:3]
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        handler.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
