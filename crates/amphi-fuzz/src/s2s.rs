//! Another server's bytes, before and after it is authenticated: no panic, what we answer is well-formed, and no stanza
//! is let through that is not of an authenticated pair.

use std::time::{Duration, Instant};

use amphi_stanza::{Limits, StreamEvent, StreamReader};
use amphi_xmpp::s2s::{
    DialbackOutcome, DialbackSecret, Incoming, IncomingConfig, IncomingOutput, Input, Pair, PeerCheck, Tls,
};

struct Check {
    certificate: bool,
}

impl PeerCheck for Check {
    fn certificate_ok(&self, domain: &str) -> bool {
        self.certificate && domain == "meet.example"
    }
    fn allowed(&self, from: &str) -> bool {
        from.ends_with("meet.example")
    }
    fn serves(&self, domain: &str) -> bool {
        domain == "v1.meet.jitsi" || domain == "conference.v1.meet.jitsi"
    }
    fn stream_management(&self, _: &str) -> bool {
        true
    }
}

/// The first byte chooses TLS, certificate and how dialback ends; the rest is what the peer sends. A zero byte lets time
/// pass and is not part of it.
pub fn s2s(data: &[u8]) {
    let Some((&mode, text)) = data.split_first() else { return };
    let mut now = Instant::now();
    let config =
        IncomingConfig { tls: if mode & 1 == 0 { Tls::Off } else { Tls::Required }, ..IncomingConfig::default() };
    let check = Check { certificate: mode & 2 != 0 };
    let outcome = if mode & 4 == 0 { DialbackOutcome::Valid } else { DialbackOutcome::Invalid };
    let mut id = 0;
    let ids = Box::new(move || {
        id += 1;
        format!("id{id}")
    });
    let mut s = Incoming::new(now, config, DialbackSecret::new("secret"), ids);
    let mut owner = Owner { reader: StreamReader::new(Limits::default()), outcome, pairs: Vec::new() };
    for piece in text.split(|c| *c == 0) {
        owner.reader.push(piece);
        loop {
            let event = match owner.reader.next_event() {
                Ok(None) => break,
                Ok(Some(e)) => Input::Event(e),
                Err(e) => Input::Invalid(e),
            };
            s.handle(now, event, &check);
            if owner.drain(&mut s, now, &check) {
                return;
            }
        }
        now += Duration::from_secs(7);
        s.handle(now, Input::Tick, &check);
        if owner.drain(&mut s, now, &check) {
            return;
        }
    }
}

/// What owns the stream: does what it asks for.
struct Owner {
    reader: StreamReader,
    outcome: DialbackOutcome,
    pairs: Vec<Pair>,
}

impl Owner {
    /// True if the stream is over.
    fn drain(&mut self, s: &mut Incoming, now: Instant, check: &Check) -> bool {
        while let Some(o) = s.poll_output() {
            match o {
                IncomingOutput::Send(b) => well_formed(&b),
                IncomingOutput::StartTls => {
                    // The handshake; what the peer sent in clear is gone, what comes now is protected.
                    self.reader.clear();
                    s.handle(now, Input::Secured { certificate_ok: false }, check);
                }
                IncomingOutput::Restart => self.reader.restart(),
                IncomingOutput::VerifyDialback(q) => s.dialback_result(now, &q, self.outcome),
                IncomingOutput::Authenticated(p) => self.pairs.push(p),
                IncomingOutput::ResumeRequested { .. } => s.resume(now, None),
                IncomingOutput::Stanza(st) => {
                    let (from, to) = (st.from().ok().flatten(), st.to().ok().flatten());
                    let (Some(from), Some(to)) = (from, to) else { panic!("a stanza without addresses: {st}") };
                    let known = Pair::new(from.domain(), to.domain()).is_ok_and(|p| self.pairs.contains(&p));
                    assert!(known, "a stanza of nobody authenticated: {st}");
                }
                IncomingOutput::Close { .. } => return true,
                IncomingOutput::Bidi
                | IncomingOutput::Managed { .. }
                | IncomingOutput::Resumed
                | IncomingOutput::Answer(_) => {}
            }
        }
        false
    }
}

/// What we send is a header, elements, or the end of a stream.
fn well_formed(bytes: &[u8]) {
    let mut r = StreamReader::new(Limits { bytes: usize::MAX >> 1, ..Limits::default() });
    if !bytes.starts_with(b"<?xml") && !bytes.starts_with(b"<stream:stream") {
        r.push(
            b"<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
              xmlns:db='jabber:server:dialback'>",
        );
    }
    r.push(bytes);
    loop {
        match r.next_event() {
            Ok(Some(StreamEvent::End)) | Ok(None) => break,
            Ok(Some(_)) => {}
            Err(e) => panic!("sent {}: {e}", String::from_utf8_lossy(bytes)),
        }
    }
    assert_eq!(r.buffered(), 0, "sent {}", String::from_utf8_lossy(bytes));
}
