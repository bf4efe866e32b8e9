//! Reads entries as `journalctl --output=json` prints them, one to a line.

use jiff::Timestamp;
use serde_json::{Map, Value};

/// One entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// When the journal received it.
    pub at: Timestamp,
    fields: Map<String, Value>,
}

/// Reads a line. Half of one, as a bound can leave it, is none.
pub fn parse_entry(line: &[u8]) -> Option<Entry> {
    let fields: Map<String, Value> = serde_json::from_slice(line).ok()?;
    let micros: i64 = fields.get("__REALTIME_TIMESTAMP")?.as_str()?.parse().ok()?;
    Some(Entry { at: Timestamp::from_microsecond(micros).ok()?, fields })
}

impl Entry {
    /// Returns the value of a field. What is not text is made text. Of several values the first counts; one that was
    /// too large for journalctl is `null`, and not there.
    pub fn text(&self, field: &str) -> Option<String> {
        let value = self.fields.get(field)?;
        match value {
            Value::Array(values) if !values.iter().all(Value::is_number) => text(values.first()?),
            value => text(value),
        }
    }

    /// Returns the number that a field holds.
    pub fn number<N: std::str::FromStr>(&self, field: &str) -> Option<N> {
        self.text(field)?.parse().ok()
    }

    /// Returns whether a field has this value.
    pub fn is(&self, field: &str, value: &str) -> bool {
        self.text(field).is_some_and(|text| text == value)
    }
}

/// Bytes that are not UTF-8, or not printable, come as an array of numbers.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(bytes) => {
            let bytes = bytes.iter().map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok()));
            Some(String::from_utf8_lossy(&bytes.collect::<Option<Vec<u8>>>()?).into_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_in_several_forms() {
        let entry = |fields: &str| {
            parse_entry(format!(r#"{{"__REALTIME_TIMESTAMP":"1763712000000001",{fields}}}"#).as_bytes())
                .unwrap()
        };
        let cases = [
            (r#""X":"a b""#, Some("a b")),
            (r#""X":[97,27,255]"#, Some("a\u{1b}\u{fffd}")),
            (r#""X":["one","two"]"#, Some("one")),
            (r#""X":[[97,98],"two"]"#, Some("ab")),
            (r#""X":[null,"two"]"#, None),
            (r#""X":null"#, None),
            (r#""X":[256]"#, None),
            (r#""X":[]"#, Some("")),
            (r#""X":7"#, None),
            (r#""Y":"x""#, None),
        ];
        for (fields, expected) in cases {
            assert_eq!(entry(fields).text("X").as_deref(), expected, "{fields}");
        }
        let entry = entry(r#""PID":"700","MESSAGE":"x""#);
        assert_eq!(entry.number("PID"), Some(700));
        assert_eq!(entry.number::<u32>("MESSAGE"), None);
        assert!(entry.is("MESSAGE", "x") && !entry.is("MESSAGE", "y") && !entry.is("Z", ""));
        assert_eq!(entry.at.to_string(), "2025-11-21T08:00:00.000001Z");
    }

    /// Printed by journalctl 252, of an entry that was written for this.
    #[test]
    fn an_entry_is_read_as_journalctl_prints_it() {
        let line = r#"{"_BOOT_ID":"3d883bad11fd4acd90f7485aba768f95","MESSAGE_ID":"d9b373ed55a64feb8242e02dbe79a49c","__CURSOR":"s=3dd78fb8ae054fecbf13f55ef0a21afe;i=9;b=3d883bad11fd4acd90f7485aba768f95;m=c8a271ac9;t=660d246a6e63c;x=5364bbf2c25b45ea","MESSAGE":[98,105,110,255,27],"USER_UNIT":"tmux-spawn-27b3.scope","__REALTIME_TIMESTAMP":"1795306105005628","__MONOTONIC_TIMESTAMP":"53857426121","UNIT_RESULT":["signal","second"]}"#;
        let entry = parse_entry(line.as_bytes()).unwrap();
        assert_eq!(entry.at.as_microsecond(), 1_795_306_105_005_628);
        assert_eq!(entry.text("MESSAGE").as_deref(), Some("bin\u{fffd}\u{1b}"));
        assert!(entry.is("UNIT_RESULT", "signal") && entry.is("USER_UNIT", "tmux-spawn-27b3.scope"));
    }

    #[test]
    fn half_a_line_is_no_entry() {
        for line in [
            "",
            "{",
            r#"{"MESSAGE":"x"}"#,
            r#"{"__REALTIME_TIMESTAMP":"x"}"#,
            r#"{"__REALTIME_TIMESTAMP":"17637"#,
            "[]",
        ] {
            assert_eq!(parse_entry(line.as_bytes()), None, "{line}");
        }
    }
}
