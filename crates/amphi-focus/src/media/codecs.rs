//! Codecs that all visitors can do with, in the order that suits most of them (`spec/focus.md` 4.15).

use std::collections::BTreeMap;
use std::sync::Arc;

/// How many have which list.
#[derive(Debug, Default)]
pub(crate) struct Preferences {
    lists: BTreeMap<Arc<str>, u32>,
}

impl Preferences {
    pub(crate) fn add(&mut self, list: &Arc<str>) {
        *self.lists.entry(list.clone()).or_default() += 1;
    }

    pub(crate) fn remove(&mut self, list: &str) {
        if let Some(n) = self.lists.get_mut(list) {
            *n -= 1;
            if *n == 0 {
                self.lists.remove(list);
            }
        }
    }

    /// Codecs on every list; those that stand further in front come first (Borda's count).
    pub(crate) fn common(&self) -> String {
        let mut counts: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
        for (list, n) in &self.lists {
            for (at, codec) in list.split(',').enumerate() {
                let c = counts.entry(codec).or_default();
                c.0 += 1;
                c.1 += at as u64 * u64::from(*n);
            }
        }
        let mut all: Vec<(u64, &str)> =
            counts.into_iter().filter(|(_, (lists, _))| *lists == self.lists.len()).map(|(c, (_, n))| (n, c)).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, c)| c).collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_have_is_ordered_by_where_it_stands() {
        let mut p = Preferences::default();
        let (a, b): (Arc<str>, Arc<str>) = ("av1,vp9,vp8".into(), "vp9,vp8".into());
        p.add(&a);
        assert_eq!(p.common(), "av1,vp9,vp8");
        p.add(&b);
        assert_eq!(p.common(), "vp9,vp8");
        p.remove("av1,vp9,vp8");
        p.remove("vp9,vp8");
        assert_eq!(p.common(), "");
    }
}
