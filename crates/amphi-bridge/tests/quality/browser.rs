//! A browser: str0m behind a bad network, with cameras and a microphone, that follows what the bridge says on its channel.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use amphi_netem::{Conditions, Link};
use serde_json::{Value, json};
use str0m::channel::{ChannelConfig, ChannelId};
use str0m::config::Fingerprint;
use str0m::media::{KeyframeRequestKind, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, ExtensionMap, ExtensionSerializer, ExtensionValues, RtpWrite, Ssrc};
use str0m::{Candidate, Event, IceCreds, Input, Output, Rtc, RtcConfig};

use super::camera::{Camera, Descriptor, Out};
use super::nonces::Nonces;
use super::screen::{Piece, Screen};

pub(crate) const OPUS: u8 = 111;
pub(crate) const DEPENDENCY: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

#[derive(Debug)]
struct DescriptorExtension;

impl ExtensionSerializer for DescriptorExtension {
    fn write_to(&self, buf: &mut [u8], values: &ExtensionValues) -> usize {
        let Some(Descriptor(bytes)) = values.user_values.get::<Descriptor>() else { return 0 };
        buf[..bytes.len()].copy_from_slice(bytes);
        bytes.len()
    }

    fn parse_value(&self, buf: &[u8], values: &mut ExtensionValues) -> bool {
        values.user_values.set(Descriptor(buf.to_vec()));
        true
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        false
    }

    fn requires_two_byte_form(&self, values: &ExtensionValues) -> bool {
        values.user_values.get::<Descriptor>().is_some_and(|it| it.0.len() > 16)
    }
}

/// Audio that is sent.
#[derive(Clone, Debug)]
pub(crate) struct Microphone {
    pub(crate) name: String,
    pub(crate) ssrc: u32,
    /// In -dBov; 127 is silence.
    pub(crate) level: i8,
    seq: u64,
    next: Option<Instant>,
}

impl Microphone {
    pub(crate) fn new(name: &str, ssrc: u32, level: i8) -> Self {
        Self { name: name.to_owned(), ssrc, level, seq: 500, next: None }
    }

    pub(crate) fn signaled(&self) -> String {
        let (name, ssrc) = (&self.name, self.ssrc);
        format!(
            "<media-source type='audio' id='{name}'><source xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' ssrc='{ssrc}' name='{name}'/></media-source>"
        )
    }
}

/// What was heard on one SSRC: when, sequence number.
pub(crate) type Heard = Vec<(Instant, u64)>;

/// Changes or drops what leaves for the bridge.
pub(crate) type Meddle = Box<dyn FnMut(&mut Vec<u8>) -> bool>;

pub(crate) struct Browser {
    pub(crate) name: String,
    pub(crate) rtc: Rtc,
    socket: UdpSocket,
    pub(crate) address: SocketAddr,
    bridge: Option<SocketAddr>,
    pub(crate) up: Link,
    pub(crate) down: Link,
    timeout: Instant,
    pub(crate) connected: bool,
    pub(crate) open: bool,
    channel: Option<ChannelId>,
    /// Everything that came on the channel.
    pub(crate) messages: Vec<(Instant, Value)>,
    pub(crate) cameras: Vec<Camera>,
    pub(crate) microphone: Option<Microphone>,
    /// By SSRC.
    pub(crate) screens: HashMap<u32, Screen>,
    pub(crate) heard: HashMap<u32, Heard>,
    /// Sources by SSRC, as the bridge mapped them last.
    pub(crate) mapped: HashMap<u32, String>,
    /// As it was mapped: (SSRC, of retransmissions, video type).
    pub(crate) sources: HashMap<String, (u32, Option<u32>, Option<String>)>,
    pub(crate) nonces: Nonces,
    pub(crate) received: u64,
    /// Sends neither RTP nor RTCP.
    pub(crate) silent: bool,
    /// Whether it asks for keyframes by itself.
    pub(crate) asks: bool,
    pub(crate) meddle: Option<Meddle>,
    /// Last datagrams that were sent, for replays.
    pub(crate) sent: Vec<Vec<u8>>,
    out: Vec<Out>,
}

