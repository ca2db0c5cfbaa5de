//! One STOMP connection over a WebSocket, from the upgrade to its end. While it waits it holds a socket, the state of the
//! conversation, and what it waits for; buffers live only as long as there is something in them.

use std::future::{pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use amphi_focus::Meeting;
use amphi_queue::{Destination, Endpoint, Input, Output, Session, live_message, state_message};
use amphi_room::Claims;
use amphi_stanza::BareJid;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, broadcast};

use super::{Queue, Ticket, Watching};
use crate::front::head;
use crate::front::ws::{self, WsEvent, WsReader};
use crate::hosts::HostAuth;
use crate::metrics::Kind;

/// How long a client may take to read what it is sent, and to close.
const WRITE: Duration = Duration::from_secs(30);
const GOODBYE: Duration = Duration::from_secs(2);
/// The whole list is sent no more often than this to one client.
const LIST_EVERY: Duration = Duration::from_secs(1);

/// Who the client is.
#[derive(Debug)]
enum Pass {
    /// The host checks no tokens.
    Open,
    /// The host does, but lets people in without.
    Guest,
    /// A verified token, reduced to what is looked at.
    Token(Box<Claims>),
}

/// Short and long words of a refusal.
type Refusal = (&'static str, String);

fn refusal(message: &'static str, details: impl Into<String>) -> Refusal {
    (message, details.into())
}

struct State {
    id: Box<str>,
    room: String,
    rx: Watching,
    /// The number that was told last.
    told: u32,
    /// Not again before.
    next: Instant,
}

struct Changes {
    id: Box<str>,
    meeting: String,
    /// `None` until it is known that the client may see the list.
    rx: Option<broadcast::Receiver<Bytes>>,
}

struct Connection {
    queue: Arc<Queue>,
    endpoint: Endpoint,
    session: Session,
    pass: Option<Pass>,
    /// Token of the HTTP request.
    bearer: Option<String>,
    live: Option<(Box<str>, String, Ticket)>,
    state: Option<State>,
    changes: Option<Changes>,
    listed: Option<Instant>,
}

enum Woken {
    Read(io::Result<usize>),
    Live(Duration),
    State,
    Changes(Result<Bytes, broadcast::error::RecvError>),
    Timer,
}

/// Serves a connection whose WebSocket is open. `early`: what came with the upgrade.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send>(
    queue: Arc<Queue>,
    endpoint: Endpoint,
    mut io: S,
    early: BytesMut,
    bearer: Option<String>,
    place: OwnedSemaphorePermit,
) {
    let kind = match endpoint {
        Endpoint::Visitor => "queue",
        Endpoint::List => "visitors-list",
    };
    let gauge = queue.metrics.connections.get_or_create(&Kind { kind }).clone();
    gauge.inc();
    let limit = queue.session.limits.frame;
    let mut ws = WsReader::with_binary();
    let mut buf = early;
    let mut c = Connection {
        session: Session::new(Instant::now(), queue.session.clone()),
        queue,
        endpoint,
        pass: None,
        bearer,
        live: None,
        state: None,
        changes: None,
        listed: None,
    };
    loop {
        let mut out = Vec::new();
        let mut open = c.take_in(&mut ws, &mut buf, limit, &mut out).await;
        open &= c.drain(&mut out).await;
        if !open {
            ws::write_header(&mut out, ws::CLOSE, 2);
            out.extend_from_slice(&1000u16.to_be_bytes());
        }
        if !out.is_empty() {
            let write = async {
                io.write_all(&out).await?;
                io.flush().await
            };
            if !matches!(tokio::time::timeout(WRITE, write).await, Ok(Ok(()))) {
                break;
            }
        }
        drop(out);
        if !open {
            // What the client still says is read, so that its system does not drop our last words.
            let _ = tokio::time::timeout(GOODBYE, async {
                let _ = io.shutdown().await;
                let mut rest = vec![0u8; 256];
                while io.read(&mut rest).await.is_ok_and(|n| n > 0) {}
            })
            .await;
            break;
        }
        match c.wait(&mut io, &mut buf).await {
            Woken::Read(Ok(n)) if n > 0 => {}
            Woken::Read(_) => break,
            Woken::Live(over) => c.tell_live(over),
            Woken::State => c.tell_state(),
            Woken::Changes(Ok(body)) => c.tell_changes(&body),
            Woken::Changes(Err(_)) => {
                c.session.refuse(
                    Instant::now(),
                    "out of step",
                    "Too much has changed: connect again for the whole list",
                );
            }
            Woken::Timer => c.session.handle(Instant::now(), Input::Tick),
        }
    }
    gauge.dec();
    drop(place);
}

