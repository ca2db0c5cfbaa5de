//! Lua patterns, in which tokens may describe rooms (`spec/signaling.md` 2.5). Only matching; captures are read over.
//! Bounded in steps and depth, because the pattern comes with the token.

/// Not a pattern, or one that would take too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a usable pattern")]
pub(crate) struct BadPattern;

const MAX_STEPS: u32 = 100_000;
const MAX_DEPTH: u32 = 200;

/// The first part of `text` that matches, as Lua's `string.match` without captures returns it.
pub(crate) fn find<'t>(pattern: &str, text: &'t str) -> Result<Option<&'t str>, BadPattern> {
    let (p, anchored) = match pattern.strip_prefix('^') {
        Some(rest) => (rest.as_bytes(), true),
        None => (pattern.as_bytes(), false),
    };
    let mut m = Matcher { p, t: text.as_bytes(), steps: 0 };
    for start in 0..=text.len() {
        if let Some(end) = m.at(start, 0, 0)? {
            return Ok(text.get(start..end));
        }
        if anchored {
            break;
        }
    }
    Ok(None)
}

struct Matcher<'a> {
    p: &'a [u8],
    t: &'a [u8],
    steps: u32,
}

impl Matcher<'_> {
    /// End of the match of `p[pi..]` at `t[ti..]`.
    fn at(&mut self, mut ti: usize, mut pi: usize, depth: u32) -> Result<Option<usize>, BadPattern> {
        if depth > MAX_DEPTH {
            return Err(BadPattern);
        }
        loop {
            self.steps += 1;
            if self.steps > MAX_STEPS {
                return Err(BadPattern);
            }
            let Some(&c) = self.p.get(pi) else { return Ok(Some(ti)) };
            match c {
                b'(' | b')' => {
                    pi += 1;
                    continue;
                }
                b'$' if pi + 1 == self.p.len() => return Ok((ti == self.t.len()).then_some(ti)),
                b'%' if matches!(self.p.get(pi + 1), Some(b'b' | b'f' | b'0'..=b'9')) => return Err(BadPattern),
                _ => {}
            }
            let end = self.class_end(pi)?;
            match self.p.get(end) {
                Some(b'?') => {
                    if self.single(ti, pi, end)
                        && let Some(e) = self.at(ti + 1, end + 1, depth + 1)?
                    {
                        return Ok(Some(e));
                    }
                    pi = end + 1;
                }
                Some(b'-') => loop {
                    if let Some(e) = self.at(ti, end + 1, depth + 1)? {
                        return Ok(Some(e));
                    }
                    if !self.single(ti, pi, end) {
                        return Ok(None);
                    }
                    ti += 1;
                },
                Some(&q @ (b'*' | b'+')) => {
                    let least = usize::from(q == b'+');
                    let mut n = 0;
                    while self.single(ti + n, pi, end) {
                        n += 1;
                    }
                    loop {
                        if n < least {
                            return Ok(None);
                        }
                        if let Some(e) = self.at(ti + n, end + 1, depth + 1)? {
                            return Ok(Some(e));
                        }
                        if n == 0 {
                            return Ok(None);
                        }
                        n -= 1;
                    }
                }
                _ => {
                    if !self.single(ti, pi, end) {
                        return Ok(None);
                    }
                    ti += 1;
                    pi = end;
                }
            }
        }
    }

    /// Offset after the single character class at `pi`.
    fn class_end(&self, pi: usize) -> Result<usize, BadPattern> {
        match self.p[pi] {
            b'%' => self.p.get(pi + 1).map(|_| pi + 2).ok_or(BadPattern),
            b'[' => {
                let mut i = pi + 1;
                if self.p.get(i) == Some(&b'^') {
                    i += 1;
                }
                // A `]` that comes first stands for itself.
                let mut first = true;
                loop {
                    match self.p.get(i) {
                        None => return Err(BadPattern),
                        Some(b']') if !first => return Ok(i + 1),
                        Some(b'%') => i += 2,
                        Some(_) => i += 1,
                    }
                    first = false;
                }
            }
            _ => Ok(pi + 1),
        }
    }

    fn single(&self, ti: usize, pi: usize, end: usize) -> bool {
        let Some(&c) = self.t.get(ti) else { return false };
        match self.p[pi] {
            b'.' => true,
            b'%' => class(self.p[pi + 1], c),
            b'[' => set(&self.p[pi + 1..end - 1], c),
            p => p == c,
        }
    }
}

fn class(k: u8, c: u8) -> bool {
    let yes = match k.to_ascii_lowercase() {
        b'a' => c.is_ascii_alphabetic(),
        b'c' => c.is_ascii_control(),
        b'd' => c.is_ascii_digit(),
        b'l' => c.is_ascii_lowercase(),
        b'p' => c.is_ascii_punctuation(),
        b's' => c.is_ascii_whitespace(),
        b'u' => c.is_ascii_uppercase(),
        b'w' => c.is_ascii_alphanumeric(),
        b'x' => c.is_ascii_hexdigit(),
        _ => return k == c,
    };
    yes != k.is_ascii_uppercase()
}

fn set(s: &[u8], c: u8) -> bool {
    let (s, negated) = match s.split_first() {
        Some((b'^', rest)) => (rest, true),
        _ => (s, false),
    };
    let mut i = 0;
    let mut found = false;
    while i < s.len() && !found {
        if s[i] == b'%' && i + 1 < s.len() {
            found = class(s[i + 1], c);
            i += 2;
        } else if i + 2 < s.len() && s[i + 1] == b'-' {
            found = (s[i]..=s[i + 2]).contains(&c);
            i += 3;
        } else {
            found = s[i] == c;
            i += 1;
        }
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn matches_as_lua_does() {
        for (p, t, want) in [
            ("room", "myroom1", Some("room")),
            ("^room%d+$", "room42", Some("room42")),
            ("^room%d+$", "room42x", None),
            (".*", "anything", Some("anything")),
            ("^[a-c%-]+", "ab-cd", Some("ab-c")),
            ("^[^a-c]+", "xyz-a", Some("xyz-")),
            ("a.-z", "a1z2z", Some("a1z")),
            ("^(team)-%w+$", "team-red", Some("team-red")),
            ("^a?b$", "b", Some("b")),
        ] {
            assert_eq!(find(p, t), Ok(want), "{p} {t}");
        }
    }

    #[test]
    fn what_is_no_pattern_or_takes_too_long_is_an_error() {
        for p in ["[abc", "%", "[a%", "%b()", "%1"] {
            assert!(find(p, "abc").is_err(), "{p}");
        }
        assert!(find(&"a*".repeat(60), &"a".repeat(200)).is_ok());
        assert!(find(&["(.*)".repeat(30).as_str(), "x"].concat(), &"a".repeat(500)).is_err());
    }
}
