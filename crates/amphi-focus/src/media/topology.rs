//! How the bridges of a conference are linked (`spec/focus.md` 6.6). A bridge passes what comes over one mesh to its
//! endpoints and to other meshes, so each mesh must be complete and the meshes must form a tree. Nothing here sends
//! anything: links to make and to break are returned.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::config::Topology;

/// A session of the conference on a bridge.
pub(crate) type NodeKey = u32;
/// Which mesh a link is part of; 0 is the mesh of the stage.
pub(crate) type MeshId = u32;

#[derive(Debug)]
struct Node {
    visitor: bool,
    links: BTreeMap<NodeKey, MeshId>,
    /// Links that this one begins.
    begins: BTreeSet<NodeKey>,
}

/// A link to make. The one that was there before begins it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NewLink {
    pub(crate) existing: NodeKey,
    pub(crate) new: NodeKey,
    pub(crate) mesh: MeshId,
}

/// What the choice of a parent looks at.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Load {
    pub(crate) stress: f64,
    pub(crate) overloaded: bool,
    pub(crate) region: Option<std::sync::Arc<str>>,
}

#[derive(Debug)]
pub(crate) struct Cascade {
    topology: Topology,
    /// Visitors' bridges below one; 0 is no limit.
    fan_out: u32,
    nodes: BTreeMap<NodeKey, Node>,
    next_mesh: MeshId,
}

impl Cascade {
    pub(crate) fn new(topology: Topology, fan_out: u32) -> Self {
        Self { topology, fan_out, nodes: BTreeMap::new(), next_mesh: 1 }
    }

    pub(crate) fn contains(&self, key: NodeKey) -> bool {
        self.nodes.contains_key(&key)
    }

