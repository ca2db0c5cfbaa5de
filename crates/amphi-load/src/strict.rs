//! A strict XML parser over whole frames, applied to a sample of the clients: what it refuses counts as malformed.

use rxml::{Options, Parse, Parser, WithOptions};

/// Longest single token (attribute value, tag) that is accepted.
const MAX_TOKEN: usize = 1 << 20;

/// Is the frame one well-formed element with all its namespaces declared?
pub(crate) fn check(frame: &[u8]) -> Result<(), String> {
    let mut parser = Parser::with_options(Options { max_token_length: MAX_TOKEN, ..Options::default() });
    let mut rest = frame;
    loop {
        match parser.parse(&mut rest, true) {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(()),
            Err(rxml::error::EndOrError::NeedMoreData) => return Err("ends in the middle".into()),
            Err(rxml::error::EndOrError::Error(e)) => return Err(e.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_well_formed_element_passes() {
        assert_eq!(check(b"<message xmlns='jabber:client'><body>a&amp;b</body></message>"), Ok(()));
        let long = format!("<iq id='{}'/>", "x".repeat(20_000));
        assert_eq!(check(long.as_bytes()), Ok(()));
    }

    #[test]
    fn malformed_frames_are_refused() {
        for frame in ["<a>", "<a></b>", "<a/><b/>", "<a b=c/>", "<a>&nbsp;</a>", "<x:a/>", "<a b='1' b='2'/>", "", "t"]
        {
            assert!(check(frame.as_bytes()).is_err(), "{frame}");
        }
    }
}
