//! Media signaling of peers: what is understood is written again and understood the same.

use amphi_jingle::colibri2::{ColibriError, ConferenceModified, ConferenceModify};
use amphi_jingle::{Jingle, Limits, json};
use amphi_stanza::{Stanza, XmlWriter};

fn written(write: impl FnOnce(&mut XmlWriter)) -> Stanza {
    let mut w = XmlWriter::new();
    write(&mut w);
    w.stanza()
}

/// Reads one element as every kind of media signaling there is.
pub fn jingle(data: &[u8]) {
    let l = Limits::default();
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(Some(map)) = json::from_json(text, &l)
    {
        let again = json::to_json(map.iter().map(|(o, s)| (o.as_str(), s)));
        assert_eq!(json::from_json(&again, &l), Ok(Some(map)));
    }
    let Ok(stanza) = Stanza::parse(data.to_vec().into(), &amphi_stanza::Limits::default()) else { return };
    let _ = ColibriError::parse(&stanza);
    if let Ok(m) = ConferenceModify::parse(stanza.root(), &l) {
        assert_eq!(ConferenceModify::parse(written(|w| m.write(w)).root(), &l), Ok(m));
    }
    if let Ok(m) = ConferenceModified::parse(stanza.root(), &l) {
        assert_eq!(ConferenceModified::parse(written(|w| m.write(w)).root(), &l), Ok(m));
    }
    if let Ok(j) = Jingle::parse(stanza.root(), &l) {
        let _ = (j.sources(), j.transport());
        // Reasons that have no name here are not written again.
        let again = Jingle::parse(written(|w| j.write(w)).root(), &l).expect("understood again");
        assert_eq!((again.contents, again.action, again.sid), (j.contents, j.action, j.sid));
    }
}
