//! A counting sink: connects as a browser does (ICE, DTLS, data channel), and from then on only counts datagrams, opens one of a hundred, and
//! replays the feedback of a receiver on a good line, so that one process can stand for thousands of viewers. It uses the bridge's own transport
//! in the client's part; that it is right is shown by the full viewers, which do not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use amphi_bridge::transport::{
    CandidateType, Certificate, Credentials, Fingerprint, Keys, LocalAddress, Output, Peer, PeerConfig, PeerLimits,
    Profile as Negotiated, Receive, RemoteCandidate, RemoteTransport, SctpRole, Setup,
};
use amphi_media::srtp::{Inbound, MasterKey, Outbound, Profile};

use super::counts::Live;
use super::description::{Answer, Bridge, Numbers};
use super::feedback::{Feedback, INTERVAL};
use super::person::{Around, Course, constraints, since};

/// One of so many packets is opened.
const SAMPLE: u32 = 100;

struct Secured {
    inbound: Inbound,
    outbound: Outbound,
    feedback: Feedback,
    due: Instant,
}

/// One sink.
pub(crate) struct Sink {
    peer: Peer,
    local: SocketAddr,
    bridge: SocketAddr,
    course: Course,
    numbers: Numbers,
    secured: Option<Box<Secured>>,
    profile: Profile,
    count: u32,
    ssrc: u32,
    served: bool,
    gone: bool,
}

impl Sink {
    /// A sink that answers an offer. `number`: different for all.
    pub(crate) fn new(
        course: Course,
        local: SocketAddr,
        bridge: &Bridge,
        numbers: Numbers,
        certificate: &Arc<Certificate>,
        limits: &Arc<PeerLimits>,
        number: u32,
    ) -> (Self, Answer) {
        let credentials = Credentials::random("", 0);
        let config = PeerConfig {
            controlling: false,
            certificate: certificate.clone(),
            addresses: Arc::new([LocalAddress { base: local, public: None }]),
            advertise_private: true,
            credentials: credentials.clone(),
            sctp: bridge.sctp.then_some(SctpRole::Client),
            limits: limits.clone(),
        };
        let mut peer = Peer::new(course.offered, config);
        let candidate = RemoteCandidate {
            kind: CandidateType::Host,
            address: bridge.address,
            priority: 2_130_706_431,
            foundation: "1".into(),
            generation: None,
        };
        // The other side leaves the choice to us, and we choose to be the DTLS client, as browsers do.
        let (hash, value) = (bridge.hash.clone(), bridge.fingerprint.clone());
        let fingerprints = vec![Fingerprint { hash, value, setup: Some(Setup::Passive) }];
        peer.set_remote(
            course.offered,
            &RemoteTransport {
                ufrag: Some(bridge.ufrag.clone()),
                password: Some(bridge.password.clone()),
                generation: None,
                candidates: vec![candidate],
                fingerprints,
            },
        );
        let answer = Answer {
            ufrag: credentials.ufrag,
            password: credentials.password,
            hash: "sha-256".into(),
            fingerprint: certificate.fingerprint().to_owned(),
            sources: None,
        };
        let me = Self {
            peer,
            local,
            bridge: bridge.address,
            course,
            numbers,
            secured: None,
            profile: Profile::AeadAes128Gcm,
            count: number % SAMPLE,
            ssrc: number | 1 << 31,
            served: false,
            gone: false,
        };
        (me, answer)
    }

    /// Where it receives.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Whether it is connected, and how packets for it are sealed.
    pub(crate) fn profile(&self) -> Option<Profile> {
        self.secured.as_ref().filter(|_| !self.gone).map(|_| self.profile)
    }

    /// When [`Self::tick`] is wanted.
    pub(crate) fn deadline(&mut self) -> Option<Instant> {
        let feedback = self.secured.as_ref().filter(|_| !self.gone).map(|it| it.due);
        self.peer.poll_timeout().into_iter().chain(feedback).min()
    }

    /// Datagrams of one size came from one address. Returns whether the deadline may be another one now.
    pub(crate) fn handle(
        &mut self,
        around: &mut Around<'_>,
        from: SocketAddr,
        data: &mut [u8],
        segment: usize,
    ) -> bool {
        let bare = around.live.bare_port.load(Ordering::Relaxed);
        if bare != 0 && from.port() == bare && from != self.bridge {
            let count = data.len().div_ceil(segment) as u64;
            around.live.bare_packets.fetch_add(count, Ordering::Relaxed);
            return false;
        }
        let (mut packets, mut bytes, mut other) = (0, 0, false);
        for datagram in data.chunks_mut(segment) {
            match datagram.first() {
                Some(128..=191) => {
                    let control = datagram.get(1).is_some_and(|it| (192..=223).contains(it));
                    if control {
                        continue;
                    }
                    packets += 1;
                    bytes += datagram.len() as u64;
                    self.media(around, datagram);
                }
                _ => {
                    other = true;
                    let receive = Receive { source: from, destination: self.local, bytes: datagram };
                    self.peer.handle(around.now, receive);
                    self.drain(around);
                }
            }
        }
        if packets > 0 {
            around.live.packets.fetch_add(packets, Ordering::Relaxed);
            around.live.bytes.fetch_add(bytes, Ordering::Relaxed);
            if !self.served {
                self.served = true;
                around.live.served.fetch_add(1, Ordering::Relaxed);
                around.counted.first_packet.record(since(self.course.started, around.now));
            }
        }
        other
    }

