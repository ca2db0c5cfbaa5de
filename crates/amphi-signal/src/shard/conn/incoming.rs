//! Reading: bytes to elements, elements to where they belong.

use std::io;
use std::time::{Duration, Instant};

use amphi_stanza::{Condition, Stanza, StanzaKind, StreamEvent, XmlError, ns};
use amphi_xmpp::sm::{self, SmElement};
use amphi_xmpp::{StreamCondition, StreamError};
use bytes::BytesMut;

use super::{Conn, Entry, Framing, Link, Stop};
use crate::front::ws::{self, WsEvent};
use crate::shard::Shard;
use crate::shard::negotiate::condition;
use crate::transport::Transport;

enum Incoming {
    Element(Stanza),
    Ping(BytesMut),
    /// The socket's peer closed without closing the stream.
    Closed,
    /// The stream was closed.
    Ended,
}

impl Conn {
    /// Waits for bytes (and for room to write, if something waits), then reads.
    pub(super) async fn fill(&self, shard: &Shard, buf: &mut BytesMut, mine: u32) -> Result<(), Stop> {
        loop {
            if self.dead.get() {
                return Err(Stop::Broken);
            }
            let ready = {
                let link = self.link.borrow();
                let Link::Up(t, _) = &*link else { return Err(Stop::Final) };
                t.socket()
            };
            let want_write = !self.rest.borrow().is_empty() || self.pending_tls();
            let poked = self.poke.notified();
            tokio::select! {
                r = ready.ready(Transport::interest(want_write)) => { if r.is_err() { return Err(Stop::Broken); } }
                () = poked => {}
            }
            if self.epoch.get() != mine {
                return Ok(());
            }
            if want_write {
                self.flush(shard);
            }
            if self.dead.get() {
                return Err(Stop::Broken);
            }
            let link = self.link.borrow();
            let Link::Up(t, _) = &*link else { return Err(Stop::Final) };
            let mut scratch = shard.scratch.borrow_mut();
            match t.try_read(&mut scratch) {
                Ok(0) => return Err(Stop::Broken),
                Ok(n) => {
                    buf.extend_from_slice(&scratch[..n]);
                    self.last_read.set(Instant::now());
                    self.budget.set(self.budget.get().less(n));
                    return Ok(());
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(Stop::Broken),
            }
        }
    }

    fn pending_tls(&self) -> bool {
        matches!(&*self.link.borrow(), Link::Up(t, _) if t.has_pending())
    }

    /// How long to wait until this client may be read again.
    pub(super) fn throttle(&self, shard: &Shard) -> Option<Duration> {
        let rate = if self.unlimited { 0 } else { shard.settings.read_rate };
        let mut budget = self.budget.get();
        let wait = budget.wait(rate, Instant::now());
        self.budget.set(budget);
        wait
    }

    fn limits(&self, shard: &Shard) -> amphi_stanza::Limits {
        if self.unlimited { shard.settings.admin_limits } else { shard.settings.limits }
    }

    /// Handles all complete elements in the buffer, then writes what they produced. What is left when the link is not `mine` any
    /// more is not looked at: the client sends it again.
    pub(super) async fn consume(&self, shard: &Shard, buf: &mut BytesMut, mine: u32) -> Result<(), Stop> {
        let limits = self.limits(shard);
        loop {
            match self.next_element(buf, &limits) {
                Ok(Some(Incoming::Element(s))) => {
                    self.element(shard, s).await?;
                    if self.epoch.get() != mine {
                        return Ok(());
                    }
                }
                Ok(Some(Incoming::Ping(p))) => {
                    let mut scratch = shard.wscratch.borrow_mut();
                    scratch.clear();
                    ws::write_header(&mut scratch, ws::PONG, p.len());
                    scratch.extend_from_slice(&p);
                    self.write(shard, &scratch);
                }
                Ok(Some(Incoming::Closed)) => return Err(Stop::Broken),
                Ok(Some(Incoming::Ended)) => {
                    self.close_stream(shard, None);
                    return Err(Stop::Final);
                }
                Ok(None) => break,
                Err(e) => {
                    shard.metrics.close("bad-xml");
                    self.close_stream(shard, Some(StreamError::new(condition(&e))));
                    return Err(Stop::Final);
                }
            }
        }
        if self.outbox.borrow().unsent_len() > 0 {
            // What a room answers to the same bytes is put out meanwhile and shares the write.
            tokio::task::yield_now().await;
        }
        self.flush(shard);
        Ok(())
    }

    fn next_element(&self, buf: &mut BytesMut, limits: &amphi_stanza::Limits) -> Result<Option<Incoming>, XmlError> {
        let mut link = self.link.borrow_mut();
        let Link::Up(_, framing) = &mut *link else { return Ok(Some(Incoming::Ended)) };
        match framing {
            Framing::WebSocket(r) => loop {
                match r.next(buf, limits.bytes) {
                    Ok(Some(WsEvent::Text(t))) => {
                        return Stanza::parse(t.freeze(), limits).map(|s| Some(Incoming::Element(s)));
                    }
                    Ok(Some(WsEvent::Ping(p))) => return Ok(Some(Incoming::Ping(p))),
                    Ok(Some(WsEvent::Pong)) => {}
                    Ok(Some(WsEvent::Close)) => return Ok(Some(Incoming::Closed)),
                    Ok(None) => return Ok(None),
                    Err(e) if e.0 == 1009 => return Err(XmlError::Limit("bytes")),
                    Err(_) => return Err(XmlError::NotWellFormed { at: 0, what: "WebSocket frame" }),
                }
            },
            Framing::Tcp(r) => {
                r.set_limits(*limits);
                if !buf.is_empty() {
                    r.push(buf);
                    buf.clear();
                }
                Ok(match r.next_event()? {
                    Some(StreamEvent::Element(s)) => Some(Incoming::Element(s)),
                    Some(StreamEvent::End) => Some(Incoming::Ended),
                    Some(StreamEvent::Header(_)) => {
                        return Err(XmlError::NotWellFormed { at: 0, what: "second stream header" });
                    }
                    None => None,
                })
            }
        }
    }

    async fn element(&self, shard: &Shard, s: Stanza) -> Result<(), Stop> {
        let kind = s.kind();
        if kind == StanzaKind::Other {
            return self.nonza(shard, &s);
        }
        if self.sm.get().is_some() {
            self.inbound.set(self.inbound.get().wrapping_add(1));
        }
        match kind {
            StanzaKind::Message => shard.received[0].inc(),
            StanzaKind::Presence => shard.received[1].inc(),
            _ => shard.received[2].inc(),
        };
        let session = self.session.borrow().clone();
        if kind == StanzaKind::Presence && s.attr("to").is_none() {
            // Unavailable without an address is goodbye (client.md 13); anything else concerns nobody.
            if s.ty().as_deref() == Some("unavailable") {
                let hubs = self.hubs.replace(0);
                self.node.left_rooms(&session, hubs).await;
            }
            return Ok(());
        }
        let routed = self.node.route_from(&session, s);
        if let Some(hub) = routed.hub() {
            self.hubs.set(self.hubs.get() | 1 << hub);
        }
        if let Some(answer) = self.node.deliver(routed).await {
            self.push(Entry::Own(answer));
        }
        Ok(())
    }

    fn nonza(&self, shard: &Shard, s: &Stanza) -> Result<(), Stop> {
        let root = s.root();
        if root.is("close", ns::FRAMING) {
            self.close_stream(shard, None);
            return Err(Stop::Final);
        }
        let version = sm::Version::of(root);
        match SmElement::parse(root) {
            Some(SmElement::Enable { resume, .. }) => {
                if self.sm.get().is_some() {
                    self.push_nonza(shard, &sm::failed(version, Condition::UnexpectedRequest, None));
                    return Ok(());
                }
                // What was written before is not counted.
                self.flush(shard);
                self.sm.set(Some(version));
                let session = self.session.borrow().clone();
                let max = self.node.hibernation(&session, shard.settings.hibernation);
                let id = resume.then(|| self.node.new_resumption(&session));
                self.outbox.borrow_mut().enable();
                self.push_nonza(shard, &sm::enabled(version, id.as_deref().map(|id| (id, max))));
                *self.sm_id.borrow_mut() = id;
            }
            Some(SmElement::Request) => {
                self.push_nonza(shard, &sm::ack(version, self.inbound.get()));
            }
            Some(SmElement::Ack { h }) => {
                let acked = self.outbox.borrow_mut().ack(h);
                if let Err(e) = acked {
                    shard.metrics.close("ack-too-high");
                    self.close_stream(shard, Some(e.stream_error()));
                    return Err(Stop::Final);
                }
            }
            Some(SmElement::Resume { .. }) => {
                self.push_nonza(shard, &sm::failed(version, Condition::UnexpectedRequest, None));
            }
            _ => {
                shard.metrics.close("unknown-element");
                self.close_stream(shard, Some(StreamError::new(StreamCondition::UnsupportedStanzaType)));
                return Err(Stop::Final);
            }
        }
        Ok(())
    }
}
