//! ICE credentials, and how their ufrag names the transport thread.

use rand::Rng;

/// The characters of ufrags and passwords (RFC 8445 section 5.3: ice-char), without `+` and `/`, which other software may mistake.
const CHARACTERS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const UFRAG_RANDOM: usize = 9;
const PASSWORD: usize = 24;

/// A ufrag with its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `PREFIX THREAD RANDOM`, without spaces.
    pub ufrag: String,
    /// 24 random characters.
    pub password: String,
    pub(super) prefix_len: usize,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("ufrag", &self.ufrag).finish_non_exhaustive()
    }
}

impl Credentials {
    /// New random credentials. `prefix` is the configured ufrag prefix of this bridge (may be empty), `thread` the number of the transport
    /// thread, below 62.
    pub fn random(prefix: &str, thread: u8) -> Self {
        let mut random = rand::rng();
        let mut pick = || char::from(CHARACTERS[random.random_range(0..CHARACTERS.len())]);
        let mut ufrag = String::with_capacity(prefix.len() + 1 + UFRAG_RANDOM);
        ufrag.push_str(prefix);
        ufrag.push(char::from(CHARACTERS[usize::from(thread) % CHARACTERS.len()]));
        ufrag.extend(std::iter::repeat_with(&mut pick).take(UFRAG_RANDOM));
        let password = std::iter::repeat_with(&mut pick).take(PASSWORD).collect();
        Self { ufrag, password, prefix_len: prefix.len() }
    }

    /// Fresh ones of the same prefix and thread.
    pub fn renewed(&self) -> Self {
        let prefix = self.ufrag.get(..self.prefix_len).unwrap_or_default();
        Self::random(prefix, thread_of(&self.ufrag, self.prefix_len).unwrap_or(0))
    }
}

/// The transport thread that a ufrag of ours names; none if it can not be ours.
pub fn thread_of(ufrag: &str, prefix_len: usize) -> Option<u8> {
    let character = *ufrag.as_bytes().get(prefix_len)?;
    CHARACTERS.iter().position(|c| *c == character).map(|index| index as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ufrag_names_the_thread_and_a_renewed_one_does_too() {
        for thread in [0, 1, 9, 61] {
            let first = Credentials::random("br7", thread);
            let second = first.renewed();
            assert_ne!(first, second);
            for credentials in [first, second] {
                assert!(credentials.ufrag.starts_with("br7"));
                assert_eq!(thread_of(&credentials.ufrag, 3), Some(thread));
                assert!(credentials.password.len() >= 22);
            }
        }
        assert_eq!(thread_of("", 0), None);
        assert_eq!(thread_of("+", 0), None);
    }
}
