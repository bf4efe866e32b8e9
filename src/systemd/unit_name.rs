//! Names of units.

/// The slice in which our scopes live. One slice for all: its `memory.events` sees every OOM kill below
/// it, and limits can be set on it.
pub const SLICE: &str = "app-agentkeeper.slice";

/// The keeper's own unit.
pub const SERVICE: &str = "agent-keeper.service";

/// The targets that the user's manager starts when it stops: the first upon SIGTERM, as from `user@.service`, and upon
/// `systemctl --user exit`, and with it the second, which conflicts with all units (systemd.special(7)).
pub const END_TARGETS: [&str; 2] = ["exit.target", "shutdown.target"];

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

/// Returns whether a unit holds a tmux server of ours, or a pane: tmux puts each pane in a scope of its own where it
/// is built with systemd (`systemd_move_to_new_cgroup`, compat/systemd.c, tmux 3.5a).
pub fn is_of_tmux(unit: &str) -> bool {
    let kinds = ["tmux-spawn-", "agent-keeper-tmux-"];
    unit.ends_with(".scope") && kinds.iter().any(|kind| unit.starts_with(kind))
}

/// Returns the unit whose object on the bus has this path. What is not a letter or a digit stands there as `_NN`
/// (`bus_label_escape`, bus-label.c).
pub fn of_object(path: &str) -> Option<String> {
    let mut label = path.strip_prefix("/org/freedesktop/systemd1/unit/")?.bytes();
    let mut name = Vec::new();
    while let Some(byte) = label.next() {
        name.push(match byte {
            b'_' => hex_digit(label.next()?)? << 4 | hex_digit(label.next()?)?,
            _ => byte,
        });
    }
    String::from_utf8(name).ok().filter(|name| !name.is_empty())
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
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

    #[test]
    fn units_are_known_by_their_objects() {
        let of = |label: &str| of_object(&format!("/org/freedesktop/systemd1/unit/{label}"));
        let cases = [
            ("k_2escope", Some("k.scope")),
            ("tmux_2dspawn_2d1f_2escope", Some("tmux-spawn-1f.scope")),
            ("agent_2dkeeper_2dtmux_2dmy_5cx2dsock_2escope", Some(r"agent-keeper-tmux-my\x2dsock.scope")),
            ("_31password_2eservice", Some("1password.service")),
            ("_c3_a9_2eservice", Some("é.service")),
            ("_", None),
            ("x_2", None),
            ("x_zz", None),
            ("_ff", None),
            ("", None),
        ];
        for (label, unit) in cases {
            assert_eq!(of(label).as_deref(), unit, "{label}");
        }
        assert_eq!(of_object("/org/freedesktop/systemd1/job/1"), None);
        assert!(of("tmux_2dspawn_2d1f_2escope").is_some_and(|unit| is_of_tmux(&unit)));
        assert!(is_of_tmux(&scope_of(Path::new("/tmp/x"), Some(7))));
        assert!(!is_of_tmux("tmux.service") && !is_of_tmux("tmux-spawn-.slice"));
    }
}
