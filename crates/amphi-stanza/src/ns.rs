//! Namespaces of the protocols spoken here.

#![allow(missing_docs)]

pub const CLIENT: &str = "jabber:client";
pub const SERVER: &str = "jabber:server";
pub const STREAM: &str = "http://etherx.jabber.org/streams";
pub const STREAMS_ERR: &str = "urn:ietf:params:xml:ns:xmpp-streams";
pub const STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
pub const FRAMING: &str = "urn:ietf:params:xml:ns:xmpp-framing";
pub const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
pub const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
pub const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
pub const SESSION: &str = "urn:ietf:params:xml:ns:xmpp-session";
pub const SM: &str = "urn:xmpp:sm:3";
pub const SM2: &str = "urn:xmpp:sm:2";
pub const BIDI: &str = "urn:xmpp:bidi";
pub const BIDI_FEATURE: &str = "urn:xmpp:features:bidi";
pub const DIALBACK: &str = "jabber:server:dialback";
pub const DIALBACK_FEATURE: &str = "urn:xmpp:features:dialback";
pub const BOSH: &str = "http://jabber.org/protocol/httpbind";
pub const XBOSH: &str = "urn:xmpp:xbosh";
pub const XML: &str = "http://www.w3.org/XML/1998/namespace";
pub const PING: &str = "urn:xmpp:ping";
pub const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
pub const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";
pub const CAPS: &str = "http://jabber.org/protocol/caps";
pub const DATA_FORMS: &str = "jabber:x:data";
pub const EXTDISCO: &str = "urn:xmpp:extdisco:2";
pub const EXTDISCO1: &str = "urn:xmpp:extdisco:1";
pub const DELAY: &str = "urn:xmpp:delay";
pub const MUC: &str = "http://jabber.org/protocol/muc";
pub const MUC_USER: &str = "http://jabber.org/protocol/muc#user";
pub const MUC_ADMIN: &str = "http://jabber.org/protocol/muc#admin";
pub const MUC_OWNER: &str = "http://jabber.org/protocol/muc#owner";
pub const MUC_ROOMCONFIG: &str = "http://jabber.org/protocol/muc#roomconfig";
pub const MUC_ROOMINFO: &str = "http://jabber.org/protocol/muc#roominfo";
pub const OCCUPANT_ID: &str = "urn:xmpp:occupant-id:0";
pub const STANZA_ID: &str = "urn:xmpp:sid:0";
pub const NICK: &str = "http://jabber.org/protocol/nick";
pub const ADDRESS: &str = "http://jabber.org/protocol/address";
pub const JITMEET: &str = "http://jitsi.org/jitmeet";
pub const DISPLAY_NAME: &str = "http://jitsi.org/protocol/display-name";
pub const FOCUS: &str = "http://jitsi.org/protocol/focus";
pub const VISITORS: &str = "jitsi:visitors";
pub const JINGLE: &str = "urn:xmpp:jingle:1";
pub const START_MUTED: &str = "http://jitsi.org/jitmeet/start-muted";
