//! How the HTTP parts and the owner of the process speak with a running bridge.

use std::sync::Arc;

use amphi_media::ids::EndpointId;
use tokio::sync::{mpsc, oneshot, watch};

use super::colibri::NotAdmitted;
use super::link::SocketId;
use super::settings::WebSockets;
use super::stats::Report;

/// What goes to a WebSocket.
#[derive(Clone, Debug)]
pub(super) enum ToSocket {
    /// A message.
    Text(Arc<str>),
    /// The end.
    Close(u16, &'static str),
}

/// What the bridge is asked.
#[derive(Debug)]
pub(super) enum Ask {
    Admit {
        conference: String,
        name: String,
        password: String,
        relay: bool,
        reply: oneshot::Sender<Result<EndpointId, NotAdmitted>>,
    },
    Opened {
        endpoint: EndpointId,
        to: mpsc::Sender<ToSocket>,
        reply: oneshot::Sender<SocketId>,
    },
    Message {
        endpoint: EndpointId,
        text: String,
    },
    Closed {
        endpoint: EndpointId,
        socket: SocketId,
    },
    Drain(bool),
    Shutdown {
        graceful: bool,
    },
    Leave(oneshot::Sender<()>),
}

/// A running bridge.
#[derive(Clone, Debug)]
pub struct BridgeHandle {
    pub(super) asks: mpsc::Sender<Ask>,
    pub(super) reports: watch::Receiver<Option<Arc<Report>>>,
    pub(super) web_sockets: Option<Arc<WebSockets>>,
    pub(super) message_bytes: usize,
    pub(super) socket_queue: usize,
}

impl BridgeHandle {
    /// The last report; `None` before the first one.
    pub fn report(&self) -> Option<Arc<Report>> {
        self.reports.borrow().clone()
    }

    /// Whether the bridge can do its work.
    ///
    /// # Errors
    /// With a sentence for the operator when it cannot.
    pub fn health(&self) -> Result<(), String> {
        match self.report() {
            _ if self.asks.is_closed() => Err("the bridge has ended".to_owned()),
            None => Err("the bridge is starting".to_owned()),
            Some(r) => r.illness.clone().map_or(Ok(()), Err),
        }
    }

    /// Tells the focus to place nothing new here, or again to do so.
    pub async fn drain(&self, drain: bool) {
        let _ = self.asks.send(Ask::Drain(drain)).await;
    }

    /// Begins the end; [`BridgeHandle::over`] tells when it has come.
    pub async fn shutdown(&self, graceful: bool) {
        let _ = self.asks.send(Ask::Shutdown { graceful }).await;
    }

    /// Waits until a shutdown is complete.
    pub async fn over(&self) {
        let mut reports = self.reports.clone();
        let is_over = |r: &Option<Arc<Report>>| r.as_ref().is_some_and(|r| r.phase == super::shutdown::Phase::Over);
        if reports.wait_for(is_over).await.is_err() {
            // A bridge that is gone for another reason does not end the process.
            std::future::pending::<()>().await;
        }
    }

    /// Leaves the breweries, before the process ends.
    pub async fn leave(&self) {
        let (tx, rx) = oneshot::channel();
        if self.asks.send(Ask::Leave(tx)).await.is_ok() {
            let _ = rx.await;
        }
    }

    pub(super) async fn admit(
        &self,
        conference: String,
        name: String,
        password: String,
        relay: bool,
    ) -> Result<EndpointId, NotAdmitted> {
        let (reply, rx) = oneshot::channel();
        let _ = self.asks.send(Ask::Admit { conference, name, password, relay, reply }).await;
        rx.await.unwrap_or(Err(NotAdmitted))
    }
}

/// Tells the bridge that a socket is open. `None` if the bridge is gone.
pub(super) async fn opened(
    asks: &mpsc::Sender<Ask>,
    endpoint: EndpointId,
    to: mpsc::Sender<ToSocket>,
) -> Option<SocketId> {
    let (reply, rx) = oneshot::channel();
    asks.send(Ask::Opened { endpoint, to, reply }).await.ok()?;
    rx.await.ok()
}
