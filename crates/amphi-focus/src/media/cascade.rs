//! Links between the bridges of a conference, and what each knows of endpoints behind others (`spec/focus.md` 5.5).
//! Visitors are never announced.

use std::collections::BTreeMap;
use std::time::Instant;

use amphi_jingle::colibri2::{
    Capabilities, ConferenceModified, Endpoint, MediaSource, Relay, Sctp, SctpRole, Transport,
};
use amphi_jingle::{IceTransport, Setup};

use super::state::{Asked, Session};
use super::topology::{Load, NewLink, NodeKey};
use crate::Event;
use crate::conference::Conference;
use crate::core::Core;

/// Which session sees which other over which neighbour: (source, viewer) to neighbour.
type Paths = BTreeMap<(NodeKey, NodeKey), NodeKey>;

impl Conference {
    fn loads(&self, core: &Core, now: Instant) -> BTreeMap<NodeKey, Load> {
        let load = |s: &Session| {
            let b = core.media.bridges.get(&s.bridge);
            Load {
                stress: b.map_or(f64::MAX, |b| b.corrected_stress(now, &core.config.media)),
                overloaded: b.is_none_or(|b| b.is_overloaded(now, &core.config.media)),
                region: s.region.clone(),
            }
        };
        self.media.sessions.iter().map(|(k, s)| (*k, load(s))).collect()
    }

    fn paths(&self) -> Paths {
        let from = |from: &NodeKey| {
            let from = *from;
            self.media.cascade.paths_from(from).into_iter().map(move |(viewer, via)| ((from, viewer), via))
        };
        self.media.sessions.keys().flat_map(from).collect()
    }

    /// A session is new: links it with the others. Its first endpoint is known already.
    pub(crate) fn link_session(&mut self, core: &mut Core, now: Instant, key: NodeKey, visitor: bool) {
        let loads = self.loads(core, now);
        let before = self.paths();
        let links = self.media.cascade.add(key, visitor, |k| loads.get(&k).cloned().unwrap_or_default());
        self.make_links(core, now, &links);
        self.announce_new_paths(core, now, &before, &links);
    }

    /// A session is over: its neighbours drop their links to it, and what it separated is joined again. It is still among
    /// the sessions, and is not asked for anything any more.
    pub(crate) fn unlink_session(&mut self, core: &mut Core, now: Instant, key: NodeKey) {
        if !self.media.cascade.contains(key) {
            return;
        }
        let loads = self.loads(core, now);
        let mut before = self.paths();
        let relay_id = self.media.sessions.get(&key).and_then(|s| s.relay_id.clone());
        let (neighbours, links) = self.media.cascade.remove(key, |k| loads.get(&k).cloned().unwrap_or_default());
        if let Some(id) = relay_id {
            for n in neighbours {
                let mut m = self.modify();
                m.relays.push(Relay { expire: true, ..Relay::new(&*id) });
                self.ask_bridge(core, now, n, Asked::Expire, &m);
            }
        }
        if !links.is_empty() {
            core.metrics.cascade_repairs += 1;
            core.event(Event::CascadeRepaired { room: self.room.clone(), links: links.len() });
        }
        self.make_links(core, now, &links);
        before.retain(|(from, viewer), _| *from != key && *viewer != key);
        self.announce_new_paths(core, now, &before, &links);
    }

    fn make_links(&mut self, core: &mut Core, now: Instant, links: &[NewLink]) {
        for l in links {
            self.create_relay(core, now, l.existing, l.new, l.mesh, true);
            self.create_relay(core, now, l.new, l.existing, l.mesh, false);
        }
    }

    /// Has `on` make its side of the link to `to`.
    fn create_relay(&mut self, core: &mut Core, now: Instant, on: NodeKey, to: NodeKey, mesh: u32, initiator: bool) {
        let Some(id) = self.media.sessions.get(&to).and_then(|s| s.relay_id.clone()) else { return };
        let sctp = core
            .config
            .media
            .relay_sctp
            .then_some(Sctp { role: Some(if initiator { SctpRole::Client } else { SctpRole::Server }), port: None });
        let behind: Vec<Endpoint> = self
            .media
            .cascade
            .behind(to, mesh)
            .into_iter()
            .flat_map(|k| self.media.on_session(k))
            .filter(|n| self.is_on_stage(n))
            .map(|n| self.remote_endpoint(&n, true))
            .collect();
        // A large stage does not fit into one stanza.
        let size = core.config.media.limits.relay_batch.max(1);
        let mut batches = behind.chunks(size);
        let mut m = self.modify();
        m.relays.push(Relay {
            create: true,
            mesh_id: Some(mesh.to_string()),
            media: core.media.relay_media.clone(),
            transport: Some(Transport {
                ice_controlling: initiator,
                use_unique_port: initiator,
                sctp,
                ..Transport::default()
            }),
            endpoints: batches.next().unwrap_or_default().to_vec(),
            ..Relay::new(&*id)
        });
        self.ask_bridge(core, now, on, Asked::Relay { peer: to }, &m);
        for batch in batches {
            self.tell_relay(core, now, on, to, batch.to_vec());
        }
    }

    fn tell_relay(&self, core: &mut Core, now: Instant, on: NodeKey, to: NodeKey, endpoints: Vec<Endpoint>) {
        let Some(id) = self.media.sessions.get(&to).and_then(|s| s.relay_id.clone()) else { return };
        let mut m = self.modify();
        m.relays.push(Relay { endpoints, ..Relay::new(&*id) });
        self.ask_bridge(core, now, on, Asked::Change, &m);
    }

