//! Transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01): which packets of a transport came, and when. Times are counted
//! in ticks of 250 microseconds, the reference time in 64 milliseconds.

use super::{RtcpError, be16, be32, format, packet_type};

/// A feedback may report on this many packets; more is refused, since a few bytes could claim 65,535.
pub const MAX_STATUSES: u16 = 1 << 15;

/// Unit of arrival times.
pub const TICK_MICROS: i64 = 250;

/// Ticks in a unit of the reference time.
const REFERENCE_TICKS: i64 = 256;
/// Body up to the chunks.
const FIXED_LEN: usize = 16;
const MAX_RUN: u16 = (1 << 13) - 1;

/// A received feedback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportCc<'a> {
    /// Who received the packets.
    pub sender_ssrc: u32,
    /// Some SSRC of the transport.
    pub media_ssrc: u32,
    /// First packet reported on.
    pub base_seq: u16,
    /// How many packets are reported on.
    pub count: u16,
    /// In 64 ms on the receiver's clock; 24 bits with sign.
    pub reference_time: i32,
    /// Number of the feedback itself.
    pub feedback_count: u8,
    chunks: &'a [[u8; 2]],
    deltas: &'a [u8],
}

/// What a feedback says about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketStatus {
    /// Transport-wide sequence number.
    pub seq: u16,
    /// When it came, in microseconds on the receiver's clock, counted from where the reference time is zero; none if it did not.
    pub arrival: Option<i64>,
}

impl<'a> TransportCc<'a> {
    pub(super) fn read(body: &'a [u8]) -> Result<Self, RtcpError> {
        let word = be32(body, 12)?;
        let count = be16(body, 10)?;
        if count > MAX_STATUSES {
            return Err(RtcpError::TooManyStatuses(count));
        }
        let rest = body.get(FIXED_LEN..).ok_or(RtcpError::Truncated)?;
        // How many chunks there are, and bytes of deltas, follows from the chunks.
        let (mut left, mut chunks, mut deltas) = (count, 0, 0);
        while left > 0 {
            let chunk = Chunk::read(be16(rest, 2 * chunks)?);
            chunks += 1;
            let taken = chunk.len().min(left);
            deltas += chunk.delta_bytes(taken);
            left -= taken;
        }
        let (chunks, rest) = rest.split_at_checked(2 * chunks).ok_or(RtcpError::Truncated)?;
        Ok(Self {
            sender_ssrc: be32(body, 0)?,
            media_ssrc: be32(body, 4)?,
            base_seq: be16(body, 8)?,
            count,
            reference_time: (word as i32) >> 8,
            feedback_count: word as u8,
            chunks: chunks.as_chunks().0,
            deltas: rest.get(..deltas).ok_or(RtcpError::Truncated)?,
        })
    }

    /// The reference time in microseconds.
    pub fn reference_micros(&self) -> i64 {
        i64::from(self.reference_time) * REFERENCE_TICKS * TICK_MICROS
    }

    /// Every packet reported on, in order.
    pub fn statuses(&self) -> TransportCcStatuses<'a> {
        TransportCcStatuses {
            seq: self.base_seq,
            left: self.count,
            ticks: i64::from(self.reference_time) * REFERENCE_TICKS,
            chunk: Chunk::Run(Symbol::Lost, 0),
            at: 0,
            chunks: self.chunks,
            deltas: self.deltas,
        }
    }
}

/// Iterator of [`TransportCc::statuses`].
#[derive(Clone, Debug)]
pub struct TransportCcStatuses<'a> {
    seq: u16,
    left: u16,
    ticks: i64,
    chunk: Chunk,
    /// Symbols taken from the chunk.
    at: u16,
    chunks: &'a [[u8; 2]],
    deltas: &'a [u8],
}

