//! The yardstick: a loop that seals packets of the same sizes, as many and as often, for the same sinks, and sends each sink's part of a frame
//! with one call; nothing else. What a bridge costs per packet is told as a ratio to it, measured in turns in one run.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use amphi_bridge::plane::socket::Socket;
use amphi_media::egress::Run;
use amphi_media::srtp::{MasterKey, Outbound, Profile};
use anyhow::Context;
use serde::Serialize;

use super::counts::Live;
use super::publisher::{Due, Publisher};
use super::video::COUNT;
use crate::process;

/// Header with one extension.
const HEADER: usize = 20;
const SSRC: u32 = 7;
const AUDIO_SSRC: u32 = 8;

/// What a turn of the bare loop cost.
#[derive(Clone, Debug, Default, Serialize)]
pub struct BareTurn {
    /// Packets sent.
    pub packets: u64,
    /// System calls.
    pub sends: u64,
    /// Packets that the socket did not take.
    pub refused: u64,
    /// CPU time.
    pub cpu_ns: u64,
    /// Packets that sinks counted.
    pub received: u64,
    /// CPU per packet.
    pub us_per_packet: f64,
}

/// The loop.
pub(crate) struct Bare {
    socket: Socket,
    sinks: Vec<(SocketAddr, Outbound)>,
    run: Run,
    index: u64,
    audio_index: u64,
}

impl Bare {
    /// For these sinks.
    pub(crate) fn new(sinks: &[(SocketAddr, Profile)], from: SocketAddr) -> anyhow::Result<Self> {
        let keys = sinks.iter().enumerate().map(|(n, (address, profile))| {
            let mut key = vec![1; profile.key_len()];
            key[..4].copy_from_slice(&(n as u32).to_be_bytes());
            let salt = vec![2; profile.salt_len()];
            Ok((*address, Outbound::new(&MasterKey::new(*profile, &key, &salt)?)?))
        });
        let socket = Socket::bind(SocketAddr::new(from.ip(), 0), 16 << 20, true)?;
        Ok(Self { socket, sinks: keys.collect::<anyhow::Result<_>>()?, run: Run::new(), index: 1, audio_index: 1 })
    }

    /// Sends what one publisher's highest encoding and audio are, for so long. Runs on the calling thread.
    pub(crate) fn turn(&mut self, bits_per_second: f64, time: Duration, live: &Live) -> anyhow::Result<BareTurn> {
        live.bare_port.store(self.socket.local_addr().port(), Ordering::Relaxed);
        let before = live.get(|it| &it.bare_packets);
        let begin = Instant::now();
        let mut publisher = Publisher::new(begin, bits_per_second, Duration::ZERO, -30, 1);
        let mut turn = BareTurn::default();
        let cpu = process::thread_cpu().context("no thread CPU time")?;
        let mut frame = Vec::new();
        while begin.elapsed() < time {
            let now = Instant::now();
            while let Some(due) = publisher.take(now) {
                match due {
                    Due::Video(it, _) if it.encoding == COUNT - 1 => {
                        let marker = it.marker;
                        frame.push(it.bytes);
                        if marker {
                            self.send(&frame, SSRC, &mut turn);
                            frame.clear();
                        }
                    }
                    Due::Video(..) => {}
                    Due::Audio(_, _, bytes) => self.send(&[bytes], AUDIO_SSRC, &mut turn),
                }
            }
            if let Some(next) = publisher.deadline() {
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        }
        turn.cpu_ns = process::thread_cpu().context("no thread CPU time")? - cpu;
        std::thread::sleep(Duration::from_millis(300));
        turn.received = live.get(|it| &it.bare_packets) - before;
        turn.us_per_packet = turn.cpu_ns as f64 / 1e3 / turn.packets.max(1) as f64;
        Ok(turn)
    }

    fn send(&mut self, payloads: &[Vec<u8>], ssrc: u32, turn: &mut BareTurn) {
        let index = if ssrc == SSRC { &mut self.index } else { &mut self.audio_index };
        let mut head = [0x90; HEADER];
        head[8..12].copy_from_slice(&ssrc.to_be_bytes());
        // One word of extensions, such as a transport-wide number.
        head[12..HEADER].copy_from_slice(&[0xbe, 0xde, 0, 1, 0x51, 0, 0, 0]);
        for (to, key) in &self.sinks {
            for (n, payload) in payloads.iter().enumerate() {
                let size = HEADER + payload.len() + key.tag_len();
                if !self.run.takes(size) {
                    flush(&self.socket, &mut self.run, *to, turn);
                }
                let space = self.run.space();
                let index = *index + n as u64;
                head[2..4].copy_from_slice(&(index as u16).to_be_bytes());
                space[..HEADER].copy_from_slice(&head);
                // Sizes are those of packets, for which there is room.
                if let Ok(size) = key.seal_from(space, HEADER, HEADER, payload, ssrc, index) {
                    self.run.commit(size);
                }
            }
            flush(&self.socket, &mut self.run, *to, turn);
        }
        *index += payloads.len() as u64;
    }
}

fn flush(socket: &Socket, run: &mut Run, to: SocketAddr, turn: &mut BareTurn) {
    if run.is_empty() {
        return;
    }
    let count = run.count() as u64;
    turn.sends += 1;
    match socket.send_run(run.bytes(), run.segment(), to) {
        Ok(sent) => turn.packets += sent as u64,
        Err(_) => turn.refused += count,
    }
    run.clear();
}
