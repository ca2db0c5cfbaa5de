"""A client over TCP with STARTTLS, for the server and the account that the environment names."""

import asyncio
import os
import ssl

import slixmpp

HOST, PORT = os.environ.get("AMPHI_C2S", "127.0.0.1:5222").rsplit(":", 1)
DOMAIN = os.environ.get("AMPHI_DOMAIN", "localhost")
AUTH_DOMAIN = os.environ.get("AMPHI_AUTH_DOMAIN", f"auth.{DOMAIN}")
ACCOUNT = os.environ.get("AMPHI_ACCOUNT", "jvb")
PASSWORD = os.environ.get("AMPHI_PASSWORD", "")


class Client(slixmpp.ClientXMPP):
    """A client that remembers all presence and messages, so that nothing that comes early is lost."""

    def __init__(self, resource, password=PASSWORD, mechanism=None):
        super().__init__(f"{ACCOUNT}@{AUTH_DOMAIN}/{resource}", password, sasl_mech=mechanism)
        self.register_plugin("xep_0030")
        self.register_plugin("xep_0199")
        # The certificate of a test server is its own.
        self.ssl_context.check_hostname = False
        self.ssl_context.verify_mode = ssl.CERT_NONE
        self.enable_direct_tls = False
        self.seen = []
        self.changed = asyncio.Event()
        self.outcome = asyncio.get_running_loop().create_future()
        self.add_event_handler("session_start", lambda _: self._settle("session"))
        self.add_event_handler("failed_all_auth", lambda _: self._settle("refused"))
        self.add_event_handler("connection_failed", lambda error: self._settle(f"no connection: {error}"))
        for event in ("presence", "message"):
            self.add_event_handler(event, self._see)
        self.add_event_handler("groupchat_message", self._see)

    def _settle(self, outcome):
        if not self.outcome.done():
            self.outcome.set_result(outcome)

    def _see(self, stanza):
        self.seen.append(stanza.xml)
        self.changed.set()

    async def login(self):
        self.connect(HOST, int(PORT))
        return await self.outcome

    async def next(self, fits):
        while True:
            for xml in self.seen:
                if fits(xml):
                    return xml
            self.changed.clear()
            await self.changed.wait()


def expect(condition, message):
    if not condition:
        raise AssertionError(message)
