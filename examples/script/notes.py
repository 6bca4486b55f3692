#!/usr/bin/env python3
"""A script on the daemon's own machine: adds notes, lists them, follows new ones, over the daemon's local socket.

Usage: notes.py SOCKET add TEXT | list | follow

SOCKET is what the running daemon prints in its `listening` line of kind `local`. Nothing is paired: whoever may open the
socket is the daemon's user. docs/local.md has the rules. Python's standard library alone; Unix only, since Python opens no
named pipes: on Windows use `bowline --json`, or a library for pipes.
"""

import json
import socket
import sys
import uuid


class Daemon:
    """One connection. It takes any number of requests; answers are matched to them by id."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.lines = self.socket.makefile("r", encoding="utf-8", newline="\n")
        self.last = 0

    def call(self, method, **params):
        self.last += 1
        request = {"jsonrpc": "2.0", "id": self.last, "method": method, "params": params}
        self.socket.sendall(json.dumps(request).encode() + b"\n")
        for message in self.messages():
            if message.get("id") == self.last:
                if "error" in message:
                    sys.exit(f"notes.py: {message['error']['message']}")
                return message["result"]
        sys.exit("notes.py: the daemon has closed the connection")

    def messages(self):
        return (json.loads(line) for line in self.lines)


def main():
    match sys.argv[1:]:
        case [path, "add", text]:
            # The same id again would give the same outcome and add nothing: a script that is not sure may repeat itself.
            added = Daemon(path).call("notes.add", intentId=str(uuid.uuid4()), text=text)
            print("added", added["id"])
        case [path, "list"]:
            daemon, after = Daemon(path), ""
            while notes := daemon.call("notes.list", after=after)["notes"]:
                for note in notes:
                    print(note["text"])
                after = notes[-1]["id"]
        case [path, "follow"]:
            daemon = Daemon(path)
            daemon.call("live.open", kind="topic", name="notes.added")
            print("following", flush=True)
            for message in daemon.messages():
                event = message.get("params", {}).get("event", {})
                if event.get("type") == "topic.event" and event["name"] == "notes.added":
                    print(event["body"]["text"], flush=True)
        case _:
            sys.exit(__doc__)


main()
