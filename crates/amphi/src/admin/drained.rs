//! What operators have drained, kept in `data_dir` over a restart of the focus: the focus itself begins anew with everything in service.
//! What it says counts: a bridge that came back by itself is in service, and is forgotten here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use amphi_focus::Input;
use amphi_signal::{FocusView, Operator};
use serde::{Deserialize, Serialize};

/// How long bridges have to appear after a start until they are forgotten.
const RETURN: Duration = Duration::from_secs(300);

/// Names of what is out of service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Names {
    nodes: BTreeSet<String>,
    bridges: BTreeSet<String>,
}

impl Names {
    fn read(path: &Path) -> Self {
        let Ok(text) = std::fs::read(path) else { return Self::default() };
        serde_json::from_slice(&text).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "What was drained is not known any more.");
            Self::default()
        })
    }

    fn write(&self, path: &Path) -> std::io::Result<()> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let new = path.with_extension("new");
        std::fs::write(&new, serde_json::to_string_pretty(self)? + "\n")?;
        std::fs::rename(new, path)
    }

    /// What the focus says.
    fn of(view: &FocusView) -> Self {
        Self {
            nodes: view.nodes.iter().filter(|n| n.draining).map(|n| n.vnode.clone()).collect(),
            bridges: view.bridges.iter().filter(|b| b.held).map(|b| b.name.clone()).collect(),
        }
    }
}

/// Lives as long as the admin API.
pub(super) struct Drained(#[allow(dead_code, reason = "the task ends with it")] Arc<()>);

impl Drained {
    pub(super) fn start(operator: Operator, data_dir: &Path) -> Self {
        let alive = Arc::new(());
        tokio::spawn(follow(operator, data_dir.join("drained.json"), Arc::downgrade(&alive)));
        Self(alive)
    }
}

async fn follow(operator: Operator, path: PathBuf, alive: Weak<()>) {
    let mut written = Names::read(&path);
    // Told again until the focus says so.
    let mut missing = written.clone();
    let until = Instant::now() + RETURN;
    let mut clock = tokio::time::interval(Duration::from_millis(500));
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        if alive.strong_count() == 0 {
            return;
        }
        let Some(view) = operator.focus() else { continue };
        let now = Names::of(&view);
        missing.nodes.retain(|n| !now.nodes.contains(n) && view.nodes.iter().any(|node| node.vnode == *n));
        missing.bridges.retain(|b| !now.bridges.contains(b) && Instant::now() < until);
        for vnode in missing.nodes.iter().cloned() {
            operator.tell_focus(Input::Drain { vnode, draining: true }).await;
        }
        for bridge in missing.bridges.iter().filter(|b| view.bridges.iter().any(|there| there.name == **b)).cloned() {
            operator.tell_focus(Input::HoldBridge { bridge, hold: true }).await;
        }
        let all = Names { nodes: &now.nodes | &missing.nodes, bridges: &now.bridges | &missing.bridges };
        if all != written {
            if let Err(error) = all.write(&path) {
                tracing::warn!(path = %path.display(), %error, "What is drained cannot be kept; it is in service after a restart.");
            }
            written = all;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_were_written_and_nonsense_is_nothing() {
        let path = std::env::temp_dir().join(format!("amphi-drained-{}.json", std::process::id()));
        let names = Names { nodes: ["v1".to_owned()].into(), bridges: ["bridge2".to_owned()].into() };
        names.write(&path).unwrap();
        assert_eq!(Names::read(&path), names);
        std::fs::write(&path, "nonsense").unwrap();
        assert_eq!(Names::read(&path), Names::default());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(Names::read(&path), Names::default());
    }
}
