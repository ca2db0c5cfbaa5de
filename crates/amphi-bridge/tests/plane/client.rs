//! A browser: str0m on a real socket. Publishes made-up Opus and VP8, and keeps what it receives.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use amphi_bridge::transport::{Fingerprint as Signaled, LocalTransport, RemoteTransport, Setup};
use str0m::channel::{ChannelConfig, ChannelId};
use str0m::config::Fingerprint;
use str0m::format::{Codec, FormatParams};
use str0m::media::{Frequency, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, ExtensionValues, RtpWrite, Ssrc};
use str0m::{Candidate, Event, IceCreds, Input, Output, Rtc, RtcConfig};

pub(crate) const OPUS: u8 = 111;
pub(crate) const RED: u8 = 112;
pub(crate) const VP8: u8 = 96;
pub(crate) const VP8_RTX: u8 = 97;

/// Numbers that a bridge or a focus gives to formats.
#[derive(Clone, Copy)]
pub(crate) struct Numbers {
    pub(crate) vp8: u8,
    pub(crate) rtx: u8,
    pub(crate) transport_cc: u8,
}

/// Those of the tests that need no focus.
pub(crate) const OWN: Numbers = Numbers { vp8: VP8, rtx: VP8_RTX, transport_cc: 3 };

/// A packet that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) seq: u64,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) payload_type: u8,
    pub(crate) payload: Vec<u8>,
    pub(crate) transport_cc: Option<u16>,
    pub(crate) level: Option<i8>,
}

/// One encoding that is published.
pub(crate) struct Encoding {
    pub(crate) ssrc: u32,
    pub(crate) rtx: u32,
    /// Packets of a frame.
    pub(crate) packets: usize,
    seq: u64,
    picture_id: u16,
    tl0: u8,
    frame: u64,
    height: u16,
}

/// What is published.
pub(crate) struct Script {
    pub(crate) audio: Option<u32>,
    /// Audio goes with the packet before it.
    pub(crate) red: bool,
    pub(crate) level: i8,
    pub(crate) encodings: Vec<Encoding>,
    time: u32,
    next_audio: Instant,
    next_video: Instant,
    pub(crate) audio_seq: u64,
    pub(crate) keyframe: bool,
    /// Bytes of the payload of each video packet.
    pub(crate) payload: usize,
    /// Keyframe requests so far.
    pub(crate) asked: usize,
    /// Keyframes so far.
    pub(crate) keyframes: usize,
}

/// Says of a datagram whether it is lost.
pub(crate) type Loss = Box<dyn FnMut(&[u8]) -> bool>;

pub(crate) struct Client {
    pub(crate) rtc: Rtc,
    socket: UdpSocket,
    numbers: Numbers,
    pub(crate) address: SocketAddr,
    timeout: Instant,
    pub(crate) connected: bool,
    pub(crate) got: HashMap<u32, Vec<Got>>,
    pub(crate) script: Option<Script>,
    pub(crate) channel: Option<ChannelId>,
    pub(crate) opened: bool,
    pub(crate) messages: Vec<String>,
    /// Asked about each datagram that comes; `true`: it is lost.
    pub(crate) lose: Loss,
    /// Asked about each datagram that goes.
    pub(crate) lose_sent: Loss,
    /// Does nothing at all any more.
    pub(crate) dead: bool,
    /// Sends nothing but STUN and DTLS.
    pub(crate) mute: bool,
}

impl Client {
    pub(crate) fn new() -> Self {
        Self::with(OWN)
    }

