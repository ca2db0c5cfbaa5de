//! Webhooks: events as signed HTTP requests. Each receiver has a bounded queue and a task of its own, so that one that is slow or
//! away delays nobody; what does not fit is dropped and counted, what fails is tried again later and later, then given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use amphi_signal::journal::{Entry, Journal, Kind};
use aws_lc_rs::hmac;
use parking_lot::Mutex;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::post;
use crate::config::{self, Webhook};

/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

#[derive(Default)]
struct Counts {
    delivered: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    trouble: Mutex<Option<String>>,
}

struct Hook {
    said: Webhook,
    queue: mpsc::Sender<Arc<Entry>>,
    counts: Arc<Counts>,
}

impl Hook {
    fn wants(&self, kind: Kind) -> bool {
        match &self.said.events[..] {
            [] => !matches!(kind, Kind::VisitorJoined | Kind::VisitorLeft),
            named => named.contains(&kind),
        }
    }
}

/// All receivers.
pub(super) struct Hooks(Arc<Vec<Hook>>);

impl Hooks {
    pub(super) fn start(admin: &config::Admin, journal: &Arc<Journal>) -> Self {
        let one = |said: &Webhook| {
            let (queue, events) = mpsc::channel((admin.said.webhook_queue as usize).max(1));
            let counts = Arc::new(Counts::default());
            let sender = Sender {
                said: said.clone(),
                attempts: admin.said.webhook_attempts,
                backoff: admin.said.webhook_backoff.0,
                timeout: admin.said.webhook_timeout.0,
                counts: counts.clone(),
            };
            tokio::spawn(sender.run(events));
            Hook { said: said.clone(), queue, counts }
        };
        let hooks: Arc<Vec<Hook>> = Arc::new(admin.webhooks.iter().map(one).collect());
        if !hooks.is_empty() {
            let (all, mut events) = (hooks.clone(), journal.follow());
            tokio::spawn(async move {
                loop {
                    match events.recv().await {
                        Ok(e) => {
                            for hook in all.iter().filter(|h| h.wants(e.kind)) {
                                if hook.queue.try_send(e.clone()).is_err() {
                                    hook.counts.dropped.fetch_add(1, Ordering::Relaxed);
                                }
                            }
                        }
                        Err(RecvError::Lagged(n)) => {
                            for hook in all.iter() {
                                hook.counts.dropped.fetch_add(n, Ordering::Relaxed);
                            }
                        }
                        Err(RecvError::Closed) => return,
                    }
                }
            });
        }
        Self(hooks)
    }

    pub(super) fn status(&self) -> Vec<Value> {
        let one = |h: &Hook| {
            json!({
                "url": h.said.url,
                "events": h.said.events.iter().map(|k| k.as_str()).collect::<Vec<_>>(),
                "delivered": h.counts.delivered.load(Ordering::Relaxed),
                "failed": h.counts.failed.load(Ordering::Relaxed),
                "dropped": h.counts.dropped.load(Ordering::Relaxed),
                "queued": h.queue.max_capacity() - h.queue.capacity(),
                "trouble": *h.counts.trouble.lock(),
            })
        };
        self.0.iter().map(one).collect()
    }
}

struct Sender {
    said: Webhook,
    attempts: u32,
    backoff: Duration,
    timeout: Duration,
    counts: Arc<Counts>,
}

impl Sender {
    async fn run(self, mut events: mpsc::Receiver<Arc<Entry>>) {
        while let Some(e) = events.recv().await {
            let body = json!({ "id": e.id, "event": e.kind, "at": e.at, "text": e.text, "room": e.room, "node": e.node, "endpoint": e.endpoint });
            let body = body.to_string();
            let mut pause = self.backoff;
            let mut attempt = 1;
            loop {
                match self.send(&e, &body).await {
                    Ok(()) => {
                        self.counts.delivered.fetch_add(1, Ordering::Relaxed);
                        *self.counts.trouble.lock() = None;
                        break;
                    }
                    Err(why) => {
                        tracing::warn!(url = %self.said.url, event = e.id, attempt, %why, "A webhook failed.");
                        *self.counts.trouble.lock() = Some(why);
                    }
                }
                if attempt >= self.attempts {
                    self.counts.failed.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                attempt += 1;
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    async fn send(&self, e: &Entry, body: &str) -> Result<(), String> {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let headers = [
            ("content-type", "application/json".to_owned()),
            ("amphi-event", e.kind.as_str().to_owned()),
            ("amphi-delivery", e.id.to_string()),
            ("amphi-signature", signature(self.said.secret.expose_secret(), at, body)),
        ];
        let sent = post::request("POST", &self.said.url, &headers, body.to_owned());
        match tokio::time::timeout(self.timeout, sent).await {
            Ok(Ok(answer)) if (200..300).contains(&answer.status) => Ok(()),
            Ok(Ok(answer)) => Err(format!("the receiver answered {}", answer.status)),
            Ok(Err(e)) => Err(e.to_string()),
            Err(_) => Err("the receiver did not answer in time".to_owned()),
        }
    }
}

/// `t=<seconds>,v1=<HMAC-SHA256 of "<seconds>.<body>", in hex>`.
fn signature(secret: &str, at: u64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{at}.{body}").as_bytes());
    let hex: String = tag.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    format!("t={at},v1={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_hmac_sha256_of_time_and_body() {
        // printf '1700000000.{}' | openssl dgst -sha256 -hmac key
        assert_eq!(
            signature("key", 1_700_000_000, "{}"),
            "t=1700000000,v1=9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae"
        );
    }
}
