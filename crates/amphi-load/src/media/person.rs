//! A publisher or a full viewer: a whole WebRTC stack (str0m) that shares no code with the bridge. Sans-IO: datagrams and time in, datagrams out.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use amphi_media::seq::Unwrap;
use anyhow::Context;
use serde::Deserialize;
use str0m::channel::{ChannelConfig, ChannelId};
use str0m::config::Fingerprint;
use str0m::format::{Codec, FormatParams};
use str0m::media::{Frequency, KeyframeRequestKind, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, ExtensionMap, ExtensionValues, RtpPacket, RtpWrite, Ssrc};
use str0m::{Candidate, Event, IceCreds, Input, Output, Rtc, RtcConfig};

use super::counts::{Counted, Live};
use super::description::{Answer, Bridge, Numbers, Sources};
use super::publisher::{Due, Publisher};
use super::quality::Quality;
use super::stamp::Stamp;

/// How often a viewer looks whether its picture stands.
const LOOK: Duration = Duration::from_millis(100);
/// A picture that stands for so long makes a viewer ask for a keyframe, once in as long.
const IMPATIENCE: Duration = Duration::from_millis(700);

/// A message of the bridge, as far as it matters.
#[derive(Deserialize)]
#[serde(tag = "colibriClass")]
enum Message {
    AudioSourcesMap {
        #[serde(rename = "mappedSources")]
        sources: Vec<Mapped>,
    },
    VideoSourcesMap {
        #[serde(rename = "mappedSources")]
        sources: Vec<Mapped>,
    },
    SenderSourceConstraints {
        #[serde(rename = "maxHeight")]
        max_height: i64,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Mapped {
    ssrc: u32,
    /// A number, or a text for none.
    #[serde(default)]
    rtx: serde_json::Value,
}

enum Stream {
    Video(Box<Quality>),
    Audio { seq: Unwrap<16>, first: u64, highest: u64, received: u64 },
}

/// What goes on around a client.
pub(crate) struct Around<'a> {
    /// Time.
    pub(crate) now: Instant,
    /// Zero of the clock of the run.
    pub(crate) base: Instant,
    /// Live figures.
    pub(crate) live: &'a Live,
    /// Sums of the thread.
    pub(crate) counted: &'a mut Counted,
    /// Datagrams to send.
    pub(crate) send: &'a mut dyn FnMut(&[u8], SocketAddr),
}

impl Around<'_> {
    /// Microseconds on the clock of the run.
    pub(crate) fn micros(&self) -> u64 {
        self.now.saturating_duration_since(self.base).as_micros() as u64
    }
}

/// Nanoseconds from one moment to another.
pub(crate) fn since(from: Instant, to: Instant) -> u64 {
    to.saturating_duration_since(from).as_nanos() as u64
}

/// When a client began, and what it came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course {
    /// Start of the join.
    pub(crate) started: Instant,
    /// The offer came.
    pub(crate) offered: Instant,
    /// The DTLS handshake was done.
    pub(crate) connected: Option<Instant>,
}

impl Course {
    /// The handshake is done now.
    pub(crate) fn connect(&mut self, around: &mut Around<'_>) {
        if self.connected.is_some() {
            return;
        }
        self.connected = Some(around.now);
        around.counted.connect.record(since(self.started, around.now));
        around.counted.handshake.record(since(self.offered, around.now));
        around.live.connected.fetch_add(1, Ordering::Relaxed);
        around.live.connects.fetch_add(1, Ordering::Relaxed);
        around.live.last_connect.fetch_max(since(around.base, around.now), Ordering::Relaxed);
    }
}

/// A publisher or viewer.
pub(crate) struct Person {
    rtc: Rtc,
    local: SocketAddr,
    numbers: Numbers,
    channel: Option<ChannelId>,
    publisher: Option<(Publisher, Sources)>,
    streams: HashMap<u32, Stream>,
    course: Course,
    timeout: Instant,
    next_look: Instant,
    asked: Option<Instant>,
    served: bool,
    shown: bool,
    paused: bool,
    failed: bool,
}

