//! Endpoints: str0m as the browser, which is controlled and sends no candidates.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::channel::{ChannelConfig, ChannelId};
use str0m::config::{DtlsVersion, Fingerprint};
use str0m::net::{Protocol, Receive as ClientReceive};
use str0m::{Candidate, Event, IceConnectionState, IceCreds, Input, Output, Rtc, RtcConfig};

use super::world::{End, STEP, address, config};
use crate::transport::{
    self, DtlsRole, Fingerprint as Signaled, LocalTransport, PeerConfig, Profile, RemoteTransport, SctpRole, Setup,
    Transmit,
};

const CLIENT: &str = "198.51.100.7:40000";
const BRIDGE: &str = "192.0.2.1:10000";
const LABEL: &str = "JVB data channel";
const PROTOCOL: &str = "http://jitsi.org/protocols/colibri";

/// A browser.
pub(super) struct Client {
    pub(super) rtc: Rtc,
    pub(super) channel: Option<ChannelId>,
    pub(super) opened: bool,
    pub(super) received: Vec<String>,
    pub(super) state: Option<IceConnectionState>,
    timeout: Instant,
    pub(super) transmits: Vec<Transmit>,
}

impl Client {
    pub(super) fn new(now: Instant, at: SocketAddr, version: DtlsVersion) -> Self {
        let config = RtcConfig::new().set_rtp_mode(true).set_dtls_version(version);
        let mut rtc = config.build(now);
        rtc.add_local_candidate(Candidate::host(at, "udp").unwrap());
        Self {
            rtc,
            channel: None,
            opened: false,
            received: Vec::new(),
            state: None,
            timeout: now,
            transmits: Vec::new(),
        }
    }

    /// What it would signal.
    pub(super) fn describe(&mut self, setup: Setup) -> RemoteTransport {
        let api = self.rtc.direct_api();
        let IceCreds { ufrag, pass } = api.local_ice_credentials();
        let value = api.local_dtls_fingerprint().to_string();
        let (hash, value) = value.split_once(' ').unwrap();
        RemoteTransport {
            ufrag: Some(ufrag),
            password: Some(pass),
            generation: None,
            candidates: Vec::new(),
            fingerprints: vec![Signaled { hash: hash.into(), value: value.into(), setup: Some(setup) }],
        }
    }

    pub(super) fn set_remote(&mut self, bridge: &LocalTransport, setup: Setup) {
        for candidate in &bridge.candidates {
            self.rtc.add_remote_candidate(Candidate::host(candidate.address, "udp").unwrap());
        }
        let mut api = self.rtc.direct_api();
        api.set_ice_controlling(false);
        api.set_remote_ice_credentials(IceCreds { ufrag: bridge.ufrag.clone(), pass: bridge.password.clone() });
        let fingerprint = format!("{} {}", bridge.fingerprint.hash, bridge.fingerprint.value);
        api.set_remote_fingerprint(fingerprint.parse::<Fingerprint>().unwrap());
        api.start_dtls(setup == Setup::Active).unwrap();
        api.start_sctp(true);
    }

    pub(super) fn open_channel(&mut self, label: &str) -> ChannelId {
        let config = ChannelConfig { label: label.into(), protocol: PROTOCOL.into(), ..ChannelConfig::default() };
        self.rtc.direct_api().create_data_channel(config)
    }

    pub(super) fn send(&mut self, text: &str) {
        let id = self.channel.unwrap();
        assert!(self.rtc.channel(id).unwrap().write(false, text.as_bytes()).unwrap());
    }

    pub(super) fn tick(&mut self, now: Instant) {
        if self.timeout <= now {
            self.rtc.handle_input(Input::Timeout(now)).unwrap();
        }
        self.drain();
    }

