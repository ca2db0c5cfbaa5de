//! What a thread of the generator counts, and the board on which senders note what they have sent.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{
    histogram::Histogram,
    marker::{Carrier, Marker},
    track::{Seen, Track},
};

/// How many lines each sender has sent so far; shared by all threads, read when a client enters the room.
#[derive(Debug)]
pub(crate) struct Board {
    senders: u32,
    /// Number of the first sender among those of all rooms.
    first: u32,
    sent: Box<[AtomicU32]>,
}

impl Board {
    /// A board for this many senders.
    pub(crate) fn new(senders: u32) -> Self {
        Self::after(0, senders)
    }

    /// A board for this many senders of one room of several; `first` senders are on the boards of the rooms before it.
    pub(crate) fn after(first: u32, senders: u32) -> Self {
        Self { senders, first, sent: (0..senders * 2).map(|_| AtomicU32::new(0)).collect() }
    }

    /// The next number of a sender.
    pub(crate) fn next(&self, carrier: Carrier, sender: u32) -> u32 {
        self.sent[self.slot(carrier, sender)].fetch_add(1, Ordering::Relaxed)
    }

    /// Fresh tracks for a client that enters now.
    pub(crate) fn tracks(&self) -> Box<[Track]> {
        self.sent.iter().map(|n| Track::new(n.load(Ordering::Relaxed))).collect()
    }

    /// Lines of all senders that the tracks have not come to.
    pub(crate) fn missing(&self, tracks: &[Track]) -> (u64, u64) {
        let mut missing = [0, 0];
        for (slot, (track, sent)) in tracks.iter().zip(&self.sent).enumerate() {
            missing[slot / self.senders.max(1) as usize] += u64::from(track.missing(sent.load(Ordering::Relaxed)));
        }
        (missing[0], missing[1])
    }

    /// All that was sent by this carrier.
    pub(crate) fn total(&self, carrier: Carrier) -> u64 {
        let start = self.slot(carrier, 0);
        self.sent[start..start + self.senders as usize].iter().map(|n| u64::from(n.load(Ordering::Relaxed))).sum()
    }

    fn slot(&self, carrier: Carrier, sender: u32) -> usize {
        match carrier {
            Carrier::Chat => sender as usize,
            Carrier::Presence => (self.senders + sender) as usize,
        }
    }
}

/// Deliveries of one carrier.
#[derive(Clone, Default)]
pub(crate) struct Deliveries {
    /// From sending to receipt, over all receivers.
    pub(crate) latency: Histogram,
    /// Deliveries that were new.
    pub(crate) received: u64,
    /// Their bytes, without framing.
    pub(crate) bytes: u64,
    /// Numbers that were jumped over.
    pub(crate) skipped: u64,
    /// Of those, how many came later.
    pub(crate) late: u64,
    /// Came twice.
    pub(crate) duplicated: u64,
    /// Never came (known only at the end).
    pub(crate) missing: u64,
    /// The slowest receiver of each line, by sender and number.
    pub(crate) last: Vec<Vec<u64>>,
}

/// Most lines per sender of which the slowest receiver is remembered.
const MAX_LAST: usize = 1 << 17;

impl Deliveries {
    /// Numbers that never came.
    pub(crate) fn lost(&self) -> u64 {
        (self.skipped + self.missing).saturating_sub(self.late)
    }

    fn see(&mut self, track: &mut Track, mark: &Marker, sender: usize, bytes: usize, now: u64) -> bool {
        match track.see(mark.seq) {
            Seen::BeforeJoin => return false,
            Seen::Duplicate => {
                self.duplicated += 1;
                return false;
            }
            Seen::New { skipped } => self.skipped += u64::from(skipped),
            Seen::Late => self.late += 1,
        }
        let latency = now.saturating_sub(mark.sent);
        self.received += 1;
        self.bytes += bytes as u64;
        self.latency.record(latency);
        if self.last.len() <= sender {
            self.last.resize(sender + 1, Vec::new());
        }
        let (seq, last) = (mark.seq as usize, &mut self.last[sender]);
        if seq < MAX_LAST {
            if last.len() <= seq {
                last.resize(seq + 1, 0);
            }
            last[seq] = last[seq].max(latency);
        }
        true
    }

    fn merge(&mut self, other: &Self) {
        self.latency.merge(&other.latency);
        self.received += other.received;
        self.bytes += other.bytes;
        self.skipped += other.skipped;
        self.late += other.late;
        self.duplicated += other.duplicated;
        self.missing += other.missing;
        if self.last.len() < other.last.len() {
            self.last.resize(other.last.len(), Vec::new());
        }
        for (mine, theirs) in self.last.iter_mut().zip(&other.last) {
            if mine.len() < theirs.len() {
                mine.resize(theirs.len(), 0);
            }
            for (m, t) in mine.iter_mut().zip(theirs) {
                *m = (*m).max(*t);
            }
        }
    }

    /// Distribution of the slowest receivers.
    pub(crate) fn last_histogram(&self) -> Histogram {
        let mut h = Histogram::default();
        self.last.iter().flatten().filter(|&&n| n > 0).for_each(|&n| h.record(n));
        h
    }
}

