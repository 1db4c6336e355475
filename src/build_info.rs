//! Which build this is. What the build does not tell is `unknown`.

/// Name of the program, as it is called.
pub const NAME: &str = "heartbeat";
/// Version of the crate.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Branch of the source.
pub const BRANCH: &str = or_unknown(option_env!("HEARTBEAT_BUILD_BRANCH"));
/// Commit of the source.
pub const REVISION: &str = or_unknown(option_env!("HEARTBEAT_BUILD_REVISION"));
/// When that commit was made.
pub const DATE: &str = or_unknown(option_env!("HEARTBEAT_BUILD_DATE"));
/// Version of the compiler, from the build script.
pub const RUST_VERSION: &str = env!("HEARTBEAT_RUST_VERSION");

const fn or_unknown(value: Option<&'static str>) -> &'static str {
    match value {
        Some(value) => value,
        None => "unknown",
    }
}

/// The text of `--version`, laid out as Prometheus' own programs lay it out.
pub fn version_text() -> String {
    let platform = format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH);
    format!(
        "{NAME}, version {VERSION} (branch: {BRANCH}, revision: {REVISION})\n  \
         build date:    {DATE}\n  \
         rust version:  {RUST_VERSION}\n  \
         platform:      {platform}\n"
    )
}