    fn drain(&mut self) {
        while self.rtc.is_alive() {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.timeout = at;
                    return;
                }
                Ok(Output::Transmit(t)) => self.transmits.push(Transmit {
                    source: t.source,
                    destination: t.destination,
                    bytes: t.contents.to_vec(),
                }),
                Ok(Output::Event(Event::ChannelOpen(id, _))) => self.opened |= Some(id) == self.channel,
                Ok(Output::Event(Event::ChannelData(data))) => {
                    self.received.push(String::from_utf8(data.data).unwrap());
                }
                Ok(Output::Event(Event::IceConnectionStateChange(state))) => self.state = Some(state),
                Ok(Output::Event(_)) => {}
                Err(_) => return,
            }
        }
    }

    pub(super) fn receive(&mut self, now: Instant, transmit: &Transmit) {
        if !self.rtc.is_alive() {
            return;
        }
        let receive = ClientReceive {
            proto: Protocol::Udp,
            source: transmit.source,
            destination: transmit.destination,
            contents: transmit.bytes.as_slice().try_into().unwrap(),
        };
        let input = Input::Receive(now, receive);
        if self.rtc.accepts(&input) {
            let _ = self.rtc.handle_input(input);
        }
        self.drain();
    }
}

/// A bridge's peer and a browser.
struct Call {
    now: Instant,
    bridge: End,
    client: Client,
}

impl Call {
    fn new(bridge: PeerConfig, version: DtlsVersion) -> Self {
        let now = Instant::now();
        Self { now, bridge: End::new(now, bridge), client: Client::new(now, address(CLIENT), version) }
    }

    fn introduce(&mut self, setup: Setup) {
        let description = self.client.describe(setup);
        self.client.set_remote(&self.bridge.peer.local(), setup);
        self.client.channel = Some(self.client.open_channel(LABEL));
        self.bridge.peer.set_remote(self.now, &description);
    }

    fn step(&mut self) {
        self.now += STEP;
        self.bridge.tick(self.now);
        self.client.tick(self.now);
        for transmit in self.bridge.drain() {
            self.client.receive(self.now, &transmit);
        }
        for transmit in std::mem::take(&mut self.client.transmits) {
            self.bridge.receive(self.now, &transmit);
        }
    }

    fn until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        while self.now < end && !done(self) {
            self.step();
        }
        done(self)
    }
}

const SOON: Duration = Duration::from_secs(5);

