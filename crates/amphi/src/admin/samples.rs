//! Figures of each second, for plots: joins, people, the delay of broadcasts, bridges. The last ten minutes are kept.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use amphi_bridge::control::BridgeHandle;
use amphi_signal::{Operator, Totals};
use axum::Json;
use axum::extract::State;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::broadcast;

use super::refusal::Refusal;
use super::{Admin, Query, number};

/// Seconds that are kept.
const KEPT: usize = 600;

/// The samples, and who follows them.
pub(super) struct Samples {
    kept: Arc<Mutex<VecDeque<Arc<Value>>>>,
    stream: broadcast::Sender<Arc<Value>>,
}

impl Samples {
    pub(super) fn start(operator: Operator, bridge: Option<BridgeHandle>) -> Self {
        let kept: Arc<Mutex<VecDeque<Arc<Value>>>> = Arc::default();
        let (stream, _) = broadcast::channel(16);
        let (to, out) = (Arc::downgrade(&kept), stream.clone());
        tokio::spawn(async move {
            let mut clock = tokio::time::interval(Duration::from_secs(1));
            clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            clock.tick().await;
            let (mut before, mut at) = (operator.totals(), Instant::now());
            loop {
                clock.tick().await;
                let now = operator.totals();
                let passed = at.elapsed().as_secs_f64();
                let sample = Arc::new(sample(&operator, bridge.as_ref(), &before, &now, passed));
                (before, at) = (now, Instant::now());
                let Some(kept) = to.upgrade() else { return };
                {
                    let mut kept = kept.lock();
                    if kept.len() >= KEPT {
                        kept.pop_front();
                    }
                    kept.push_back(sample.clone());
                }
                let _ = out.send(sample);
            }
        });
        Self { kept, stream }
    }

    pub(super) fn follow(&self) -> broadcast::Receiver<Arc<Value>> {
        self.stream.subscribe()
    }
}

pub(super) async fn serve(State(admin): State<Arc<Admin>>, query: Query) -> Result<Json<Value>, Refusal> {
    let seconds = number(&query, "seconds", KEPT, KEPT)?;
    let kept = admin.samples.kept.lock();
    let from = kept.len().saturating_sub(seconds);
    Ok(Json(json!({ "interval": 1, "samples": kept.iter().skip(from).map(|s| (**s).clone()).collect::<Vec<_>>() })))
}

fn sample(op: &Operator, bridge: Option<&BridgeHandle>, before: &Totals, now: &Totals, passed: f64) -> Value {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
    let rate = |a: u64, b: u64| round(b.saturating_sub(a) as f64 / passed.max(0.001));
    let focus = op.focus();
    let report = bridge.and_then(BridgeHandle::report);
    let bridges: Vec<Value> = match &focus {
        Some(f) => {
            f.bridges.iter().map(|b| json!({ "name": b.name, "stress": b.stress, "endpoints": b.endpoints })).collect()
        }
        None => Vec::new(),
    };
    json!({
        "at": at,
        "joins_stage": rate(before.joins[0], now.joins[0]),
        "joins_audience": rate(before.joins[1], now.joins[1]),
        "stage": now.people[0],
        "audience": focus.as_ref().map_or(now.people[1], |f| f.nodes.iter().map(|n| i64::from(n.visitors)).sum()),
        "rooms": now.rooms,
        "sessions": now.sessions,
        "stanzas_out": rate(before.stanzas_out, now.stanzas_out),
        "fanout_p50": percentile(&before.fanout, &now.fanout, 0.5),
        "fanout_p99": percentile(&before.fanout, &now.fanout, 0.99),
        "bits_in": report.as_ref().map(|r| r.rates.bits_in.round()),
        "bits_out": report.as_ref().map(|r| r.rates.bits_out.round()),
        "nodes": focus.iter().flat_map(|f| &f.nodes).map(|n| json!({ "name": n.vnode, "visitors": n.visitors })).collect::<Vec<_>>(),
        "bridges": bridges,
    })
}

fn round(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}

/// Milliseconds under which this share of the broadcasts between two readings was done: the bound of the bucket that holds it.
fn percentile(before: &[(f64, u64)], now: &[(f64, u64)], share: f64) -> Option<f64> {
    let count =
        |i: usize| now.get(i).map_or(0, |b| b.1) - before.get(i).map_or(0, |b| b.1).min(now.get(i).map_or(0, |b| b.1));
    let all = now.len().checked_sub(1).map(count).filter(|n| *n > 0)?;
    let wanted = (all as f64 * share).ceil() as u64;
    let at = (0..now.len()).find(|i| count(*i) >= wanted)?;
    let bound = if now[at].0.is_finite() { now[at].0 } else { now.get(at.checked_sub(1)?)?.0 };
    Some(round(bound * 1000.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_of_what_happened_in_between() {
        let before = [(0.001, 5), (0.01, 5), (f64::INFINITY, 5)];
        let now = [(0.001, 5), (0.01, 104), (f64::INFINITY, 105)];
        assert_eq!(percentile(&before, &now, 0.5), Some(10.0));
        assert_eq!(percentile(&before, &now, 1.0), Some(10.0), "the last bucket has no upper bound");
        assert_eq!(percentile(&now, &now, 0.5), None);
        assert_eq!(percentile(&[], &[], 0.5), None);
    }
}
