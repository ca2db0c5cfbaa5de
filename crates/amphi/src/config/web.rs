//! Section `[web]`: a stock web application that the front serves instead of its own page.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Check;

/// A stock jitsi-meet that the front serves instead of its own page, with a `config.js` made for this deployment.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WebFile {
    /// Folder of a built jitsi-meet, such as `/usr/share/jitsi-meet`: it has `index.html` and `libs`. Unset: the page that is part of
    /// this program.
    pub root: Option<PathBuf>,
    /// Further keys of `config.js`, as `"key.below" = "value"`. A value that is JSON is taken as such, any other as text.
    pub config: BTreeMap<String, String>,
}

/// The stock application, found and readable.
#[derive(Clone, Debug)]
pub struct Web {
    /// Its folder.
    pub root: PathBuf,
    /// Further keys of `config.js`.
    pub config: BTreeMap<String, String>,
}

impl Check<'_> {
    pub(super) fn web(&mut self) -> Option<Web> {
        let said = &self.file.web;
        let Some(root) = &said.root else {
            if !said.config.is_empty() {
                self.wrong("web.config", "needs web.root: the page that is part of this program has no config.js");
            }
            return None;
        };
        if !root.join("index.html").is_file() {
            self.wrong(
                "web.root",
                format!("{} has no index.html; name the folder of a built jitsi-meet", root.display()),
            );
        }
        Some(Web { root: root.clone(), config: said.config.clone() })
    }
}