impl Person {
    /// A client that answers an offer.
    pub(crate) fn new(
        course: Course,
        local: SocketAddr,
        bridge: &Bridge,
        numbers: Numbers,
        publisher: Option<(Publisher, Sources)>,
    ) -> anyhow::Result<(Self, Answer)> {
        let now = course.offered;
        let mut extensions = ExtensionMap::empty();
        for (id, it) in
            [(numbers.audio_level, Extension::AudioLevel), (numbers.transport_cc, Extension::TransportSequenceNumber)]
        {
            if let Some(id) = id {
                extensions.set(id, it);
            }
        }
        let mut config = RtcConfig::new()
            .set_rtp_mode(true)
            .clear_codecs()
            .set_extension_map(extensions)
            .set_reordering_size_video(0);
        let codecs = config.codec_config();
        let (opus, vp8, rtx) = (numbers.opus.into(), numbers.vp8.into(), numbers.rtx.into());
        codecs.add_config(opus, None, Codec::Opus, Frequency::FORTY_EIGHT_KHZ, Some(2), FormatParams::default());
        codecs.add_config(vp8, Some(rtx), Codec::Vp8, Frequency::NINETY_KHZ, None, FormatParams::default());
        let mut rtc = config.build(now);
        rtc.add_local_candidate(Candidate::host(local, "udp")?);
        rtc.add_remote_candidate(Candidate::host(bridge.address, "udp")?);
        let mut api = rtc.direct_api();
        let IceCreds { ufrag, pass } = api.local_ice_credentials();
        let own = api.local_dtls_fingerprint().to_string();
        let (hash, fingerprint) = own.split_once(' ').context("fingerprint")?;
        api.set_ice_controlling(false);
        api.set_remote_ice_credentials(IceCreds { ufrag: bridge.ufrag.clone(), pass: bridge.password.clone() });
        let theirs = format!("{} {}", bridge.hash, bridge.fingerprint);
        api.set_remote_fingerprint(theirs.parse::<Fingerprint>().map_err(|e| anyhow::anyhow!("fingerprint: {e}"))?);
        api.start_dtls(true)?;
        let channel = bridge.sctp.then(|| {
            api.start_sctp(true);
            let protocol = "http://jitsi.org/protocols/colibri".into();
            api.create_data_channel(ChannelConfig {
                label: "JVB data channel".into(),
                protocol,
                ..ChannelConfig::default()
            })
        });
        if let Some((_, sources)) = &publisher {
            let mid = Mid::from("pa");
            api.declare_media(mid, MediaKind::Audio);
            api.declare_stream_tx(Ssrc::from(sources.audio), None, mid, None);
            for (n, (ssrc, rtx)) in sources.video.iter().enumerate() {
                let mid = Mid::from(format!("pv{n}").as_str());
                api.declare_media(mid, MediaKind::Video);
                api.declare_stream_tx(Ssrc::from(*ssrc), Some(Ssrc::from(*rtx)), mid, None);
            }
        }
        let answer = Answer {
            ufrag,
            password: pass,
            hash: hash.to_owned(),
            fingerprint: fingerprint.to_owned(),
            sources: publisher.as_ref().map(|it| it.1.clone()),
        };
        let me = Self {
            rtc,
            local,
            numbers,
            channel,
            publisher,
            streams: HashMap::new(),
            course,
            timeout: now,
            next_look: now,
            asked: None,
            served: false,
            shown: false,
            paused: false,
            failed: false,
        };
        Ok((me, answer))
    }

    /// When [`Self::tick`] is wanted.
    pub(crate) fn deadline(&self) -> Instant {
        let mut at = self.timeout.min(self.next_look);
        if let Some((publisher, _)) = self.publisher.as_ref().filter(|_| self.course.connected.is_some())
            && let Some(due) = publisher.deadline()
        {
            at = at.min(due);
        }
        at
    }

    /// A datagram came.
    pub(crate) fn handle(&mut self, around: &mut Around<'_>, source: SocketAddr, bytes: &[u8]) {
        let Ok(contents) = bytes.try_into() else { return };
        let receive = Receive { proto: Protocol::Udp, source, destination: self.local, contents };
        let input = Input::Receive(around.now, receive);
        if self.rtc.is_alive() && self.rtc.accepts(&input) {
            if let Err(e) = self.rtc.handle_input(input) {
                around.counted.error(format!("client: {e}"));
            }
            self.drain(around);
        }
    }

    /// Time has come.
    pub(crate) fn tick(&mut self, around: &mut Around<'_>) {
        if self.course.connected.is_some() {
            self.play(around);
        }
        if self.next_look <= around.now {
            self.next_look = around.now + LOOK;
            self.look(around);
        }
        if self.rtc.is_alive() && (self.timeout <= around.now || self.publisher.is_some()) {
            if let Err(e) = self.rtc.handle_input(Input::Timeout(around.now)) {
                around.counted.error(format!("client: {e}"));
            }
            self.drain(around);
        }
    }

