//! Whatever happens to the connections, stanzas arrive in order, exactly once, in both directions.

mod link;

use amphi_xmpp::s2s::{IncomingConfig, OutgoingConfig, Pair};
use link::{MAIN, MUC, NODE, World, message};
use proptest::prelude::*;

fn run(cuts: Vec<(usize, bool)>, chunk: usize, stanzas: usize, certificates: bool) -> World {
    let mut config = OutgoingConfig::new(link::pair());
    config.more_pairs = vec![Pair::new(MUC, NODE).unwrap()];
    let mut w = World::new(config, IncomingConfig::default());
    w.chunk = chunk;
    w.cuts = cuts.into();
    w.resend = true;
    if !certificates {
        // Dialback for the first pair; the second leans on a certificate.
        w.check.certificates.remove(MAIN);
    }
    for n in 0..stanzas {
        let from = if n % 3 == 0 { MUC } else { MAIN };
        w.out.send(w.now, message(from, NODE, n)).unwrap();
        if n % 2 == 0 {
            w.back.push_back(message(NODE, MAIN, n));
        }
        w.run();
    }
    for _ in 0..400 {
        w.run();
        let quiet =
            w.cuts.is_empty() && w.out.queued() == 0 && w.back.is_empty() && w.received_back.len() * 2 >= stanzas;
        if quiet {
            break;
        }
        if w.out.is_ready() && !w.cuts.is_empty() && w.out.queued() == 0 {
            // Nothing more to cut into.
            w.cuts.clear();
        }
        w.tick_out();
        w.tick_inc();
    }
    w
}

fn check(w: &World, stanzas: usize) -> Result<(), TestCaseError> {
    prop_assert_eq!(&w.received, &(0..stanzas).collect::<Vec<_>>(), "{}", w.log);
    prop_assert_eq!(&w.received_back, &(0..stanzas).step_by(2).collect::<Vec<_>>(), "{}", w.log);
    prop_assert!(w.fresh.is_empty());
    prop_assert_eq!(w.out.queued(), 0);
    Ok(())
}

#[test]
fn a_cut_at_any_byte_loses_nothing() {
    // Long enough to end behind the last acknowledgement.
    for at in (1..6000).step_by(17) {
        for noticed in [true, false] {
            let w = run(vec![(at, noticed)], 50, 12, true);
            check(&w, 12).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn random_cuts_lose_nothing(
        cuts in proptest::collection::vec((1usize..4000, any::<bool>()), 0..12),
        chunk in 1usize..400,
        stanzas in 1usize..60,
        certificates: bool,
    ) {
        let w = run(cuts, chunk, stanzas, certificates);
        check(&w, stanzas)?;
    }
}
