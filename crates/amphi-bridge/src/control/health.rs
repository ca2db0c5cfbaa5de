//! Whether the bridge can do its work (`spec/bridge.md` 1.6). Looks at what others measured.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::addresses::is_private;
use super::settings::BridgeSettings;

/// What is looked at.
#[derive(Clone, Debug)]
pub struct Signs {
    /// Addresses that endpoints are told.
    pub addresses: Vec<IpAddr>,
    /// When the media plane was asked something that it has not answered.
    pub asked: Option<Instant>,
    /// How late the control task last woke up.
    pub lag: Duration,
}

/// Control that wakes up later than this does not answer the focus in time.
const LAG: Duration = Duration::from_secs(1);

/// Looks.
///
/// # Errors
/// With a sentence for the operator.
pub fn check(now: Instant, signs: &Signs, settings: &BridgeSettings) -> Result<(), String> {
    if signs.addresses.is_empty() {
        return Err("no media address".to_owned());
    }
    if settings.require_public_address && signs.addresses.iter().all(|a| is_private(*a)) {
        return Err("no public media address is known".to_owned());
    }
    if let Some(asked) = signs.asked {
        let silent = now.saturating_duration_since(asked);
        if silent > settings.times.heartbeat {
            return Err(format!("a media thread has not answered for {} ms", silent.as_millis()));
        }
    }
    if signs.lag > LAG {
        return Err(format!("control was {} ms late", signs.lag.as_millis()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_thread_no_address_and_lag_are_illnesses() {
        let now = Instant::now();
        let mut s = BridgeSettings::default();
        let well = Signs { addresses: vec!["10.0.0.5".parse().unwrap()], asked: None, lag: Duration::ZERO };
        assert_eq!(check(now, &well, &s), Ok(()));
        let later = now + Duration::from_millis(2001);
        assert!(check(later, &Signs { asked: Some(now), ..well.clone() }, &s).is_err());
        assert!(check(now, &Signs { asked: Some(now), ..well.clone() }, &s).is_ok());
        assert!(check(now, &Signs { lag: Duration::from_secs(2), ..well.clone() }, &s).is_err());
        assert!(check(now, &Signs { addresses: Vec::new(), ..well.clone() }, &s).is_err());
        s.require_public_address = true;
        assert!(check(now, &well, &s).is_err());
        assert!(check(now, &Signs { addresses: vec!["203.0.113.9".parse().unwrap()], ..well }, &s).is_ok());
    }
}
