//! Namespaces of media signaling (`spec/focus.md` 11.3).

#![allow(missing_docs)]

pub const RTP: &str = "urn:xmpp:jingle:apps:rtp:1";
pub const RTP_AUDIO: &str = "urn:xmpp:jingle:apps:rtp:audio";
pub const RTP_VIDEO: &str = "urn:xmpp:jingle:apps:rtp:video";
pub const RTCP_FB: &str = "urn:xmpp:jingle:apps:rtp:rtcp-fb:0";
pub const HDREXT: &str = "urn:xmpp:jingle:apps:rtp:rtp-hdrext:0";
pub const SSMA: &str = "urn:xmpp:jingle:apps:rtp:ssma:0";
pub const DTLS: &str = "urn:xmpp:jingle:apps:dtls:0";
pub const GROUPING: &str = "urn:xmpp:jingle:apps:grouping:0";
pub const ICE_UDP: &str = "urn:xmpp:jingle:transports:ice-udp:1";
pub const DTLS_SCTP: &str = "urn:xmpp:jingle:transports:dtls-sctp:1";
pub const COLIBRI: &str = "http://jitsi.org/protocol/colibri";
pub const COLIBRI2: &str = "jitsi:colibri2";
pub const HEALTHCHECK: &str = "http://jitsi.org/protocol/healthcheck";
pub const TRACE: &str = "jitsi:opentelemetry";
