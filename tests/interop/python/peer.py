"""An account of a foreign server speaks with the server under test over a server-to-server link."""

import asyncio
import os
import uuid

import slixmpp
from slixmpp.exceptions import IqError

from client import Client, expect
from report import check, finish

REMOTE = os.environ.get("AMPHI_REMOTE_DOMAIN", "localhost")
LABEL = "Prosody over server-to-server"


async def log_in():
    client = Client("peer")
    outcome = await client.login()
    expect(outcome == "session", f"{outcome}")
    return client


async def refused_by_the_room_service(client):
    """Only administrators make rooms, and the refusal must find its way back."""
    room = f"interop-{uuid.uuid4().hex[:8]}@conference.{REMOTE}"
    presence = client.make_presence(pto=f"{room}/stranger")
    presence.append(slixmpp.ET.Element("{http://jabber.org/protocol/muc}x"))
    presence.send()
    await client.next(lambda xml: (xml.get("from") or "").startswith(room) and xml.get("type") == "error")


async def unknown_request(client):
    iq = client.make_iq_get(queryxmlns="urn:example:none", ito=REMOTE)
    try:
        await iq.send(timeout=10)
    except IqError as error:
        expect(error.condition == "service-unavailable", f"condition is {error.condition}")
        return
    raise AssertionError("answered with a result")


async def main():
    client = await check(f"{LABEL}: login to the foreign server", log_in())
    if client is None:
        finish()
    ping = client.plugin["xep_0199"].send_ping(slixmpp.JID(REMOTE), timeout=30)
    await check(f"{LABEL}: the main domain answers a ping", ping, seconds=35)
    await check(f"{LABEL}: an unknown request is refused, not ignored", unknown_request(client))
    await check(f"{LABEL}: a stranger cannot make a room", refused_by_the_room_service(client))
    finish()


if __name__ == "__main__":
    asyncio.run(main())
