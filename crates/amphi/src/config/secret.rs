//! Passwords that are given, and passwords that are made on the first start. Nothing here can be printed by accident.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use rand::Rng;
use rand::distr::Alphanumeric;
use secrecy::SecretString;

/// The password of an account.
#[derive(Clone, Debug)]
pub enum Password {
    /// From the configuration.
    Given(SecretString),
    /// Kept in a file of `data_dir`, which is made when it is first needed.
    Kept(PathBuf),
}

impl Password {
    /// The password; makes and keeps one where there is none yet.
    pub fn obtain(&self) -> io::Result<SecretString> {
        let path = match self {
            Self::Given(password) => return Ok(password.clone()),
            Self::Kept(path) => path,
        };
        match fs::read_to_string(path) {
            Ok(text) => return Ok(SecretString::from(text.trim_end().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let password: String = rand::rng().sample_iter(Alphanumeric).take(32).map(char::from).collect();
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        writeln!(file, "{password}")?;
        Ok(SecretString::from(password))
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_kept_password_is_made_once_and_readable_by_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = std::env::temp_dir().join(format!("amphi-password-{}", std::process::id()));
        let password = Password::Kept(folder.join("auth.example/jvb"));
        let first = password.obtain().unwrap();
        let again = password.obtain().unwrap();
        let mode = fs::metadata(folder.join("auth.example/jvb")).unwrap().permissions().mode();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(first.expose_secret(), again.expose_secret());
        assert_eq!(first.expose_secret().len(), 32);
        assert_eq!(mode & 0o777, 0o600);
    }
}
