//! The ICE-UDP transport of Jingle with what hangs on it: candidates, fingerprints, the bridge channel's address
//! (XEP-0176, XEP-0320, XEP-0343; `spec/focus.md` 4.5).

use amphi_stanza::{Element, XmlWriter};

use crate::error::{ParseError, Result};
use crate::read::{flag, need, number, push, text};
use crate::{Limits, ns};

/// An ICE candidate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// 1 is RTP.
    pub component: u8,
    /// Equal for candidates of one kind and base.
    pub foundation: String,
    /// Counts ICE restarts.
    pub generation: u32,
    /// Unique id.
    pub id: String,
    /// Address; clients may send a name.
    pub ip: String,
    /// Network interface.
    pub network: u32,
    /// Port.
    pub port: u16,
    /// Priority.
    pub priority: u32,
    /// `udp`, `tcp` or `ssltcp`.
    pub protocol: String,
    /// `host`, `srflx`, `prflx` or `relay`.
    pub ty: String,
    /// Base address of a reflexive candidate.
    pub rel_addr: Option<String>,
    /// Base port of a reflexive candidate.
    pub rel_port: Option<u16>,
    /// `active`, `passive` or `so`.
    pub tcptype: Option<String>,
}

impl Candidate {
    /// Reads `<candidate/>`.
    ///
    /// # Errors
    /// If address, port, protocol or type are missing, or a number is none.
    pub fn parse(e: Element<'_>, l: &Limits) -> Result<Self> {
        Ok(Self {
            component: number(e, "component")?.unwrap_or(1),
            foundation: text(e, "foundation", l)?.unwrap_or_default(),
            generation: number(e, "generation")?.unwrap_or(0),
            id: text(e, "id", l)?.unwrap_or_default(),
            ip: need(e, "ip", l)?,
            network: number(e, "network")?.unwrap_or(0),
            port: number(e, "port")?.ok_or(ParseError::Missing("candidate port"))?,
            priority: number(e, "priority")?.unwrap_or(0),
            protocol: need(e, "protocol", l)?.to_ascii_lowercase(),
            ty: need(e, "type", l)?,
            rel_addr: text(e, "rel-addr", l)?,
            rel_port: number(e, "rel-port")?,
            tcptype: text(e, "tcptype", l)?,
        })
    }

    /// Writes `<candidate/>`, which inherits the namespace of its transport.
    pub fn write(&self, w: &mut XmlWriter) {
        w.open("candidate").attr("component", self.component).attr("foundation", &self.foundation);
        w.attr("generation", self.generation).attr("id", &self.id).attr("ip", &self.ip).attr("network", self.network);
        w.attr("port", self.port).attr("priority", self.priority).attr("protocol", &self.protocol);
        w.attr("type", &self.ty).attr_opt("rel-addr", self.rel_addr.as_ref()).attr_opt("rel-port", self.rel_port);
        w.attr_opt("tcptype", self.tcptype.as_ref()).close();
    }
}

/// Who begins DTLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Setup {
    Active,
    Passive,
    Actpass,
}

impl Setup {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
            Self::Actpass => "actpass",
        }
    }

    fn parse(s: &str) -> Result<Self> {
        match s {
            s if s.eq_ignore_ascii_case("active") => Ok(Self::Active),
            s if s.eq_ignore_ascii_case("passive") => Ok(Self::Passive),
            s if s.eq_ignore_ascii_case("actpass") => Ok(Self::Actpass),
            _ => Err(ParseError::Invalid("fingerprint setup")),
        }
    }
}

/// The fingerprint of a DTLS certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// As `sha-256`.
    pub hash: String,
    /// Hex pairs with colons.
    pub value: String,
    /// Who begins DTLS.
    pub setup: Option<Setup>,
    /// Whether header encryption is offered.
    pub cryptex: bool,
}

impl Fingerprint {
    fn parse(e: Element<'_>, l: &Limits) -> Result<Self> {
        let value = e.text();
        let value = value.trim();
        if value.is_empty() || value.len() > l.value_bytes {
            return Err(ParseError::Invalid("fingerprint"));
        }
        let setup = e.attr("setup").map(|s| Setup::parse(&s)).transpose()?;
        Ok(Self { hash: need(e, "hash", l)?, value: value.to_owned(), setup, cryptex: flag(e, "cryptex") })
    }

    fn write(&self, w: &mut XmlWriter) {
        w.open_ns("fingerprint", ns::DTLS).attr("hash", &self.hash).attr_opt("setup", self.setup.map(Setup::as_str));
        if self.cryptex {
            w.attr("cryptex", "true");
        }
        w.text(&self.value).close();
    }
}

