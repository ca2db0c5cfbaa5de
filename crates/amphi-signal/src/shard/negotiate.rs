//! From an accepted socket to a bound or resumed connection.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use amphi_room::Session;
use amphi_stanza::{Limits, Stanza, StreamEvent, StreamReader};
use amphi_xmpp::c2s::{self, Negotiation, NegotiationLimits, Output, Security};
use amphi_xmpp::{StreamCondition, StreamError};
use bytes::{Bytes, BytesMut};

use super::conn::{self, Framing};
use super::{NewConn, NewFraming, Resumption, Shard, ShardMsg};
use crate::backend::{Identity, NodeBackend};
use crate::front::ws::{self, WsEvent, WsReader};
use crate::metrics::Kind;
use crate::node::Node;
use crate::transport::Transport;

/// A socket on its way to an address.
struct Pending {
    shard: Rc<Shard>,
    node: Arc<Node>,
    transport: Transport,
    framing: Framing,
    buf: BytesMut,
    out: Vec<u8>,
    limits: Limits,
}

enum Done {
    Bound(Box<c2s::Bound<Identity>>),
    Resume(Box<c2s::ResumeRequest<Identity>>, crate::node::Parked),
}

/// Runs the handshake of a new connection, and then the connection.
pub(super) async fn run(shard: Rc<Shard>, new: Box<NewConn<Transport>>) {
    let NewConn { transport, framing, early, node, params, place, peer } = *new;
    let limits = NegotiationLimits::default();
    let element = Limits { bytes: limits.element_bytes, depth: 16, attrs: 32, nodes: 256 };
    let (kind, security, framing) = match framing {
        // HTTP transports count as protected: TLS is ours or the proxy's (`consider_websocket_secure`).
        NewFraming::WebSocket => {
            (c2s::Framing::WebSocket, Security::Encrypted, Framing::WebSocket(WsReader::default()))
        }
        NewFraming::Tcp { trusted } => {
            let security = if trusted { Security::Trusted } else { Security::Plain };
            (c2s::Framing::Tcp, security, Framing::Tcp(Box::new(StreamReader::new(element))))
        }
    };
    let negotiation = Box::new(Negotiation::new(kind, security, params, limits));
    let mut pending = Pending {
        shard: shard.clone(),
        node: node.clone(),
        transport,
        framing,
        buf: early,
        out: Vec::new(),
        limits: element,
    };
    let mut backend = NodeBackend::new(node.clone(), peer);
    let time = shard.settings.negotiation_timeout;
    let work = Box::pin(pending.negotiate(negotiation, &mut backend));
    let mut place = place;
    let done = match &mut place {
        Some(p) => p.work(time, work).await,
        None => tokio::time::timeout(time, work).await.ok(),
    };
    let done = match done {
        Some(Ok(Some(d))) => d,
        Some(Ok(None) | Err(_)) => {
            pending.transport.shutdown();
            return;
        }
        None => {
            shard.metrics.close("handshake-timeout");
            pending.send(&[StreamError::new(StreamCondition::ConnectionTimeout).write()]).ok();
            pending.transport.shutdown();
            return;
        }
    };
    drop(place);
    let Pending { transport, framing, buf, .. } = pending;
    match done {
        Done::Bound(b) => {
            let (session, first) = bind(&shard, &node, *b);
            Box::pin(conn::run(shard, conn::Bound { session, node, transport, framing, early: buf, first })).await;
        }
        Done::Resume(r, parked) => {
            let Ok(raw) = transport.release() else { return };
            let msg = Resumption {
                conn: parked.conn,
                transport: raw,
                framing,
                early: buf,
                h: r.h,
                version: r.version,
                claims: r.identity.claims.clone(),
                region: r.params.region.clone(),
            };
            if let Some(s) = node.shards.get(super::shard_of(parked.conn)) {
                s.send(ShardMsg::Resume(Box::new(msg))).await;
            }
        }
    }
}

fn bind(shard: &Shard, node: &Arc<Node>, b: c2s::Bound<Identity>) -> (Arc<Session>, Vec<Bytes>) {
    let conn = node.shards.new_id(shard.index);
    let session = node.bind(conn, &b.jid, b.identity, b.params);
    shard.metrics.logins.get_or_create(&Kind { kind: if session.anonymous { "anonymous" } else { "account" } }).inc();
    let mut first = Vec::with_capacity(2);
    first.extend(node.announcement(&session));
    first.push(b.bind_result);
    (session, first)
}

