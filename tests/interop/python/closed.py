"""Two people in a network that lets nothing but TCP 443 out: they come by HTTPS, ask for TURN by XEP-0215, and see and hear each other through its
TLS. Without TURN they would not."""

import asyncio
import os
import uuid

from aiortc import RTCConfiguration, RTCIceServer
from aiortc.rtcconfiguration import RTCIceTransportPolicy

from client import expect
from media import H264, VP8, enter, hears, sees
from meeting import DOMAIN, x
from report import check, finish
from session import Session
from signals import Picture, Tone

DISCO = "urn:xmpp:extdisco:2"


async def turn(person):
    """The TURN server over TLS that the server tells of, with credentials."""
    answer = await person.ask(DOMAIN, x(f"{{{DISCO}}}services"), sort="get")
    every = list(answer.iter(f"{{{DISCO}}}service"))
    it = next((it for it in every if it.get("type") == "turns"), None)
    expect(it is not None, f"no turns among {[(it.get('type'), it.get('port')) for it in every]}")
    expect(it.get("port") == "443" and it.get("transport") == "tcp", f"{it.attrib}")
    expect(it.get("username") and it.get("password"), "no credentials")
    uri = f"turns:{it.get('host')}:443?transport=tcp"
    return RTCIceServer(urls=[uri], username=it.get("username"), credential=it.get("password"))


async def start(person, publisher, servers):
    """Media of somebody; the offer is taken again, so that it can be tried in two ways."""
    tracks = [Picture(publisher.colour), Tone(publisher.pitch)]
    codecs = ["vp8", "h264"] if publisher is VP8 else ["h264", "vp8"]
    policy = RTCIceTransportPolicy.RELAY if servers else RTCIceTransportPolicy.ALL
    session = Session(person, await person.offers.get(), codecs, tracks, configuration=RTCConfiguration(servers, iceTransportPolicy=policy))
    await session.start()
    return session


async def directly(person):
    """That no packet gets to a bridge without TURN: the wall of this test is one."""
    offer = await person.offers.get()
    person.offers.put_nowait(offer)
    it = next(it for it in offer[1].iter("{urn:xmpp:jingle:transports:ice-udp:1}candidate") if it.get("protocol") == "udp")
    loop = asyncio.get_running_loop()
    heard = loop.create_future()

    class Ask(asyncio.DatagramProtocol):
        def datagram_received(self, data, address):
            heard.set_result(data)

    try:
        transport, _ = await loop.create_datagram_endpoint(Ask, remote_addr=(it.get("ip"), int(it.get("port"))))
        # A binding request, which a bridge answers, if only with an error.
        transport.sendto(b"\x00\x01\x00\x00\x21\x12\xa4\x42" + os.urandom(12))
        await asyncio.wait_for(asyncio.shield(heard), 2)
    except (OSError, asyncio.TimeoutError):
        return True
    raise AssertionError("the bridge answers over UDP")


async def main():
    room = f"closed{uuid.uuid4().hex[:8]}"
    ann = await check("closed: the first comes in by HTTPS", enter(room, VP8), 30)
    bob = await check("closed: the second comes in", enter(room, H264), 30)
    if None in (ann, bob):
        finish()
    servers = [await check("closed: TURN over TLS on 443 is told, with credentials", turn(person)) for person in (ann, bob)]
    if None in servers or not await check("closed: UDP does not get out", directly(ann)):
        finish()
    one = await check("closed: the first is connected through TURN", start(ann, VP8, servers[:1]), 60)
    two = await check("closed: the second is connected through TURN", start(bob, H264, servers[1:]), 60)
    if None in (one, two):
        finish()
    await check("closed: the first sees the second", sees(one, bob.id, H264), 60)
    await check("closed: the second sees the first", sees(two, ann.id, VP8), 60)
    await check("closed: the second hears the first", hears(two, ann.id, VP8), 60)
    for session in (one, two):
        await session.close()
        await session.person.leave()
    finish()


if __name__ == "__main__":
    asyncio.run(main())