/// Where the bridge channel can be opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct WebSocket {
    /// Address; absent from a side that dials.
    pub url: Option<String>,
    /// Whether this side dials.
    pub active: bool,
}

/// SCTP over DTLS, as clients are told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SctpMap {
    /// SCTP port.
    pub number: u16,
    /// As `webrtc-datachannel`.
    pub protocol: String,
    /// Streams.
    pub streams: u32,
}

impl SctpMap {
    /// Writes `<sctpmap/>`, the last part of a transport.
    pub fn write(&self, w: &mut XmlWriter) {
        w.open_ns("sctpmap", ns::DTLS_SCTP).attr("number", self.number).attr("protocol", &self.protocol);
        w.attr("streams", self.streams).close();
    }
}

/// An ICE-UDP transport.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct IceTransport {
    /// ICE user name fragment.
    pub ufrag: Option<String>,
    /// ICE password.
    pub pwd: Option<String>,
    /// Attributes without a field here, as `ice-generation`. They go where the transport goes.
    pub other: Vec<(String, String)>,
    /// Candidates.
    pub candidates: Vec<Candidate>,
    /// Certificates.
    pub fingerprints: Vec<Fingerprint>,
    /// Bridge channel.
    pub web_sockets: Vec<WebSocket>,
    /// Bridge channel over SCTP.
    pub sctpmap: Option<SctpMap>,
    /// RTP and RTCP share a port.
    pub rtcp_mux: bool,
}

impl IceTransport {
    /// The attribute that counts restarts in place.
    pub fn ice_generation(&self) -> Option<u32> {
        self.other.iter().find(|(n, _)| n == "ice-generation").and_then(|(_, v)| v.parse().ok())
    }

    /// Sets the attribute that counts restarts in place.
    pub fn set_ice_generation(&mut self, generation: u32) {
        self.other.retain(|(n, _)| n != "ice-generation");
        self.other.push(("ice-generation".to_owned(), generation.to_string()));
    }

    /// Reads `<transport xmlns='urn:xmpp:jingle:transports:ice-udp:1'/>`.
    ///
    /// # Errors
    /// If a part is not valid or a limit is exceeded.
    pub fn parse(e: Element<'_>, l: &Limits) -> Result<Self> {
        let mut t = Self::default();
        for (name, value) in e.attrs() {
            if value.len() > l.value_bytes {
                return Err(ParseError::Invalid("transport"));
            }
            match name {
                "ufrag" => t.ufrag = Some(value.into_owned()),
                "pwd" => t.pwd = Some(value.into_owned()),
                "xmlns" => {}
                // A prefix means nothing elsewhere.
                n if n.contains(':') => {}
                n => t.other.push((n.to_owned(), value.into_owned())),
            }
        }
        for c in e.children() {
            match c.name() {
                "candidate" => push(&mut t.candidates, Candidate::parse(c, l)?, l.candidates, "candidates")?,
                "fingerprint" => push(&mut t.fingerprints, Fingerprint::parse(c, l)?, l.fingerprints, "fingerprints")?,
                "web-socket" => {
                    let ws = WebSocket { url: text(c, "url", l)?, active: flag(c, "active") };
                    push(&mut t.web_sockets, ws, l.web_sockets, "web-sockets")?;
                }
                "rtcp-mux" => t.rtcp_mux = true,
                "sctpmap" => {
                    t.sctpmap = Some(SctpMap {
                        number: number(c, "number")?.ok_or(ParseError::Missing("sctpmap number"))?,
                        protocol: text(c, "protocol", l)?.unwrap_or_default(),
                        streams: number(c, "streams")?.unwrap_or(0),
                    });
                }
                _ => {}
            }
        }
        Ok(t)
    }

    /// Writes it. Parts that clients do without can be left out by the caller before.
    pub fn write(&self, w: &mut XmlWriter) {
        w.open_ns("transport", ns::ICE_UDP).attr_opt("ufrag", self.ufrag.as_ref()).attr_opt("pwd", self.pwd.as_ref());
        for (name, value) in &self.other {
            w.attr(name, value);
        }
        self.write_children(w);
        if let Some(s) = &self.sctpmap {
            s.write(w);
        }
        w.close();
    }

    fn write_children(&self, w: &mut XmlWriter) {
        for ws in &self.web_sockets {
            w.open_ns("web-socket", ns::COLIBRI).attr_opt("url", ws.url.as_ref());
            if ws.active {
                w.attr("active", "true");
            }
            w.close();
        }
        if self.rtcp_mux {
            w.open("rtcp-mux").close();
        }
        for f in &self.fingerprints {
            f.write(w);
        }
        for c in &self.candidates {
            c.write(w);
        }
    }
}
