"""A service account over TCP with STARTTLS and SCRAM, as a bridge or recorder would log in, and the internal rooms."""

import asyncio
import os
import uuid

import slixmpp
from slixmpp.exceptions import IqError

from client import AUTH_DOMAIN, DOMAIN, Client, expect
from report import check, finish

INTERNAL_MUC = os.environ.get("AMPHI_INTERNAL_MUC", f"internal.auth.{DOMAIN}")
HAS_FOCUS = os.environ.get("AMPHI_FOCUS") != "none"

LABEL = "slixmpp over TCP"
COLIBRI = "http://jitsi.org/protocol/colibri"


async def log_in(resource, mechanism=None):
    client = Client(resource, mechanism=mechanism)
    outcome = await client.login()
    expect(outcome == "session", f"{outcome}")
    expect(client.transport.get_extra_info("ssl_object") is not None, "the stream is not encrypted")
    return client


async def wrong_password():
    client = Client("wrong", password=uuid.uuid4().hex)
    outcome = await client.login()
    client.abort()
    expect(outcome == "refused", f"outcome is {outcome}")


async def join(client, room, nick, stats):
    presence = client.make_presence(pto=f"{room}/{nick}")
    presence.append(slixmpp.ET.Element("{http://jabber.org/protocol/muc}x"))
    element = slixmpp.ET.SubElement(presence.xml, f"{{{COLIBRI}}}stats")
    for name, value in stats.items():
        slixmpp.ET.SubElement(element, f"{{{COLIBRI}}}stat", {"name": name, "value": value})
    presence.send()

    def fits(xml):
        from_me = xml.get("from") == f"{room}/{nick}" and xml.tag.endswith("}presence")
        codes = [s.get("code") for s in xml.iter("{http://jabber.org/protocol/muc#user}status")]
        return from_me and (xml.get("type") == "error" or "110" in codes)

    xml = await client.next(fits)
    expect(xml.get("type") != "error", f"refused: {slixmpp.ET.tostring(xml, 'unicode')}")


async def unlock(client, room):
    """A new room of some servers is locked until its form is sent."""
    iq = client.make_iq_set(ito=room)
    query = slixmpp.ET.SubElement(iq.xml, "{http://jabber.org/protocol/muc#owner}query")
    slixmpp.ET.SubElement(query, "{jabber:x:data}x", {"type": "submit"})
    try:
        await iq.send()
    except IqError:
        # Not the owner, so there is nothing to unlock.
        pass


async def stats_arrive(client, room, nick, value):
    def fits(xml):
        stats = [s for s in xml.iter(f"{{{COLIBRI}}}stat") if s.get("name") == "stress_level"]
        return xml.get("from") == f"{room}/{nick}" and any(s.get("value") == value for s in stats)

    await client.next(fits)


async def exchange(one, two, room):
    """An IQ between occupants, which is how a focus speaks with a bridge."""
    answer = await one.plugin["xep_0199"].send_ping(slixmpp.JID(f"{room}/two"), timeout=10)
    expect(str(answer["from"]) == f"{room}/two", f"answered by {answer['from']}")
    text = "status & <load>"
    one.send_message(mto=slixmpp.JID(room), mbody=text, mtype="groupchat")
    await two.next(lambda xml: xml.get("from") == f"{room}/one" and text in "".join(xml.itertext()))


async def leave(one, two, room):
    one.send_presence(pto=f"{room}/one", ptype="unavailable")
    await two.next(lambda xml: xml.get("from") == f"{room}/one" and xml.get("type") == "unavailable")


async def main():
    await check(f"{LABEL}: a wrong password is refused", wrong_password())
    # Prosody keeps one hash of a password and so offers SHA-1 alone.
    for mechanism in ["SCRAM-SHA-1"] + ["SCRAM-SHA-256"] * HAS_FOCUS:
        await check(f"{LABEL}: {mechanism} over TLS", log_in(mechanism.lower(), mechanism))
    one = await check(f"{LABEL}: login and bind", log_in("one"))
    two = await check(f"{LABEL}: the same account binds twice", log_in("two"))
    if one is None or two is None:
        finish()
    await check(f"{LABEL}: the host answers a ping", one.plugin["xep_0199"].send_ping(slixmpp.JID(AUTH_DOMAIN), timeout=10))
    room = f"interopbrewery{uuid.uuid4().hex[:8]}@{INTERNAL_MUC}"
    await check(f"{LABEL}: a service joins an internal room", join(one, room, "one", {"stress_level": "0.1"}))
    await unlock(one, room)
    await check(f"{LABEL}: a second one joins", join(two, room, "two", {"stress_level": "0.2"}))
    await check(f"{LABEL}: presence of the first reaches the second", stats_arrive(two, room, "one", "0.1"))
    await check(f"{LABEL}: presence of the second reaches the first", stats_arrive(one, room, "two", "0.2"))
    await check(f"{LABEL}: requests and messages between occupants", exchange(one, two, room))
    await check(f"{LABEL}: a leave is announced", leave(one, two, room))
    finish()


if __name__ == "__main__":
    asyncio.run(main())
