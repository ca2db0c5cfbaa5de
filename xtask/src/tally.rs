//! Counting what passed and failed, from the exit codes of steps and the closing lines of test runners.

use std::process::Command;

use crate::run::teed;

/// Counts so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    failures: Vec<String>,
}

impl Tally {
    /// How many failed.
    pub(crate) fn failed(&self) -> u64 {
        self.failed
    }

    /// A check that passed.
    pub(crate) fn pass(&mut self, count: u64) {
        self.passed += count;
    }

    /// A check that failed, and why.
    pub(crate) fn fail(&mut self, what: &str, why: &str) {
        println!("FAILED {what}: {why}");
        self.failed += 1;
        self.failures.push(format!("{what}: {why}"));
    }

    /// A step that is one check.
    pub(crate) fn step(&mut self, name: &str, command: Command) {
        println!("== {name}");
        match teed(command) {
            Ok((true, _)) => self.pass(1),
            Ok((false, _)) => self.fail(name, "see above"),
            Err(error) => self.fail(name, &format!("{error:#}")),
        }
    }

    /// Cargo's tests: each of them counts.
    pub(crate) fn cargo_tests(&mut self, name: &str, command: Command) {
        self.runner(name, command, cargo_counts);
    }

    /// A script that prints `ok` and `not ok` lines.
    pub(crate) fn script(&mut self, name: &str, command: Command) {
        self.runner(name, command, line_counts);
    }

    fn runner(&mut self, name: &str, command: Command, counts: fn(&str) -> (u64, u64)) {
        println!("== {name}");
        match teed(command) {
            Ok((succeeded, output)) => {
                let (passed, failed) = counts(&output);
                self.passed += passed;
                self.failed += failed;
                if failed > 0 {
                    self.failures.push(format!("{name}: {failed} failed"));
                } else if !succeeded {
                    self.fail(name, "ended with an error without naming a failed test");
                } else if passed == 0 {
                    self.fail(name, "ran no test");
                }
            }
            Err(error) => self.fail(name, &format!("{error:#}")),
        }
    }

    /// The closing lines; the last one stands alone so that machines find it.
    pub(crate) fn tell(&self) {
        for failure in &self.failures {
            println!("FAILED {failure}");
        }
        println!("{} passed, {} failed", self.passed, self.failed);
    }
}

/// Sums lines like `test result: ok. 30 passed; 2 failed; 0 ignored; …`.
fn cargo_counts(output: &str) -> (u64, u64) {
    let results = output.lines().filter_map(|line| line.strip_prefix("test result: "));
    results.fold((0, 0), |(passed, failed), line| (passed + before(line, " passed"), failed + before(line, " failed")))
}

/// The number in front of a word.
fn before(line: &str, word: &str) -> u64 {
    let Some(end) = line.find(word) else { return 0 };
    let number = line[..end].rsplit(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    number.parse().unwrap_or(0)
}

fn line_counts(output: &str) -> (u64, u64) {
    let count = |start: &str| output.lines().filter(|line| line.starts_with(start)).count() as u64;
    (count("ok "), count("not ok "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_test_binaries_add_up() {
        let output = "running 2 tests\ntest result: ok. 30 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n\n\
                      test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(cargo_counts(output), (34, 2));
    }

    #[test]
    fn lines_of_a_script_are_counted_by_their_start() {
        assert_eq!(line_counts("ok bind\nnot ok echo: timed out\nok leave\nwas ok \n"), (2, 1));
    }

    #[test]
    fn a_runner_without_tests_has_failed() {
        let mut tally = Tally::default();
        tally.script("empty", Command::new("true"));
        assert_eq!((tally.passed, tally.failed()), (0, 1));
    }
}