    /// An endpoint as bridges know it that do not have it.
    fn remote_endpoint(&self, nick: &str, create: bool) -> Endpoint {
        let sources = self.media.sources.of(nick).map(|s| MediaSource::from_set(nick, s)).unwrap_or_default();
        let stats_id = self.media.participants.get(nick).and_then(|p| p.facts.stats_id.as_deref().map(str::to_owned));
        Endpoint {
            create,
            stats_id: stats_id.filter(|_| create),
            sources: Some(sources),
            capabilities: Capabilities { source_names: create, ..Capabilities::default() },
            ..Endpoint::new(nick)
        }
    }

    /// One side of a link is there: its transport goes to the other.
    pub(crate) fn relay_created(
        &mut self,
        core: &mut Core,
        now: Instant,
        on: NodeKey,
        peer: NodeKey,
        m: &ConferenceModified,
    ) {
        // The link may be gone already.
        if !self.media.cascade.links(on).any(|(k, _)| k == peer) {
            return;
        }
        let (Some(own), Some(theirs)) = (self.media.sessions.get(&on), self.media.sessions.get(&peer)) else { return };
        let (Some(own_id), Some(peer_id)) = (own.relay_id.clone(), theirs.relay_id.clone()) else { return };
        let relay = m.relays.iter().find(|r| r.id == *peer_id);
        let ice = relay.and_then(|r| r.transport.as_ref()).and_then(|t| t.ice.clone());
        let usable = ice.as_ref().is_some_and(|i| {
            !i.fingerprints.is_empty() && i.fingerprints.iter().all(|f| f.setup == Some(Setup::Actpass))
        });
        let Some(ice) = ice.filter(|_| usable) else {
            core.event(Event::IqFailed { what: "relay", why: "no transport that can be used".into() });
            self.fail_session(core, now, on);
            return;
        };
        let peer_is_initiator = self.media.cascade.initiator(peer, on) == Some(peer);
        let ice = for_peer(ice, peer_is_initiator, core.config.media.relay_sctp);
        let mut m = self.modify();
        let transport = Some(Transport { ice: Some(ice), ..Transport::default() });
        m.relays.push(Relay { transport, ..Relay::new(&*own_id) });
        self.ask_bridge(core, now, peer, Asked::Change, &m);
    }

    /// Tells others of a stage endpoint: that it is new, or what its sources are now. `fresh`: its session's own links were
    /// made just now and have it already.
    pub(crate) fn announce(
        &mut self,
        core: &mut Core,
        now: Instant,
        key: NodeKey,
        nick: &str,
        create: bool,
        fresh: bool,
    ) {
        if fresh {
            // Neighbours learned of it with the link, and others as of new paths.
            return;
        }
        for (viewer, via) in self.media.cascade.paths_from(key) {
            let e = self.remote_endpoint(nick, create);
            self.tell_relay(core, now, viewer, via, vec![e]);
        }
    }

    /// Tells others that stage endpoints are gone. `with_session`: neighbours drop the whole link.
    pub(crate) fn retract(
        &mut self,
        core: &mut Core,
        now: Instant,
        key: NodeKey,
        nicks: &[Box<str>],
        with_session: bool,
    ) {
        if nicks.is_empty() {
            return;
        }
        for (viewer, via) in self.media.cascade.paths_from(key) {
            if with_session && via == key {
                continue;
            }
            for batch in nicks.chunks(core.config.media.limits.relay_batch.max(1)) {
                let gone = batch.iter().map(|n| Endpoint::expired(&**n)).collect();
                self.tell_relay(core, now, viewer, via, gone);
            }
        }
    }

    /// Where endpoints are seen over another neighbour than before, the viewer learns of them there. Both ends of a new
    /// link learned it with the link.
    fn announce_new_paths(&mut self, core: &mut Core, now: Instant, before: &Paths, links: &[NewLink]) {
        if links.is_empty() {
            return;
        }
        let made = |a: NodeKey, b: NodeKey| {
            links.iter().any(|l| (l.existing, l.new) == (a, b) || (l.new, l.existing) == (a, b))
        };
        let mut stage: BTreeMap<NodeKey, Vec<Box<str>>> = BTreeMap::new();
        for (n, p) in self.media.participants.iter().filter(|(_, p)| !p.visitor) {
            if let Some(key) = p.session {
                stage.entry(key).or_default().push(n.clone());
            }
        }
        for ((from, viewer), via) in self.paths() {
            if before.get(&(from, viewer)) == Some(&via) || made(viewer, via) {
                continue;
            }
            let Some(nicks) = stage.get(&from) else { continue };
            let mut nicks = nicks.clone();
            nicks.sort_unstable();
            for batch in nicks.chunks(core.config.media.limits.relay_batch.max(1)) {
                let endpoints = batch.iter().map(|n| self.remote_endpoint(n, true)).collect();
                self.tell_relay(core, now, viewer, via, endpoints);
            }
        }
    }
}

/// A bridge's description of its side, as the other side gets it (`spec/focus.md` 5.5: the table of roles).
fn for_peer(mut ice: IceTransport, peer_is_initiator: bool, sctp: bool) -> IceTransport {
    let setup = if peer_is_initiator { Setup::Active } else { Setup::Passive };
    ice.fingerprints.iter_mut().for_each(|f| f.setup = Some(setup));
    if sctp || !peer_is_initiator {
        ice.web_sockets.clear();
    }
    ice
}