    fn media(&mut self, around: &mut Around<'_>, packet: &mut [u8]) {
        let micros = around.micros();
        let Some(secured) = &mut self.secured else { return };
        if !secured.feedback.take(packet, micros) {
            around.counted.strange += 1;
        }
        self.count += 1;
        if self.count >= SAMPLE {
            self.count = 0;
            around.counted.sampled += 1;
            if let Err(e) = secured.inbound.open(packet) {
                around.counted.forged += 1;
                around.counted.error(format!("sink: {e}"));
            }
        }
    }

    /// Time has come.
    pub(crate) fn tick(&mut self, around: &mut Around<'_>) {
        if let Some(secured) = self.secured.as_mut().filter(|it| it.due <= around.now) {
            secured.due += Duration::from_micros(INTERVAL);
            if secured.due < around.now {
                secured.due = around.now + Duration::from_micros(INTERVAL);
            }
            let mut out = Vec::with_capacity(512);
            secured.feedback.write(&mut out);
            if !out.is_empty() && secured.outbound.seal_control_vec(&mut out).is_ok() {
                around.counted.feedbacks += 1;
                (around.send)(&out, self.bridge);
            }
        }
        self.peer.handle_timeout(around.now);
        self.drain(around);
    }

    /// Leaves; what came is counted.
    pub(crate) fn leave(&mut self, around: &mut Around<'_>) {
        self.peer.close(around.now);
        self.drain(around);
        self.forget(around.live);
        if let Some(secured) = &self.secured {
            let (received, expected) = secured.feedback.totals();
            around.counted.sunk.0 += received;
            around.counted.sunk.1 += expected;
        }
    }

    fn forget(&mut self, live: &Live) {
        if !self.gone && self.course.connected.is_some() {
            live.connected.fetch_sub(1, Ordering::Relaxed);
        }
        self.gone = true;
    }

    fn drain(&mut self, around: &mut Around<'_>) {
        while let Some(output) = self.peer.poll() {
            match output {
                Output::Transmit(it) => (around.send)(&it.bytes, it.destination),
                Output::Selected { remote, .. } => self.bridge = remote,
                Output::Keys(keys) => self.secure(around, &keys),
                Output::ChannelOpen { .. } => {
                    around.live.channels.fetch_add(1, Ordering::Relaxed);
                    around.counted.channel.record(since(self.course.started, around.now));
                    if let Err(e) = self.peer.send_channel(around.now, &constraints(720)) {
                        around.counted.error(format!("sink: channel: {e}"));
                    }
                }
                Output::Failed(failure) => {
                    around.counted.error(format!("sink: {failure}"));
                    around.live.failed.fetch_add(1, Ordering::Relaxed);
                    self.forget(around.live);
                }
                _ => {}
            }
        }
    }

    fn secure(&mut self, around: &mut Around<'_>, keys: &Keys) {
        let profile = match keys.profile {
            Negotiated::AeadAes128Gcm => Profile::AeadAes128Gcm,
            Negotiated::AeadAes256Gcm => Profile::AeadAes256Gcm,
            Negotiated::Aes128CmSha1 => Profile::Aes128CmSha1_80,
        };
        let master = |pair: &amphi_bridge::transport::KeyPair| MasterKey::new(profile, &pair.key, &pair.salt);
        let made =
            || Some((Inbound::new(&master(&keys.receive).ok()?).ok()?, Outbound::new(&master(&keys.send).ok()?).ok()?));
        let Some((inbound, outbound)) = made() else {
            return around.counted.error("sink: keys are not usable");
        };
        self.profile = profile;
        let feedback = Feedback::new(self.numbers.transport_cc, self.ssrc);
        // Spread over the interval, so that not all report at once.
        let due = around.now + Duration::from_micros(u64::from(self.ssrc.wrapping_mul(2_654_435_761)) % INTERVAL);
        self.secured = Some(Box::new(Secured { inbound, outbound, feedback, due }));
        self.course.connect(around);
    }
}
