//! Which bridge gets an endpoint (`spec/focus.md` 6.4, 6.5).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::bridge::Bridge;
use super::config::{MediaConfig, Strategy};

/// A bridge that the conference uses already.
#[derive(Clone, Debug)]
pub(crate) struct InUse {
    pub(crate) bridge: Arc<str>,
    pub(crate) count: u32,
    /// It was taken for visitors.
    pub(crate) visitor: bool,
    /// Endpoints that came there lately.
    pub(crate) recent: u32,
}

/// Whom the bridge is for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Applicant<'a> {
    pub(crate) region: Option<&'a str>,
    pub(crate) visitor: bool,
    /// Version that the room is pinned to.
    pub(crate) pin: Option<&'a str>,
    /// Not this one, if there is any other: it is being relieved.
    pub(crate) avoid: Option<&'a str>,
}

#[derive(Clone, Copy)]
struct Candidate<'a> {
    id: &'a Arc<str>,
    bridge: &'a Bridge,
    stress: f64,
}

struct Selection<'a> {
    config: &'a MediaConfig,
}

/// The bridges by address.
pub(crate) type Bridges = HashMap<Arc<str>, Bridge>;

/// Chooses a bridge. `used` is in the order in which the conference took them.
pub(crate) fn select(
    now: Instant,
    config: &MediaConfig,
    bridges: &Bridges,
    used: &[InUse],
    who: &Applicant<'_>,
) -> Option<Arc<str>> {
    // One that failed lately but is well by its own account is better than none.
    let proven = bridges.values().any(|b| b.is_operational(now, config) && !b.shutting_down && !b.stale);
    let works = |b: &Bridge| !b.stale && if proven { b.is_operational(now, config) } else { b.says_operational() };
    // Bridges that fail are no part of the conference's choice.
    let used: Vec<InUse> = used.iter().filter(|u| bridges.get(&u.bridge).is_some_and(works)).cloned().collect();
    let first = used.first().and_then(|u| bridges.get(&u.bridge));
    let version = match (first.and_then(Bridge::full_version), who.pin) {
        (Some(v), Some(pin)) if v != pin => return None,
        (Some(v), _) => Some(v),
        (None, pin) => pin.map(str::to_owned),
    };
    let s = Selection { config };
    let mut all: Vec<(u8, Candidate<'_>)> = bridges
        .iter()
        .filter(|(_, b)| works(b) && !b.shutting_down)
        .filter(|(_, b)| config.allow_mixed_versions || version.is_none() || b.full_version() == version)
        .map(|(id, bridge)| {
            let (priority, stress) = bridge.rank(now, config);
            (priority, Candidate { id, bridge, stress })
        })
        .collect();
    // The address settles ties, so that the choice does not depend on the table.
    all.sort_by(|(p, a), (q, b)| (p, a.stress).partial_cmp(&(q, b.stress)).unwrap().then_with(|| a.id.cmp(b.id)));
    let mut all: Vec<Candidate<'_>> = all.into_iter().map(|(_, c)| c).collect();
    for keep in [(|b: &Bridge| !b.drain && !b.held) as fn(&Bridge) -> bool, |b| !b.graceful] {
        if all.iter().any(|c| keep(c.bridge)) {
            all.retain(|c| keep(c.bridge));
        }
    }
    if all.iter().any(|c| Some(&**c.id) != who.avoid) {
        all.retain(|c| Some(&**c.id) != who.avoid);
    }
    let cascade = config.cascade && first.is_none_or(|b| b.relay_id.is_some());
    if let (false, Some(u)) = (cascade, used.first()) {
        return Some(u.bridge.clone());
    }
    let mut chosen = s.for_class(&all, &used, who)?;
    let others = used.iter().any(|u| u.bridge != *chosen);
    let new = used.iter().all(|u| u.bridge != *chosen);
    if new && others {
        // Every bridge of a cascade must be able to be linked.
        let linkable = |id: &Arc<str>| bridges.get(id).is_some_and(|b| b.relay_id.is_some());
        if !linkable(chosen) || !used.iter().all(|u| linkable(&u.bridge)) {
            let linked: Vec<_> = all.iter().copied().filter(|c| used.iter().any(|u| u.bridge == *c.id)).collect();
            chosen = linked.first().map(|c| c.id)?;
        }
    }
    Some(chosen.clone())
}

impl Selection<'_> {
    fn for_class<'b>(&self, all: &[Candidate<'b>], used: &[InUse], who: &Applicant<'_>) -> Option<&'b Arc<str>> {
        let Some(for_visitors) = self.config.visitor_strategy else {
            return self.strategy(self.config.strategy, all, used, who);
        };
        let strategy = if who.visitor { for_visitors } else { self.config.strategy };
        let same: Vec<InUse> = used.iter().filter(|u| u.visitor == who.visitor).cloned().collect();
        let eligible: Vec<_> = all
            .iter()
            .copied()
            .filter(|c| used.iter().find(|u| u.bridge == *c.id).is_none_or(|u| u.visitor == who.visitor))
            .collect();
        // Stage and audience share a bridge when there are no others.
        self.strategy(strategy, &eligible, &same, who).or_else(|| self.strategy(strategy, all, used, who))
    }

    fn strategy<'b>(
        &self,
        strategy: Strategy,
        all: &[Candidate<'b>],
        used: &[InUse],
        who: &Applicant<'_>,
    ) -> Option<&'b Arc<str>> {
        let near = |c: &&Candidate<'_>| who.region.is_some() && c.bridge.region.as_deref() == who.region;
        match strategy {
            Strategy::Single => match used {
                [] => all.iter().find(near).or(all.first()).map(|c| c.id),
                [one] => all.iter().find(|c| *c.id == one.bridge).map(|c| c.id),
                _ => None,
            },
            Strategy::Split => {
                let fewest = || {
                    let count = |c: &&Candidate<'_>| used.iter().find(|u| u.bridge == *c.id).map_or(0, |u| u.count);
                    all.iter().min_by_key(count)
                };
                all.iter().find(|c| used.iter().all(|u| u.bridge != *c.id)).or_else(fewest).map(|c| c.id)
            }
            Strategy::IntraRegion => self.intra_region(all, used, near),
            Strategy::Region => self.region(all, used, who),
        }
    }

    fn overloaded(&self, c: &Candidate<'_>, used: &[InUse]) -> bool {
        let config = self.config;
        if c.stress >= config.stress_threshold {
            return true;
        }
        used.iter().find(|u| u.bridge == *c.id).is_some_and(|u| {
            let over = |n: u32, max: u32| max > 0 && n >= max;
            over(u.count, config.max_bridge_participants) || over(u.recent, config.max_bridge_participants_per_interval)
        })
    }

    fn intra_region<'b>(
        &self,
        all: &[Candidate<'b>],
        used: &[InUse],
        near: impl Fn(&&Candidate<'b>) -> bool,
    ) -> Option<&'b Arc<str>> {
        let ol = |c: &Candidate<'_>| self.overloaded(c, used);
        let is_used = |c: &Candidate<'_>| used.iter().any(|u| u.bridge == *c.id);
        let Some(first) = used.first() else {
            return all.iter().find(|c| near(c) && !ol(c)).or(all.first()).map(|c| c.id);
        };
        let region = all.iter().find(|c| *c.id == first.bridge).and_then(|c| c.bridge.region.clone());
        let here = |c: &Candidate<'_>| c.bridge.region == region;
        let find = |f: &dyn Fn(&Candidate<'b>) -> bool| all.iter().find(|c| f(c)).map(|c| c.id);
        find(&|c| is_used(c) && here(c) && !ol(c))
            .or_else(|| find(&|c| here(c) && !ol(c)))
            .or_else(|| find(&|c| is_used(c) && here(c)))
    }

    fn group(&self, region: Option<&str>) -> Vec<String> {
        let Some(region) = region else { return Vec::new() };
        let group = self.config.region_groups.iter().find(|g| g.iter().any(|r| r == region));
        group.cloned().unwrap_or_else(|| vec![region.to_owned()])
    }

    fn region<'b>(&self, all: &[Candidate<'b>], used: &[InUse], who: &Applicant<'_>) -> Option<&'b Arc<str>> {
        let local = self.config.local_region.as_deref();
        let mut region = who.region.or(local);
        if local.is_some() {
            let group = self.group(region);
            let near_us = local.is_some_and(|l| group.iter().any(|g| g == l));
            let any = all.iter().any(|c| c.bridge.region.as_deref().is_some_and(|r| group.iter().any(|g| g == r)));
            if (used.is_empty() && region != local && near_us) || !any {
                region = local;
            }
        }
        let group = self.group(region);
        let in_region = |c: &Candidate<'_>| region.is_some() && c.bridge.region.as_deref() == region;
        let in_group = |c: &Candidate<'_>| c.bridge.region.as_deref().is_some_and(|r| group.iter().any(|g| g == r));
        let is_used = |c: &Candidate<'_>| used.iter().any(|u| u.bridge == *c.id);
        let ol = |c: &Candidate<'_>| self.overloaded(c, used);
        let find = |f: &dyn Fn(&Candidate<'b>) -> bool| all.iter().find(|c| f(c)).map(|c| c.id);
        find(&|c| is_used(c) && in_region(c) && !ol(c))
            .or_else(|| find(&|c| is_used(c) && in_group(c) && !ol(c)))
            .or_else(|| find(&|c| in_region(c) && !ol(c)))
            .or_else(|| find(&|c| in_group(c) && !ol(c)))
            .or_else(|| find(&|c| is_used(c) && !ol(c)))
            // Beyond the reference, which here forgets what the conference has on each bridge: a full one that happens to be idle is not
            // better than another that has room.
            .or_else(|| find(&|c| !ol(c)))
            .or_else(|| find(&|c| c.stress < self.config.stress_threshold))
            .or_else(|| {
                let max = self.config.max_bridge_participants;
                find(&|c| used.iter().any(|u| u.bridge == *c.id && (max == 0 || u.count < max)))
            })
            .or_else(|| find(&|_| true))
    }
}