/// All counters of a thread.
#[derive(Clone, Default)]
pub(crate) struct Stats {
    /// From the first conference request to the own presence.
    pub(crate) join: Histogram,
    /// From the answer that let the client in to the own presence.
    pub(crate) entry: Histogram,
    /// Chat lines.
    pub(crate) chat: Deliveries,
    /// Presence changes.
    pub(crate) presence: Deliveries,
    /// A sender's own chat lines as it got them back.
    pub(crate) echo: Histogram,
    /// Errors by kind.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Joins by visitor node (empty name: main node).
    pub(crate) nodes: BTreeMap<String, u64>,
    /// Stanzas received.
    pub(crate) stanzas: u64,
    /// Bytes received, framing included.
    pub(crate) bytes_in: u64,
    /// Bytes sent, framing included.
    pub(crate) bytes_out: u64,
    /// Connections opened.
    pub(crate) connects: u64,
    /// Connections that the server refused (at TCP or by an HTTP status).
    pub(crate) refused: u64,
    /// Connections that the generator itself could not open (no port, no descriptor).
    pub(crate) own_errors: u64,
    /// From the start of a WebSocket's connection until it stands at TCP.
    pub(crate) connect: Histogram,
    /// Most WebSockets that were connecting at once, over the threads.
    pub(crate) most_connecting: u64,
    /// Marked stanzas of another room of this run.
    pub(crate) strays: u64,
    /// Answers with `ready=false`.
    pub(crate) not_ready: u64,
    /// Further attempts after an error.
    pub(crate) retries: u64,
    /// Answers to capability queries.
    pub(crate) disco_answers: u64,
    /// Acknowledgements sent.
    pub(crate) acks: u64,
    /// Pings sent.
    pub(crate) pings: u64,
    /// Frames that were parsed strictly.
    pub(crate) checked: u64,
    /// Of those, malformed.
    pub(crate) malformed: u64,
    /// Lines replayed as history.
    pub(crate) history: u64,
    /// Offers of media.
    pub(crate) offers: u64,
    /// Answers to them that the focus took.
    pub(crate) accepted: u64,
    /// From the own presence to the offer.
    pub(crate) offer: Histogram,
    /// From the own presence to the focus' result for the answer.
    pub(crate) accept: Histogram,
}

impl Stats {
    /// Counts an error.
    pub(crate) fn error(&mut self, kind: &str) {
        match self.errors.get_mut(kind) {
            Some(n) => *n += 1,
            None => {
                self.errors.insert(kind.to_owned(), 1);
            }
        }
    }

    /// Enters a delivery of a marked stanza; `true` when it is new.
    pub(crate) fn see(&mut self, board: &Board, tracks: &mut [Track], mark: &Marker, bytes: usize, now: u64) -> bool {
        if mark.sender >= board.senders {
            return false;
        }
        let Some(track) = tracks.get_mut(board.slot(mark.carrier, mark.sender)) else { return false };
        let sender = (board.first + mark.sender) as usize;
        match mark.carrier {
            Carrier::Chat => self.chat.see(track, mark, sender, bytes, now),
            Carrier::Presence => self.presence.see(track, mark, sender, bytes, now),
        }
    }

    /// Adds the counts of another thread in the same cycle, whose peaks may coincide.
    pub(crate) fn merge_thread(&mut self, other: &Self) {
        let peaks = self.most_connecting + other.most_connecting;
        self.merge(other);
        self.most_connecting = peaks;
    }

    /// Adds the counts of another time.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.join.merge(&other.join);
        self.entry.merge(&other.entry);
        self.chat.merge(&other.chat);
        self.presence.merge(&other.presence);
        self.echo.merge(&other.echo);
        for (kind, n) in &other.errors {
            *self.errors.entry(kind.clone()).or_default() += n;
        }
        for (node, n) in &other.nodes {
            *self.nodes.entry(node.clone()).or_default() += n;
        }
        self.stanzas += other.stanzas;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.connects += other.connects;
        self.refused += other.refused;
        self.most_connecting = self.most_connecting.max(other.most_connecting);
        self.own_errors += other.own_errors;
        self.connect.merge(&other.connect);
        self.strays += other.strays;
        self.not_ready += other.not_ready;
        self.retries += other.retries;
        self.disco_answers += other.disco_answers;
        self.acks += other.acks;
        self.pings += other.pings;
        self.checked += other.checked;
        self.malformed += other.malformed;
        self.history += other.history;
        self.offers += other.offers;
        self.accepted += other.accepted;
        self.offer.merge(&other.offer);
        self.accept.merge(&other.accept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_came_is_lost_and_what_came_late_is_not() {
        let board = Board::new(1);
        let mut stats = Stats::default();
        let mut tracks = board.tracks();
        for _ in 0..6 {
            board.next(Carrier::Chat, 0);
        }
        for seq in [0, 2, 4, 1, 4] {
            let mark = Marker { run: 1, carrier: Carrier::Chat, sender: 0, seq, sent: 10 };
            stats.see(&board, &mut tracks, &mark, 400, 30);
        }
        stats.chat.missing = board.missing(&tracks).0;
        assert_eq!((stats.chat.received, stats.chat.late, stats.chat.duplicated), (4, 1, 1));
        assert_eq!(stats.chat.lost(), 2, "numbers 3 and 5");
        assert_eq!(stats.chat.latency.quantile(1.0), Some(20));
    }
}
