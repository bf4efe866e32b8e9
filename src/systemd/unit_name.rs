//! Names of units.

/// The slice in which our scopes live. One slice for all: its `memory.events` sees every OOM kill below
/// it, and limits can be set on it.
pub const SLICE: &str = "app-agentkeeper.slice";

/// The keeper's own unit.
pub const SERVICE: &str = "agent-keeper.service";

/// How much of a socket's name goes into a unit's name; a unit name has at most 255 bytes
/// (systemd.unit(5)) and each byte can take four.
const LABEL_BYTES_MAX: usize = 40;

/// Returns the name of the scope for the tmux server of a socket. `again` tells apart a second scope
/// when processes of an ended server still keep the first.
pub fn scope_of(socket: &std::path::Path, again: Option<u32>) -> String {
    let label = socket.file_name().unwrap_or_default().as_encoded_bytes();
    let label = escape(&label[..label.len().min(LABEL_BYTES_MAX)]);
    match again {
        None => format!("agent-keeper-tmux-{label}.scope"),
        Some(number) => format!("agent-keeper-tmux-{label}-{number}.scope"),
    }
}

/// Escapes text for a unit name as systemd-escape(1) does: what is not a letter, a digit, `:`, `_` or
/// `.` becomes `\xNN`, and so does a dot in front.
pub fn escape(text: &[u8]) -> String {
    let mut out = String::new();
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'/' => out.push('-'),
            b'.' if at == 0 => out.push_str("\\x2e"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' => out.push(char::from(*byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn names_are_escaped_as_systemd_escape_does() {
        // Printed by systemd-escape 252.
        for (text, expected) in
            [("default", "default"), ("a-b c", r"a\x2db\x20c"), (".x/y", r"\x2ex-y"), ("é", r"\xc3\xa9")]
        {
            assert_eq!(escape(text.as_bytes()), expected);
        }
        assert_eq!(scope_of(Path::new("/tmp/tmux-0/default"), None), "agent-keeper-tmux-default.scope");
        assert_eq!(scope_of(Path::new("/tmp/my-sock"), Some(7)), r"agent-keeper-tmux-my\x2dsock-7.scope");
    }
}