#[cfg(test)]
mod tests {
    use amphi_stanza::FullJid;

    use super::super::bridge::Stats;
    use super::*;

    fn bridge(now: Instant, config: &MediaConfig, name: &str, region: &str, stress: f64) -> (Arc<str>, Bridge) {
        let jid = FullJid::parse(&format!("brewery@internal.example/{name}")).unwrap();
        let mut b = Bridge::new(now, jid, config);
        b.update(
            now,
            Stats {
                stress: Some(stress),
                drain: Some(false),
                region: Some(region.into()),
                relay_id: Some(name.into()),
                version: Some("1".into()),
                ..Stats::default()
            },
        );
        (name.into(), b)
    }

    fn used(name: &str, count: u32, visitor: bool) -> InUse {
        InUse { bridge: name.into(), count, visitor, recent: 0 }
    }

    fn pick(config: &MediaConfig, bridges: &Bridges, u: &[InUse], region: &str, visitor: bool) -> String {
        let who = Applicant { region: Some(region), visitor, ..Applicant::default() };
        let now = bridges.values().map(|b| b.seen).max().unwrap();
        select(now, config, bridges, u, &who).map_or("none".into(), |b| b.to_string())
    }

    #[test]
    fn regions_are_preferred_in_order() {
        let now = Instant::now();
        let config = MediaConfig { region_groups: vec![vec!["eu".into(), "eu2".into()]], ..MediaConfig::default() };
        let b = |n: &str, r: &str, s: f64| bridge(now, &config, n, r, s);
        let mut all: Bridges = [b("a", "eu", 0.2), b("b", "us", 0.1), b("c", "eu2", 0.3)].into();
        assert_eq!(pick(&config, &all, &[], "eu", false), "a");
        assert_eq!(pick(&config, &all, &[], "asia", false), "b");
        // A bridge in use nearby is better than a new one in the region.
        assert_eq!(pick(&config, &all, &[used("c", 1, false)], "eu", false), "c");
        all.get_mut("a").unwrap().stress = 0.9;
        assert_eq!(pick(&config, &all, &[], "eu", false), "c");
        all.values_mut().for_each(|b| b.stress = 0.95);
        assert_ne!(pick(&config, &all, &[], "eu", false), "none");
    }