impl Iterator for TransportCcStatuses<'_> {
    type Item = PacketStatus;

    fn next(&mut self) -> Option<PacketStatus> {
        self.left = self.left.checked_sub(1)?;
        while self.at >= self.chunk.len() {
            let (chunk, rest) = self.chunks.split_first()?;
            (self.chunk, self.at, self.chunks) = (Chunk::read(u16::from_be_bytes(*chunk)), 0, rest);
        }
        let symbol = self.chunk.symbol(self.at);
        self.at += 1;
        let delta = match symbol {
            Symbol::Lost => None,
            Symbol::Small => {
                let (delta, rest) = self.deltas.split_first()?;
                self.deltas = rest;
                Some(i64::from(*delta))
            }
            Symbol::Large => {
                let (delta, rest) = self.deltas.split_first_chunk()?;
                self.deltas = rest;
                Some(i64::from(i16::from_be_bytes(*delta)))
            }
        };
        let seq = self.seq;
        self.seq = seq.wrapping_add(1);
        let arrival = delta.map(|delta| {
            self.ticks += delta;
            self.ticks * TICK_MICROS
        });
        Some(PacketStatus { seq, arrival })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left.into()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Symbol {
    Lost = 0,
    Small = 1,
    Large = 2,
}

impl Symbol {
    /// Of two bits. The draft reserves 3; stacks read it as a packet without a delta, that is, as if it had not come.
    fn read(bits: u16) -> Self {
        match bits & 3 {
            1 => Self::Small,
            2 => Self::Large,
            _ => Self::Lost,
        }
    }

    fn delta_bytes(self) -> usize {
        self as usize
    }
}

/// A chunk of symbols.
#[derive(Clone, Copy, Debug)]
enum Chunk {
    /// A symbol and how often.
    Run(Symbol, u16),
    /// Fourteen of one bit.
    OneBit(u16),
    /// Seven of two bits.
    TwoBit(u16),
}

impl Chunk {
    fn read(bits: u16) -> Self {
        match bits >> 14 {
            0 | 1 => Self::Run(Symbol::read(bits >> 13), bits & MAX_RUN),
            2 => Self::OneBit(bits),
            _ => Self::TwoBit(bits),
        }
    }

    fn len(self) -> u16 {
        match self {
            Self::Run(_, len) => len,
            Self::OneBit(_) => 14,
            Self::TwoBit(_) => 7,
        }
    }

    fn symbol(self, at: u16) -> Symbol {
        match self {
            Self::Run(symbol, _) => symbol,
            Self::OneBit(bits) => Symbol::read(bits >> 13u16.saturating_sub(at) & 1),
            Self::TwoBit(bits) => Symbol::read(bits >> 12u16.saturating_sub(2 * at)),
        }
    }

    /// Of its first symbols.
    fn delta_bytes(self, symbols: u16) -> usize {
        match self {
            Self::Run(symbol, _) => symbol.delta_bytes() * usize::from(symbols),
            _ => (0..symbols).map(|at| self.symbol(at).delta_bytes()).sum(),
        }
    }
}

/// When a packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Transport-wide sequence number, unwrapped.
    pub seq: u64,
    /// Microseconds on a clock of ours.
    pub micros: i64,
}

/// A feedback to write.
#[derive(Clone, Copy, Debug)]
pub struct TransportCcFeedback<'a> {
    /// Who received the packets.
    pub sender_ssrc: u32,
    /// Some SSRC of the transport.
    pub media_ssrc: u32,
    /// First packet to report on: what lies between it and the first arrival is reported as lost.
    pub base_seq: u64,
    /// Number of the feedback itself; one more for every packet.
    pub feedback_count: u8,
    /// Ascending by sequence number.
    pub arrivals: &'a [Arrival],
}