    /// The neighbours of a node.
    pub(crate) fn links(&self, key: NodeKey) -> impl Iterator<Item = (NodeKey, MeshId)> + '_ {
        self.nodes.get(&key).into_iter().flat_map(|n| n.links.iter().map(|(k, m)| (*k, *m)))
    }

    /// Which of two linked sessions begins the link.
    pub(crate) fn initiator(&self, a: NodeKey, b: NodeKey) -> Option<NodeKey> {
        let begins = |a: NodeKey, b: NodeKey| self.nodes.get(&a).is_some_and(|n| n.begins.contains(&b));
        if begins(a, b) { Some(a) } else { begins(b, a).then_some(b) }
    }

    fn mesh(&mut self) -> MeshId {
        self.next_mesh += 1;
        self.next_mesh - 1
    }

    fn link(&mut self, existing: NodeKey, new: NodeKey, mesh: MeshId) -> NewLink {
        for (a, b) in [(existing, new), (new, existing)] {
            if let Some(n) = self.nodes.get_mut(&a) {
                n.links.insert(b, mesh);
            }
        }
        if let Some(n) = self.nodes.get_mut(&existing) {
            n.begins.insert(new);
        }
        NewLink { existing, new, mesh }
    }

    /// Adds a session; returns the links that it needs.
    pub(crate) fn add(&mut self, key: NodeKey, visitor: bool, load: impl Fn(NodeKey) -> Load) -> Vec<NewLink> {
        let others: Vec<NodeKey> = self.nodes.keys().copied().collect();
        self.nodes.insert(key, Node { visitor, links: BTreeMap::new(), begins: BTreeSet::new() });
        if others.is_empty() {
            return Vec::new();
        }
        if self.topology == Topology::Mesh {
            return others.into_iter().map(|o| self.link(o, key, 0)).collect();
        }
        if visitor {
            let Some(parent) = self.parent(&others.into_iter().collect(), &load(key), &load) else { return Vec::new() };
            let mesh = self.mesh();
            return vec![self.link(parent, key, mesh)];
        }
        let core: Vec<NodeKey> = others.iter().copied().filter(|o| !self.nodes[o].visitor).collect();
        if core.is_empty() {
            // Visitors came first. Their tree gets the stage through a link of its own, so it never is in the stage's mesh.
            let root = others.iter().copied().max_by_key(|o| (self.nodes[o].links.len(), std::cmp::Reverse(*o)));
            let mesh = self.mesh();
            return root.map(|r| self.link(r, key, mesh)).into_iter().collect();
        }
        core.into_iter().map(|o| self.link(o, key, 0)).collect()
    }

    /// Hops to the nearest session of the stage.
    fn hops(&self) -> BTreeMap<NodeKey, u32> {
        let mut hops: BTreeMap<NodeKey, u32> = BTreeMap::new();
        let mut queue: VecDeque<NodeKey> = self.nodes.iter().filter(|(_, n)| !n.visitor).map(|(k, _)| *k).collect();
        if queue.is_empty() {
            queue.extend(self.nodes.keys().next());
        }
        hops.extend(queue.iter().map(|k| (*k, 0)));
        while let Some(k) = queue.pop_front() {
            let next = hops[&k] + 1;
            for l in self.nodes[&k].links.keys() {
                hops.entry(*l).or_insert_with(|| {
                    queue.push_back(*l);
                    next
                });
            }
        }
        hops
    }

    /// Which of `among` a visitors' session hangs below: near the stage, not loaded, not full, in its region.
    fn parent(&self, among: &BTreeSet<NodeKey>, child: &Load, load: &impl Fn(NodeKey) -> Load) -> Option<NodeKey> {
        let hops = self.hops();
        let mut ranked: Vec<(u32, NodeKey, Load)> =
            among.iter().map(|k| (hops.get(k).copied().unwrap_or(u32::MAX), *k, load(*k))).collect();
        ranked.sort_by(|(h, k, a), (i, l, b)| h.cmp(i).then(a.stress.total_cmp(&b.stress)).then(k.cmp(l)));
        let children = |k: NodeKey| self.nodes[&k].links.values().filter(|m| **m != 0).count() as u32;
        let full = |k: NodeKey| {
            // A visitors' session has its own uplink among these.
            let room = self.fan_out + u32::from(self.nodes[&k].visitor);
            self.fan_out > 0 && children(k) >= room
        };
        let find = |f: &dyn Fn(NodeKey, &Load) -> bool| ranked.iter().find(|(_, k, l)| f(*k, l)).map(|(_, k, _)| *k);
        find(&|k, l| !l.overloaded && !full(k) && l.region == child.region)
            .or_else(|| find(&|k, l| !l.overloaded && !full(k)))
            .or_else(|| find(&|k, l| !full(k) && l.region == child.region))
            .or_else(|| find(&|k, _| !full(k)))
            .or_else(|| find(&|_, _| true))
    }

    /// Removes a session. Returns its former neighbours, whose links to it are to be broken, and the links that join again
    /// what was separated.
    pub(crate) fn remove(&mut self, key: NodeKey, load: impl Fn(NodeKey) -> Load) -> (Vec<NodeKey>, Vec<NewLink>) {
        let Some(node) = self.nodes.remove(&key) else { return (Vec::new(), Vec::new()) };
        let neighbours: Vec<NodeKey> = node.links.keys().copied().collect();
        for n in &neighbours {
            if let Some(n) = self.nodes.get_mut(n) {
                n.links.remove(&key);
                n.begins.remove(&key);
            }
        }
        let mut parts = self.components();
        if parts.len() < 2 {
            return (neighbours, Vec::new());
        }
        // The part with the stage is the one that others join; without a stage the largest.
        let core = parts
            .iter()
            .enumerate()
            .max_by_key(|(_, p)| (p.iter().any(|k| !self.nodes[k].visitor), p.len()))
            .map_or(0, |(at, _)| at);
        let mut joined = parts.swap_remove(core);
        let mut links = Vec::new();
        for part in parts {
            // Whoever was linked to what is gone is nearest to it.
            let Some(child) = part.iter().copied().find(|k| neighbours.contains(k)).or(part.first().copied()) else {
                continue;
            };
            let Some(parent) = self.parent(&joined, &load(child), &load) else { continue };
            let stage = |k: NodeKey| !self.nodes[&k].visitor;
            // Two parts with sessions of the stage cannot be: their mesh is complete.
            debug_assert!(!(stage(parent) && stage(child)));
            let mesh = self.mesh();
            links.push(self.link(parent, child, mesh));
            joined.extend(part);
        }
        (neighbours, links)
    }

    fn components(&self) -> Vec<BTreeSet<NodeKey>> {
        let mut left: BTreeSet<NodeKey> = self.nodes.keys().copied().collect();
        let mut parts = Vec::new();
        while let Some(start) = left.pop_first() {
            let mut part = BTreeSet::from([start]);
            let mut queue = vec![start];
            while let Some(k) = queue.pop() {
                for l in self.nodes[&k].links.keys() {
                    if left.remove(l) {
                        part.insert(*l);
                        queue.push(*l);
                    }
                }
            }
            parts.push(part);
        }
        parts
    }

    /// For every other session that can be reached: over which neighbour it sees what comes from `from`.
    pub(crate) fn paths_from(&self, from: NodeKey) -> Vec<(NodeKey, NodeKey)> {
        let mut seen = BTreeSet::from([from]);
        let mut queue = VecDeque::from([from]);
        let mut out = Vec::new();
        while let Some(k) = queue.pop_front() {
            for l in self.nodes.get(&k).into_iter().flat_map(|n| n.links.keys()) {
                if seen.insert(*l) {
                    out.push((*l, k));
                    queue.push_back(*l);
                }
            }
        }
        out
    }

    /// The sessions whose endpoints are seen through `node` by a neighbour in `mesh`: itself, and all behind other meshes.
    pub(crate) fn behind(&self, node: NodeKey, mesh: MeshId) -> Vec<NodeKey> {
        let mut out = vec![node];
        let mut seen = BTreeSet::from([node]);
        // What is not allowed is to go on in the mesh that one came over.
        let mut queue = vec![(node, mesh)];
        while let Some((k, came)) = queue.pop() {
            for (l, m) in self.links(k) {
                if m != came && seen.insert(l) {
                    out.push(l);
                    queue.push((l, m));
                }
            }
        }
        out
    }

    /// Every mesh is complete and the meshes form a tree that spans all.
    #[cfg(test)]
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.nodes.is_empty() {
            return Ok(());
        }
        if self.components().len() != 1 {
            return Err(format!("not connected: {:?}", self.components()));
        }
        let mut meshes: BTreeMap<MeshId, BTreeSet<NodeKey>> = BTreeMap::new();
        for (k, n) in &self.nodes {
            for m in n.links.values() {
                meshes.entry(*m).or_default().insert(*k);
            }
        }
        let mut edges = 0;
        for (m, members) in &meshes {
            for a in members {
                for b in members {
                    if a != b && self.nodes[a].links.get(b) != Some(m) {
                        return Err(format!("mesh {m} lacks {a}-{b}"));
                    }
                }
            }
            edges += members.len();
        }
        // As a graph of nodes and meshes it is a tree.
        if edges != self.nodes.len() + meshes.len() - 1 {
            return Err("a loop of meshes".into());
        }
        for k in self.nodes.keys() {
            if self.paths_from(*k).len() != self.nodes.len() - 1 {
                return Err(format!("{k} is not seen by all"));
            }
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn depth(&self) -> u32 {
        self.hops().values().copied().max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(_: NodeKey) -> Load {
        Load::default()
    }

    #[test]
    fn the_stage_is_a_mesh_and_the_audience_hangs_below() {
        let mut c = Cascade::new(Topology::VisitorTree, 2);
        assert_eq!(c.add(1, false, plain), []);
        assert_eq!(c.add(2, false, plain), [NewLink { existing: 1, new: 2, mesh: 0 }]);
        for k in 3..=6 {
            assert_eq!(c.add(k, true, plain).len(), 1);
        }
        assert_eq!(c.depth(), 1);
        // Both stage bridges are full.
        assert_eq!(c.add(7, true, plain)[0].existing, 3);
        assert_eq!(c.depth(), 2);
        c.check().unwrap();
    }

    #[test]
    fn a_stage_bridge_that_comes_late_does_not_pull_visitors_into_its_mesh() {
        let mut c = Cascade::new(Topology::VisitorTree, 0);
        c.add(1, true, plain);
        c.add(2, true, plain);
        assert_ne!(c.add(3, false, plain)[0].mesh, 0);
        assert_eq!(c.add(4, false, plain), [NewLink { existing: 3, new: 4, mesh: 0 }]);
        assert_eq!(c.links(1).filter(|(_, m)| *m == 0).count(), 0);
        c.check().unwrap();
    }

    #[test]
    fn what_a_lost_parent_separates_is_joined_again() {
        let mut c = Cascade::new(Topology::VisitorTree, 1);
        c.add(1, false, plain);
        for k in 2..=4 {
            c.add(k, true, plain);
        }
        assert_eq!(c.depth(), 3);
        let (neighbours, links) = c.remove(2, plain);
        assert_eq!(neighbours, [1, 3]);
        assert_eq!((links.len(), links[0].existing, links[0].new), (1, 1, 3));
        c.check().unwrap();
        // The stage is lost: its audience stays together.
        c.remove(1, plain);
        c.check().unwrap();
    }

    #[test]
    fn what_is_behind_a_node_excludes_the_mesh_one_looks_through() {
        let mut c = Cascade::new(Topology::VisitorTree, 0);
        c.add(1, false, plain);
        c.add(2, false, plain);
        let to_visitors = c.add(3, true, plain)[0];
        assert_eq!(to_visitors.existing, 1);
        assert_eq!(c.behind(1, to_visitors.mesh), [1, 2]);
        assert_eq!(c.behind(2, 0), [2]);
        assert_eq!(c.paths_from(2), [(1, 2), (3, 1)]);
    }

    proptest! {
        #[test]
        fn it_stays_a_tree_of_meshes(
            steps in proptest::collection::vec((any::<bool>(), any::<bool>(), any::<u8>()), 1..80),
            tree in any::<bool>(), fan_out in 0u32..4,
        ) {
            let mut c = Cascade::new(if tree { Topology::VisitorTree } else { Topology::Mesh }, fan_out);
            let mut alive = Vec::new();
            let load = |k: NodeKey| Load { stress: f64::from(k % 7), overloaded: k.is_multiple_of(5), region: None };
            for (i, (add, visitor, which)) in steps.into_iter().enumerate() {
                if add || alive.is_empty() {
                    c.add(i as u32, visitor, load);
                    alive.push(i as u32);
                } else {
                    let gone = alive.swap_remove(usize::from(which) % alive.len());
                    c.remove(gone, load);
                }
                prop_assert_eq!(c.check(), Ok(()));
            }
        }
    }
}