impl Browser {
    pub(crate) fn new(name: &str, seed: u64) -> Self {
        let now = Instant::now();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let mut extensions = ExtensionMap::empty();
        extensions.set(1, Extension::AudioLevel);
        extensions.set(3, Extension::TransportSequenceNumber);
        extensions.set(11, Extension::with_serializer(DEPENDENCY, DescriptorExtension));
        let mut rtc = RtcConfig::new()
            .set_rtp_mode(true)
            .clear_codecs()
            .enable_opus(true, false)
            .enable_vp8(true)
            .enable_vp9(true)
            .enable_av1(true)
            .set_extension_map(extensions)
            .set_reordering_size_video(0)
            .build(now);
        rtc.add_local_candidate(Candidate::host(address, "udp").unwrap());
        let perfect = Conditions::default();
        Self {
            name: name.to_owned(),
            rtc,
            socket,
            address,
            bridge: None,
            up: Link::new(&perfect, seed),
            down: Link::new(&perfect, seed + 1),
            timeout: now,
            connected: false,
            open: false,
            channel: None,
            messages: Vec::new(),
            cameras: Vec::new(),
            microphone: None,
            screens: HashMap::new(),
            heard: HashMap::new(),
            mapped: HashMap::new(),
            sources: HashMap::new(),
            nonces: Nonces::default(),
            received: 0,
            silent: false,
            asks: true,
            meddle: None,
            sent: Vec::new(),
            out: Vec::new(),
        }
    }

    /// The bridge's side of the transport. Returns ours, as it is signaled.
    pub(crate) fn connect(&mut self, bridge: SocketAddr, ufrag: &str, pwd: &str, fingerprint: &str) -> String {
        self.bridge = Some(bridge);
        self.rtc.add_remote_candidate(Candidate::host(bridge, "udp").unwrap());
        let mut api = self.rtc.direct_api();
        api.set_ice_controlling(false);
        api.set_remote_ice_credentials(IceCreds { ufrag: ufrag.to_owned(), pass: pwd.to_owned() });
        api.set_remote_fingerprint(fingerprint.parse::<Fingerprint>().unwrap());
        api.start_dtls(true).unwrap();
        api.start_sctp(true);
        api.enable_twcc_feedback();
        let config = ChannelConfig { label: "JVB data channel".into(), ..ChannelConfig::default() };
        self.channel = Some(api.create_data_channel(config));
        let IceCreds { ufrag, pass } = api.local_ice_credentials();
        let own = api.local_dtls_fingerprint().to_string();
        let (hash, value) = own.split_once(' ').unwrap();
        format!(
            "<transport><transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='{ufrag}' pwd='{pass}'>\
             <fingerprint xmlns='urn:xmpp:jingle:apps:dtls:0' hash='{hash}' setup='active'>{value}</fingerprint></transport></transport>"
        )
    }

    fn mid(&mut self, name: &str, kind: MediaKind) -> Mid {
        let mid = Mid::from(name);
        if self.rtc.media(mid).is_none() {
            self.rtc.direct_api().declare_media(mid, kind);
        }
        mid
    }

    /// Expects a source on these SSRCs.
    pub(crate) fn expect(&mut self, kind: MediaKind, ssrc: u32, rtx: Option<u32>) {
        if self.rtc.direct_api().stream_rx(&Ssrc::from(ssrc)).is_some() {
            return;
        }
        let mid = self.mid(&format!("r{ssrc}"), kind);
        self.rtc.direct_api().expect_stream_rx(Ssrc::from(ssrc), rtx.map(Ssrc::from), mid, None);
        if kind == MediaKind::Video {
            self.screens.entry(ssrc).or_default();
        }
    }

    /// Prepares to send all that its cameras and its microphone have.
    pub(crate) fn declare(&mut self) {
        let video: Vec<_> =
            self.cameras.iter().flat_map(|it| &it.encodings).map(|it| (it.ssrc, Some(it.rtx))).collect();
        let audio = self.microphone.iter().map(|it| (it.ssrc, None));
        let all = video.into_iter().map(|it| (it, MediaKind::Video));
        for ((ssrc, rtx), kind) in all.chain(audio.map(|it| (it, MediaKind::Audio))).collect::<Vec<_>>() {
            let mid = self.mid(&format!("s{ssrc}"), kind);
            let mut api = self.rtc.direct_api();
            let stream = api.declare_stream_tx(Ssrc::from(ssrc), rtx.map(Ssrc::from), mid, None);
            // Browsers answer as long as they have the packet; str0m would stop when more than a seventh of what it sends is sent again.
            stream.set_rtx_cache(2_000, Duration::from_secs(3), None);
        }
    }