/// Reads what there is. The buffer on the stack does not outlive the call.
async fn read(io: &mut (impl AsyncRead + Unpin), buf: &mut BytesMut) -> io::Result<usize> {
    poll_fn(|cx| {
        let mut space = [std::mem::MaybeUninit::uninit(); 4096];
        let mut into = ReadBuf::uninit(&mut space);
        std::task::ready!(Pin::new(&mut *io).poll_read(cx, &mut into))?;
        buf.extend_from_slice(into.filled());
        std::task::Poll::Ready(Ok(into.filled().len()))
    })
    .await
}

impl Connection {
    async fn wait(&mut self, io: &mut (impl AsyncRead + Unpin), buf: &mut BytesMut) -> Woken {
        let timer = self.session.poll_timeout();
        let (live, state, changes) = (&mut self.live, &mut self.state, &mut self.changes);
        tokio::select! {
            r = read(io, buf) => Woken::Read(r),
            over = async {
                match live {
                    Some((_, _, ticket)) => ticket.called().await,
                    None => pending().await,
                }
            } => Woken::Live(over),
            () = async {
                match state {
                    // Compared, not only awaited: another branch may win between the change and its turn.
                    Some(s) => loop {
                        if s.rx.people() != s.told {
                            return tokio::time::sleep_until(s.next.into()).await;
                        }
                        s.rx.changed().await;
                    },
                    None => pending().await,
                }
            } => Woken::State,
            r = async {
                match changes.as_mut().and_then(|c| c.rx.as_mut()) {
                    Some(rx) => rx.recv().await,
                    None => pending().await,
                }
            } => Woken::Changes(r),
            () = async {
                match timer {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => pending().await,
                }
            } => Woken::Timer,
        }
    }

    /// Works through received WebSocket frames. `false`: the connection ends.
    async fn take_in(&mut self, ws: &mut WsReader, buf: &mut BytesMut, limit: usize, out: &mut Vec<u8>) -> bool {
        loop {
            match ws.next(buf, limit) {
                Ok(Some(WsEvent::Text(text))) => {
                    self.session.handle(Instant::now(), Input::Received(&text));
                    if !self.drain(out).await {
                        return false;
                    }
                }
                Ok(Some(WsEvent::Ping(payload))) => {
                    ws::write_header(out, ws::PONG, payload.len());
                    out.extend_from_slice(&payload);
                }
                Ok(Some(WsEvent::Pong)) => {}
                Ok(Some(WsEvent::Close)) => return false,
                Ok(None) => {
                    if buf.is_empty() {
                        *buf = BytesMut::new();
                    }
                    return true;
                }
                Err(e) => {
                    self.queue.metrics.refuse("queue-websocket");
                    self.session.refuse(Instant::now(), "malformed frame", &e.to_string());
                    return self.drain(out).await;
                }
            }
        }
    }

    /// Carries out what the conversation wants. `false`: it is over.
    async fn drain(&mut self, out: &mut Vec<u8>) -> bool {
        while let Some(o) = self.session.poll_output() {
            match o {
                Output::Send(frame) => {
                    ws::write_header(out, ws::TEXT, frame.len());
                    out.extend_from_slice(&frame);
                }
                Output::Connect { authorization } => {
                    let given = authorization.as_deref().and_then(head::bearer).or_else(|| self.bearer.take());
                    match self.pass(given.as_deref()) {
                        Ok(pass) => {
                            self.pass = Some(pass);
                            self.session.accept(Instant::now());
                        }
                        Err(r) => self.refuse(&r),
                    }
                }
                Output::Subscribe { id, destination, authorization } => {
                    // On the heap for as long as it takes, not in the task for as long as the client waits.
                    let done = Box::pin(self.subscribe(&id, &destination, authorization.as_deref())).await;
                    if let Err(r) = done {
                        self.refuse(&r);
                    }
                }
                Output::Unsubscribe { id } => self.unsubscribe(&id),
                Output::Close => return false,
            }
        }
        true
    }

