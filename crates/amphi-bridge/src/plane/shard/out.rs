//! What leaves a shard: sockets, the buffer that packets are sealed into, counters.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use amphi_media::egress::Run;

use super::member::Member;
use crate::plane::socket::Socket;
use crate::plane::stats::Counters;

/// Where to send to: index of the socket, address.
pub(super) type Path = (usize, SocketAddr);

/// What is in a run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    Audio,
    Video,
}

pub(super) struct Out {
    sockets: Vec<Socket>,
    pub(super) run: Run,
    pub(super) counters: Counters,
    /// Extension "absolute send time", of this pass.
    pub(super) send_time: u32,
}

impl Out {
    pub(super) fn new(sockets: Vec<Socket>) -> Self {
        Self { sockets, run: Run::new(), counters: Counters::default(), send_time: 0 }
    }

    /// A pass begins.
    pub(super) fn begin(&mut self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // 6 bits of seconds, 18 of the fraction.
        self.send_time =
            ((now.as_secs() & 63) << 18) as u32 | (u64::from(now.subsec_nanos()) * (1 << 18) / 1_000_000_000) as u32;
    }

    /// Sends what is in the run.
    #[inline]
    pub(super) fn flush(&mut self, path: Path, load: Load) {
        if self.run.is_empty() {
            return;
        }
        let Some(socket) = self.sockets.get(path.0) else { return self.run.clear() };
        let count = self.run.count() as u64;
        match socket.send_run(self.run.bytes(), self.run.segment(), path.1) {
            Ok(sent) => {
                self.counters.sends += 1;
                self.counters.datagrams_sent += sent as u64;
                self.counters.rtp_sent += sent as u64;
                self.counters.bytes_sent += self.run.bytes().len() as u64;
                self.drop(count - sent as u64, load);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock) => self.drop(count, load),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => self.drop(count, load),
            Err(_) => self.counters.send_errors += count,
        }
        self.run.clear();
    }

    /// Audio is sent first in each pass, so a full socket costs video.
    fn drop(&mut self, count: u64, load: Load) {
        match load {
            Load::Audio => self.counters.dropped_audio += count,
            Load::Video => self.counters.dropped_video += count,
        }
    }

    /// Seals RTCP and sends it.
    pub(super) fn control(&mut self, member: &mut Member, packet: &mut Vec<u8>) {
        let (Some(path), Some(receiver)) = (member.path, &mut member.receiver) else { return };
        if receiver.outbound.seal_control_vec(packet).is_ok() {
            self.sealed_control(path, packet);
        }
    }

    /// Sends RTCP that is sealed.
    pub(super) fn sealed_control(&mut self, path: Path, packet: &[u8]) {
        let Some(socket) = self.sockets.get(path.0) else { return };
        match socket.send(packet, path.1) {
            Ok(()) => {
                self.counters.rtcp_sent += 1;
                self.counters.datagrams_sent += 1;
                self.counters.sends += 1;
                self.counters.bytes_sent += packet.len() as u64;
            }
            Err(_) => self.counters.send_errors += 1,
        }
    }
}
