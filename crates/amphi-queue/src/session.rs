//! The server's side of one STOMP 1.2 connection. It keeps the order of the conversation, heart-beats and subscriptions; who may
//! connect and subscribe is decided by the caller, who answers [`Output::Connect`] and [`Output::Subscribe`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::frame::{Command, Frame, FrameReader, FrameWriter, Limits};

/// Settings that all connections share.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Heart-beats: how often we send one, and how often we want one. Zero for none.
    pub heart_beat: Duration,
    /// How long a client may take to say `CONNECT`.
    pub connect_timeout: Duration,
    /// Subscriptions of one connection.
    pub subscriptions: usize,
    /// Bounds of a frame.
    pub limits: Limits,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            heart_beat: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(30),
            subscriptions: 4,
            limits: Limits::default(),
        }
    }
}

/// One thing that happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// The client said something.
    Received(&'a [u8]),
    /// The deadline of [`Session::poll_timeout`] has come.
    Tick,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send one frame, or a heart-beat.
    Send(Bytes),
    /// The client wants in: answer with [`Session::accept`] or [`Session::refuse`].
    Connect {
        /// The value of its `Authorization` header.
        authorization: Option<String>,
    },
    /// The client wants to hear of something: answer with [`Session::grant`] or [`Session::refuse`].
    Subscribe {
        /// Its name for the subscription.
        id: Box<str>,
        /// What it wants to hear of.
        destination: String,
        /// The value of the `Authorization` header of this frame.
        authorization: Option<String>,
    },
    /// The client does not want to hear of it any more.
    Unsubscribe {
        /// Name of the subscription.
        id: Box<str>,
    },
    /// Send what was put out, then close.
    Close,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing was said.
    Fresh,
    /// `CONNECT` waits for an answer.
    Asking,
    Connected,
    Closed,
}

#[derive(Debug)]
struct Subscription {
    id: Box<str>,
    destination: Box<str>,
    receipt: Option<Box<str>>,
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    config: Arc<SessionConfig>,
    phase: Phase,
    reader: FrameReader,
    subscriptions: Vec<Subscription>,
    out: VecDeque<Output>,
    /// How often we send something.
    sends: Duration,
    /// How often the client sends something.
    hears: Duration,
    last_sent: Instant,
    last_heard: Instant,
    messages: u32,
}

impl Session {
    /// A connection that was just opened.
    pub fn new(now: Instant, config: Arc<SessionConfig>) -> Self {
        Self {
            config,
            phase: Phase::Fresh,
            reader: FrameReader::default(),
            subscriptions: Vec::new(),
            out: VecDeque::new(),
            sends: Duration::ZERO,
            hears: Duration::ZERO,
            last_sent: now,
            last_heard: now,
            messages: 0,
        }
    }

