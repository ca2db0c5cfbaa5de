//! A little fuzzing in every test run: the corpora of rooms, links, transports, bridges and media packets, spliced and spoiled as a
//! seed says.
//! `AMPHI_FUZZ_RUNS` asks for more.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(folder).expect("a corpus").map(|f| f.unwrap().path()).collect();
    files.sort();
    files.iter().map(|f| fs::read(f).unwrap()).collect()
}

/// Lines of several files, some doubled, some with other bytes.
fn mutated(corpus: &[Vec<u8>], r: &mut StdRng) -> Vec<u8> {
    let lines: Vec<&[u8]> = corpus.iter().flat_map(|f| f.split(|b| *b == b'\n')).collect();
    let mut out = corpus[r.random_range(0..corpus.len())].clone();
    for _ in 0..r.random_range(0..40) {
        out.push(b'\n');
        out.extend_from_slice(lines[r.random_range(0..lines.len())]);
    }
    for _ in 0..r.random_range(0..6) {
        let at = r.random_range(0..out.len());
        match r.random_range(0..3) {
            0 => out[at] = r.random(),
            1 => drop(out.remove(at)),
            _ => out.insert(at, r.random()),
        }
        if out.is_empty() {
            break;
        }
    }
    out
}

#[test]
fn spoiled_corpora_do_no_harm() {
    let runs: u64 = std::env::var("AMPHI_FUZZ_RUNS").map_or(300, |n| n.parse().expect("a number"));
    let spoiled = [
        "room",
        "link",
        "rtp",
        "rtcp",
        "srtp",
        "vp8",
        "vp9",
        "dependency",
        "h264",
        "stun",
        "sctp",
        "colibri",
        "channel",
    ];
    for (name, target) in amphi_fuzz::TARGETS.iter().filter(|(n, _)| spoiled.contains(n)) {
        let corpus = corpus(name);
        for seed in 0..runs {
            let data = mutated(&corpus, &mut StdRng::seed_from_u64(seed));
            let done = catch_unwind(|| target(&data));
            assert!(done.is_ok(), "{name}, seed {seed}: {:?}", String::from_utf8_lossy(&data));
        }
    }
}