    pub(crate) fn with(numbers: Numbers) -> Self {
        let now = Instant::now();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let mut config = RtcConfig::new()
            .set_rtp_mode(true)
            .clear_codecs()
            .enable_opus(true, false)
            .clear_extension_map()
            .set_extension(1, Extension::AudioLevel)
            .set_extension(numbers.transport_cc, Extension::TransportSequenceNumber)
            .set_reordering_size_video(0);
        let [vp8, rtx] = [numbers.vp8, numbers.rtx].map(Pt::new_with_value);
        let params = FormatParams::default();
        // As far as this stack is concerned another Opus.
        config.codec_config().add_config(RED.into(), None, Codec::Opus, Frequency::FORTY_EIGHT_KHZ, Some(2), params);
        config.codec_config().add_config(vp8, Some(rtx), Codec::Vp8, Frequency::NINETY_KHZ, None, params);
        let mut rtc = config.build(now);
        rtc.add_local_candidate(Candidate::host(address, "udp").unwrap());
        Self {
            rtc,
            socket,
            numbers,
            address,
            timeout: now,
            connected: false,
            got: HashMap::new(),
            script: None,
            channel: None,
            opened: false,
            messages: Vec::new(),
            lose: Box::new(|_| false),
            lose_sent: Box::new(|_| false),
            dead: false,
            mute: false,
        }
    }

    /// What it signals.
    pub(crate) fn describe(&mut self) -> RemoteTransport {
        let api = self.rtc.direct_api();
        let IceCreds { ufrag, pass } = api.local_ice_credentials();
        let value = api.local_dtls_fingerprint().to_string();
        let (hash, value) = value.split_once(' ').unwrap();
        RemoteTransport {
            ufrag: Some(ufrag),
            password: Some(pass),
            generation: None,
            candidates: Vec::new(),
            fingerprints: vec![Signaled { hash: hash.into(), value: value.into(), setup: Some(Setup::Active) }],
        }
    }

    pub(crate) fn set_remote(&mut self, bridge: &LocalTransport) {
        for candidate in &bridge.candidates {
            self.rtc.add_remote_candidate(Candidate::host(candidate.address, "udp").unwrap());
        }
        let mut api = self.rtc.direct_api();
        api.set_ice_controlling(false);
        api.set_remote_ice_credentials(IceCreds { ufrag: bridge.ufrag.clone(), pass: bridge.password.clone() });
        let fingerprint = format!("{} {}", bridge.fingerprint.hash, bridge.fingerprint.value);
        api.set_remote_fingerprint(fingerprint.parse::<Fingerprint>().unwrap());
        api.start_dtls(true).unwrap();
        api.start_sctp(true);
        let config = ChannelConfig { label: "JVB data channel".into(), ..ChannelConfig::default() };
        self.channel = Some(api.create_data_channel(config));
    }

    fn declare(&mut self, mid: &str, kind: MediaKind) -> Mid {
        let mid = Mid::from(mid);
        if self.rtc.media(mid).is_none() {
            self.rtc.direct_api().declare_media(mid, kind);
        }
        mid
    }

    /// Expects audio on these SSRCs.
    pub(crate) fn expect_audio(&mut self, ssrcs: &[u32]) {
        for (n, ssrc) in ssrcs.iter().enumerate() {
            let mid = self.declare(&format!("a{n}"), MediaKind::Audio);
            self.rtc.direct_api().expect_stream_rx(Ssrc::from(*ssrc), None, mid, None);
        }
    }

    /// Expects video on these SSRCs and those of retransmissions.
    pub(crate) fn expect_video(&mut self, ssrcs: &[(u32, u32)]) {
        for (n, (ssrc, rtx)) in ssrcs.iter().enumerate() {
            let mid = self.declare(&format!("v{n}"), MediaKind::Video);
            self.rtc.direct_api().expect_stream_rx(Ssrc::from(*ssrc), Some(Ssrc::from(*rtx)), mid, None);
        }
    }

