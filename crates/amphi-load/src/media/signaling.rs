//! How clients come to their offers: through the real signaling (conference request, WebSocket, room, Jingle), on one thread of the signaling
//! generator. The other way, straight to a bridge, is in `colibri`.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use amphi_jingle::{Jingle, Limits};
use amphi_stanza::{Limits as XmlLimits, Stanza};
use anyhow::Context;

use super::description::{Answer, offered};
use super::engine::{Mailbox, Offered, Order, Part};
use crate::accept::{self, Invitation};
use crate::args::SignalingArgs;
use crate::engine::{Command, Engine, Mailbox as SignalingMailbox, Offer, Shared};
use crate::run;
use crate::seats;
use crate::stats::Stats;

/// To whom an answer goes.
#[derive(Clone, Debug)]
pub(crate) enum Session {
    /// A focus.
    Jingle {
        /// The session.
        invitation: Invitation,
        /// The client's name in the room.
        nick: String,
    },
    /// A bridge.
    Colibri,
}

/// Brings clients to their offers.
pub(crate) trait Signaling: Send + Sync {
    /// A client begins to join.
    fn join(&self, index: u32);
    /// A client leaves.
    fn leave(&self, index: u32);
    /// A client answers an offer.
    fn answer(&self, index: u32, session: Session, answer: Answer);
    /// Clients that gave up before they got an offer, and those that are in.
    fn state(&self) -> State;
    /// Ends it.
    fn stop(&self) -> Ended;
}

/// How far clients are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct State {
    /// Gave up or were thrown out.
    pub(crate) failed: u64,
    /// Are in.
    pub(crate) joined: u64,
}

/// What signaling counted.
#[derive(Default)]
pub(crate) struct Ended {
    /// Of clients in rooms.
    pub(crate) stats: Stats,
    /// Room, or conference.
    pub(crate) place: String,
}

/// Which thread has which clients.
#[derive(Clone)]
pub(crate) struct Routes {
    mailboxes: Arc<Mutex<Vec<Arc<Mailbox>>>>,
    publishers: u32,
    full: u32,
}

impl Routes {
    /// Routes without threads.
    pub(crate) fn new(publishers: u32, full: u32) -> Self {
        Self { mailboxes: Arc::default(), publishers, full }
    }

    /// The threads: one for publishers, one for full viewers, the others for sinks.
    pub(crate) fn set(&self, mailboxes: Vec<Arc<Mailbox>>) {
        *self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner) = mailboxes;
    }

    /// A client's part.
    pub(crate) fn part(&self, index: u32) -> Part {
        match index {
            n if n < self.publishers => Part::Publisher,
            n if n < self.publishers + self.full => Part::Viewer,
            _ => Part::Sink,
        }
    }

    /// Hands an order over to the thread of a client.
    pub(crate) fn send(&self, index: u32, order: Order) {
        let mailboxes = self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner);
        let at = match self.part(index) {
            Part::Publisher => 0,
            Part::Viewer => 1,
            Part::Sink => 2 + index as usize % mailboxes.len().saturating_sub(2).max(1),
        };
        if let Some(mailbox) = mailboxes.get(at) {
            mailbox.send(order);
        }
    }
}

/// Clients in a room.
pub(crate) struct Room {
    mailbox: Arc<SignalingMailbox>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<Stats>>>,
    name: String,
}

impl Room {
    /// Starts the thread; nobody joins yet.
    pub(crate) fn start(args: &SignalingArgs, base: Instant, run: u32, routes: Routes) -> anyhow::Result<Self> {
        let rooms = run::rooms(args, run)?;
        let mut around = run::surroundings(args, &rooms, base, None)?;
        let shared = Arc::clone(&around.shared);
        let name = rooms[0].script.room.clone();
        let take = {
            let shared = Arc::clone(&shared);
            move |offer: Offer| {
                let index = offer.at as u32;
                match read(&offer, base, routes.part(index)) {
                    Ok(offered) => routes.send(index, Order::Offer(Box::new(offered))),
                    Err(_) => {
                        shared.failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        };
        around.offers = Some(Arc::new(take));
        let seats = seats::shares(args, &rooms, 1).pop().unwrap_or_default();
        let engine = Engine::new(around, seats)?;
        let mailbox = engine.mailbox();
        let thread = std::thread::Builder::new().name("signaling".into()).spawn(move || engine.run())?;
        Ok(Self { mailbox, shared, thread: Mutex::new(Some(thread)), name })
    }
}

fn read(offer: &Offer, base: Instant, part: Part) -> anyhow::Result<Offered> {
    let invitation = Invitation::read(&offer.iq).context("no session")?;
    let stanza = Stanza::parse(offer.iq.clone().into(), &XmlLimits::default())?;
    let element = stanza.child("jingle", "urn:xmpp:jingle:1").context("no jingle")?;
    let (bridge, numbers) = offered(&Jingle::parse(element, &Limits::default())?)?;
    Ok(Offered {
        index: offer.at as u32,
        part,
        started: base + Duration::from_nanos(offer.started),
        bridge,
        numbers,
        session: Session::Jingle { invitation, nick: offer.nick.clone() },
    })
}

impl Signaling for Room {
    fn join(&self, index: u32) {
        self.mailbox.send(Command::JoinOne(index as usize));
    }

    fn leave(&self, index: u32) {
        self.mailbox.send(Command::LeaveOne(index as usize));
    }

    fn answer(&self, index: u32, session: Session, answer: Answer) {
        let Session::Jingle { invitation, nick } = session else { return };
        let transport = accept::Transport {
            ufrag: &answer.ufrag,
            password: &answer.password,
            hash: &answer.hash,
            fingerprint: &answer.fingerprint,
        };
        let sources = answer.sources.as_ref().map(|it| (it.audio, it.video.as_slice()));
        let mut out = Vec::with_capacity(2_048);
        accept::write(&mut out, &invitation, transport, &nick, sources);
        self.mailbox.send(Command::Say(index as usize, out));
    }

    fn state(&self) -> State {
        let of = |it: &std::sync::atomic::AtomicU64| it.load(Ordering::Relaxed);
        State { failed: of(&self.shared.failed) + of(&self.shared.dropped), joined: of(&self.shared.joined) }
    }

    fn stop(&self) -> Ended {
        self.mailbox.send(Command::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let stats = thread.and_then(|it| it.join().ok()).unwrap_or_default();
        Ended { stats, place: self.name.clone() }
    }
}