    fn refuse(&mut self, r: &Refusal) {
        self.queue.metrics.refuse("queue");
        self.session.refuse(Instant::now(), r.0, &r.1);
    }

    /// Judges a token, or its absence, as a login at the main host would.
    fn pass(&self, token: Option<&str>) -> Result<Pass, Refusal> {
        let node = &self.queue.node;
        let Some(HostAuth::Token(t)) = node.hosts.get(&node.rooms.host).map(|h| &h.auth) else { return Ok(Pass::Open) };
        match token {
            None if t.allow_empty => Ok(Pass::Guest),
            None => Err(refusal("not authorized", "A token is needed")),
            Some(token) => match t.verify(token, SystemTime::now()) {
                Ok(claims) => Ok(Pass::Token(Box::new(reduced(claims)))),
                Err(e) => Err(refusal("not authorized", e.to_string())),
            },
        }
    }

    async fn subscribe(&mut self, id: &str, destination: &str, authorization: Option<&str>) -> Result<(), Refusal> {
        let wanted = Destination::parse(self.endpoint, destination);
        let wanted = wanted.map_err(|e| refusal("no such destination", e.to_string()))?;
        if let Some(token) = authorization.and_then(head::bearer) {
            self.pass = Some(self.pass(Some(&token))?);
        }
        let busy = || refusal("too many subscriptions", "The connection has a subscription of this kind");
        let now = Instant::now();
        match wanted {
            Destination::Live { room } => {
                let real = self.room(&room)?;
                self.may_wait(&real)?;
                if self.live.is_some() {
                    return Err(busy());
                }
                let (ticket, over) = self.queue.arrive(real);
                self.live = Some((id.into(), room, ticket));
                self.session.grant(now, id);
                if let Some(over) = over {
                    self.tell_live(over);
                }
            }
            Destination::State { room } => {
                let real = self.room(&room)?;
                self.may_count(&real)?;
                if self.state.is_some() {
                    return Err(busy());
                }
                let rx = self.queue.watch(real);
                self.state = Some(State { id: id.into(), room, rx, told: u32::MAX, next: now });
                self.session.grant(now, id);
                self.tell_state();
            }
            Destination::Changes { meeting } => {
                if self.changes.is_some() {
                    return Err(busy());
                }
                let rx = match self.pass {
                    // This destination does not say who asks; the one of the list does.
                    Some(Pass::Open) => None,
                    _ => {
                        let m = self.meeting(&meeting, None).await?;
                        Some(self.hear(&meeting, &m.room).await?)
                    }
                };
                self.changes = Some(Changes { id: id.into(), meeting, rx });
                self.session.grant(now, id);
            }
            Destination::List { meeting, endpoint } => {
                if let Some(at) = self.listed {
                    tokio::time::sleep_until((at + LIST_EVERY).into()).await;
                }
                self.listed = Some(Instant::now());
                let m = self.meeting(&meeting, Some(endpoint)).await?;
                if self.changes.as_ref().is_some_and(|c| c.meeting == meeting && c.rx.is_none()) {
                    let rx = self.hear(&meeting, &m.room).await?;
                    if let Some(c) = &mut self.changes {
                        c.rx = Some(rx);
                    }
                }
                let focus = self.queue.focus.clone().ok_or_else(no_focus)?;
                let all = focus.visitors(m.room, self.queue.settings.list_limit).await;
                let body = amphi_queue::list::whole(all.iter().map(|(id, name)| (&**id, &**name)));
                let now = Instant::now();
                self.session.grant(now, id);
                self.session.message(now, id, &body);
            }
        }
        Ok(())
    }

    fn unsubscribe(&mut self, id: &str) {
        if self.live.as_ref().is_some_and(|l| *l.0 == *id) {
            self.live = None;
        }
        if self.state.as_ref().is_some_and(|s| *s.id == *id) {
            self.state = None;
        }
        if self.changes.as_ref().is_some_and(|c| *c.id == *id) {
            self.changes = None;
        }
    }

