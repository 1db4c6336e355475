//! Where settings come from besides flags. Nothing else reads the environment.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// What the configuration asks of the world outside the command line.
pub trait Source {
    /// The variable's value; bytes that are not UTF-8 come as U+FFFD, which the reader refuses.
    fn get(&self, name: &str) -> Option<String>;

    /// The names of all variables, to find those that look like a misspelt setting.
    fn names(&self) -> Vec<String>;

    /// The host's name, from which a publisher takes its id.
    fn host_name(&self) -> String;

    /// The folder of temporary files.
    fn temp_dir(&self) -> PathBuf {
        self.get("TMPDIR").filter(|dir| !dir.is_empty()).map_or_else(|| PathBuf::from("/tmp"), PathBuf::from)
    }
}

/// The environment of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnvironment;

impl Source for ProcessEnvironment {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }

    fn names(&self) -> Vec<String> {
        std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect()
    }

    fn host_name(&self) -> String {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    }
}

/// Variables from a map, for tests.
#[derive(Clone, Debug)]
pub struct MapSource {
    /// The variables.
    pub variables: BTreeMap<String, String>,
    /// The host's name.
    pub host_name: String,
}

impl MapSource {
    /// A source of these variables, on a host named `test-host`.
    pub fn new(variables: &[(&str, &str)]) -> Self {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Self { variables, host_name: "test-host".into() }
    }
}

impl Source for MapSource {
    fn get(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.variables.keys().cloned().collect()
    }

    fn host_name(&self) -> String {
        self.host_name.clone()
    }
}
