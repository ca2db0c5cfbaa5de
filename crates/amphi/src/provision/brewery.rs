//! Asks each bridge in the brewery, as a focus does, for a place in a conference of its own: what comes back is what browsers would be told.
//! The conference is expired at once; no media flows.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use amphi_jingle::colibri2::{Capabilities, ConferenceModified, ConferenceModify, Endpoint, Sctp, Transport};
use amphi_jingle::{Fingerprint, IceTransport, Limits, Setup};
use amphi_signal::{Retry, ServiceLink};
use amphi_stanza::{Stanza, StanzaKind, XmlWriter, ns};
use amphi_xmpp::client::{ClientConfig, ClientEvent, Credentials};
use anyhow::{Context as _, bail};

use super::probe::within;
use super::stun;

/// An address that a bridge tells browsers, and whether it answers there.
pub(super) type Candidate = (SocketAddr, anyhow::Result<()>);

/// A brewery that was entered.
pub(super) struct Brewery {
    link: ServiceLink,
    nick: String,
    room: String,
    /// Address of each bridge, by its nick.
    bridges: BTreeMap<String, String>,
    ids: u32,
}

impl Brewery {
    /// Enters with the account of bridges, and hears who is there.
    pub(super) async fn enter(at: SocketAddr, auth: &str, user: &str, password: String) -> anyhow::Result<Self> {
        within(async {
            let nick = format!("check-{:08x}", rand::random::<u32>());
            let credentials = Credentials::Password { user: user.to_owned(), password };
            let mut config = ClientConfig::new(auth.to_owned(), credentials);
            config.resource = Some(nick.clone());
            config.require_certificate = false;
            config.plain_without_tls = at.ip().is_loopback();
            config.stream_management = false;
            let retry = Retry { first: Duration::from_secs(1), later: Duration::from_secs(1) };
            let link = ServiceLink::tcp(at.to_string(), config, retry);
            let room = format!("jvbbrewery@internal.{auth}");
            let mut me = Self { link, nick, room, bridges: BTreeMap::new(), ids: 0 };
            me.settle().await?;
            Ok(me)
        })
        .await
    }

    /// Waits for its own presence, which comes after everybody else's.
    async fn settle(&mut self) -> anyhow::Result<()> {
        let own = format!("{}/{}", self.room, self.nick);
        loop {
            match self.link.events.recv().await.context("the connection ended")? {
                ClientEvent::Up { .. } => {
                    let mut w = XmlWriter::new();
                    w.open_ns("presence", ns::CLIENT).attr("to", &own).empty("x", ns::MUC).close();
                    self.link.out.send(w.stanza()).context("the connection ended")?;
                }
                ClientEvent::Stanza(s) if s.kind() == StanzaKind::Presence => {
                    let from = s.attr("from").unwrap_or_default().into_owned();
                    if s.ty().as_deref() == Some("error") {
                        bail!("the brewery {} refuses the account of bridges", self.room);
                    }
                    if from == own {
                        return Ok(());
                    }
                    if let Some(nick) = from.strip_prefix(&format!("{}/", self.room)) {
                        self.bridges.insert(nick.to_owned(), from.clone());
                    }
                }
                ClientEvent::Stanza(_) => {}
                ClientEvent::Down => bail!("the login failed or the connection broke"),
            }
        }
    }

    /// Lets a bridge make a place for somebody, and tries every address that it names.
    pub(super) async fn candidates(&mut self, bridge: &str) -> anyhow::Result<Vec<Candidate>> {
        let to = self.bridges.get(bridge).cloned().context("it is not in the brewery")?;
        let meeting = format!("{}-{bridge}", self.nick);
        let tried = self.tried(&to, &meeting).await;
        let mut expire = ConferenceModify::new(meeting);
        expire.expire = true;
        let expired = self.iq(&to, &expire).await;
        tried.and_then(|tried| expired.map(|_| tried))
    }

    async fn tried(&mut self, to: &str, meeting: &str) -> anyhow::Result<Vec<Candidate>> {
        const ID: &str = "00000001";
        let mut create = ConferenceModify::new(meeting);
        create.create = true;
        create.name = Some(format!("{}@check.invalid", self.nick));
        create.endpoints.push(Endpoint {
            create: true,
            transport: Some(Transport { ice_controlling: true, sctp: Some(Sctp::default()), ..Transport::default() }),
            sources: Some(Vec::new()),
            // So that a bridge names all that it has.
            capabilities: Capabilities { source_names: true, private_addresses: true, ..Capabilities::default() },
            ..Endpoint::new(ID)
        });
        let made = self.iq(to, &create).await?;
        let element = made.child("conference-modified", amphi_jingle::ns::COLIBRI2).context("no answer of a bridge")?;
        let made = ConferenceModified::parse(element, &Limits::default())?;
        let ice =
            made.endpoints.first().and_then(|e| e.transport.as_ref()?.ice.as_ref()).context("it has no transport")?;
        let (Some(fragment), Some(password)) = (ice.ufrag.clone(), ice.pwd.clone()) else {
            bail!("its transport has no credentials");
        };
        let own = IceTransport {
            ufrag: Some("amphicheck".to_owned()),
            pwd: Some("amphicheckamphicheckamph".to_owned()),
            fingerprints: vec![Fingerprint {
                hash: "sha-256".to_owned(),
                value: ["00"; 32].join(":"),
                setup: Some(Setup::Active),
                cryptex: false,
            }],
            rtcp_mux: true,
            ..IceTransport::default()
        };
        let mut answer = ConferenceModify::new(meeting);
        answer.endpoints.push(Endpoint {
            transport: Some(Transport { ice: Some(own), ..Transport::default() }),
            ..Endpoint::new(ID)
        });
        self.iq(to, &answer).await?;
        let check = stun::Check { fragments: (fragment, "amphicheck".to_owned()), password };
        let mut tried = Vec::new();
        for candidate in ice.candidates.iter().filter(|c| c.protocol.eq_ignore_ascii_case("udp")) {
            let Ok(ip) = candidate.ip.parse::<IpAddr>() else { continue };
            let at = SocketAddr::new(ip, candidate.port);
            tried.push((at, stun::bridge(at, &check).await));
        }
        Ok(tried)
    }

    async fn iq(&mut self, to: &str, request: &ConferenceModify) -> anyhow::Result<Stanza> {
        self.ids += 1;
        let id = format!("check{}", self.ids);
        let mut w = XmlWriter::new();
        w.open_ns("iq", ns::CLIENT).attr("type", "get").attr("id", &id).attr("to", to);
        request.write(&mut w);
        w.close();
        self.link.out.send(w.stanza()).context("the connection ended")?;
        within(async {
            loop {
                match self.link.events.recv().await.context("the connection ended")? {
                    ClientEvent::Stanza(s) if s.id().as_deref() == Some(&id) => {
                        if s.ty().as_deref() == Some("error") {
                            let why = amphi_jingle::colibri2::ColibriError::parse(&s);
                            bail!("it refuses: {} {}", why.condition, why.text.unwrap_or_default());
                        }
                        return Ok(s);
                    }
                    ClientEvent::Down => bail!("the connection broke"),
                    _ => {}
                }
            }
        })
        .await
    }
}