    fn room(&self, text: &str) -> Result<BareJid, Refusal> {
        self.queue.room(text).ok_or_else(|| refusal("no such destination", "There is no such conference service here"))
    }

    fn fits(&self, claims: &Claims, room: &BareJid) -> Result<(), Refusal> {
        amphi_room::token_fits(&self.queue.node.rooms, claims, room).map_err(|e| refusal("forbidden", e.to_string()))
    }

    /// Whoever could join may wait.
    fn may_wait(&self, room: &BareJid) -> Result<(), Refusal> {
        match &self.pass {
            Some(Pass::Token(claims)) => self.fits(claims, room),
            Some(Pass::Open | Pass::Guest) => Ok(()),
            None => Err(refusal("not connected", "CONNECT comes first")),
        }
    }

    /// Moderators see how many wait. A host without tokens cannot tell who is one, and the number is no secret there.
    fn may_count(&self, room: &BareJid) -> Result<(), Refusal> {
        match &self.pass {
            Some(Pass::Token(claims)) if amphi_room::is_moderator(claims) => self.fits(claims, room),
            Some(Pass::Open) => Ok(()),
            _ => Err(refusal("forbidden", "Only moderators see how many wait")),
        }
    }

    /// The meeting, if the client may see its visitors: by its token, or because it names a moderator on stage.
    async fn meeting(&self, meeting: &str, endpoint: Option<String>) -> Result<Meeting, Refusal> {
        let claims = match &self.pass {
            Some(Pass::Token(c)) => {
                if c.features.as_ref().and_then(|f| f.get("list-visitors")) != Some(&true) {
                    return Err(refusal("forbidden", "The token has not the feature list-visitors"));
                }
                Some(c)
            }
            Some(Pass::Open) => None,
            _ => return Err(refusal("forbidden", "A token is needed for the list of visitors")),
        };
        let focus = self.queue.focus.as_ref().ok_or_else(no_focus)?;
        let found = focus.meeting(meeting.to_owned(), endpoint).await;
        // Nobody learns from the answer which meetings there are.
        let nothing = || refusal("forbidden", "There is no such meeting, or it is not yours");
        let found = found.ok_or_else(nothing)?;
        match claims {
            Some(c) => {
                let room = self.queue.room(found.room.as_str()).ok_or_else(nothing)?;
                self.fits(c, &room).map_err(|_| nothing())?;
            }
            None if !found.moderator => return Err(nothing()),
            None => {}
        }
        Ok(found)
    }

    async fn hear(&self, meeting: &str, room: &BareJid) -> Result<broadcast::Receiver<Bytes>, Refusal> {
        let focus = self.queue.focus.as_ref().ok_or_else(no_focus)?;
        Ok(self.queue.lists.subscribe(focus, meeting, room).await)
    }

    fn tell_live(&mut self, over: Duration) {
        if let Some((id, room, _)) = &self.live {
            self.session.message(Instant::now(), id, &live_message(room, over));
        }
    }

    fn tell_state(&mut self) {
        let Some(s) = &mut self.state else { return };
        let n = s.rx.people();
        if n == s.told {
            return;
        }
        let now = Instant::now();
        s.told = n;
        s.next = now + self.queue.settings.state_interval;
        self.session.message(now, &s.id, &state_message(&s.room, n));
    }

    fn tell_changes(&mut self, body: &[u8]) {
        if let Some(c) = &self.changes {
            self.session.message(Instant::now(), &c.id, body);
        }
    }
}

fn no_focus() -> Refusal {
    refusal("not supported", "The list of visitors is served where the focus runs")
}

/// What is looked at; the rest of a token is not kept while somebody waits.
fn reduced(claims: Claims) -> Claims {
    let user = claims.user.map(|u| {
        u.into_iter().filter(|(k, _)| k == "moderator" || k == "affiliation").collect::<serde_json::Map<_, _>>()
    });
    let features = claims.features.map(|f| f.into_iter().filter(|(k, _)| k == "list-visitors").collect());
    Claims { user, features, group: None, issuer: None, ..claims }
}
