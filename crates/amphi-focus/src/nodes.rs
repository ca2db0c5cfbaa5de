//! The visitor nodes: what is known of each, and which one gets the next visitor of a conference (`spec/focus.md` 3.4).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use amphi_stanza::FullJid;

use crate::{FocusConfig, NodeStatus, VnodeConfig};

/// One visitor node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) domain: String,
    pub(crate) capacity: u32,
    /// Own address there, once it was connected.
    pub(crate) jid: Option<FullJid>,
    pub(crate) connected: bool,
    pub(crate) draining: bool,
    /// When the connection was lost.
    pub(crate) lost_at: Option<Instant>,
    /// Nothing is opened there before this time.
    pub(crate) retry_at: Option<Instant>,
    pub(crate) visitors: u32,
    pub(crate) pending: u32,
    /// Shadow rooms, used to spread conferences that have no visitors yet.
    pub(crate) vrooms: u32,
}

impl Node {
    fn load(&self) -> u32 {
        self.visitors.saturating_add(self.pending)
    }

    fn takes_visitors(&self, now: Instant) -> bool {
        self.connected && !self.draining && self.retry_at.is_none_or(|at| at <= now) && self.load() < self.capacity
    }
}

/// Where a visitor goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// A node that the conference uses already.
    Used(Arc<str>),
    /// A node where a shadow room must be opened first.
    Open(Arc<str>),
    /// Every node is full, draining, or away.
    NoCapacity,
    /// There are no visitor nodes.
    NoNodes,
}

/// All visitor nodes.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    nodes: BTreeMap<Arc<str>, Node>,
}

impl Nodes {
    pub(crate) fn add(&mut self, vnode: &VnodeConfig, config: &FocusConfig) {
        let capacity = vnode.capacity.unwrap_or(config.max_visitors_per_node);
        if let Some(n) = self.nodes.get_mut(vnode.name.as_str()) {
            n.domain.clone_from(&vnode.domain);
            n.capacity = capacity;
            n.draining = false;
            return;
        }
        let node = Node {
            domain: vnode.domain.clone(),
            capacity,
            jid: None,
            connected: false,
            draining: false,
            lost_at: None,
            retry_at: None,
            visitors: 0,
            pending: 0,
            vrooms: 0,
        };
        self.nodes.insert(vnode.name.as_str().into(), node);
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Node> {
        self.nodes.remove(name)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        self.nodes.get(name)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Node> {
        self.nodes.get_mut(name)
    }

    pub(crate) fn is_connected(&self, name: &str) -> bool {
        self.nodes.get(name).is_some_and(|n| n.connected)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Node)> {
        self.nodes.iter()
    }

    pub(crate) fn status(&self) -> Vec<NodeStatus> {
        let of = |(name, n): (&Arc<str>, &Node)| NodeStatus {
            vnode: name.to_string(),
            connected: n.connected,
            draining: n.draining,
            visitors: n.visitors,
            pending: n.pending,
            capacity: n.capacity,
        };
        self.nodes.iter().map(of).collect()
    }

    /// Picks the node for the next visitor of a conference that has `used` nodes with so many visitors each. A node with
    /// few visitors is preferred to opening another; once all have `open_at`, the least loaded unused one is opened; with
    /// no unused one left, the least used one goes on.
    pub(crate) fn choose(&self, now: Instant, used: &[(Arc<str>, u32)], open_at: u32) -> Choice {
        let best = used
            .iter()
            .filter(|(name, _)| self.nodes.get(name).is_some_and(|n| n.takes_visitors(now)))
            .min_by_key(|(_, count)| *count);
        if let Some((name, count)) = best
            && *count < open_at
        {
            return Choice::Used(name.clone());
        }
        let unused = self
            .nodes
            .iter()
            .filter(|(name, n)| n.takes_visitors(now) && !used.iter().any(|(u, _)| u == *name))
            .min_by_key(|(_, n)| (n.load(), n.vrooms));
        match (unused, best) {
            (Some((name, _)), _) => Choice::Open(name.clone()),
            (None, Some((name, _))) => Choice::Used(name.clone()),
            (None, None) if self.nodes.is_empty() => Choice::NoNodes,
            (None, None) => Choice::NoCapacity,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(loads: &[(&str, u32)]) -> Nodes {
        let config = FocusConfig::new("meet.example");
        let mut nodes = Nodes::default();
        for (name, load) in loads {
            nodes.add(&VnodeConfig { capacity: Some(1000), ..VnodeConfig::new(*name) }, &config);
            let n = nodes.get_mut(name).unwrap();
            n.connected = true;
            n.visitors = *load;
        }
        nodes
    }

    fn used(list: &[(&str, u32)]) -> Vec<(Arc<str>, u32)> {
        list.iter().map(|(n, c)| ((*n).into(), *c)).collect()
    }

    #[test]
    fn a_second_node_is_opened_only_when_the_first_has_enough() {
        let n = nodes(&[("v1", 199), ("v2", 50), ("v3", 10)]);
        let now = Instant::now();
        assert_eq!(n.choose(now, &[], 200), Choice::Open("v3".into()));
        assert_eq!(n.choose(now, &used(&[("v1", 199)]), 200), Choice::Used("v1".into()));
        assert_eq!(n.choose(now, &used(&[("v1", 200)]), 200), Choice::Open("v3".into()));
        assert_eq!(n.choose(now, &used(&[("v1", 200), ("v3", 150)]), 200), Choice::Used("v3".into()));
        let all = used(&[("v1", 400), ("v2", 300), ("v3", 350)]);
        assert_eq!(n.choose(now, &all, 200), Choice::Used("v2".into()));
    }

    #[test]
    fn nodes_that_are_away_draining_failed_or_full_get_nobody() {
        let mut n = nodes(&[("v1", 0), ("v2", 0), ("v3", 0), ("v4", 1000)]);
        let now = Instant::now();
        n.get_mut("v1").unwrap().connected = false;
        n.get_mut("v2").unwrap().draining = true;
        n.get_mut("v3").unwrap().retry_at = Some(now + std::time::Duration::from_secs(1));
        assert_eq!(n.choose(now, &used(&[("v1", 3), ("v4", 4)]), 200), Choice::NoCapacity);
        assert_eq!(n.choose(now + std::time::Duration::from_secs(1), &[], 200), Choice::Open("v3".into()));
        assert_eq!(Nodes::default().choose(now, &[], 200), Choice::NoNodes);
    }
}
