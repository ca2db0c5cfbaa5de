//! Puts the files of a plan on disk: new ones at once, changed ones only after their difference was shown and agreed to.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::secrets;

/// A file of the plan.
pub(super) struct Output {
    /// Relative to the output folder.
    pub(super) path: String,
    pub(super) text: String,
    pub(super) mode: u32,
    /// Its content is not shown.
    pub(super) secret: bool,
}

impl Output {
    pub(super) fn public(path: impl Into<String>, text: String) -> Self {
        Self { path: path.into(), text, mode: 0o644, secret: false }
    }

    pub(super) fn secret(path: impl Into<String>, text: String) -> Self {
        Self { path: path.into(), text, mode: 0o600, secret: true }
    }

    pub(super) fn script(path: impl Into<String>, text: String) -> Self {
        Self { path: path.into(), text, mode: 0o755, secret: false }
    }
}

/// What became of the files.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) new: usize,
    pub(super) changed: usize,
    pub(super) same: usize,
    /// Changed files that were left as they are.
    pub(super) refused: usize,
    /// Files of nodes that are no longer planned.
    pub(super) left_over: Vec<PathBuf>,
}

/// Writes. `yes`: without asking; the differences are shown all the same.
pub(super) fn files(out: &Path, files: &[Output], yes: bool) -> anyhow::Result<Written> {
    let mut written = Written::default();
    let mut changed = Vec::new();
    for file in files {
        let path = out.join(&file.path);
        match fs::read_to_string(&path) {
            Ok(old) if old == file.text => written.same += 1,
            Ok(old) => changed.push((file, old)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                secrets::write(&path, file.text.as_bytes(), file.mode)?;
                written.new += 1;
            }
            Err(e) => return Err(e).with_context(|| path.display().to_string()),
        }
    }
    for (file, old) in &changed {
        let shown =
            if file.secret { "(a secret; its content is not shown)\n".to_owned() } else { diff(old, &file.text) };
        println!("--- {path} as it is\n+++ {path} as planned\n{shown}", path = out.join(&file.path).display());
    }
    if !changed.is_empty() && !yes && !agreed(changed.len())? {
        written.refused = changed.len();
    } else {
        for (file, _) in &changed {
            secrets::write(&out.join(&file.path), file.text.as_bytes(), file.mode)?;
            written.changed += 1;
        }
    }
    written.left_over = left_over(out, files);
    Ok(written)
}

fn agreed(count: usize) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    print!("Overwrite {count} files? [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Folders of nodes that the plan does not have.
fn left_over(out: &Path, files: &[Output]) -> Vec<PathBuf> {
    let planned = |name: &str| files.iter().any(|f| f.path.starts_with(&format!("nodes/{name}/")));
    let entries = fs::read_dir(out.join("nodes")).into_iter().flatten().flatten();
    let mut left: Vec<PathBuf> =
        entries.filter(|e| e.file_name().to_str().is_some_and(|name| !planned(name))).map(|e| e.path()).collect();
    left.sort();
    left
}

/// Lines that went and came, with two lines around them.
fn diff(old: &str, new: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    // Longest common subsequence; files of a plan are short.
    let mut length = vec![vec![0u32; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            length[i][j] = if a[i] == b[j] { length[i + 1][j + 1] + 1 } else { length[i + 1][j].max(length[i][j + 1]) };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines: Vec<(char, &str)> = Vec::new();
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            lines.push((' ', a[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || i < a.len() && length[i + 1][j] >= length[i][j + 1] {
            lines.push(('-', a[i]));
            i += 1;
        } else {
            lines.push(('+', b[j]));
            j += 1;
        }
    }
    let mut text = String::new();
    let mut hidden = false;
    for (n, (sign, line)) in lines.iter().enumerate() {
        let near = lines[n.saturating_sub(2)..(n + 3).min(lines.len())].iter().any(|(sign, _)| *sign != ' ');
        if near {
            let _ = writeln!(text, "{sign}{line}");
        } else if !hidden {
            text.push_str(" ...\n");
        }
        hidden = !near;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_shows_what_went_and_came_and_little_else() {
        let old = "a\nb\nc\nd\ne\nf\ng\nh\n";
        let new = "a\nb\nc\nd\nE\nf\ng\nh\ni\n";
        assert_eq!(diff(old, new), " ...\n c\n d\n-e\n+E\n f\n g\n h\n+i\n");
    }

    #[test]
    fn changed_files_are_left_alone_without_consent() {
        let out = std::env::temp_dir().join(format!("amphi-write-{}", std::process::id()));
        let _ = fs::remove_dir_all(&out);
        let first = [Output::public("nodes/v1/a", "one\n".to_owned())];
        assert_eq!(files(&out, &first, false).unwrap(), Written { new: 1, ..Written::default() });
        assert_eq!(files(&out, &first, false).unwrap(), Written { same: 1, ..Written::default() });
        let second = [Output::public("nodes/v1/a", "two\n".to_owned())];
        assert_eq!(files(&out, &second, false).unwrap().refused, 1);
        assert_eq!(fs::read_to_string(out.join("nodes/v1/a")).unwrap(), "one\n");
        assert_eq!(files(&out, &second, true).unwrap().changed, 1);
        let third = [Output::public("nodes/v2/a", "two\n".to_owned())];
        assert_eq!(files(&out, &third, true).unwrap().left_over, [out.join("nodes/v1")]);
        fs::remove_dir_all(&out).unwrap();
    }
}
