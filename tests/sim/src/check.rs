//! What must hold when it is quiet again.

use std::collections::BTreeMap;
use std::time::Duration;

use amphi_room::Group;

use crate::World;
use crate::client::{Client, Seen, State};

/// Longest queue that a link or connection of such a small conference may ever have.
const MOST_UNDER_WAY: usize = 2_000;

type Stage = BTreeMap<String, Seen>;

/// The stage as somebody sees it, without the focus and those who only look.
fn stage(c: &Client) -> Stage {
    let people = c.view.iter().filter(|(n, _)| *n != "focus" && !n.starts_with("probe") && **n != c.nick);
    people.map(|(n, s)| (n.clone(), s.clone())).collect()
}

/// Looks at everything.
///
/// # Errors
/// The first thing that is wrong.
pub fn settled(w: &mut World) -> Result<(), String> {
    at_rest(w)?;
    let counted = w.clients.iter().filter(|c| c.is_in() && c.node > 0).count();
    if let Some(c) = w.clients.iter().find(|c| c.is_in() && c.visitors.unwrap_or(0) as usize != counted) {
        return Err(format!("c{} is told of {:?} visitors, there are {counted}", c.index, c.visitors));
    }
    let focus: u32 = w.focus.iter().flat_map(amphi_focus::Focus::conferences).map(|c| c.visitors).sum();
    if focus as usize != counted {
        return Err(format!("the focus counts {focus} visitors, there are {counted}"));
    }
    everybody_found_a_place(w)?;
    ghosts(w)?;
    chat(w)?;
    rosters(w)
}

/// Nothing is under way, and never too much was.
fn at_rest(w: &World) -> Result<(), String> {
    if !w.stuck.is_empty() {
        return Err(w.stuck.join("; "));
    }
    let conns = w.conns.values().flat_map(|x| [(x.up.len(), x.up.most), (x.down.len(), x.down.most)]);
    let links = w.links.values().map(|l| (l.pipe.len(), l.pipe.most));
    for (now, most) in conns.chain(links) {
        if now > 0 {
            return Err(format!("{now} stanzas are still under way"));
        }
        if most > MOST_UNDER_WAY {
            return Err(format!("{most} stanzas were under way at once"));
        }
    }
    for (i, n) in w.nodes.iter().enumerate() {
        let c = n.hub.counters();
        if c.waiting_for_unlock + c.waiting_for_turn > 0 {
            return Err(format!("joins still wait on node {i}: {c:?}"));
        }
    }
    Ok(())
}

/// Whoever wants in is in, if there is a stage at all.
fn everybody_found_a_place(w: &World) -> Result<(), String> {
    if !w.clients.iter().any(|c| c.is_in() && c.node == 0) {
        return Ok(());
    }
    match w.clients.iter().find(|c| c.wants != c.is_in()) {
        Some(c) => Err(format!("c{} wants in: {}, but is {:?} (node {})", c.index, c.wants, c.state, c.node)),
        None => Ok(()),
    }
}

/// Rooms hold exactly the people who are in them.
fn ghosts(w: &World) -> Result<(), String> {
    for (i, n) in w.nodes.iter().enumerate() {
        let people = w.clients.iter().filter(|c| c.is_in() && c.node == i).count();
        let c = n.hub.counters();
        let of = |g: Group| n.groups.values().flatten().filter(|(_, x)| **x == g).count();
        let (there, group) =
            if i == 0 { (of(Group::Stage), of(Group::Stage)) } else { (c.visitors, of(Group::Audience)) };
        if there != people || group != people {
            return Err(format!("node {i}: {people} people, the room has {there}, the shards {group}"));
        }
        if c.rooms > 1 {
            return Err(format!("node {i} has {} rooms", c.rooms));
        }
    }
    Ok(())
}

/// Nothing comes twice; where nothing was lost between servers, everything comes.
fn chat(w: &World) -> Result<(), String> {
    for c in w.clients.iter().filter(|c| c.is_in()) {
        for (id, h) in &c.heard {
            // A line that comes while somebody joins may be both in the history and live.
            if h.live > 1 || h.history > 1 || h.live + h.history > 1 {
                return Err(format!("c{} heard {id} {h:?}", c.index));
            }
        }
    }
    for s in &w.said {
        let by = &w.clients[s.client];
        let kept = by.attempt == s.attempt && by.is_in();
        let near = Duration::from_secs(3);
        let lossy = w.lossy.iter().any(|(from, to)| s.at + near > *from && s.at < *to + near);
        if !kept || by.bounced.contains(&s.id) || lossy {
            continue;
        }
        for c in w.clients.iter().filter(|c| c.is_in() && c.joined_at < s.step) {
            // What a node is told late comes with its time.
            if !c.heard.contains_key(&s.id) {
                return Err(format!("c{} (node {}) did not hear {} (node {})", c.index, c.node, s.id, by.node));
            }
        }
    }
    Ok(())
}

/// Everybody sees the stage of the main room, and so does a newcomer.
fn rosters(w: &mut World) -> Result<(), String> {
    if !w.clients.iter().any(|c| c.is_in() && c.node == 0) {
        return Ok(());
    }
    let nodes: Vec<usize> =
        (0..w.nodes.len()).filter(|i| *i == 0 || w.clients.iter().any(|c| c.is_in() && c.node == *i)).collect();
    nodes.iter().for_each(|i| w.probe(*i));
    w.pass(Duration::from_secs(5));
    let truth = stage(&w.probes[0]);
    for p in &w.probes {
        if p.state != State::Joined {
            return Err(format!("nobody can join on node {}", p.node));
        }
        differs(&truth, &stage(p), &format!("a newcomer on node {}", p.node))?;
    }
    for c in w.clients.iter().filter(|c| c.is_in()) {
        let mut expected = truth.clone();
        if c.node == 0 && expected.remove(&c.nick).is_none() {
            return Err(format!("c{} is not on stage", c.index));
        }
        differs(&expected, &stage(c), &format!("c{} on node {}", c.index, c.node))?;
    }
    Ok(())
}

fn differs(truth: &Stage, seen: &Stage, who: &str) -> Result<(), String> {
    if truth == seen { Ok(()) } else { Err(format!("{who} sees {seen:#?}\nthe stage is {truth:#?}")) }
}
