"""A peer of lonet that is none of ours: written from the description of the wire, standard library only.

    peer.py FOLDER NETWORK STYLE listen NAME        one connection, echoed
    peer.py FOLDER NETWORK STYLE dial NAME DESTINATION TEXT

STYLE is how it quotes: `raw` leaves what can stay, `escaped` leaves nothing that is not ASCII.
Names come as JSON strings, and what it has to say it says as one line of JSON each.
"""

import json
import os
import re
import socket
import sqlite3
import sys


def say(**what):
    print(json.dumps(what), flush=True)


# ---- names on the wire ----

NAMED = {7: "a", 8: "b", 12: "f", 10: "n", 13: "r", 9: "t", 11: "v", 34: '"', 92: "\\"}


def quote(text, style):
    out = '"'
    for char in text:
        code = ord(char)
        if code in NAMED:
            out += "\\" + NAMED[code]
        elif 32 <= code < 127 or (code > 127 and style == "raw" and char.isprintable()):
            out += char
        elif code < 128:
            out += "\\x%02x" % code
        else:
            out += "\\u%04x" % code if code < 0x10000 else "\\U%08x" % code
    return (out + '"').encode()


STRING = rb'"((?:[^"\\\n]|\\.)*)"'
ESCAPE = re.compile(rb"\\(x[0-9a-f]{2}|[0-7]{3}|u[0-9a-f]{4}|U[0-9a-f]{8}|.)", re.I | re.S)


def unquote(inner):
    def char(match):
        escape = match.group(1).decode()
        if escape[0] == "x":
            return bytes([int(escape[1:], 16)])
        if escape[0] in "uU":
            return chr(int(escape[1:], 16)).encode()
        if escape[0] in "01234567":
            return bytes([int(escape, 8)])
        return bytes([{name: code for code, name in NAMED.items()}[escape]])

    return ESCAPE.sub(char, inner).decode()


def address(host, port):
    return "[%s]:%d" % (host, port) if ":" in host else "%s:%d" % (host, port)


def parse(addr):
    host, port = addr.rsplit(":", 1)
    return (host[1:-1] if host.startswith("[") else host), int(port)


def read_line(conn):
    line = b""
    while not line.endswith(b"\n"):
        byte = conn.recv(1)
        if not byte or len(line) == 1024:
            raise EOFError("the line has no end: %r" % line)
        line += byte
    return line


# ---- the registry ----


def join(folder, network):
    place = os.path.join(folder, network)
    os.makedirs(place, mode=0o700, exist_ok=True)
    db = sqlite3.connect(os.path.join(place, "registry.db"), timeout=10, isolation_level=None)
    db.execute("PRAGMA journal_mode=wal")
    db.execute("BEGIN IMMEDIATE")
    for table, key, value in ("hosts", "hostname", "osladdr"), ("meta", "name", "value"):
        db.execute(
            "CREATE TABLE IF NOT EXISTS %s (%s TEXT NON NULL PRIMARY KEY, %s TEXT NON NULL)"
            % (table, key, value)
        )
    for name, want in ("schemaver", "lonet.1"), ("network", network):
        have = db.execute("SELECT value FROM meta WHERE name=?", (name,)).fetchall()
        if not have:
            db.execute("INSERT INTO meta VALUES (?, ?)", (name, want))
        elif have != [(want,)]:
            raise ValueError("%s: want %r; have %r" % (name, want, have))
    db.execute("COMMIT")
    return db


# ---- both roles ----


def listen(db, network, style, name):
    listener = socket.create_server(("127.0.0.1", 0))
    at = "%s:%d" % listener.getsockname()
    db.execute("INSERT INTO hosts (hostname, osladdr) VALUES (?, ?)", (name, at))
    say(listening=at)
    conn, _ = listener.accept()
    line = read_line(conn)
    request = re.fullmatch(rb"> lonet %b dial %b %b\n" % (STRING, STRING, STRING), line)
    full, src, dst = (unquote(inner) for inner in request.groups())
    say(network=full, src=src, dst=dst)
    accepted = quote(address(parse(dst)[0], 2), style)
    conn.sendall(b"< lonet %b connected %b\n" % (quote(full, style), accepted))
    while data := conn.recv(4096):
        conn.sendall(data)
    conn.close()


def dial(db, network, style, name, dst, text):
    (at,) = db.execute("SELECT osladdr FROM hosts WHERE hostname=?", (parse(dst)[0],)).fetchone()
    conn = socket.create_connection(parse(at))
    ends = quote(address(name, 7), style), quote(dst, style)
    conn.sendall(b"> lonet %b dial %b %b\n" % (quote("lonet" + network, style), *ends))
    line = read_line(conn)
    reply = re.fullmatch(rb"< lonet %b (\S+) %b\n" % (STRING, STRING), line)
    say(network=unquote(reply[1]), verb=reply[2].decode(), text=unquote(reply[3]))
    conn.sendall(text.encode())
    conn.shutdown(socket.SHUT_WR)
    heard = b""
    while data := conn.recv(4096):
        heard += data
    say(heard=heard.decode())


def main():
    folder, network, style, role, *args = sys.argv[1:]
    args = [json.loads(arg) for arg in args]
    {"listen": listen, "dial": dial}[role](join(folder, network), network, style, *args)


main()