    pub(crate) fn camera(&mut self, name: &str) -> &mut Camera {
        self.cameras.iter_mut().find(|it| it.name == name).expect("a camera of this name")
    }

    /// What it sees of a source.
    pub(crate) fn screen(&self, source: &str) -> &Screen {
        let (ssrc, ..) =
            self.sources.get(source).unwrap_or_else(|| panic!("{source} was not mapped for {}", self.name));
        &self.screens[ssrc]
    }

    /// Whether it sees a source, and something was shown since then.
    pub(crate) fn sees(&self, source: &str, since: Instant) -> bool {
        self.sources.get(source).is_some_and(|(ssrc, ..)| {
            self.mapped.get(ssrc).is_some_and(|it| it == source)
                && self.screens.get(ssrc).is_some_and(|it| it.since(since).next().is_some())
        })
    }

    /// The newest message of a class that is as asked for.
    pub(crate) fn newest(&self, class: &str, so: impl Fn(&Value) -> bool) -> Option<&Value> {
        self.messages.iter().rev().map(|(_, it)| it).find(|it| it["colibriClass"] == class && so(it))
    }

    pub(crate) fn say(&mut self, message: &Value) {
        let id = self.channel.unwrap();
        self.rtc.channel(id).expect("the channel is open").write(false, message.to_string().as_bytes()).unwrap();
    }

    /// What it wants to see; missing fields stay as they were.
    pub(crate) fn want(&mut self, mut constraints: Value) {
        constraints["colibriClass"] = json!("ReceiverVideoConstraints");
        self.say(&constraints);
    }