    /// Publishes audio and as many encodings as there are triples of SSRC, SSRC of retransmissions and packets per frame.
    pub(crate) fn publish(&mut self, audio: Option<u32>, encodings: &[(u32, u32, usize)]) {
        let now = Instant::now();
        if let Some(ssrc) = audio {
            let mid = self.declare("pa", MediaKind::Audio);
            self.rtc.direct_api().declare_stream_tx(Ssrc::from(ssrc), None, mid, None);
        }
        for (n, (ssrc, rtx, _)) in encodings.iter().enumerate() {
            let mid = self.declare(&format!("pv{n}"), MediaKind::Video);
            self.rtc.direct_api().declare_stream_tx(Ssrc::from(*ssrc), Some(Ssrc::from(*rtx)), mid, None);
        }
        let encodings = encodings.iter().enumerate().map(|(n, (ssrc, rtx, packets))| Encoding {
            ssrc: *ssrc,
            rtx: *rtx,
            packets: *packets,
            seq: 1_000 * (n as u64 + 1),
            picture_id: 100 * (n as u16 + 1),
            tl0: 7,
            frame: 0,
            height: 180 << n,
        });
        self.script = Some(Script {
            audio,
            red: false,
            level: -30,
            encodings: encodings.collect(),
            time: 5_000,
            next_audio: now,
            next_video: now,
            audio_seq: 500,
            keyframe: true,
            payload: 900,
            asked: 0,
            keyframes: 0,
        });
    }

    pub(crate) fn ask_keyframe(&mut self, ssrc: u32) {
        let mut api = self.rtc.direct_api();
        let stream = api.stream_rx(&Ssrc::from(ssrc)).unwrap();
        stream.request_keyframe(str0m::media::KeyframeRequestKind::Pli);
    }

    pub(crate) fn send_text(&mut self, text: &str) {
        let id = self.channel.unwrap();
        self.rtc.channel(id).unwrap().write(false, text.as_bytes()).unwrap();
    }

    /// Sends raw bytes to the bridge, from its own address.
    pub(crate) fn send_raw(&self, bytes: &[u8], to: SocketAddr) {
        self.socket.send_to(bytes, to).unwrap();
    }

    /// Datagrams that wait in its socket.
    pub(crate) fn waiting(&self) -> Vec<Vec<u8>> {
        let mut buffer = [0; 2_048];
        std::iter::from_fn(|| self.socket.recv_from(&mut buffer).ok().map(|(len, _)| buffer[..len].to_vec())).collect()
    }