    /// Feeds one thing that happened. Drain [`Session::poll_output`] afterwards, answering what is asked.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Received(bytes) => {
                self.last_heard = now;
                if self.phase != Phase::Closed {
                    self.reader.push(bytes);
                    self.read(now);
                }
            }
            Input::Tick => self.tick(now),
        }
    }

    /// What must be done next, in order; `None` when there is nothing left.
    pub fn poll_output(&mut self) -> Option<Output> {
        let o = self.out.pop_front();
        if o.is_none() && self.out.capacity() > 0 {
            // Most connections wait for a long time; they keep nothing meanwhile.
            self.out = VecDeque::new();
        }
        o
    }

    /// When [`Input::Tick`] is wanted; `None` means never.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Closed => None,
            Phase::Fresh | Phase::Asking => Some(self.last_heard + self.config.connect_timeout),
            Phase::Connected => {
                let beat = (!self.sends.is_zero()).then(|| self.last_sent + self.sends);
                [beat, self.patience()].into_iter().flatten().min()
            }
        }
    }

    /// Lets the client in.
    pub fn accept(&mut self, now: Instant) {
        if self.phase != Phase::Asking {
            return;
        }
        self.phase = Phase::Connected;
        let ms = self.config.heart_beat.as_millis().to_string();
        let beat = [ms.as_str(), ",", ms.as_str()].concat();
        let frame = FrameWriter::new("CONNECTED").header("version", "1.2").header("heart-beat", &beat);
        self.send(now, frame.header("server", "amphi").finish());
        self.read(now);
    }

    /// A subscription is in force.
    pub fn grant(&mut self, now: Instant, id: &str) {
        let found = self.subscriptions.iter_mut().find(|s| *s.id == *id);
        if let Some(receipt) = found.and_then(|s| s.receipt.take()) {
            self.send(now, FrameWriter::new("RECEIPT").header("receipt-id", &receipt).finish());
        }
    }

    /// Ends the connection with an error. `message` is short, `details` are for people.
    pub fn refuse(&mut self, now: Instant, message: &str, details: &str) {
        self.fail(now, message, details, None);
    }

    /// Sends a message to a subscription, if it is still there.
    pub fn message(&mut self, now: Instant, id: &str, body: &[u8]) {
        let Some(s) = self.subscriptions.iter().find(|s| *s.id == *id) else { return };
        self.messages = self.messages.wrapping_add(1);
        let frame = FrameWriter::new("MESSAGE")
            .header("subscription", &s.id)
            .header("message-id", &self.messages.to_string())
            .header("destination", &s.destination)
            .body("application/json", body);
        self.send(now, frame);
    }

    fn send(&mut self, now: Instant, frame: Bytes) {
        self.last_sent = now;
        self.out.push_back(Output::Send(frame));
    }

    fn fail(&mut self, now: Instant, message: &str, details: &str, receipt: Option<&str>) {
        if self.phase == Phase::Closed {
            return;
        }
        let mut frame = FrameWriter::new("ERROR").header("version", "1.2").header("message", message);
        if let Some(r) = receipt {
            frame = frame.header("receipt-id", r);
        }
        let frame = frame.body("text/plain", details.as_bytes());
        self.send(now, frame);
        self.close();
    }

    fn close(&mut self) {
        self.phase = Phase::Closed;
        self.subscriptions = Vec::new();
        self.reader = FrameReader::default();
        self.out.push_back(Output::Close);
    }

    /// When the client has been silent for too long: twice what was agreed, since networks are slow.
    fn patience(&self) -> Option<Instant> {
        (!self.hears.is_zero()).then(|| self.last_heard + self.hears * 2)
    }

    fn tick(&mut self, now: Instant) {
        match self.phase {
            Phase::Closed => {}
            Phase::Fresh | Phase::Asking => {
                if now >= self.last_heard + self.config.connect_timeout {
                    self.fail(now, "timeout", "CONNECT did not come in time", None);
                }
            }
            Phase::Connected => {
                if self.patience().is_some_and(|at| now >= at) {
                    self.fail(now, "timeout", "No heart-beat came", None);
                } else if !self.sends.is_zero() && now >= self.last_sent + self.sends {
                    self.send(now, Bytes::from_static(b"\n"));
                }
            }
        }
    }

    /// Works through what was received. While an answer of the caller is awaited, the rest stays where it is.
    fn read(&mut self, now: Instant) {
        while matches!(self.phase, Phase::Fresh | Phase::Connected) {
            match self.reader.next(&self.config.limits) {
                Ok(Some(frame)) => self.frame(now, &frame),
                Ok(None) => return,
                Err(e) => return self.fail(now, "malformed frame", &e.to_string(), None),
            }
        }
    }

    fn frame(&mut self, now: Instant, f: &Frame) {
        let receipt = f.header("receipt");
        match (f.command, &self.phase) {
            (Command::Connect, Phase::Fresh) => self.connect(now, f),
            (Command::Connect, _) => self.fail(now, "already connected", "CONNECT was sent twice", receipt),
            (_, Phase::Fresh) => self.fail(now, "not connected", "CONNECT comes first", receipt),
            (Command::Subscribe, _) => self.subscribe(now, f),
            (Command::Unsubscribe, _) => match f.header("id") {
                Some(id) => {
                    self.subscriptions.retain(|s| *s.id != *id);
                    self.out.push_back(Output::Unsubscribe { id: id.into() });
                    self.receipt(now, receipt);
                }
                None => self.fail(now, "malformed frame", "UNSUBSCRIBE needs an id", receipt),
            },
            (Command::Disconnect, _) => {
                self.receipt(now, receipt);
                self.close();
            }
            // Subscriptions are acknowledged automatically, so there is nothing to acknowledge.
            (Command::Ack, _) => self.receipt(now, receipt),
            (Command::Send, _) => self.fail(now, "not allowed", "Nothing can be sent here", receipt),
            (Command::Transaction, _) => self.fail(now, "not supported", "There are no transactions", receipt),
        }
    }

    fn receipt(&mut self, now: Instant, receipt: Option<&str>) {
        if let Some(id) = receipt {
            self.send(now, FrameWriter::new("RECEIPT").header("receipt-id", id).finish());
        }
    }

    fn connect(&mut self, now: Instant, f: &Frame) {
        let versions = f.header("accept-version").unwrap_or("1.0");
        if !versions.split(',').any(|v| v.trim() == "1.2") {
            return self.fail(now, "version not supported", "Supported protocol versions are 1.2", None);
        }
        let (gives, wants) = match f.header("heart-beat").map(heart_beat) {
            None => (Duration::ZERO, Duration::ZERO),
            Some(Some(both)) => both,
            Some(None) => return self.fail(now, "malformed frame", "heart-beat is not two numbers", None),
        };
        let ours = self.config.heart_beat;
        let agreed =
            |theirs: Duration| if theirs.is_zero() || ours.is_zero() { Duration::ZERO } else { theirs.max(ours) };
        self.sends = agreed(wants);
        self.hears = agreed(gives);
        self.phase = Phase::Asking;
        self.out.push_back(Output::Connect { authorization: f.header_any_case("authorization").map(str::to_owned) });
    }

    fn subscribe(&mut self, now: Instant, f: &Frame) {
        let receipt = f.header("receipt");
        let (Some(id), Some(destination)) = (f.header("id"), f.header("destination")) else {
            return self.fail(now, "malformed frame", "SUBSCRIBE needs an id and a destination", receipt);
        };
        if f.header("ack").is_some_and(|a| a != "auto") {
            return self.fail(now, "not supported", "Messages are not acknowledged here: ack must be auto", receipt);
        }
        if self.subscriptions.iter().any(|s| *s.id == *id) {
            return self.fail(now, "malformed frame", "The id is in use", receipt);
        }
        if self.subscriptions.len() >= self.config.subscriptions {
            return self.fail(now, "too many subscriptions", "The connection has too many subscriptions", receipt);
        }
        self.subscriptions.push(Subscription {
            id: id.into(),
            destination: destination.into(),
            receipt: receipt.map(Into::into),
        });
        self.out.push_back(Output::Subscribe {
            id: id.into(),
            destination: destination.to_owned(),
            authorization: f.header_any_case("authorization").map(str::to_owned),
        });
    }
}

/// `heart-beat:<sends>,<wants>`, in milliseconds.
fn heart_beat(text: &str) -> Option<(Duration, Duration)> {
    let (a, b) = text.split_once(',')?;
    let ms = |t: &str| t.trim().parse::<u32>().ok().map(|n| Duration::from_millis(n.into()));
    Some((ms(a)?, ms(b)?))
}