#[test]
fn browser_connects_with_channel_in_both_dtls_roles_and_versions() {
    for version in [DtlsVersion::Dtls12, DtlsVersion::Auto, DtlsVersion::Dtls13] {
        for setup in [Setup::Active, Setup::Passive] {
            if setup == Setup::Passive && version == DtlsVersion::Dtls13 {
                continue; // As client we offer 1.2.
            }
            let mut call = Call::new(config(BRIDGE, true, Some(SctpRole::Server)), version);
            call.introduce(setup);
            assert!(call.until(SOON, |c| c.bridge.has_channel() && c.client.opened), "{version:?} {setup:?}");
            let took = call.now;
            let keys = call.bridge.keys().unwrap();
            assert_eq!(keys.role == DtlsRole::Server, setup == Setup::Active);
            assert_ne!(keys.profile, Profile::Aes128CmSha1, "GCM is preferred");
            let open = transport::Output::ChannelOpen { label: LABEL.into(), protocol: PROTOCOL.into() };
            assert!(call.bridge.said.contains(&open));
            let (local, remote) = (address(BRIDGE), address(CLIENT));
            assert!(call.bridge.said.contains(&transport::Output::Selected { local, remote }));

            call.client.send(r#"{"colibriClass":"ClientHello"}"#);
            call.bridge.peer.send_channel(call.now, r#"{"colibriClass":"ServerHello"}"#).unwrap();
            assert!(call.until(SOON, |c| !c.client.received.is_empty() && !c.bridge.messages().is_empty()));
            assert_eq!(call.bridge.messages(), [r#"{"colibriClass":"ClientHello"}"#]);
            assert_eq!(call.client.received, [r#"{"colibriClass":"ServerHello"}"#]);
            assert!(took <= call.now);
        }
    }
}

#[test]
fn connecting_takes_few_round_trips() {
    let mut call = Call::new(config(BRIDGE, true, Some(SctpRole::Server)), DtlsVersion::Dtls12);
    let start = call.now;
    call.introduce(Setup::Active);
    assert!(call.until(SOON, |c| c.bridge.keys().is_some()));
    assert!(call.now - start < Duration::from_millis(400), "{:?}", call.now - start);
}

#[test]
fn second_channel_is_refused_and_counted() {
    let mut call = Call::new(config(BRIDGE, true, Some(SctpRole::Server)), DtlsVersion::Dtls12);
    call.introduce(Setup::Active);
    assert!(call.until(SOON, |c| c.client.opened));
    for _ in 0..3 {
        call.client.open_channel("another");
    }
    call.until(SOON, |_| false);
    assert_eq!(call.bridge.peer.counters().rejected_channels, 3);
    call.client.send("the first one works");
    call.until(SOON, |c| !c.bridge.messages().is_empty());
    assert_eq!(call.bridge.messages(), ["the first one works"]);
}

#[test]
fn binary_is_ignored_and_a_closed_channel_may_be_opened_again() {
    let mut call = Call::new(config(BRIDGE, true, Some(SctpRole::Server)), DtlsVersion::Dtls12);
    call.introduce(Setup::Active);
    assert!(call.until(SOON, |c| c.client.opened));
    let id = call.client.channel.unwrap();
    call.client.rtc.channel(id).unwrap().write(true, b"binary").unwrap();
    call.until(SOON, |_| false);
    assert_eq!(call.bridge.peer.counters().ignored_messages, 1);
    assert!(call.bridge.messages().is_empty());

    call.client.rtc.direct_api().close_data_channel(id);
    assert!(call.until(SOON, |c| c.bridge.said.contains(&transport::Output::ChannelClosed)));
    assert_eq!(call.bridge.peer.send_channel(call.now, "x"), Err(transport::SendError::NotOpen));
    call.client.opened = false;
    call.client.channel = Some(call.client.open_channel(LABEL));
    assert!(call.until(SOON, |c| c.client.opened));
    call.bridge.peer.send_channel(call.now, "again").unwrap();
    assert!(call.until(SOON, |c| c.client.received == ["again"]));
}

#[test]
fn without_sctp_there_is_no_channel_and_nothing_breaks() {
    let mut call = Call::new(config(BRIDGE, true, None), DtlsVersion::Dtls12);
    call.introduce(Setup::Active);
    call.until(SOON, |_| false);
    assert!(call.bridge.keys().is_some());
    assert!(!call.bridge.has_channel());
    assert_eq!(call.bridge.failure(), None);
}

#[test]
fn browser_behind_a_new_nat_binding_is_followed() {
    let mut call = Call::new(config(BRIDGE, true, Some(SctpRole::Server)), DtlsVersion::Dtls12);
    call.introduce(Setup::Active);
    assert!(call.until(SOON, |c| c.client.opened));
    let moved = address("198.51.100.7:50001");
    let end = call.now + Duration::from_secs(60);
    let left = call.now;
    let mut followed = None;
    while call.now < end {
        call.now += STEP;
        call.bridge.tick(call.now);
        call.client.tick(call.now);
        for mut transmit in call.bridge.drain() {
            if transmit.destination == moved {
                transmit.destination = address(CLIENT);
                call.client.receive(call.now, &transmit);
            }
        }
        for mut transmit in std::mem::take(&mut call.client.transmits) {
            transmit.source = moved;
            call.bridge.receive(call.now, &transmit);
        }
        let selected = transport::Output::Selected { local: address(BRIDGE), remote: moved };
        if followed.is_none() && call.bridge.said.contains(&selected) {
            followed = Some(call.now - left);
        }
    }
    assert!(followed.unwrap() < Duration::from_secs(12), "{followed:?}");
    assert_eq!(call.bridge.failure(), None);
    let last = call.bridge.said.iter().rev().find(|output| matches!(output, transport::Output::Selected { .. }));
    assert_eq!(last, Some(&transport::Output::Selected { local: address(BRIDGE), remote: moved }));
}
