//! Bytes of a client's connection: the upgrade, WebSocket frames and the elements in them, and everything it writes.

use super::{Client, Nanos, Scene, Sink, State};
use crate::{
    frame::{self, Opcode},
    http,
    scan::{self, Kind},
    strict,
};

impl Client {
    pub(super) fn upgrade(&mut self, sink: &mut Sink) {
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.random().to_be_bytes());
        nonce[8..].copy_from_slice(&self.random().to_be_bytes());
        self.stream.key = frame::key(nonce);
        self.state = State::Upgrading;
        let place = &self.place;
        let scheme = if place.url.tls { "https" } else { "http" };
        for part in [
            "GET ",
            &place.target,
            " HTTP/1.1\r\nHost: ",
            &place.url.authority(),
            "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: xmpp\r\n",
            "User-Agent: amphi-load\r\nOrigin: ",
            scheme,
            "://",
            &place.url.authority(),
            "\r\nSec-WebSocket-Key: ",
            &self.stream.key,
            "\r\n\r\n",
        ] {
            sink.bytes.extend_from_slice(part.as_bytes());
        }
    }

    pub(super) fn read(&mut self, now: Nanos, bytes: &[u8], scene: Scene<'_>, sink: &mut Sink) {
        let epoch = self.epoch;
        if self.stream.partial.is_empty() {
            let used = self.consume(now, bytes, scene, sink);
            if self.connected && self.epoch == epoch {
                self.stream.partial.extend_from_slice(&bytes[used..]);
            }
            return;
        }
        let mut data = std::mem::take(&mut self.stream.partial);
        data.extend_from_slice(bytes);
        let used = self.consume(now, &data, scene, sink);
        if self.connected && self.epoch == epoch && used < data.len() {
            data.drain(..used);
            self.stream.partial = data;
        }
    }

    /// Handles every whole frame at the start of `data`; returns how many bytes that was.
    pub(super) fn consume(&mut self, now: Nanos, data: &[u8], scene: Scene<'_>, sink: &mut Sink) -> usize {
        let mut used = 0;
        if self.state == State::Upgrading {
            match self.upgraded(now, data, scene, sink) {
                Some(len) => used = len,
                None => return 0,
            }
        }
        let epoch = self.epoch;
        while self.connected && self.epoch == epoch {
            match frame::decode(&data[used..]) {
                Ok(None) => break,
                Ok(Some((fin, opcode, payload, len))) => {
                    let payload = &data[used + payload.start..used + payload.end];
                    used += len;
                    self.frame(now, fin, opcode, payload, scene, sink);
                }
                Err(_) => {
                    sink.stats.malformed += 1;
                    self.broken(now, "malformed WebSocket frame", scene, sink);
                }
            }
        }
        used
    }

    pub(super) fn upgraded(&mut self, now: Nanos, data: &[u8], scene: Scene<'_>, sink: &mut Sink) -> Option<usize> {
        let Some(len) = memchr::memmem::find(data, b"\r\n\r\n") else {
            if data.len() > 16 << 10 {
                self.retry(now, "websocket upgrade: head too long", scene, sink);
            }
            return None;
        };
        let head = String::from_utf8_lossy(&data[..len]);
        match http::status(&head) {
            Some(101) if head.contains(&frame::accept(&self.stream.key)) => {
                sink.stats.connects += 1;
                self.stream.key = String::new();
                self.state = State::Opening;
                self.open(sink);
                return Some(len + 4);
            }
            Some(101) => self.fail("websocket upgrade: wrong accept key", sink),
            Some(status) => {
                sink.stats.refused += 1;
                self.retry(now, &format!("websocket upgrade: HTTP {status}"), scene, sink);
            }
            None => self.fail("websocket upgrade: not HTTP", sink),
        }
        None
    }

    pub(super) fn frame(
        &mut self,
        now: Nanos,
        fin: bool,
        opcode: Opcode,
        payload: &[u8],
        scene: Scene<'_>,
        sink: &mut Sink,
    ) {
        match opcode {
            Opcode::Ping => self.write(sink, Opcode::Pong, payload),
            Opcode::Pong => {}
            Opcode::Close => {
                self.write(sink, Opcode::Close, payload.get(..2).unwrap_or_default());
                let code = payload.get(..2).map_or(1005, |c| u16::from_be_bytes([c[0], c[1]]));
                self.broken(now, &format!("server closed the WebSocket ({code})"), scene, sink);
            }
            Opcode::Text if fin && self.stream.fragments.is_empty() => self.element(now, payload, scene, sink),
            Opcode::Text | Opcode::Continuation => {
                if self.stream.fragments.len() + payload.len() > frame::MAX_MESSAGE {
                    return self.broken(now, "fragmented message too long", scene, sink);
                }
                self.stream.fragments.extend_from_slice(payload);
                if fin {
                    let whole = std::mem::take(&mut self.stream.fragments);
                    self.element(now, &whole, scene, sink);
                }
            }
        }
    }

    pub(super) fn element(&mut self, now: Nanos, xml: &[u8], scene: Scene<'_>, sink: &mut Sink) {
        if scene.script.strict_every > 0 && self.index.is_multiple_of(scene.script.strict_every) {
            sink.stats.checked += 1;
            if let Err(why) = strict::check(xml) {
                sink.stats.malformed += 1;
                sink.stats
                    .error(&format!("malformed XML: {why}: {}", String::from_utf8_lossy(&xml[..xml.len().min(200)])));
            }
        }
        let kind = scan::kind(xml);
        if kind.is_stanza() {
            sink.stats.stanzas += 1;
            if self.stream.managed {
                self.stream.received = self.stream.received.wrapping_add(1);
            }
        }
        match kind {
            Kind::Message => self.message(now, xml, scene, sink),
            Kind::Presence => self.presence(now, xml, scene, sink),
            Kind::Iq => self.iq(now, xml, scene, sink),
            Kind::AckRequest => {
                sink.stats.acks += 1;
                let answer = format!("<a h=\"{}\" xmlns=\"urn:xmpp:sm:3\"/>", self.stream.received);
                self.write(sink, Opcode::Text, answer.as_bytes());
            }
            Kind::Ack => self.acknowledged(now, xml, scene, sink),
            Kind::Open => {}
            Kind::Features => self.features(now, xml, scene, sink),
            Kind::Success if self.state == State::Authenticating => {
                self.state = State::Reopening;
                self.open(sink);
            }
            Kind::Failure => self.fail(&format!("authentication: {}", scan::condition(xml)), sink),
            Kind::Enabled if self.state == State::Enabling => {
                self.stream.managed = true;
                self.online(now, scene, sink);
            }
            Kind::Failed if self.state == State::Enabling => self.online(now, scene, sink),
            Kind::StreamError => {
                self.broken(now, &format!("stream error: {}", scan::condition(xml)), scene, sink);
            }
            Kind::Close => self.broken(now, "server closed the stream", scene, sink),
            _ => sink.stats.error("unexpected element"),
        }
    }

    pub(super) fn send_stanza(&mut self, sink: &mut Sink, write: impl FnOnce(&mut Vec<u8>)) {
        self.send(sink, write);
        if self.stream.managed {
            self.stream.sent = self.stream.sent.wrapping_add(1);
            if self.stream.sent.is_multiple_of(5) {
                self.write(sink, Opcode::Text, br#"<r xmlns="urn:xmpp:sm:3"/>"#);
            }
        }
    }

    pub(super) fn send(&mut self, sink: &mut Sink, write: impl FnOnce(&mut Vec<u8>)) {
        let mut payload = std::mem::take(&mut sink.scratch);
        payload.clear();
        write(&mut payload);
        self.write(sink, Opcode::Text, &payload);
        sink.scratch = payload;
    }

    pub(super) fn write(&mut self, sink: &mut Sink, opcode: Opcode, payload: &[u8]) {
        let mask = (self.random() as u32).to_be_bytes();
        let before = sink.bytes.len();
        frame::encode(&mut sink.bytes, opcode, payload, mask);
        sink.stats.bytes_out += (sink.bytes.len() - before) as u64;
    }

    pub(super) fn machine(&self) -> u64 {
        u64::from(self.index) + 1
    }

    /// xorshift64*: masks and nonces need to differ, not to be secret.
    pub(super) fn random(&mut self) -> u64 {
        self.rng ^= self.rng >> 12;
        self.rng ^= self.rng << 25;
        self.rng ^= self.rng >> 27;
        self.rng.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