impl TransportCcFeedback<'_> {
    /// Appends one RTCP packet of at most `max_len` bytes that reports on as many arrivals as fit, at least one; returns how many. Arrivals
    /// that are not in order, or were reported on before, are skipped and counted as taken.
    pub(super) fn write(&self, out: &mut Vec<u8>, max_len: usize) -> usize {
        let mut base = self.base_seq;
        let before = self.arrivals.iter().take_while(|a| a.seq < base).count();
        let Some(first) = self.arrivals.get(before) else { return before };
        if first.seq - base >= u64::from(MAX_STATUSES) {
            base = first.seq;
        }
        let start = out.len();
        let reference = ticks(first).div_euclid(REFERENCE_TICKS);
        out.extend_from_slice(&[0x80 | format::TRANSPORT_CC, packet_type::TRANSPORT_FEEDBACK, 0, 0]);
        out.extend_from_slice(&self.sender_ssrc.to_be_bytes());
        out.extend_from_slice(&self.media_ssrc.to_be_bytes());
        out.extend_from_slice(&(base as u16).to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&((reference as u32) << 8 | u32::from(self.feedback_count)).to_be_bytes());

        let mut chunks = ChunkWriter::default();
        let (mut next, mut time, mut deltas, mut taken) = (base, reference * REFERENCE_TICKS, 0, before);
        for arrival in &self.arrivals[before..] {
            if arrival.seq < next {
                taken += 1;
                continue;
            }
            let Some((symbol, _)) = delta(ticks(arrival), time) else { break };
            let gap = arrival.seq - next;
            // What is open in the chunk writer ends as two chunks at most, a gap adds two and its whole runs, and three bytes fill up a word.
            let worst =
                out.len() - start + 2 * (4 + gap as usize / usize::from(MAX_RUN)) + deltas + symbol.delta_bytes() + 3;
            if next > base && (worst > max_len || arrival.seq - base >= u64::from(MAX_STATUSES)) {
                break;
            }
            (0..gap).for_each(|_| chunks.push(Symbol::Lost, out));
            chunks.push(symbol, out);
            (next, time) = (arrival.seq + 1, ticks(arrival));
            deltas += symbol.delta_bytes();
            taken += 1;
        }
        chunks.finish(out);

        let (mut seq, mut time) = (base, reference * REFERENCE_TICKS);
        for arrival in &self.arrivals[before..taken] {
            if arrival.seq < seq {
                continue;
            }
            match delta(ticks(arrival), time) {
                Some((Symbol::Large, delta)) => out.extend_from_slice(&delta.to_be_bytes()),
                Some((_, delta)) => out.push(delta as u8),
                None => {}
            }
            (seq, time) = (arrival.seq + 1, ticks(arrival));
        }
        out.resize(start + (out.len() - start).next_multiple_of(4), 0);
        let words = ((out.len() - start) / 4 - 1) as u16;
        out[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
        out[start + 14..start + 16].copy_from_slice(&((next - base) as u16).to_be_bytes());
        taken
    }
}

fn ticks(arrival: &Arrival) -> i64 {
    arrival.micros.div_euclid(TICK_MICROS)
}

/// Symbol and delta of a time, if it can be told as one.
fn delta(ticks: i64, before: i64) -> Option<(Symbol, i16)> {
    let delta = i16::try_from(ticks - before).ok()?;
    Some((if (0..=255).contains(&delta) { Symbol::Small } else { Symbol::Large }, delta))
}

/// Packs symbols into chunks, greedily.
#[derive(Default)]
struct ChunkWriter {
    /// The first fourteen of those that are open, two bits each, the first lowest.
    open: u32,
    len: u16,
    mixed: bool,
    large: bool,
}

impl ChunkWriter {
    fn get(&self, at: u16) -> u32 {
        self.open >> (2 * at) & 3
    }

    fn fits(&self, symbol: Symbol) -> bool {
        self.len < 7
            || (self.len < 14 && !self.large && symbol != Symbol::Large)
            || (self.len < MAX_RUN && !self.mixed && self.get(0) == symbol as u32)
    }

    fn push(&mut self, symbol: Symbol, out: &mut Vec<u8>) {
        while !self.fits(symbol) {
            self.emit(false, out);
        }
        self.mixed |= self.len > 0 && self.get(0) != symbol as u32;
        self.large |= symbol == Symbol::Large;
        if self.len < 14 {
            self.open |= (symbol as u32) << (2 * self.len);
        }
        self.len += 1;
    }

    /// Writes one chunk of what is open; if it does not take all, the rest stays. Only the last chunk may have fewer symbols than its form.
    fn emit(&mut self, last: bool, out: &mut Vec<u8>) {
        if !self.mixed {
            out.extend_from_slice(&((self.get(0) as u16) << 13 | self.len).to_be_bytes());
            *self = Self::default();
            return;
        }
        let taken = if self.len == 14 || (last && !self.large) { self.len } else { self.len.min(7) };
        let bits = match taken {
            8.. => (0..taken).fold(0x8000, |bits, at| bits | (self.get(at) as u16 & 1) << (13 - at)),
            _ => (0..taken).fold(0xc000, |bits, at| bits | (self.get(at) as u16) << (12 - 2 * at)),
        };
        out.extend_from_slice(&bits.to_be_bytes());
        self.open >>= 2 * taken;
        self.len -= taken;
        self.mixed = (1..self.len).any(|at| self.get(at) != self.get(0));
        self.large = (0..self.len).any(|at| self.get(at) == Symbol::Large as u32);
    }

    fn finish(mut self, out: &mut Vec<u8>) {
        while self.len > 0 {
            self.emit(true, out);
        }
    }
}