    #[test]
    fn a_full_bridge_is_not_filled_further_while_another_has_room_wherever_it_is() {
        let now = Instant::now();
        let config = MediaConfig { max_bridge_participants: 2, ..MediaConfig::default() };
        let all: Bridges = [bridge(now, &config, "a", "eu", 0.1), bridge(now, &config, "b", "us", 0.5)].into();
        assert_eq!(pick(&config, &all, &[used("a", 2, true)], "asia", true), "b");
        assert_eq!(pick(&config, &all, &[used("a", 2, true), used("b", 2, true)], "asia", true), "a");
    }

    #[test]
    fn stage_and_audience_are_kept_apart_while_there_are_bridges() {
        let now = Instant::now();
        let config = MediaConfig::default();
        let all: Bridges = [bridge(now, &config, "a", "eu", 0.1), bridge(now, &config, "b", "eu", 0.5)].into();
        assert_eq!(pick(&config, &all, &[used("a", 3, false)], "eu", true), "b");
        assert_eq!(pick(&config, &all, &[used("a", 3, false), used("b", 9, true)], "eu", true), "b");
        assert_eq!(pick(&config, &all, &[used("a", 3, false), used("b", 9, true)], "eu", false), "a");
        let one: Bridges = [bridge(now, &config, "a", "eu", 0.1)].into();
        assert_eq!(pick(&config, &one, &[used("a", 3, false)], "eu", true), "a");
    }

