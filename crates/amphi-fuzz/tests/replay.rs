//! The committed corpora hold what was once found or is worth keeping; every target must stand each of them.

use std::fs;
use std::path::Path;

#[test]
fn corpora_are_replayed_without_a_failure() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, target) in amphi_fuzz::TARGETS {
        let folder = corpora.join(name);
        let mut files: Vec<_> =
            fs::read_dir(&folder).expect("every target has a corpus").map(|f| f.unwrap().path()).collect();
        files.sort();
        assert!(files.len() >= 12, "{name} has {} files", files.len());
        for file in files {
            // Captured by the test harness, so that a failure says which file it was.
            println!("{}", file.display());
            let data = fs::read(&file).unwrap();
            target(&data);
            // Half of it is another input: what a peer sent when the connection broke.
            target(&data[..data.len() / 2]);
        }
    }
}
