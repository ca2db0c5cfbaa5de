//! The task of a stream that a peer opened.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use amphi_stanza::{Limits, StreamReader};
use amphi_xmpp::s2s::{Incoming, IncomingConfig, IncomingOutput, Input, PeerCheck, Suspended, Tls, random_ids};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use super::Links;
use super::outgoing::limits;
use super::socket::Socket;
use crate::front::Place;

/// A session of a peer that may be resumed.
pub(super) enum Session {
    /// Some connection holds it: ask it to let go.
    Held(mpsc::UnboundedSender<oneshot::Sender<Option<Suspended>>>),
    /// Nobody holds it; given up at that time.
    Free(Box<Suspended>, Instant),
}

/// Bytes of an element before the peer is authenticated.
const STRANGER: usize = 64 * 1024;

struct Check<'a> {
    links: &'a Links,
    fingerprint: Option<String>,
}

impl PeerCheck for Check<'_> {
    fn certificate_ok(&self, domain: &str) -> bool {
        let Some(peer) = self.links.peer(domain) else { return false };
        self.links.settings.plain || peer.accepts(self.fingerprint.as_deref(), self.links.tls.as_deref())
    }

    fn allowed(&self, from: &str) -> bool {
        self.links.peer(from).is_some()
    }

    fn serves(&self, domain: &str) -> bool {
        self.links.node.upgrade().is_some_and(|n| n.serves(domain))
    }

    fn stream_management(&self, _: &str) -> bool {
        true
    }
}

/// Serves a connection until it ends.
pub(super) async fn run(links: Arc<Links>, socket: TcpStream, peer: SocketAddr, place: Place) {
    let config = IncomingConfig {
        tls: if links.settings.plain { Tls::Off } else { Tls::Required },
        // Replies travel on streams that we open ourselves, as stock peers demand for requests.
        bidi: false,
        negotiation_timeout: links.settings.login_time(),
        ..IncomingConfig::default()
    };
    let resume_timeout = config.resume_timeout;
    let mut core = Incoming::new(Instant::now(), config, links.secret.clone(), random_ids());
    let mut socket = Socket::Plain(socket);
    // Nobody has proved anything yet, so little is held for it.
    let mut reader = StreamReader::new(Limits { bytes: STRANGER, ..limits() });
    let mut place = Some(place);
    let mut buf = vec![0u8; 16 * 1024].into_boxed_slice();
    let mut check = Check { links: &links, fingerprint: None };
    let (let_go, mut asked) = mpsc::unbounded_channel::<oneshot::Sender<Option<Suspended>>>();
    let (verified, mut verdicts) = mpsc::unbounded_channel();
    let mut session: Option<String> = None;
    'stream: loop {
        while let Some(o) = core.poll_output() {
            match o {
                IncomingOutput::Send(b) => {
                    if socket.write(&b).await.is_err() {
                        break 'stream;
                    }
                }
                IncomingOutput::StartTls => {
                    reader.clear();
                    let Some(tls) = &links.tls else { break 'stream };
                    let handshake = socket.secure_server(tls.config());
                    match tokio::time::timeout(links.settings.login_time(), handshake).await {
                        Ok(Ok(())) => {}
                        Ok(Err(e)) => {
                            tracing::debug!(error = %e, %peer, "TLS with a peer failed.");
                            break 'stream;
                        }
                        Err(_) => {
                            tracing::debug!(%peer, "TLS with a peer takes too long.");
                            break 'stream;
                        }
                    }
                    check.fingerprint = socket.peer_fingerprint();
                    core.handle(Instant::now(), Input::Secured { certificate_ok: false }, &check);
                }
                IncomingOutput::Restart => reader.restart(),
                IncomingOutput::VerifyDialback(request) => {
                    let (links, verified) = (links.clone(), verified.clone());
                    tokio::spawn(async move {
                        let outcome = links.verify(request.clone()).await;
                        let _ = verified.send((request, outcome.unwrap_or(amphi_xmpp::s2s::DialbackOutcome::Error)));
                    });
                }
                IncomingOutput::Authenticated(pair) => {
                    reader.set_limits(limits());
                    place = None;
                    tracing::info!(from = pair.from, to = pair.to, %peer, "Peer authenticated.");
                }
                IncomingOutput::Managed { id } => {
                    if let Some(id) = id {
                        links.suspended.lock().insert(id.clone(), Session::Held(let_go.clone()));
                        session = Some(id);
                    }
                }
                IncomingOutput::ResumeRequested { id } => {
                    let found = links.suspended.lock().remove(&id);
                    let state = match found {
                        Some(Session::Free(s, until)) if until > Instant::now() => Some(*s),
                        Some(Session::Held(holder)) => {
                            let (tx, rx) = oneshot::channel();
                            if holder.send(tx).is_ok() { rx.await.ok().flatten() } else { None }
                        }
                        _ => None,
                    };
                    if state.is_some() {
                        links.suspended.lock().insert(id.clone(), Session::Held(let_go.clone()));
                        session = Some(id);
                    }
                    core.resume(Instant::now(), state);
                }
                IncomingOutput::Stanza(s) => {
                    if let Some(node) = links.node.upgrade() {
                        node.take_from_link(s).await;
                    }
                }
                IncomingOutput::Answer(s) => links.send(s),
                IncomingOutput::Close { error } => {
                    if let Some(e) = error {
                        links.refuse("s2s-closed");
                        tracing::info!(%peer, remote = core.remote(), condition = e.condition.as_str(), "Stream of a peer ended with an error.");
                    }
                    // What the peer did not end, silence for instance, it may resume.
                    break 'stream;
                }
                IncomingOutput::Bidi | IncomingOutput::Resumed => {}
            }
        }
        match reader.next_event() {
            Ok(Some(e)) => {
                core.handle(Instant::now(), Input::Event(e), &check);
                continue;
            }
            Ok(None) => {}
            Err(e) => {
                core.handle(Instant::now(), Input::Invalid(e), &check);
                continue;
            }
        }
        let deadline = core.poll_timeout();
        let timer = crate::timer::until(deadline);
        tokio::select! {
            r = socket.read(&mut buf) => match r {
                Ok(n) if n > 0 => {
                    reader.push(&buf[..n]);
                    core.handle(Instant::now(), Input::Received, &check);
                }
                _ => break,
            },
            () = timer => core.handle(Instant::now(), Input::Tick, &check),
            Some((request, outcome)) = verdicts.recv() => core.dialback_result(Instant::now(), &request, outcome),
            Some(tx) = asked.recv() => {
                session = None;
                let _ = tx.send(core.suspend());
                break;
            }
        }
    }
    drop(place);
    socket.close().await;
    if let Some(id) = session {
        let mut all = links.suspended.lock();
        all.remove(&id);
        let now = Instant::now();
        all.retain(|_, s| !matches!(s, Session::Free(_, until) if *until < now));
        if let Some(s) = core.suspend() {
            all.insert(id, Session::Free(Box::new(s), now + resume_timeout));
        }
    }
}