    #[test]
    fn versions_and_states_are_respected() {
        let now = Instant::now();
        let config = MediaConfig::default();
        let mut all: Bridges = [bridge(now, &config, "a", "eu", 0.9), bridge(now, &config, "b", "eu", 0.1)].into();
        all.get_mut("b").unwrap().version = Some("2".into());
        assert_eq!(pick(&config, &all, &[used("a", 3, false)], "eu", false), "a");
        all.get_mut("b").unwrap().drain = true;
        assert_eq!(pick(&config, &all, &[], "eu", false), "a");
        all.get_mut("a").unwrap().set_operational(now, false);
        assert_eq!(pick(&config, &all, &[], "eu", false), "b");
        all.get_mut("b").unwrap().shutting_down = true;
        assert_eq!(pick(&config, &all, &[], "eu", false), "none");
    }

    #[test]
    fn a_bridge_that_failed_lately_is_chosen_when_there_is_no_other() {
        let (now, config) = (Instant::now(), MediaConfig::default());
        let mut bridges: Bridges =
            [bridge(now, &config, "a", "eu", 0.1), bridge(now, &config, "b", "eu", 0.5)].into_iter().collect();
        let fail = |bridges: &mut Bridges, name: &str, well: bool| {
            let b = bridges.get_mut(name).unwrap();
            b.set_operational(now, false);
            b.set_operational(now, well);
        };
        fail(&mut bridges, "a", true);
        assert_eq!(pick(&config, &bridges, &[], "eu", false), "b");
        fail(&mut bridges, "b", false);
        assert_eq!(pick(&config, &bridges, &[used("b", 1, false)], "eu", false), "a");
        fail(&mut bridges, "a", false);
        assert_eq!(pick(&config, &bridges, &[], "eu", false), "none");
    }

    #[test]
    fn bridges_that_cannot_be_linked_are_not_added() {
        let now = Instant::now();
        let config = MediaConfig::default();
        let mut all: Bridges = [bridge(now, &config, "a", "eu", 0.9), bridge(now, &config, "b", "eu", 0.1)].into();
        all.get_mut("b").unwrap().relay_id = None;
        assert_eq!(pick(&config, &all, &[used("a", 3, false)], "eu", false), "a");
        assert_eq!(pick(&config, &all, &[used("b", 3, false)], "eu", true), "b");
    }

    #[test]
    fn a_single_bridge_stays_alone() {
        let now = Instant::now();
        let config = MediaConfig { strategy: Strategy::Single, visitor_strategy: None, ..MediaConfig::default() };
        let all: Bridges = [bridge(now, &config, "a", "eu", 0.9), bridge(now, &config, "b", "eu", 0.1)].into();
        assert_eq!(pick(&config, &all, &[used("a", 3, false)], "eu", true), "a");
        assert_eq!(pick(&config, &all, &[used("a", 3, false), used("b", 1, false)], "eu", true), "none");
    }
}