    pub(crate) fn poll(&mut self, now: Instant) {
        if self.dead {
            return;
        }
        let mut buffer = [0; 2_048];
        loop {
            match self.socket.recv_from(&mut buffer) {
                Ok((len, source)) => {
                    if (self.lose)(&buffer[..len]) {
                        continue;
                    }
                    let Ok(contents) = buffer[..len].try_into() else { continue };
                    let receive = Receive { proto: Protocol::Udp, source, destination: self.address, contents };
                    let input = Input::Receive(now, receive);
                    if self.rtc.is_alive() && self.rtc.accepts(&input) {
                        let _ = self.rtc.handle_input(input);
                    }
                    self.drain();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        if self.connected && !self.mute {
            self.play(now);
        }
        if self.timeout <= now && self.rtc.is_alive() {
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
                Ok(Output::Transmit(it)) => {
                    let lost = (self.lose_sent)(&it.contents);
                    if !lost && (!self.mute || it.contents[0] < 64) {
                        let _ = self.socket.send_to(&it.contents, it.destination);
                    }
                }
                Ok(Output::Event(event)) => self.event(event),
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Connected => self.connected = true,
            Event::RtpPacket(packet) => {
                let got = Got {
                    seq: *packet.seq_no,
                    timestamp: packet.header.timestamp,
                    marker: packet.header.marker,
                    payload_type: *packet.header.payload_type,
                    payload: packet.payload.to_vec(),
                    transport_cc: packet.header.ext_vals.transport_cc,
                    level: packet.header.ext_vals.audio_level,
                };
                self.got.entry(*packet.header.ssrc).or_default().push(got);
            }
            Event::KeyframeRequest(_) => {
                if let Some(script) = &mut self.script {
                    script.asked += 1;
                    script.keyframe = true;
                }
            }
            Event::ChannelOpen(id, _) => self.opened |= Some(id) == self.channel,
            Event::ChannelData(data) => self.messages.push(String::from_utf8(data.data).unwrap()),
            _ => {}
        }
    }

    fn play(&mut self, now: Instant) {
        let Some(script) = &mut self.script else { return };
        // Nothing is made up for the time before the connection.
        for next in [&mut script.next_audio, &mut script.next_video] {
            if now.saturating_duration_since(*next) > Duration::from_millis(200) {
                *next = now;
            }
        }
        if let Some(ssrc) = script.audio {
            while script.next_audio <= now {
                script.next_audio += Duration::from_millis(20);
                script.audio_seq += 1;
                let level = ExtensionValues {
                    audio_level: Some(script.level),
                    voice_activity: Some(true),
                    ..ExtensionValues::default()
                };
                let payload = |seq: u64| {
                    let mut payload = vec![0x78; 80];
                    payload[1..9].copy_from_slice(&seq.to_be_bytes());
                    payload
                };
                let (mut number, mut payload, before) =
                    (OPUS, payload(script.audio_seq), payload(script.audio_seq - 1));
                if script.red {
                    // One redundant block: its type, age and length (RFC 2198), then the type of the primary one.
                    let mut red =
                        vec![0x80 | OPUS, (960_u16 >> 6) as u8, (960_u16 << 2) as u8, before.len() as u8, OPUS];
                    red.extend(before);
                    red.extend(payload);
                    (number, payload) = (RED, red);
                }
                let time = (script.audio_seq * 960) as u32;
                let write = RtpWrite::new(Pt::new_with_value(number), script.audio_seq.into(), time, now, payload);
                let mut api = self.rtc.direct_api();
                api.stream_tx(&Ssrc::from(ssrc)).unwrap().write_rtp(write.ext_vals(level));
            }
        }
        while script.next_video <= now && !script.encodings.is_empty() {
            script.next_video += Duration::from_millis(33);
            let key = std::mem::take(&mut script.keyframe);
            script.keyframes += usize::from(key);
            script.time = script.time.wrapping_add(2_970);
            let time = script.time;
            for encoding in &mut script.encodings {
                let temporal = if key { 0 } else { [0, 2, 1, 2][encoding.frame as usize % 4] };
                if key {
                    encoding.frame = 0;
                }
                encoding.frame += 1;
                encoding.picture_id = (encoding.picture_id + 1) & 0x7fff;
                if temporal == 0 {
                    encoding.tl0 = encoding.tl0.wrapping_add(1);
                }
                for n in 0..encoding.packets {
                    let start = n == 0;
                    let mut payload = vec![0x80 | if start { 0x10 } else { 0 }, 0xe0];
                    payload.extend((encoding.picture_id | 0x8000).to_be_bytes());
                    payload.extend([encoding.tl0, temporal << 6 | 0x20]);
                    if start {
                        let [w, h] = [encoding.height * 16 / 9, encoding.height].map(u16::to_le_bytes);
                        payload.extend([u8::from(!key), 0, 0, 0x9d, 1, 0x2a, w[0], w[1], h[0], h[1]]);
                    }
                    // What says where it came from.
                    payload.extend(encoding.ssrc.to_be_bytes());
                    payload.resize(script.payload, n as u8);
                    let last = n + 1 == encoding.packets;
                    let write =
                        RtpWrite::new(Pt::new_with_value(self.numbers.vp8), encoding.seq.into(), time, now, payload);
                    encoding.seq += 1;
                    let mut api = self.rtc.direct_api();
                    let stream = api.stream_tx(&Ssrc::from(encoding.ssrc)).unwrap();
                    stream.write_rtp(write.marker(last).nackable(true));
                }
            }
        }
    }
}

/// A VP8 payload as a receiver reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vp8 {
    pub(crate) start: bool,
    pub(crate) key: bool,
    pub(crate) picture_id: u16,
    pub(crate) tl0: u8,
    pub(crate) temporal: u8,
}

impl Got {
    pub(crate) fn vp8(&self) -> Vp8 {
        let p = &self.payload;
        let start = p[0] & 0x10 != 0;
        Vp8 {
            start,
            key: start && p[6] & 1 == 0,
            picture_id: u16::from_be_bytes([p[2], p[3]]) & 0x7fff,
            tl0: p[4],
            temporal: p[5] >> 6,
        }
    }

    /// SSRC of the encoding that it was made of.
    pub(crate) fn origin(&self) -> u32 {
        let at = if self.vp8().start { 16 } else { 6 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}
