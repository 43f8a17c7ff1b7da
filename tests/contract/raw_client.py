"""An HTTP client that shows bytes and can misbehave."""

import http.client
import json
import socket
from contextlib import contextmanager


class Reply:
    def __init__(self, response):
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        """Return the error, which must have OpenAI's shape and nothing else."""
        value = self.json
        assert set(value) == {"error"}, value
        assert set(value["error"]) == {"message", "type", "param", "code"}, value
        assert isinstance(value["error"]["message"], str)
        assert isinstance(value["error"]["code"], str)
        return value["error"]


def call(gateway, method="POST", path="/v1/chat/completions", body=None, headers=None):
    """Send one request; `body` is bytes, or a value that becomes JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    try:
        connection.request(
            method, path, data, {"content-type": "application/json"} | (headers or {})
        )
        return Reply(connection.getresponse())
    finally:
        connection.close()


def chat(gateway, headers=None, **fields):
    """Ask for a completion."""
    body = {"model": "bot", "messages": [{"role": "user", "content": "Hi"}], "user": "u"} | fields
    return call(gateway, body=body, headers=headers)


@contextmanager
def open_chat(gateway, **fields):
    """Send a chat request on a bare socket and yield the socket."""
    body = json.dumps({"model": "bot", "messages": [{"role": "user", "content": "Hi"}]} | fields)
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
            % (len(body), body.encode())
        )
        yield connection
