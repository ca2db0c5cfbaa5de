"""A media session of aiortc with our bridge: the focus' Jingle offer as SDP, the answer as Jingle, the bridge channel, and a section of SDP for
each SSRC that the bridge puts a source on."""

import asyncio
import json

from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import SessionDescription

from meeting import JINGLE, x

RTP = "urn:xmpp:jingle:apps:rtp:1"
FEEDBACK = "urn:xmpp:jingle:apps:rtp:rtcp-fb:0"
EXTENSION = "urn:xmpp:jingle:apps:rtp:rtp-hdrext:0"
SOURCES = "urn:xmpp:jingle:apps:rtp:ssma:0"
ICE = "urn:xmpp:jingle:transports:ice-udp:1"
DTLS = "urn:xmpp:jingle:apps:dtls:0"
SCTP = "urn:xmpp:jingle:transports:dtls-sctp:1"


def parameter(payload_type, name):
    values = [it.get("value") for it in payload_type.iter(f"{{{RTP}}}parameter") if it.get("name") == name]
    return values[0] if values else None


class Session:
    """From an offer to `close`. The first of `codecs` is what is sent; `address` takes the place of the bridge's own, where a proxy is between."""

    def __init__(self, person, offer, codecs, tracks=(), address=None, configuration=None):
        self.person = person
        self.focus, self.jingle = offer
        self.codecs = codecs
        self.tracks = {it.kind: it for it in tracks}
        self.address = address
        self.pc = RTCPeerConnection(configuration)
        self.slots = {}
        self.messages = []
        self.changed = asyncio.Event()
        self.negotiating = asyncio.Lock()
        self.version = 0
        self.channel = None

    def content(self, name):
        return next(it for it in self.jingle.iter(f"{{{JINGLE}}}content") if it.get("name") == name)

    async def start(self):
        """Answers the offer; returns when ICE, DTLS and the bridge channel are up."""
        channel = self.pc.createDataChannel("JVB data channel", protocol="http://jitsi.org/protocols/colibri")
        self.channel = channel
        opened = asyncio.get_running_loop().create_future()
        channel.on("open", lambda: opened.set_result(None))
        channel.on("message", self.hear)
        async with self.negotiating:
            await self.negotiate()
        await self.person.ask(self.focus, self.accepted())
        await opened
        self.say({"colibriClass": "ReceiverVideoConstraints", "lastN": -1, "defaultConstraints": {"maxHeight": 720}})

    async def close(self):
        await self.pc.close()

    def say(self, message):
        self.channel.send(json.dumps(message))

    def hear(self, text):
        message = json.loads(text)
        self.messages.append(message)
        if message["colibriClass"] in ("AudioSourcesMap", "VideoSourcesMap"):
            kind = "audio" if message["colibriClass"].startswith("Audio") else "video"
            new = [it for it in message["mappedSources"] if it["ssrc"] not in self.slots]
            for it in message["mappedSources"]:
                known = self.slots.setdefault(it["ssrc"], {"mid": f"{kind[0]}{len(self.slots)}", "kind": kind})
                known.update(source=it["source"], rtx=it.get("rtx"))
            if new:
                asyncio.ensure_future(self.renegotiate())
        self.changed.set()

    async def renegotiate(self):
        async with self.negotiating:
            await self.negotiate()
        self.changed.set()

    async def until(self, found):
        """What `found` returns, as soon as it is something; it is asked again whenever something has changed."""
        while not (value := found()):
            self.changed.clear()
            await self.changed.wait()
        return value

    async def track(self, source):
        """The track of a source."""

        def found():
            mids = [it["mid"] for it in self.slots.values() if it["source"] == source]
            tracks = {it.mid: it.receiver.track for it in self.pc.getTransceivers()}
            return tracks.get(mids[0]) if mids else None

        return await self.until(found)

    async def negotiate(self):
        self.version += 1
        await self.pc.setRemoteDescription(RTCSessionDescription(self.offer(), "offer"))
        for transceiver in self.pc.getTransceivers():
            if transceiver.mid in self.tracks:
                transceiver.sender.replaceTrack(self.tracks[transceiver.mid])
                transceiver.direction = "sendrecv"
        await self.pc.setLocalDescription(await self.pc.createAnswer())

    # ---- SDP ----------------------------------------------------------------------------------------------------------

    def offer(self):
        sections = [("audio", "audio", "sendrecv", None), ("video", "video", "sendrecv", None), ("data", "data", None, None)]
        sections += [(it["mid"], it["kind"], "sendonly", (ssrc, it["rtx"])) for ssrc, it in self.slots.items()]
        lines = ["v=0", f"o=- 1 {self.version} IN IP4 0.0.0.0", "s=-", "t=0 0"]
        lines.append("a=group:BUNDLE " + " ".join(mid for mid, *_ in sections))
        for mid, kind, direction, ssrcs in sections:
            lines += self.data(mid) if kind == "data" else self.media(mid, kind, direction, ssrcs)
        return "\r\n".join(lines) + "\r\n"

    def transport(self):
        it = self.content("audio").find(f"{{{ICE}}}transport")
        fingerprint = it.find(f"{{{DTLS}}}fingerprint")
        lines = [f"a=ice-ufrag:{it.get('ufrag')}", f"a=ice-pwd:{it.get('pwd')}"]
        lines += [f"a=fingerprint:{fingerprint.get('hash')} {fingerprint.text}", "a=setup:actpass"]
        for c in it.iter(f"{{{ICE}}}candidate"):
            ip, port = self.address or (c.get("ip"), c.get("port"))
            words = [c.get(key) for key in ("foundation", "component", "protocol", "priority")]
            lines.append(f"a=candidate:{' '.join(words)} {ip} {port} typ {c.get('type')}")
            if self.address:
                break
        return lines + ["a=end-of-candidates"]

    def data(self, mid):
        head = ["m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "c=IN IP4 0.0.0.0", f"a=mid:{mid}"]
        return head + self.transport() + ["a=sctp-port:5000", "a=max-message-size:262144"]

    def media(self, mid, kind, direction, ssrcs):
        description = self.content(kind).find(f"{{{RTP}}}description")
        types = self.payload_types(kind)
        lines = [f"m={kind} 9 UDP/TLS/RTP/SAVPF {' '.join(it.get('id') for it in types)}", "c=IN IP4 0.0.0.0"]
        lines += [f"a=mid:{mid}", *self.transport(), f"a={direction}", "a=rtcp-mux"]
        lines += [f"a=extmap:{it.get('id')} {it.get('uri')}" for it in description.iter(f"{{{EXTENSION}}}rtp-hdrext")]
        for it in types:
            number, channels = it.get("id"), it.get("channels", "1")
            lines.append(f"a=rtpmap:{number} {it.get('name')}/{it.get('clockrate')}" + (f"/{channels}" if channels != "1" else ""))
            for feedback in it.iter(f"{{{FEEDBACK}}}rtcp-fb"):
                lines.append(f"a=rtcp-fb:{number} {feedback.get('type')} {feedback.get('subtype') or ''}".rstrip())
            values = [f"{p.get('name')}={p.get('value')}" for p in it.iter(f"{{{RTP}}}parameter")]
            lines += [f"a=fmtp:{number} {';'.join(values)}"] if values else []
        for ssrc in [it for it in ssrcs or () if it]:
            lines.append(f"a=ssrc:{ssrc} cname:bridge")
        return lines

    def payload_types(self, kind):
        every = list(self.content(kind).iter(f"{{{RTP}}}payload-type"))
        if kind == "audio":
            return every
        wanted = [it for it in every if it.get("name").lower() in self.codecs]
        wanted.sort(key=lambda it: self.codecs.index(it.get("name").lower()))
        return wanted + [it for it in every if parameter(it, "apt") in [it.get("id") for it in wanted]]

    # ---- Jingle -------------------------------------------------------------------------------------------------------

    def accepted(self):
        """The answer, with what aiortc says it does and no more."""
        description = SessionDescription.parse(self.pc.localDescription.sdp)
        contents = []
        for section in description.media:
            attributes = {"creator": "responder", "name": section.rtp.muxId, "senders": "both"}
            inside, more = self.answered(section)
            fingerprint = section.dtls.fingerprints[0]
            transport = x(
                f"{{{ICE}}}transport",
                {"ufrag": section.ice.usernameFragment, "pwd": section.ice.password},
                x(f"{{{ICE}}}rtcp-mux"),
                x(f"{{{DTLS}}}fingerprint", {"hash": fingerprint.algorithm, "setup": "active"}, text=fingerprint.value),
                more,
            )
            contents.append(x(f"{{{JINGLE}}}content", attributes, inside, transport))
        attributes = {"action": "session-accept", "initiator": self.jingle.get("initiator")}
        attributes.update(responder=self.person.jid, sid=self.jingle.get("sid"))
        names = [x("{urn:xmpp:jingle:apps:grouping:0}content", {"name": it.rtp.muxId}) for it in description.media]
        group = x("{urn:xmpp:jingle:apps:grouping:0}group", {"semantics": "BUNDLE"}, *names)
        return x(f"{{{JINGLE}}}jingle", attributes, *contents, group)

    def answered(self, section):
        if section.kind == "application":
            more = x(f"{{{SCTP}}}sctpmap", {"number": 5000, "protocol": "webrtc-datachannel", "streams": 1024})
            return x(f"{{{RTP}}}description", {"media": "application"}), more
        inside = []
        for codec in section.rtp.codecs:
            parameters = [x(f"{{{RTP}}}parameter", {"name": k, "value": v}) for k, v in codec.parameters.items()]
            feedback = [x(f"{{{FEEDBACK}}}rtcp-fb", {"type": f.type, "subtype": f.parameter}) for f in codec.rtcpFeedback]
            attributes = {"id": codec.payloadType, "name": codec.name, "clockrate": codec.clockRate, "channels": codec.channels}
            inside.append(x(f"{{{RTP}}}payload-type", attributes, *parameters, *feedback))
        for it in section.rtp.headerExtensions:
            inside.append(x(f"{{{EXTENSION}}}rtp-hdrext", {"id": it.id, "uri": it.uri}))
        if section.kind in self.tracks:
            name = f"{self.person.id}-{section.kind[0]}0"
            for it in section.ssrc:
                msid = x(f"{{{SOURCES}}}parameter", {"name": "msid", "value": f"{name}-1 {name}"})
                inside.append(x(f"{{{SOURCES}}}source", {"ssrc": it.ssrc, "name": name}, msid))
            for group in section.ssrc_group:
                members = [x(f"{{{SOURCES}}}source", {"ssrc": it}) for it in group.items]
                inside.append(x(f"{{{SOURCES}}}ssrc-group", {"semantics": group.semantic}, *members))
        return x(f"{{{RTP}}}description", {"media": section.kind}, *inside, x(f"{{{RTP}}}rtcp-mux")), None
