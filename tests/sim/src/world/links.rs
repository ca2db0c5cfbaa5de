//! Links between nodes, and nodes that restart.

use std::time::Duration;

use amphi_room::{Input, PeerState};
use amphi_stanza::Stanza;
use rand::Rng;

use super::{Act, Owner, World};
use crate::config::VISITORS;
use crate::schedule::Loss;

impl World {
    pub(super) fn onto_link(&mut self, from: usize, s: Stanza) {
        let to = s.to().ok().flatten().unwrap_or_else(|| panic!("no address: {s}"));
        let target = self.nodes.iter().position(|n| n.owns(to.domain()));
        let target = target.unwrap_or_else(|| panic!("nobody has the domain of {s}"));
        let due = self.soon(1, 60);
        let Some(l) = self.links.get_mut(&(from, target)) else { panic!("no link from {from} to {target} for {s}") };
        if !l.down {
            l.pipe.push(due, s);
        }
    }

    /// Tells the sender of a link how it is.
    pub(super) fn tell_link(&mut self, link: (usize, usize), state: PeerState) {
        let cfg = self.nodes[link.1].cfg.clone();
        let mut domains: Vec<String> = cfg.mucs.iter().map(|m| m.domain.clone()).collect();
        domains.push(cfg.host.clone());
        if link.1 == 0 {
            domains.push(VISITORS.into());
        }
        self.tell(|| format!("link {}>{} is {state:?}", link.0, link.1));
        for domain in domains {
            if self.nodes[link.0].up {
                self.hub(link.0, Input::Peer { domain, state });
            }
        }
    }

    /// Breaks one direction of a link.
    pub(super) fn cut(&mut self, link: (usize, usize), loss: Loss, pause: Duration) {
        let (up, at) = (self.nodes[link.0].up && self.nodes[link.1].up, self.elapsed + pause);
        let patience = self.rng.random_range(3_000..8_000);
        let Some(l) = self.links.get_mut(&link) else { return };
        if l.pipe.is_closed() || !up {
            return;
        }
        l.pipe.close();
        l.breaks += 1;
        let breaks = l.breaks;
        self.plan(at, Act::Repair { link, breaks, loss });
        if loss == Loss::All {
            self.lossy.push((self.elapsed, at));
            if pause > Duration::from_millis(patience) {
                self.plan(self.elapsed + Duration::from_millis(patience), Act::LinkDown { link, breaks });
            }
        }
    }

    pub(super) fn link_down(&mut self, link: (usize, usize), breaks: u64) {
        let Some(l) = self.links.get_mut(&link).filter(|l| l.breaks == breaks) else { return };
        l.down = true;
        l.pipe.lose();
        self.tell_link(link, PeerState::Down);
    }

    pub(super) fn repair(&mut self, link: (usize, usize), breaks: u64, loss: Loss) {
        let due = self.soon(1, 60);
        let Some(l) = self.links.get_mut(&link).filter(|l| l.breaks == breaks) else { return };
        l.down = false;
        l.pipe.open(due);
        if loss == Loss::All {
            l.pipe.lose();
            self.tell_link(link, PeerState::Up { fresh: true });
        }
    }

    /// A node loses everything.
    pub(super) fn restart(&mut self, i: usize, pause: Duration) {
        if !self.nodes[i].up {
            return;
        }
        self.nodes[i].up = false;
        let dead: Vec<_> = self.conns.iter().filter(|(_, x)| x.node == i).map(|(c, x)| (*c, x.owner)).collect();
        for (c, owner) in dead {
            self.conns.remove(&c);
            match owner {
                Owner::Client(k) if self.clients[k].conn == Some(c) => {
                    let (at, attempt) = (self.soon(10, 3000), self.clients[k].attempt);
                    self.plan(at, Act::Lost { client: k, attempt });
                }
                Owner::Focus if self.focus_conns[i] == Some(c) => self.focus_lost(i),
                _ => {}
            }
        }
        let at = self.elapsed + pause;
        self.lossy.push((self.elapsed, at + Duration::from_secs(2)));
        let links: Vec<_> = self.links.keys().copied().filter(|l| l.0 == i || l.1 == i).collect();
        for link in links {
            let due = at + Duration::from_millis(self.rng.random_range(1..1500));
            let l = self.links.entry(link).or_default();
            l.pipe.close();
            l.pipe.lose();
            l.breaks += 1;
            let breaks = l.breaks;
            self.plan(due, Act::Repair { link, breaks, loss: Loss::All });
            if link.1 == i && pause > Duration::from_secs(5) {
                self.plan(self.elapsed + Duration::from_secs(4), Act::LinkDown { link, breaks });
            }
        }
        self.plan(at, Act::NodeUp(i));
    }

    pub(super) fn node_up(&mut self, i: usize) {
        let seed = self.o.seed;
        self.nodes[i].restart(seed);
        self.nodes[i].up = true;
    }
}