impl Pending {
    async fn negotiate(
        &mut self,
        mut n: Box<Negotiation<Identity>>,
        backend: &mut NodeBackend,
    ) -> io::Result<Option<Done>> {
        loop {
            // Elements first: the early bytes may hold some.
            let Some(event) = self.next_event()? else {
                self.read().await?;
                continue;
            };
            match event {
                Ok(Event::Header(h)) => n.on_header(backend, &h),
                Ok(Event::Element(e)) => n.on_element(backend, &e),
                Ok(Event::End) => return Ok(None),
                Err(condition) => {
                    self.send(&[StreamError::new(condition).write()])?;
                    self.flush().await?;
                    return Ok(None);
                }
            }
            let mut sends = Vec::new();
            while let Some(o) = n.poll_output() {
                match o {
                    Output::Send(b) => sends.push(b),
                    Output::Restart => {
                        if let Framing::Tcp(r) = &mut self.framing {
                            r.restart();
                        }
                    }
                    Output::StartTls => {
                        self.send(&std::mem::take(&mut sends))?;
                        self.flush().await?;
                        let Some(tls) = &self.node.tls else { return Ok(None) };
                        self.buf.clear();
                        if let Framing::Tcp(r) = &mut self.framing {
                            r.clear();
                        }
                        self.transport.start_tls(tls.config()).map_err(io::Error::other)?;
                        n.on_tls();
                    }
                    Output::Bound(b) => {
                        self.send(&sends)?;
                        self.flush().await?;
                        return Ok(Some(Done::Bound(b)));
                    }
                    Output::Resume(r) => match self.node.find_resumption(&r.previd, &r.localpart, r.host.name()) {
                        Some(parked) => {
                            self.send(&sends)?;
                            self.flush().await?;
                            return Ok(Some(Done::Resume(r, parked)));
                        }
                        None => {
                            self.shard.metrics.refuse("resume-unknown");
                            n.resume_failed(*r, None);
                        }
                    },
                    Output::Close { error } => {
                        if let Some(e) = error {
                            tracing::debug!(condition = e.condition.as_str(), "Handshake failed.");
                            self.shard.metrics.close("handshake");
                        }
                        self.send(&sends)?;
                        self.flush().await?;
                        return Ok(None);
                    }
                }
            }
            self.send(&sends)?;
            self.flush().await?;
        }
    }

    fn next_event(&mut self) -> io::Result<Option<Result<Event, StreamCondition>>> {
        loop {
            return Ok(Some(match &mut self.framing {
                Framing::WebSocket(r) => match r.next(&mut self.buf, self.limits.bytes) {
                    Ok(Some(WsEvent::Text(t))) => match Stanza::parse(t.freeze(), &self.limits) {
                        Ok(s) if s.root().is("open", amphi_stanza::ns::FRAMING) => Ok(Event::Header(s)),
                        Ok(s) if s.root().is("close", amphi_stanza::ns::FRAMING) => Ok(Event::End),
                        Ok(s) => Ok(Event::Element(s)),
                        Err(e) => Err(condition(&e)),
                    },
                    Ok(Some(WsEvent::Ping(p))) => {
                        let mut pong = Vec::with_capacity(p.len() + 4);
                        ws::write_header(&mut pong, ws::PONG, p.len());
                        pong.extend_from_slice(&p);
                        self.out.extend_from_slice(&pong);
                        continue;
                    }
                    Ok(Some(WsEvent::Pong)) => continue,
                    Ok(Some(WsEvent::Close)) => Ok(Event::End),
                    Ok(None) => return Ok(None),
                    Err(e) if e.0 == 1009 => Err(StreamCondition::PolicyViolation),
                    Err(e) => return Err(io::Error::new(io::ErrorKind::InvalidData, e)),
                },
                Framing::Tcp(r) => {
                    if !self.buf.is_empty() {
                        r.push(&self.buf);
                        self.buf.clear();
                    }
                    match r.next_event() {
                        Ok(Some(StreamEvent::Header(h))) => Ok(Event::Header(h)),
                        Ok(Some(StreamEvent::Element(e))) => Ok(Event::Element(e)),
                        Ok(Some(StreamEvent::End)) => Ok(Event::End),
                        Ok(None) => return Ok(None),
                        Err(e) => Err(condition(&e)),
                    }
                }
            }));
        }
    }

    async fn read(&mut self) -> io::Result<()> {
        loop {
            self.transport.ready(!self.out.is_empty()).await?;
            self.push_out()?;
            let mut scratch = self.shard.scratch.borrow_mut();
            match self.transport.try_read(&mut scratch) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    self.buf.extend_from_slice(&scratch[..n]);
                    return Ok(());
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Packs elements for one write.
    fn send(&mut self, elements: &[Bytes]) -> io::Result<()> {
        for e in elements {
            if let Framing::WebSocket(_) = self.framing {
                ws::write_header(&mut self.out, ws::TEXT, e.len());
            }
            self.out.extend_from_slice(e);
        }
        self.push_out()
    }

    fn push_out(&mut self) -> io::Result<()> {
        self.transport.flush_pending()?;
        let mut at = 0;
        while at < self.out.len() {
            match self.transport.try_write(&self.out[at..]) {
                Ok(n) => {
                    self.shard.writes.add(1);
                    self.shard.bytes.add(n as u64);
                    at += n;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        self.out.drain(..at);
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        while !self.out.is_empty() || self.transport.has_pending() {
            self.transport.ready(true).await?;
            self.push_out()?;
        }
        Ok(())
    }
}

enum Event {
    Header(Stanza),
    Element(Stanza),
    End,
}

pub(super) fn condition(e: &amphi_stanza::XmlError) -> StreamCondition {
    use amphi_stanza::XmlError as E;
    match e {
        E::Utf8 => StreamCondition::UnsupportedEncoding,
        E::NotWellFormed { .. } => StreamCondition::NotWellFormed,
        E::Restricted { .. } => StreamCondition::RestrictedXml,
        E::Limit(_) => StreamCondition::PolicyViolation,
    }
}