    /// Sending stops everywhere, or goes on.
    pub(crate) fn pause(&mut self, now: Instant, paused: bool) {
        self.paused = paused;
        if let Some((publisher, _)) = &mut self.publisher {
            if paused { publisher.pause() } else { publisher.resume(now) }
        }
        if !paused {
            for stream in self.streams.values_mut() {
                if let Stream::Video(quality) = stream {
                    quality.resume(now);
                }
            }
        }
    }

    /// Leaves; what was seen is counted.
    pub(crate) fn leave(mut self, around: &mut Around<'_>) {
        if self.course.connected.is_some() && !self.failed {
            around.live.connected.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some((publisher, _)) = &self.publisher {
            around.counted.keyframes += publisher.video.keyframes;
        } else if self.course.connected.is_some() {
            around.counted.judged += 1;
            around.counted.blank += u64::from(!self.shown);
        }
        for stream in self.streams.values_mut() {
            match stream {
                Stream::Video(quality) => around.counted.see(&quality.counts),
                Stream::Audio { first, highest, received, .. } => {
                    around.counted.audio.0 += *received;
                    around.counted.audio.1 += *highest - *first + 1;
                }
            }
        }
        self.rtc.disconnect();
    }

    fn drain(&mut self, around: &mut Around<'_>) {
        while self.rtc.is_alive() {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.timeout = at;
                    return;
                }
                Ok(Output::Transmit(it)) => (around.send)(&it.contents, it.destination),
                Ok(Output::Event(event)) => self.event(around, event),
                Err(e) => {
                    around.counted.error(format!("client: {e}"));
                    self.rtc.disconnect();
                }
            }
        }
        self.timeout = around.now + Duration::from_secs(3_600);
        if !self.failed {
            self.failed = true;
            if self.course.connected.is_some() {
                around.live.connected.fetch_sub(1, Ordering::Relaxed);
            }
            around.live.failed.fetch_add(1, Ordering::Relaxed);
            around.counted.error("client: connection ended");
        }
    }

    fn event(&mut self, around: &mut Around<'_>, event: Event) {
        match event {
            Event::Connected => self.course.connect(around),
            Event::RtpPacket(packet) => self.packet(around, &packet),
            Event::KeyframeRequest(_) => {
                around.counted.requests += 1;
                if let Some((publisher, _)) = &mut self.publisher {
                    publisher.video.ask_keyframe();
                }
            }
            Event::ChannelOpen(id, _) if Some(id) == self.channel => {
                around.live.channels.fetch_add(1, Ordering::Relaxed);
                around.counted.channel.record(since(self.course.started, around.now));
                let height = if self.publisher.is_some() { 0 } else { 720 };
                self.say(&constraints(height));
            }
            Event::ChannelData(data) => self.heard(&data.data),
            _ => {}
        }
    }

    fn say(&mut self, text: &str) {
        if let Some(mut channel) = self.channel.and_then(|id| self.rtc.channel(id)) {
            // A full queue takes no message; nothing here is worth a second try.
            let _ = channel.write(false, text.as_bytes());
        }
    }

    fn heard(&mut self, data: &[u8]) {
        match serde_json::from_slice(data) {
            Ok(Message::AudioSourcesMap { sources }) => {
                sources.iter().for_each(|it| self.expect(it.ssrc, None, MediaKind::Audio));
            }
            Ok(Message::VideoSourcesMap { sources }) => {
                for it in &sources {
                    self.expect(it.ssrc, it.rtx.as_u64().map(|n| n as u32), MediaKind::Video);
                }
            }
            Ok(Message::SenderSourceConstraints { max_height }) => {
                if let Some((publisher, _)) = &mut self.publisher {
                    publisher.video.limit(max_height);
                }
            }
            Ok(Message::Other) | Err(_) => {}
        }
    }

    fn expect(&mut self, ssrc: u32, rtx: Option<u32>, kind: MediaKind) {
        let mid =
            Mid::from(format!("{}{}", if kind == MediaKind::Audio { "a" } else { "v" }, self.streams.len()).as_str());
        if self.streams.contains_key(&ssrc) {
            return;
        }
        let mut api = self.rtc.direct_api();
        api.declare_media(mid, kind);
        api.expect_stream_rx(Ssrc::from(ssrc), rtx.map(Ssrc::from), mid, None);
        let stream = match kind {
            MediaKind::Audio => Stream::Audio { seq: Unwrap::new(), first: u64::MAX, highest: 0, received: 0 },
            MediaKind::Video => Stream::Video(Box::default()),
        };
        self.streams.insert(ssrc, stream);
    }

    fn packet(&mut self, around: &mut Around<'_>, packet: &RtpPacket) {
        if self.publisher.is_some() {
            return;
        }
        around.live.packets.fetch_add(1, Ordering::Relaxed);
        around.live.bytes.fetch_add(packet.payload.len() as u64 + 36, Ordering::Relaxed);
        if !self.served {
            self.served = true;
            around.live.served.fetch_add(1, Ordering::Relaxed);
        }
        let Some(stream) = self.streams.get_mut(&*packet.header.ssrc) else { return };
        let Some(stamp) = Stamp::read(&packet.payload) else {
            if let Stream::Video(quality) = stream {
                quality.pad(around.now, *packet.seq_no);
            }
            return;
        };
        let delay = around.micros().saturating_sub(stamp.micros) * 1_000;
        match stream {
            Stream::Video(quality) => {
                if quality.take(around.now, *packet.seq_no, packet.header.marker, &packet.payload, stamp.encoding) {
                    around.counted.delay.record(delay);
                }
                if let Some(first) = quality.first_frame.filter(|_| !self.shown) {
                    self.shown = true;
                    around.counted.first_frame.record(since(self.course.started, first));
                    if let Some(connected) = self.course.connected {
                        around.counted.keyframe_wait.record(since(connected, first));
                    }
                }
            }
            Stream::Audio { seq, first, highest, received } => {
                let seq = seq.unwrap(packet.header.sequence_number.into());
                (*first, *highest) = ((*first).min(seq), (*highest).max(seq));
                *received += 1;
                around.counted.audio_delay.record(delay);
            }
        }
    }

    /// Asks for a keyframe where a picture stands.
    fn look(&mut self, around: &mut Around<'_>) {
        if self.publisher.is_some() || self.paused {
            return;
        }
        for (ssrc, stream) in &mut self.streams {
            let Stream::Video(quality) = stream else { continue };
            quality.advance(around.now);
            let stands = quality.stands(around.now).or(self.course.connected.map(|it| around.now - it));
            let due = self.asked.is_none_or(|it| around.now - it > IMPATIENCE);
            if due && quality.counts.packets > 0 && stands.is_some_and(|it| it > IMPATIENCE) {
                self.asked = Some(around.now);
                around.counted.asked += 1;
                if let Some(stream) = self.rtc.direct_api().stream_rx(&Ssrc::from(*ssrc)) {
                    stream.request_keyframe(KeyframeRequestKind::Pli);
                }
            }
        }
    }

    fn play(&mut self, around: &mut Around<'_>) {
        let Some((publisher, sources)) = &mut self.publisher else { return };
        while let Some(due) = publisher.take(around.now) {
            let mut api = self.rtc.direct_api();
            match due {
                Due::Audio(seq, time, mut payload) => {
                    Stamp::set_time(&mut payload, around.micros());
                    around.counted.published.0 += 1;
                    around.counted.published.1 += payload.len() as u64;
                    let level = ExtensionValues {
                        audio_level: Some(publisher.level),
                        voice_activity: Some(true),
                        ..ExtensionValues::default()
                    };
                    let write =
                        RtpWrite::new(Pt::new_with_value(self.numbers.opus), seq.into(), time, around.now, payload);
                    if let Some(stream) = api.stream_tx(&Ssrc::from(sources.audio)) {
                        stream.write_rtp(write.ext_vals(level));
                    }
                }
                Due::Video(mut it, time) => {
                    Stamp::set_time(&mut it.bytes, around.micros());
                    around.counted.published.0 += 1;
                    around.counted.published.1 += it.bytes.len() as u64;
                    let Some((ssrc, _)) = sources.video.get(it.encoding) else { continue };
                    let pt = Pt::new_with_value(self.numbers.vp8);
                    let write = RtpWrite::new(pt, it.seq.into(), time, around.now, it.bytes);
                    if let Some(stream) = api.stream_tx(&Ssrc::from(*ssrc)) {
                        stream.write_rtp(write.marker(it.marker).nackable(true));
                    }
                }
            }
        }
    }
}

/// What a viewer wants.
pub(crate) fn constraints(height: u32) -> String {
    format!(
        "{{\"colibriClass\":\"ReceiverVideoConstraints\",\"lastN\":-1,\"assumedBandwidthBps\":-1,\
         \"defaultConstraints\":{{\"maxHeight\":{height}}}}}"
    )
}
