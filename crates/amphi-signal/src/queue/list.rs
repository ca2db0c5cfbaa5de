//! Who hears of changes to the visitors' list of which meeting, and when.

use std::collections::HashMap;
use std::sync::Arc;

use amphi_focus::{Input, VisitorChange};
use amphi_queue::list::{self, Change};
use amphi_stanza::BareJid;
use bytes::Bytes;
use tokio::sync::{Mutex, broadcast, mpsc};

use super::Queue;
use crate::focus_task::FocusHandle;

/// Messages that a slow subscriber may be behind; then its list starts anew.
const BEHIND: usize = 16;

#[derive(Debug)]
struct Topic {
    room: BareJid,
    tx: broadcast::Sender<Bytes>,
    pending: Vec<Change>,
}

/// Meetings whose list somebody sees, by unique id.
///
/// The lock is held while the focus is told to watch or not to, so that the two cannot overtake each other.
#[derive(Debug, Default)]
pub(crate) struct Lists(Mutex<HashMap<String, Topic>>);

impl Lists {
    /// Subscribes to changes. When this returns, a list that is asked for later misses none of them.
    pub(crate) async fn subscribe(
        &self,
        focus: &FocusHandle,
        meeting: &str,
        room: &BareJid,
    ) -> broadcast::Receiver<Bytes> {
        let mut topics = self.0.lock().await;
        let topic = topics.entry(meeting.to_owned()).or_insert_with(|| Topic {
            room: room.clone(),
            tx: broadcast::channel(BEHIND).0,
            pending: Vec::new(),
        });
        let rx = topic.tx.subscribe();
        focus.input(Input::WatchVisitors { room: room.clone(), on: true }).await;
        rx
    }

    async fn add(&self, focus: &FocusHandle, change: VisitorChange, limit: usize) {
        let mut topics = self.0.lock().await;
        let Some(topic) = topics.get_mut(&change.meeting_id) else { return };
        topic.pending.push(Change { id: change.id, name: change.name, joined: change.joined });
        if topic.pending.len() > limit {
            // Too much to tell piece by piece: subscribers come back and get the whole.
            let Some(t) = topics.remove(&change.meeting_id) else { return };
            focus.input(Input::WatchVisitors { room: t.room, on: false }).await;
        }
    }

    async fn flush(&self, focus: &FocusHandle) {
        let mut topics = self.0.lock().await;
        let mut unheard = Vec::new();
        for (meeting, t) in topics.iter_mut() {
            if t.tx.receiver_count() == 0 {
                unheard.push(meeting.clone());
            } else if !t.pending.is_empty() {
                let _ = t.tx.send(list::changes(&std::mem::take(&mut t.pending)));
            }
        }
        for meeting in unheard {
            if let Some(t) = topics.remove(&meeting) {
                focus.input(Input::WatchVisitors { room: t.room, on: false }).await;
            }
        }
    }
}

/// Collects what the focus tells of visitors and passes it on now and then.
pub(crate) async fn changes(queue: Arc<Queue>, mut rx: mpsc::UnboundedReceiver<VisitorChange>) {
    let Some(focus) = queue.focus.clone() else { return };
    let mut turn = tokio::time::interval(queue.settings.list_interval.max(std::time::Duration::from_millis(50)));
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            change = rx.recv() => match change {
                Some(c) => queue.lists.add(&focus, c, queue.settings.list_limit).await,
                None => return,
            },
            _ = turn.tick() => queue.lists.flush(&focus).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(n: usize) -> VisitorChange {
        VisitorChange { meeting_id: "m".into(), id: n.to_string().into(), name: "a".into(), joined: true }
    }

    #[tokio::test]
    async fn a_list_that_changed_too_much_is_not_watched_any_more() {
        let (focus, mut told) = FocusHandle::pair();
        let lists = Lists::default();
        let room = BareJid::parse("talk@conference.meet.example").unwrap();
        let mut heard = lists.subscribe(&focus, "m", &room).await;
        for n in 0..4 {
            lists.add(&focus, change(n), 2).await;
        }
        assert!(heard.recv().await.is_err());
        let mut on = Vec::new();
        while let Some(Input::WatchVisitors { on: now, .. }) = told() {
            on.push(now);
        }
        assert_eq!(on, [true, false]);
    }
}