    pub(crate) fn ask_keyframe(&mut self, ssrc: u32) {
        if let Some(stream) = self.rtc.direct_api().stream_rx(&Ssrc::from(ssrc)) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
        }
    }

    /// Sends bytes to the bridge, from its own address, past its network.
    pub(crate) fn send_raw(&self, bytes: &[u8]) {
        let _ = self.socket.send_to(bytes, self.bridge.unwrap());
    }

    pub(crate) fn poll(&mut self, now: Instant) {
        let mut buffer = [0; 2_048];
        loop {
            match self.socket.recv_from(&mut buffer) {
                Ok((len, _)) => {
                    self.received += 1;
                    self.nonces.see(&buffer[..len]);
                    self.down.push(now, buffer[..len].to_vec());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        while let Some(datagram) = self.down.pop(now) {
            let Ok(contents) = datagram.as_slice().try_into() else { continue };
            let source = self.bridge.unwrap();
            let input =
                Input::Receive(now, Receive { proto: Protocol::Udp, source, destination: self.address, contents });
            if self.rtc.is_alive() && self.rtc.accepts(&input) {
                let _ = self.rtc.handle_input(input);
            }
            self.drain(now);
        }
        if self.connected {
            self.play(now);
        }
        if self.timeout <= now && self.rtc.is_alive() {
            self.rtc.handle_input(Input::Timeout(now)).unwrap();
        }
        self.drain(now);
        if self.asks {
            let stuck: Vec<u32> =
                self.screens.iter_mut().filter_map(|(ssrc, it)| it.needs_keyframe(now).then_some(*ssrc)).collect();
            stuck.into_iter().for_each(|ssrc| self.ask_keyframe(ssrc));
        }
        while let Some(datagram) = self.up.pop(now) {
            let _ = self.socket.send_to(&datagram, self.bridge.unwrap());
        }
    }

    fn drain(&mut self, now: Instant) {
        while self.rtc.is_alive() {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.timeout = at;
                    return;
                }
                Ok(Output::Transmit(it)) => {
                    let mut datagram = it.contents.to_vec();
                    let pass = self.meddle.as_mut().is_none_or(|meddle| meddle(&mut datagram));
                    if pass && (!self.silent || datagram[0] < 64) {
                        if self.sent.len() < 4_000 {
                            self.sent.push(datagram.clone());
                        }
                        self.up.push(now, datagram);
                    }
                }
                Ok(Output::Event(event)) => self.event(now, event),
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Connected => self.connected = true,
            Event::RtpPacket(packet) => {
                let (ssrc, seq) = (*packet.header.ssrc, *packet.seq_no);
                if *packet.header.payload_type == OPUS {
                    self.heard.entry(ssrc).or_default().push((now, seq));
                    return;
                }
                let piece = Piece {
                    payload_type: *packet.header.payload_type,
                    timestamp: packet.header.timestamp,
                    marker: packet.header.marker,
                    payload: packet.payload.to_vec(),
                    descriptor: packet.header.ext_vals.user_values.get::<Descriptor>().map(|it| it.0.clone()),
                };
                self.screens.entry(ssrc).or_default().push(now, seq, piece);
            }
            Event::KeyframeRequest(it) => {
                // The SSRC is not told, but the line that it is of.
                for camera in &mut self.cameras {
                    if camera.encodings.iter().any(|encoding| it.mid == Mid::from(&*format!("s{}", encoding.ssrc))) {
                        camera.asked += 1;
                        camera.key = true;
                    }
                }
            }
            Event::ChannelOpen(id, _) => self.open |= Some(id) == self.channel,
            Event::ChannelData(data) => {
                let value: Value = serde_json::from_slice(&data.data).unwrap();
                self.told(&value);
                self.messages.push((now, value));
            }
            _ => {}
        }
    }

    /// A message of the bridge.
    fn told(&mut self, message: &Value) {
        let number = |it: &Value| it.as_u64().map(|it| it as u32);
        let class = message["colibriClass"].as_str().unwrap_or_default();
        match class {
            "VideoSourcesMap" | "AudioSourcesMap" => {
                let kind = if class == "VideoSourcesMap" { MediaKind::Video } else { MediaKind::Audio };
                for it in message["mappedSources"].as_array().unwrap() {
                    let (ssrc, rtx) = (number(&it["ssrc"]).unwrap(), number(&it["rtx"]));
                    let source = it["source"].as_str().unwrap().to_owned();
                    self.expect(kind, ssrc, rtx);
                    self.mapped.insert(ssrc, source.clone());
                    self.sources.insert(source, (ssrc, rtx, it["videoType"].as_str().map(str::to_owned)));
                }
            }
            "SenderSourceConstraints" => {
                let height = message["maxHeight"].as_i64().unwrap();
                let source = message["sourceName"].as_str().unwrap();
                self.cameras.iter_mut().filter(|it| it.name == source).for_each(|it| it.limit(height));
            }
            _ => {}
        }
    }

    fn play(&mut self, now: Instant) {
        let mut out = std::mem::take(&mut self.out);
        self.cameras.iter_mut().for_each(|it| it.play(now, &mut out));
        for it in out.drain(..) {
            let write = RtpWrite::new(Pt::new_with_value(it.payload_type), it.seq.into(), it.time, now, it.payload);
            let write = write.marker(it.marker).nackable(true).ext_vals(it.extensions);
            if let Some(stream) = self.rtc.direct_api().stream_tx(&Ssrc::from(it.ssrc)) {
                stream.write_rtp(write);
            }
        }
        self.out = out;
        let Some(it) = &mut self.microphone else { return };
        let next = it.next.get_or_insert(now);
        if now.saturating_duration_since(*next) > Duration::from_millis(300) {
            *next = now;
        }
        while *next <= now {
            *next += Duration::from_millis(20);
            it.seq += 1;
            // Words have gaps: what never falls is taken for the noise of the room.
            let level = if it.seq.is_multiple_of(40) { it.level.max(95) } else { it.level };
            let level = ExtensionValues {
                audio_level: Some(-level),
                voice_activity: Some(it.level < 60),
                ..ExtensionValues::default()
            };
            let time = (it.seq * 960) as u32;
            let write = RtpWrite::new(Pt::new_with_value(OPUS), it.seq.into(), time, now, vec![0x78; 80]);
            if let Some(stream) = self.rtc.direct_api().stream_tx(&Ssrc::from(it.ssrc)) {
                stream.write_rtp(write.ext_vals(level));
            }
        }
    }
}
