//! Settings: flags over a TOML file over defaults become a typed [`Settings`], every mistake at once.
//!
//! `settings.rs` is the only list of settings; `value.rs` has their types, `url.rs` where servers are, `load.rs`
//! puts file and flags together, `print.rs` shows the result and writes docs/CONFIG.md.

mod certificates;
mod files;
mod lanes;
mod load;
mod pin;
mod policy_path;
mod print;
mod query_log;
mod settings;
mod ssl;
mod terms;
mod url;
mod value;

pub use lanes::LaneServer;
pub use load::{Loaded, Origin, Override, Shown, load, load_text, policy_files, policy_sources, text_file};
pub use policy_path::{PolicyPath, is_pack};
pub use print::{documentation, print};
pub use query_log::{NewFile, QueryLogText, QueryLogWhich, Share};
pub use settings::{
    AdminSettings, AuthSettings, ClientTlsSettings, DatabaseSettings, GuardSettings, LaneSettings,
    LimitSettings, LogSettings, MetricSettings, NAMED_SECTIONS, NAMED_SETTINGS, PoolSettings,
    QueryLogSettings, ReplicaSettings, SECTIONS, SETTINGS, Section, ServerTlsSettings, Setting, Settings,
    TimeoutSettings, UserSettings,
};
pub use ssl::{ChannelBinding, SslNegotiation, SslOptions};
pub use terms::{Terms, Times};
pub use url::{Host, Secret, ServerUrl, SslMode, TargetSessionAttrs};
pub use value::{
    AuthType, ByteSize, ClientSslMode, Fallback, ListenAddr, LogLevel, PlanMode, PolicyMode, PoolMode,
};

#[cfg(test)]
mod tests;
