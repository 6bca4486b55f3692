"""A client of the daemon's local socket in Python's standard library alone: nothing of ours, nothing of others.

Usage: client.py SOCKET. Exits 0 when everything was as JSON-RPC 2.0 and docs/protocol.md say.
The daemon it is run against has the methods test.echo, test.gate and test.open beside its own.
"""

import json
import socket
import sys
import uuid


class Client:
    """One connection; requests are matched by id, notifications kept."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(20)
        self.socket.connect(path)
        self.lines = self.socket.makefile("r", encoding="utf-8", newline="\n")
        self.next_id = 0
        self.notifications = []
        self.answers = {}

    def send(self, message):
        self.socket.sendall(json.dumps(message).encode() + b"\n")

    def ask(self, method, params=None, id=None):
        if id is None:
            self.next_id += 1
            id = self.next_id
        message = {"jsonrpc": "2.0", "id": id, "method": method}
        if params is not None:
            message["params"] = params
        self.send(message)
        return id

    def read(self):
        line = self.lines.readline()
        return json.loads(line) if line else None

    def answer(self, id):
        while id not in self.answers:
            message = self.read()
            assert message is not None, "the daemon hung up"
            if "method" in message:
                self.notifications.append(message)
            else:
                assert message["id"] not in self.answers, f"a second answer: {message}"
                self.answers[message["id"]] = message
        return self.answers.pop(id)

    def call(self, method, params=None, id=None):
        answer = self.answer(self.ask(method, params, id))
        assert answer["jsonrpc"] == "2.0" and ("result" in answer) != ("error" in answer), answer
        return answer

    def notification(self, wanted):
        while True:
            for message in self.notifications:
                if wanted(message):
                    self.notifications.remove(message)
                    return message
            message = self.read()
            assert message is not None, "the daemon hung up"
            assert "method" in message, f"an answer to nothing: {message}"
            self.notifications.append(message)


def plain_requests(client):
    status = client.call("daemon.status")["result"]
    assert status["serverId"].startswith("srv_"), status
    assert client.call("system.ping", {})["result"]["serverTime"] > 0
    assert client.call("no.such")["error"]["code"] == -32601
    assert client.call("test.echo", {"text": "ünïcödé \u2028 \U0001f600"})["result"]["text"] == "ünïcödé \u2028 \U0001f600"
    for id in ("a string", "", 0, -1, 10**15):
        assert client.call("system.ping", id=id)["id"] == id


def a_thousand_at_once(client):
    ids = {client.ask("test.echo", {"n": n}): n for n in range(200)}
    for _ in range(4):
        for id, n in list(ids.items()):
            assert client.answer(id)["result"]["n"] == n
            del ids[id]
            ids[client.ask("test.echo", {"n": n})] = n
    for id, n in ids.items():
        assert client.answer(id)["result"]["n"] == n


def out_of_order(client):
    slow = client.ask("test.gate")
    assert client.call("test.echo", {"n": 1})["result"]["n"] == 1
    client.call("test.open")
    assert client.answer(slow)["result"] == {}


def a_batch(client):
    client.send(
        [
            {"jsonrpc": "2.0", "id": "one", "method": "system.ping"},
            {"jsonrpc": "2.0", "method": "system.ping"},
            {"jsonrpc": "2.0", "id": "two", "method": "no.such"},
            7,
        ]
    )
    answers = client.read()
    assert isinstance(answers, list) and len(answers) == 3, answers
    by_id = {answer["id"]: answer for answer in answers}
    assert "result" in by_id["one"]
    assert by_id["two"]["error"]["code"] == -32601
    assert by_id[None]["error"]["code"] == -32600


def errors_are_survived(client):
    client.socket.sendall(b"{nonsense\n")
    answer = client.read()
    assert answer["id"] is None and answer["error"]["code"] == -32700, answer
    client.socket.sendall(b"\xff\xff\n")
    assert client.read()["error"]["code"] == -32700
    assert "result" in client.call("system.ping")


def intents_and_events(client):
    intent = str(uuid.uuid4())
    create = {"intentId": intent, "provider": "shell", "cwd": "/"}
    first = client.call("agents.create", create)["result"]["agent"]
    again = client.call("agents.create", create)["result"]["agent"]
    assert first["id"] == again["id"], "one intent, one agent"
    conflict = client.call("agents.create", dict(create, title="another"))
    assert conflict["error"]["data"]["reason"] == "intent_conflict", conflict
    agent = first["id"]
    client.call("agents.subscribe", {"agentId": agent})
    client.call("agents.send", {"intentId": str(uuid.uuid4()), "agentId": agent, "text": "echo from python"})
    seen = []

    def is_end(message):
        assert message["method"] == "session.event", message
        event = message["params"]["event"]
        seen.append(message["params"]["seq"])
        return event["type"] == "timeline.appended" and event["item"]["kind"] == "turn_end"

    while True:
        message = client.notifications.pop(0) if client.notifications else client.read()
        assert message is not None
        if is_end(message):
            break
    assert seen == list(range(seen[0], seen[0] + len(seen))), f"a gap in {seen}"
    items = client.call("agents.history", {"agentId": agent})["result"]["items"]
    assert any("from python" in item.get("text", "") for item in items if item["kind"] == "output"), items


def main():
    client = Client(sys.argv[1])
    for scenario in (plain_requests, a_thousand_at_once, out_of_order, a_batch, errors_are_survived, intents_and_events):
        scenario(client)
        print("ok", scenario.__name__)


if __name__ == "__main__":
    main()
