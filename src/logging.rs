//! Where the daemon's messages go: to the journal with their fields when the journal reads us, else to
//! standard error as text.

use std::os::unix::fs::MetadataExt;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{self, format};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::bulletin::journal;

/// Our name in the journal.
const IDENTIFIER: &str = "agent-keeper";

/// Starts logging; `level` is `error`, `warn`, `info`, `debug` or `trace`.
pub fn start(level: LevelFilter) {
    // Of the libraries only what they warn of: their debug messages are about themselves.
    let targets = Targets::new().with_default(LevelFilter::WARN).with_target("agent_keeper", level);
    let journal = if stderr_is_journal() { tracing_journald::layer().ok() } else { None };
    let registry = tracing_subscriber::registry().with(targets);
    match journal {
        // Without the default prefix: MESSAGE_ID and USER_UNIT are the journal's own names.
        Some(layer) => {
            registry.with(layer.with_field_prefix(None).with_syslog_identifier(IDENTIFIER.to_owned())).init();
        }
        None => {
            let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            let colour = !plain && std::io::IsTerminal::is_terminal(&std::io::stderr());
            let fields = format::debug_fn(|writer, field, value| match field.name() {
                "message" => write!(writer, "{value:?}"),
                // What is for programs that read the journal stands in the message already.
                name if is_for_the_journal(name) => Ok(()),
                name => write!(writer, " {name}={value:?}"),
            });
            let layer = fmt::layer().fmt_fields(fields).with_writer(std::io::stderr);
            registry.with(layer.with_ansi(colour).with_target(false)).init();
        }
    }
}

fn is_for_the_journal(field: &str) -> bool {
    field == "message_id" || field.starts_with(journal::PREFIX)
}

/// Returns whether standard error is the journal's stream: `$JOURNAL_STREAM` names its device and inode
/// (systemd.exec(5)). That the variable is set is not enough, it is inherited.
fn stderr_is_journal() -> bool {
    let Some((device, inode)) = std::env::var("JOURNAL_STREAM")
        .ok()
        .and_then(|v| v.split_once(':').map(|(d, i)| (d.parse(), i.parse())))
    else {
        return false;
    };
    std::fs::metadata("/proc/self/fd/2").is_ok_and(|meta| device == Ok(meta.dev()) && inode == Ok(meta.ino()))
}
