"""A person in a meeting, over the WebSocket of the server that the environment names: conference request, login, room."""

import asyncio
import base64
import hashlib
import json
import os
import urllib.request
import uuid
import xml.etree.ElementTree as ET

import websockets

URL = os.environ.get("AMPHI_URL", "http://127.0.0.1:5280")
DOMAIN = os.environ.get("AMPHI_DOMAIN", "localhost")
MUC = os.environ.get("AMPHI_MUC", f"conference.{DOMAIN}")

CLIENT = "jabber:client"
JINGLE = "urn:xmpp:jingle:1"
DISCO = "http://jabber.org/protocol/disco#info"
FRAMING = "urn:ietf:params:xml:ns:xmpp-framing"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"
MUC_USER = "http://jabber.org/protocol/muc#user"

# A client that takes whatever SSRCs the bridge chooses, and feeds back estimates but no arrival times.
FEATURES = sorted(
    [
        "http://jabber.org/protocol/caps",
        "http://jitsi.org/receive-multiple-video-streams",
        "http://jitsi.org/remb",
        "http://jitsi.org/source-name",
        "http://jitsi.org/ssrc-rewriting-1",
        "http://jitsi.org/visitors-1",
        "urn:ietf:rfc:4588",
        "urn:xmpp:jingle:1",
        "urn:xmpp:jingle:apps:dtls:0",
        "urn:xmpp:jingle:apps:rtp:1",
        "urn:xmpp:jingle:apps:rtp:audio",
        "urn:xmpp:jingle:apps:rtp:video",
        "urn:xmpp:jingle:transports:dtls-sctp:1",
        "urn:xmpp:jingle:transports:ice-udp:1",
    ]
)
VERSION = base64.b64encode(hashlib.sha1("".join(f"{it}<" for it in FEATURES).encode()).digest()).decode()


def x(name, attributes=None, *children, text=None):
    """An element; `name` is `{namespace}local`."""
    element = ET.Element(name, {key: str(value) for key, value in (attributes or {}).items() if value is not None})
    element.text = text
    element.extend(it for it in children if it is not None)
    return element


async def request(room, visitor):
    """Asks the focus for a seat until the room is ready; returns the visitor node, if it is to be one."""
    properties = {"visitors-version": 1, **({"visitor": True} if visitor else {})}
    body = {"room": f"{room}@{MUC}", "machineUid": str(uuid.uuid4()), "properties": properties}
    ask = urllib.request.Request(
        f"{URL}/conference-request/v1?room={room}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )

    def post():
        with urllib.request.urlopen(ask, timeout=10) as answer:
            return json.load(answer)

    while True:
        answer = await asyncio.to_thread(post)
        if answer.get("ready") in (True, "true"):
            return answer.get("vnode")
        await asyncio.sleep(0.25)


class Person:
    """Somebody in a room. `offers` holds what the focus starts; everything else that is asked gets an answer here."""

    def __init__(self, room, visitor=False, codecs="vp8"):
        self.room = room
        self.visitor = visitor
        self.codecs = codecs
        self.offers = asyncio.Queue()
        self.answers = {}
        self.inside = asyncio.get_running_loop().create_future()

    async def come(self):
        """Joins; returns when the own presence has come."""
        vnode = await request(self.room, self.visitor)
        if self.visitor and not vnode:
            raise AssertionError("a visitor was sent on stage")
        domain = f"{vnode}.meet.jitsi" if vnode else DOMAIN
        address = f"{URL.replace('http', 'ws', 1)}/xmpp-websocket?room={self.room}" + (f"&vnode={vnode}" if vnode else "")
        self.socket = await websockets.connect(address, subprotocols=["xmpp"], max_size=None)
        await self.open(domain)
        await self.write(x(f"{{{SASL}}}auth", {"mechanism": "ANONYMOUS"}))
        answer = await self.read()
        if answer.tag != f"{{{SASL}}}success":
            raise AssertionError(f"login: {ET.tostring(answer, 'unicode')}")
        await self.open(domain)
        await self.write(x(f"{{{CLIENT}}}iq", {"type": "set", "id": "bind"}, x(f"{{{BIND}}}bind")))
        # What the server tells every newcomer may come before the answer.
        while (jid := (await self.read()).find(f".//{{{BIND}}}jid")) is None:
            pass
        self.jid = jid.text
        self.id = self.jid[:8]
        self.me = f"{self.room}@{f'conference.{domain}' if vnode else MUC}/{self.id}"
        self.task = asyncio.create_task(self.listen())
        caps = {"hash": "sha-1", "node": "https://amphi.example/interop", "ver": VERSION}
        await self.write(
            x(
                f"{{{CLIENT}}}presence",
                {"to": self.me},
                x("{http://jabber.org/protocol/muc}x"),
                x("{http://jabber.org/protocol/caps}c", caps),
                x("{http://jabber.org/protocol/nick}nick", text=self.id),
                x(f"{{{CLIENT}}}jitsi_participant_codecList", text=self.codecs),
            )
        )
        await self.inside

    async def leave(self):
        await self.write(x(f"{{{CLIENT}}}presence", {"to": self.me, "type": "unavailable"}))
        await self.socket.close()
        self.task.cancel()

    async def open(self, domain):
        await self.write(x(f"{{{FRAMING}}}open", {"to": domain, "version": "1.0"}))
        while not (await self.read()).tag.endswith("}features"):
            pass

    async def write(self, element):
        await self.socket.send(ET.tostring(element, "unicode"))

    async def read(self):
        return ET.fromstring(await self.socket.recv())

    async def ask(self, to, *children, sort="set"):
        """Sends a request and returns its result."""
        number = uuid.uuid4().hex
        answer = self.answers[number] = asyncio.get_running_loop().create_future()
        await self.write(x(f"{{{CLIENT}}}iq", {"type": sort, "id": number, "to": to}, *children))
        stanza = await answer
        if stanza.get("type") != "result":
            raise AssertionError(f"refused: {ET.tostring(stanza, 'unicode')}")
        return stanza

    async def listen(self):
        while True:
            stanza = await self.read()
            kind, sort = stanza.tag.rsplit("}", 1)[-1], stanza.get("type")
            if kind == "presence" and stanza.get("from", "").startswith(f"{self.room}@") and not self.inside.done():
                codes = [it.get("code") for it in stanza.iter(f"{{{MUC_USER}}}status")]
                if sort == "error":
                    self.inside.set_exception(AssertionError(f"refused: {ET.tostring(stanza, 'unicode')}"))
                elif "110" in codes:
                    self.inside.set_result(None)
            elif kind == "iq" and sort in ("result", "error"):
                answer = self.answers.pop(stanza.get("id"), None)
                if answer and not answer.done():
                    answer.set_result(stanza)
            elif kind == "iq":
                await self.reply(stanza)

    async def reply(self, stanza):
        answer = {"to": stanza.get("from"), "id": stanza.get("id"), "type": "result"}
        query, jingle = stanza.find(f"{{{DISCO}}}query"), stanza.find(f"{{{JINGLE}}}jingle")
        inside = None
        if query is not None:
            features = [x(f"{{{DISCO}}}feature", {"var": it}) for it in FEATURES]
            inside = x(f"{{{DISCO}}}query", {"node": query.get("node")}, *features)
        await self.write(x(f"{{{CLIENT}}}iq", answer, inside))
        if jingle is not None and jingle.get("action") == "session-initiate":
            self.offers.put_nowait((stanza.get("from"), jingle))
